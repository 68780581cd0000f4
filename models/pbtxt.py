"""protobuf's text format -> plain data of declared structs, with the line of everything. It must not know what the fields mean.

    text -> Message (every field with its line) -> `convert`: what a msgspec struct declares, and what it does not

The tokens are protobuf's own. A message's schema is not needed, so that a field that nobody declared is told of, not tripped over.
"""

import typing
import warnings
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from google.protobuf import text_format

MOST_DEPTH = 32
BOOLS = {"true": True, "True": True, "t": True, "false": False, "False": False, "f": False}

T = TypeVar("T")


class Malformed(Exception):
    """The text is no message, or not of the declared kind."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


class Word(str):
    """A value without quotes that is no number: an enum's name, or a bool's."""

    __slots__ = ()


class Field(NamedTuple):
    """A value (int, float, str, Word or Message) and its line, counted from 1."""

    value: Any
    line: int


Message = dict[str, list[Field]]
"""Every value that each name was given, in the order of the text."""


class Unused(NamedTuple):
    """A field that the text has and the struct has not."""

    name: str
    line: int


class Lines:
    """Where everything stands, by its path: "input[0].dims"."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def add(self, path: str, line: int) -> None:
        """What is at `path` stands in `line`."""
        self._known[path] = line

    def of(self, path: str) -> int:
        """The line of `path`, or of the nearest that it lies in; 0 where nothing has lines."""
        while path and path not in self._known:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self._known.get(path, 1) if self._known else 0


class Converted(NamedTuple, Generic[T]):
    """A struct, what the text has beside it, and where everything stands."""

    value: T
    unused: list[Unused]
    lines: Lines


def parse(text: str) -> Message:
    """The message in `text`. Raises Malformed."""
    try:
        tokens = text_format.Tokenizer(text.split("\n"))
        return read_message(tokens, "", 0)
    except text_format.ParseError as error:
        reason = str(error).partition(" : ")[2] or str(error)
        raise Malformed(error.GetLine() or 1, reason[-200:]) from error


def read_message(tokens: Any, end: str, depth: int) -> Message:
    """Fields up to `end`, which is consumed."""
    if depth > MOST_DEPTH:
        raise tokens.ParseError(f"messages are nested more than {MOST_DEPTH} deep.")
    message: Message = {}
    while not tokens.LookingAt(end):
        if tokens.AtEnd():
            raise tokens.ParseErrorPreviousToken(f"'{end}' is missing at the end.")
        line = line_of(tokens)
        values = message.setdefault(tokens.ConsumeIdentifier(), [])
        if not tokens.TryConsume(":") and tokens.token not in ("{", "<", "["):
            raise tokens.ParseError('Expected ":" or "{".')
        if tokens.TryConsume("["):
            values.extend(read_list(tokens, depth))
        else:
            values.append(Field(read_value(tokens, depth), line))
        if not tokens.TryConsume(","):
            tokens.TryConsume(";")
    if end:
        tokens.Consume(end)
    return message


def read_list(tokens: Any, depth: int) -> list[Field]:
    """Values with commas between them, up to ']'."""
    found: list[Field] = []
    while not tokens.TryConsume("]"):
        if found:
            tokens.Consume(",")
        line = line_of(tokens)
        found.append(Field(read_value(tokens, depth), line))
    return found


def read_value(tokens: Any, depth: int) -> Any:
    """One value."""
    for begin, end in (("{", "}"), ("<", ">")):
        if tokens.TryConsume(begin):
            return read_message(tokens, end, depth + 1)
    token = tokens.token
    if token[:1] in ("'", '"'):
        return read_text(tokens)
    if token[:1].isalpha() or token[:1] == "_":
        return Word(tokens.ConsumeIdentifier())
    whole = not any(mark in token for mark in ".eE") or token[:2].lower() == "0x"
    return tokens.ConsumeInteger() if whole else tokens.ConsumeFloat()


def read_text(tokens: Any) -> str:
    """A text in quotes. An escape that nobody knows is no more than a warning to Python, which protobuf has undo them."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        try:
            return str(tokens.ConsumeString())
        except DeprecationWarning as error:
            raise tokens.ParseError(str(error)) from error


def line_of(tokens: Any) -> int:
    """The line of the token that comes next."""
    return int(tokens.ParseError("").GetLine())


def convert(message: Message, kind: type[T]) -> Converted[T]:
    """`message` as a struct, and the fields that it has beside those that are declared. Raises Malformed."""
    unused: list[Unused] = []
    lines = Lines()
    told = plain(message, kind, "", unused, lines)
    try:
        return Converted(msgspec.convert(told, kind), unused, lines)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `")
        path = path.rstrip("`").removeprefix("$").removeprefix(".")
        raise Malformed(lines.of(path), f"{path or '$'}: {reason}") from error


def plain(
    message: Message, kind: Any, at: str, unused: list[Unused], lines: Lines
) -> dict[str, Any]:
    """`message` as msgspec converts it: lists where `kind` declares many, bools where it declares bools."""
    declared = {field.name: declaration(field.type) for field in msgspec.structs.fields(kind)}
    told: dict[str, Any] = {}
    for name, fields in message.items():
        where = f"{at}.{name}" if at else name
        if name not in declared:
            unused.append(Unused(where, fields[0].line if fields else 0))
            continue
        many, inner = declared[name]
        if len(fields) > 1 and not many:
            raise Malformed(fields[1].line, f"{where} is there {len(fields)} times")
        found = []
        for index, field in enumerate(fields):
            here = f"{where}[{index}]" if many else where
            lines.add(here, field.line)
            found.append(simple(field, inner, here, unused, lines))
        if many or found:
            told[name] = found if many else found[0]
    return told


def simple(field: Field, inner: Any, at: str, unused: list[Unused], lines: Lines) -> Any:
    """One value of a declared kind."""
    value = field.value
    if isinstance(value, dict):
        is_struct = isinstance(inner, type) and issubclass(inner, msgspec.Struct)
        return plain(value, inner, at, unused, lines) if is_struct else value
    if inner is bool:
        return (
            BOOLS.get(value, value)
            if isinstance(value, Word)
            else {0: False, 1: True}.get(value, value)
        )
    if inner is str and isinstance(value, Word):
        raise Malformed(field.line, f"{at}: {value} stands without quotes")
    return str(value) if isinstance(value, str) else value


def declaration(kind: Any) -> tuple[bool, Any]:
    """Whether a field's type holds many values, and the type of one."""
    arguments = [one for one in typing.get_args(kind) if one not in (type(None), ...)]
    if typing.get_origin(kind) in (list, tuple):
        return True, declaration(arguments[0])[1]
    if typing.get_origin(kind) in (typing.Union, typing.Annotated) or type(None) in typing.get_args(
        kind
    ):
        return False, declaration(arguments[0])[1]
    return False, kind
