"""protobuf's text format: what protobuf itself reads is read alike, everything has its line, and garbage is told where it is."""

from typing import Annotated, Literal

import msgspec
import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2

from models import pbtxt
from models.pbtxt import Malformed, Unused


class Inner(msgspec.Struct):
    name: str = ""
    dims: tuple[int, ...] = ()


class Outer(msgspec.Struct):
    count: Annotated[int, msgspec.Meta(ge=0)] = 0
    share: float = 0.0
    on: bool = False
    kind: Literal["A", "B"] = "A"
    inner: tuple[Inner, ...] = ()
    one: Inner | None = None


def read(text: str) -> tuple[Outer, list[Unused]]:
    return pbtxt.convert(pbtxt.parse(text), Outer)[:2]


SAME = {
    "nothing": ("", Outer()),
    "comments": ("# a\n  # b\ncount: 1 # c", Outer(count=1)),
    "separators": ("count: 1, on: true; kind: B", Outer(1, 0, True, "B")),
    "bases": ("count: 0x10 share: 1e-3", Outer(16, 0.001)),
    "a whole float": ("share: 2", Outer(share=2)),
    "bools of all kinds": ("on: 1", Outer(on=True)),
    "quotes of both kinds, joined": ("one { name: 'a' \"b\" }", Outer(one=Inner("ab"))),
    "an escape": (r'one { name: "\303\274\n" }', Outer(one=Inner("ü\n"))),
    "angles and colons": ("one: < name: 'a' >", Outer(one=Inner("a"))),
    "a list": ("inner { dims: [1, -1, 3] }", Outer(inner=(Inner(dims=(1, -1, 3)),))),
    "an empty list": ("inner { dims: [] }", Outer(inner=(Inner(),))),
    "repetition": ("inner { dims: 1 dims: 2 }", Outer(inner=(Inner(dims=(1, 2)),))),
    "messages in a list": (
        "inner [ { name: 'a' }, { name: 'b' } ]",
        Outer(inner=(Inner("a"), Inner("b"))),
    ),
    "lists and repetition": (
        "inner { name: 'a' } inner: [ { name: 'b' } ]",
        Outer(inner=(Inner("a"), Inner("b"))),
    ),
}


@pytest.mark.parametrize("case", SAME)
def test_every_way_to_write_a_message_is_read(case: str):
    text, expected = SAME[case]
    assert read(text) == (expected, [])


def test_what_is_not_declared_is_named_with_its_line():
    text = "count: 1\nextra: [1, 2]\ninner { name: 'a' }\ninner {\n  more { x: 1 }\n}\nextra: 3"
    outer, unused = read(text)
    assert outer == Outer(1, inner=(Inner("a"), Inner()))
    assert unused == [Unused("extra", 2), Unused("inner[1].more", 5)]


MALFORMED = {
    "a missing end": ("one {\n count: 1", 2, "'}' is missing"),
    "a missing colon": ("count 1", 1, 'Expected ":"'),
    "a missing comma": ("inner { dims: [1 2] }", 1, 'Expected ","'),
    "no name": ("\n\n: 1", 3, "Expected identifier"),
    "an end too many": ("count: 1\n}", 2, "Expected identifier"),
    "an unfinished text": ("count: 1\none { name: 'a\n}", 2, "missing ending quote"),
    "an unknown escape": (r"one { name: '\e' }", 1, "invalid escape sequence"),
    "no value": ("count:", 1, "Couldn't parse"),
    "a number in words": ("count: 1x", 1, "Couldn't parse integer"),
    "a text for a number": ("\ncount: '1'", 2, "count: Expected `int`, got `str`"),
    "a number for a text": ("one { name: 1 }", 1, "one.name: Expected `str`, got `int`"),
    "a text without quotes": ("one { name: a }", 1, "one.name: a stands without quotes"),
    "a number for a message": ("one: 1", 1, "one: "),
    "a message for a number": ("count { }", 1, "count: "),
    "a word for a bool": ("on: maybe", 1, "on: "),
    "an unknown word": ("kind: A\nkind: C", 2, "kind is there 2 times"),
    "a value that is not allowed": ("\nkind: C", 2, "kind: Invalid enum value 'C'"),
    "a value below its limit": ("share: 1\ncount: -1", 2, "count: Expected `int` >= 0"),
    "a mistake within a list": ("inner {\n dims: [1,\n 'a'] }", 3, "inner[0].dims[1]"),
    "depth": ("one {" * 100_000, 1, "more than 32 deep"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_what_is_malformed_is_named_with_its_line(case: str):
    text, line, says = MALFORMED[case]
    with pytest.raises(Malformed) as caught:
        read(text)
    assert caught.value.line == line
    assert says in str(caught.value)
    assert len(str(caught.value)) < 300


PIECES = ("one", "inner", "count", "{", "}", "[", "]", "<", ">", ":", ",", "1", "-", "'a", '"', "#", "\n", "true", "0x", "é", "\0")  # fmt: skip


@given(st.lists(st.sampled_from(PIECES)).map(" ".join) | st.text())
@settings(derandomize=True, max_examples=500)
def test_garbage_is_read_or_refused(text: str):
    try:
        read(text)
    except Malformed as error:
        assert 1 <= error.line <= text.count("\n") + 1  # noqa: PT017 - most texts are malformed, some are not


def tree(message: object) -> dict[str, list[object]]:
    """A parsed protobuf message as `pbtxt` tells it, without lines."""
    told: dict[str, list[object]] = {}
    for field, value in message.ListFields():  # type: ignore[attr-defined]
        many = [*value] if field.is_repeated else [value]
        told[field.name] = [tree(one) if field.message_type else one for one in many]
    return told


def bare(message: pbtxt.Message) -> dict[str, list[object]]:
    return {
        name: [bare(one.value) if isinstance(one.value, dict) else one.value for one in fields]
        for name, fields in message.items()
    }


CONFIGS = st.builds(
    model_config_pb2.ModelConfig,
    name=st.text(),
    max_batch_size=st.integers(-(1 << 31), (1 << 31) - 1),
    input=st.lists(
        st.builds(
            model_config_pb2.ModelInput,
            name=st.text(),
            dims=st.lists(st.integers(-(1 << 63), (1 << 63) - 1)),
        )
    ),
)


@given(CONFIGS, st.booleans())
@settings(derandomize=True)
def test_what_protobuf_writes_is_read(message: object, one_line: bool):
    written = text_format.MessageToString(message, as_one_line=one_line)
    assert bare(pbtxt.parse(written)) == tree(message)
