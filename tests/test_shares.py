"""Shares of the tests: each test is in one, and what is no share is refused."""

import argparse

import pytest

from tests.shares import is_of_share, parse_share


def test_each_test_is_in_one_share_of_about_the_same_size() -> None:
    names = [f"tests/test_module.py::test_of[{number}]" for number in range(600)]
    shares = [[is_of_share(name, k, 3) for name in names] for k in (1, 2, 3)]
    assert all(map(any, zip(*shares, strict=True)))
    assert sum(map(sum, shares)) == len(names)
    assert min(map(sum, shares)) > 150


@pytest.mark.parametrize("text", ["", "1", "0/3", "4/3", "a/b", "-1/3", "1/3/5"])
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not K/N"):
        parse_share(text)


def test_a_share() -> None:
    assert parse_share("2/3") == (2, 3)
