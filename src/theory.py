"""The old name of `metabridge.theory`."""

from metabridge.theory import alias

alias.install()
