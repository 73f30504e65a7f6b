"""Shares of the tests, so that CI runs a part of the longer ones at each commit."""

import argparse
import zlib


def parse_share(text: str) -> tuple[int, int]:
    """The numbers of ``K/N``, K from 1 to N."""
    share, _, count = text.partition("/")
    if not (share.isdecimal() and count.isdecimal() and 1 <= int(share) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} is not K/N with K from 1 to N")
    return int(share), int(count)


def is_of_share(name: str, share: int, count: int) -> bool:
    """Tell whether a test is in this share; by its name, so that it stays there."""
    return zlib.crc32(name.encode()) % count == share - 1
