"""What a model, a version, an alias and a file may be called: the one gate for whatever becomes part of a path. It must not touch files."""

import re

from models.bundle import NAME
from models.errors import BundleError, InputError

MODEL = re.compile(NAME)
VERSION = re.compile(r"[1-9][0-9]{0,8}")
ENTRY = re.compile(r"([0-9]{6,9})\.json")
ALIAS = re.compile(r"[a-z][a-z0-9-]{0,31}")

MOST = 10**9 - 1
"""The highest number of a version or of a change: nine digits."""


def model(name: str) -> str:
    """`name`, where it can be one model's directory. BundleError: what can be none is not there either."""
    if not MODEL.fullmatch(name):
        raise BundleError(
            f"there is no model {shown(name)}: a name is 1 to 128 of A-Z a-z 0-9 . _ - and begins with a letter or a digit"
        )
    return name


def version(number: int) -> int:
    """`number`, where it can be a version. BundleError where it cannot."""
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= MOST:
        raise BundleError(
            f"there is no version {shown(str(number))}: versions are integers from 1 to {MOST}"
        )
    return number


def alias(name: str) -> str:
    """`name`, where it can be an alias. InputError where it cannot."""
    if not ALIAS.fullmatch(name):
        raise InputError(
            f"{shown(name)} cannot be an alias: 1 to 32 of a-z 0-9 -, beginning with a letter"
        )
    return name


def file(name: str) -> bool:
    """Whether `name` can be a file of a version: visible, and in no other directory."""
    return not name.startswith(".") and not any(c in name for c in "/\\\0")


def entry(number: int) -> str:
    """The name of the `number`th claim or change: 17 -> "000017.json"."""
    return f"{number:06}.json"


def entry_number(name: str) -> int | None:
    """17 of "000017.json", None of what is called otherwise."""
    found = ENTRY.fullmatch(name)
    number = int(found[1]) if found else 0
    return number if number and entry(number) == name else None


def shown(name: str) -> str:
    """A name that failed, short and with nothing unprintable in it."""
    return ascii(name if len(name) <= 60 else name[:60] + "...")
