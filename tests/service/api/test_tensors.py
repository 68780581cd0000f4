"""The protocol's bodies, byte by byte."""

import contextlib
import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models.errors import InputError
from service.api import tensors, values

HEADER = (
    b'{"id":"a1","inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","parameters":{"binary_data_size":12}},'
    b'{"name":"s","shape":[1,1],"datatype":"BYTES","parameters":{"binary_data_size":6}}],'
    b'"outputs":[{"name":"y","parameters":{"binary_data":true}}]}'
)
BLOBS = struct.pack("<3f", 1, 2, 3) + b"\x02\x00\x00\x00hi"


def body(**fields: object) -> bytes:
    given = {"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2]} | fields
    return json.dumps({"inputs": [{k: v for k, v in given.items() if v is not None}]}).encode()


def test_the_worked_example_is_read_and_answered_byte_for_byte():
    assert len(HEADER) == 245
    asked, found = tensors.parse(HEADER + BLOBS, "245")
    assert found["x"].tolist() == [[1, 2, 3]]
    assert found["s"].tolist() == [[b"hi"]]
    answer, length = tensors.encode(asked, "m", 1, {"y": np.array([[0.25, 0.75]], np.float32)})
    assert length == 141
    assert answer[141:] == bytes.fromhex("0000803e0000403f")
    assert json.loads(answer[:141])["id"] == "a1"


@pytest.mark.parametrize("data", [[1, 2, 3, 4], [[1, 2], [3, 4]]], ids=["flat", "nested"])
def test_data_may_be_flat_or_nested(data: list):
    _, found = tensors.parse(body(shape=[2, 2], data=data), None)
    assert found["x"].tolist() == [[1, 2], [3, 4]]
    assert found["x"].dtype == np.float32


@pytest.mark.parametrize("name", [name for name in values.DATATYPES if name != "BYTES"])
def test_every_datatype_goes_both_ways_as_json_and_as_bytes(name: str):
    array = np.array([[0, 1], [1, 0]], values.DATATYPES[name])
    spec = {"name": "x", "shape": [2, 2], "datatype": name}
    for payload in ({"data": array.tolist()}, {"parameters": {"binary_data_size": array.nbytes}}):
        head = json.dumps({"inputs": [spec | payload]}).encode()
        blob = b"" if "data" in payload else array.tobytes()
        asked, found = tensors.parse(head + blob, str(len(head)))
        assert found["x"].dtype == array.dtype
        np.testing.assert_array_equal(found["x"], array)
        answer, _ = tensors.encode(asked, "m", 1, {"y": array})
        assert json.loads(answer)["outputs"][0] == {
            "name": "y",
            "datatype": name,
            "shape": [2, 2],
            "data": array.ravel().tolist(),
        }


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (b"", "failed to parse"),
        (b"{", "failed to parse"),
        (b"{}", "missing required field `inputs`"),
        (b'{"inputs":[]}', "no inputs"),
        (b"[" * 250_000, "failed to parse"),
        (body(data=[1, 2, 3]), "'x' has 3 values, shape \\[2\\] needs 2"),
        (body(shape=[-1]), "negative"),
        (body(shape=[1] * 70), "70 axes, the limit is 16"),
        (body(shape=[0, 2**70], data=[]), "more than"),
        (body(shape=[2**62] * 40_000), "40000 axes"),
        (body(data=["x" * 20_000, *[""] * 10]), "not FP32"),
        (body(datatype="UINT64", data=[1.5, 2]), "not UINT64"),
        (b'{"inputs":[{"name":"\xff"}]}', "failed to parse"),
        (body(shape=[1 << 40, 1 << 40]), "more than 1,073,741,824 elements"),
        (body(datatype="FLOAT"), "datatype 'FLOAT'"),
        (body(datatype="INT64", data=[1.5, 2]), "'x': 'data' holds values that are not INT64"),
        (body(datatype="INT8", data=[1, 300]), "INT8 holds -128 to 127"),
        (body(datatype="BOOL", data=[1, 2]), "not BOOL"),
        (body(datatype="BYTES", data=[1, 2]), "not strings"),
        (body(data=["a", "b"]), "not FP32"),
        (body(data=[None, 1]), "not FP32"),
        (body(shape=[2, 2], data=[[1, 2], [3]]), "'data' is not a list"),
        (body(data=None), "exactly one of 'data' and 'binary_data_size'"),
        (body(parameters={"binary_data_size": 8}), "exactly one"),
        (body(data=None, parameters={"binary_data_size": 8}), "expecting 8 additional bytes"),
        (body(data=None, parameters={"binary_data_size": -1}), "binary_data_size -1"),
        (body(data=None, parameters={"shared_memory_region": "r"}), "shared memory"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(given: bytes, says: str):
    with pytest.raises(InputError, match=says):
        tensors.parse(given, None)


@pytest.mark.parametrize("length", ["-1", "99999999999", "9" * 5000, "x", "1e3", "", "²"])
def test_a_header_length_that_does_not_fit_is_refused(length: str):
    with pytest.raises(InputError, match="the body has"):
        tensors.parse(body(), length)


def test_bytes_that_no_input_claims_are_refused():
    with pytest.raises(InputError, match="3 bytes after the last input"):
        tensors.parse(body() + b"abc", str(len(body())))


def test_a_blob_of_the_wrong_size_names_both_sizes():
    head = body(data=None, parameters={"binary_data_size": 4})
    with pytest.raises(InputError, match="has 4 bytes, shape \\[2\\] of FP32 needs 8"):
        tensors.parse(head + b"1234", str(len(head)))


def test_an_input_or_output_named_twice_is_refused():
    one = {"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}
    with pytest.raises(InputError, match="input 'x' already exists"):
        tensors.parse(json.dumps({"inputs": [one, one]}).encode(), None)
    with pytest.raises(InputError, match="output 'y' already exists"):
        tensors.parse(json.dumps({"inputs": [one], "outputs": [{"name": "y"}] * 2}).encode(), None)


@given(st.binary(max_size=200), st.one_of(st.none(), st.text(max_size=4)))
def test_no_body_does_more_than_be_refused(data: bytes, length: str | None):
    with contextlib.suppress(InputError):
        tensors.parse(data, length)


@given(hnp.arrays("float32", hnp.array_shapes(max_dims=3, min_side=1, max_side=5)))
def test_binary_tensors_survive_bit_for_bit(array: np.ndarray):
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": "x",
                    "shape": array.shape,
                    "datatype": "FP32",
                    "parameters": {"binary_data_size": array.nbytes},
                }
            ]
        }
    ).encode()
    _, found = tensors.parse(head + array.tobytes(), str(len(head)))
    assert found["x"].tobytes() == array.tobytes()


def test_large_unsigned_integers_keep_every_digit():
    _, found = tensors.parse(body(datatype="UINT64", data=[2**64 - 1, 1]), None)
    assert found["x"].tolist() == [2**64 - 1, 1]


NUMBERS = st.one_of(st.integers(), st.integers(-(10**30), 10**30), st.floats(allow_nan=False))


@given(st.lists(NUMBERS.filter(lambda number: abs(number) < 1e308)), st.booleans())
def test_any_numbers_are_read_as_what_they_say(numbers: list[float], nested: bool):
    data = [[number] for number in numbers] if nested else numbers
    for datatype in ("FP16", "FP32", "FP64"):
        given = body(shape=[len(numbers)], datatype=datatype, data=data)
        dtype = values.DATATYPES[datatype]
        with np.errstate(over="ignore"):
            expected = np.array(numbers, "float64").astype(dtype)
        if np.isinf(expected).any():
            with pytest.raises(InputError, match=f"input 'x': 'data' holds .*{datatype}"):
                tensors.parse(given, None)
            continue
        with contextlib.suppress(InputError) if nested else contextlib.nullcontext():
            _, found = tensors.parse(given, None)
            np.testing.assert_array_equal(found["x"], expected)


WORDS = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
def test_numbers_that_are_not_finite_are_read_and_written_as_triton_has_them(datatype: str):
    given = body(shape=[4], datatype=datatype, data=[0] * 4)
    given = given.replace(b"[0, 0, 0, 0]", b"[NaN, Infinity, -Infinity, 1.5]")
    asked, found = tensors.parse(given, None)
    np.testing.assert_array_equal(found["x"], [*WORDS.values(), 1.5])
    told, _ = tensors.encode(asked, "m", 1, {"y": found["x"], "z": np.ones(1)})
    assert b'"data":[NaN,Infinity,-Infinity,1.5]' in told
    assert b'"data":[1.0]' in told


def test_words_for_numbers_are_none_for_integers():
    given = body(shape=[1], datatype="INT32", data=[0]).replace(b"[0]", b"[NaN]")
    with pytest.raises(InputError, match="not a list of INT32"):
        tensors.parse(given, None)


def test_an_infinity_among_large_numbers_is_not_what_is_refused():
    given = body(shape=[2], datatype="FP16", data=[0, 70000]).replace(b"[0,", b"[Infinity,")
    with pytest.raises(InputError, match=r"'data' holds 70000.0, FP16 ends at 65504"):
        tensors.parse(given, None)


JSON_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=6,
)


@given(JSON_VALUES, st.sampled_from(sorted(values.DATATYPES)))
def test_any_data_is_an_array_of_its_type_or_refused(data: object, datatype: str):
    given = body(shape=[2], datatype=datatype, data=data)
    with contextlib.suppress(InputError):
        _, found = tensors.parse(given, None)
        assert (found["x"].shape, found["x"].dtype) == ((2,), np.dtype(values.DATATYPES[datatype]))


def test_a_header_that_is_remembered_is_not_confused_with_its_tensors():
    spec = {"name": "x", "shape": [1, 2], "datatype": "FP32"}
    head = json.dumps({"inputs": [spec | {"parameters": {"binary_data_size": 8}}]}).encode()
    kept = []
    for first in range(3):
        blob = np.array([first, -first], np.float32).tobytes()
        kept.append(tensors.parse(head + blob, str(len(head)))[1]["x"])
    assert [array.tolist() for array in kept] == [[[0, 0]], [[1, -1]], [[2, -2]]]
    for _ in range(2):  # nor is a mistake in it forgotten
        with pytest.raises(InputError, match="unexpected additional input data: 1 bytes"):
            tensors.parse(head + bytes(9), str(len(head)))


@pytest.mark.parametrize("spaced", [True, False])
def test_lists_of_numbers_are_read_apart_from_their_header(spaced: bool):
    inputs = [
        {"name": name, "shape": [2], "datatype": "FP32", "data": data}
        for name, data in (("a", [1, 2]), ("b", [3.5, 4]))
    ]
    text = json.dumps({"inputs": inputs}, separators=(", ", ": ") if spaced else (",", ":"))
    head, lists = tensors.without_lists(text.encode())
    assert len(lists) == 2
    assert b"3.5" not in head
    _, found = tensors.parse(text.encode(), None)
    assert {name: array.tolist() for name, array in found.items()} == {"a": [1, 2], "b": [3.5, 4]}


NAMES = st.text(st.sampled_from('ab"\\[]{},: data'), min_size=1, max_size=12) | st.just('"data":[')


@given(
    st.lists(NAMES, min_size=1, max_size=3, unique=True),
    st.lists(st.floats(-1e6, 1e6, width=32) | st.integers(-99, 99), max_size=4),
    st.sampled_from(["flat", "nested"]),
    st.booleans(),
    NAMES,
)
def test_whatever_names_hold_lists_go_to_their_own_inputs(
    names: list[str], numbers: list[float], form: str, spaced: bool, id_: str
):
    inputs = []
    for place, name in enumerate(names):
        data: object = [place, *numbers]
        shape = [len(numbers) + 1]
        if form == "nested":
            data, shape = [data], [1, *shape]
        inputs.append({"name": name, "shape": shape, "datatype": "FP64", "data": data})
    separators = (", ", ": ") if spaced else (",", ":")
    text = json.dumps({"id": id_, "inputs": inputs}, separators=separators)
    asked, found = tensors.parse(text.encode(), None)
    assert asked.id == id_
    for place, name in enumerate(names):
        assert found[name].ravel().tolist() == [place, *numbers]


@pytest.mark.parametrize(
    "data", ["[1,,2]", "[1 2]", "[01]", "[1,2", "{}", '{"list":0}', "[tru]", "[1]]"]
)
def test_a_list_that_is_none_is_refused(data: str):
    text = '{"inputs":[{"name":"x","shape":[2],"datatype":"FP32","data":' + data + "}]}"
    with pytest.raises(InputError):
        tensors.parse(text.encode(), None)
