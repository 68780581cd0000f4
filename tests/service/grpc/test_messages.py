"""Messages <-> arrays: every datatype raw and typed, written and read by the unmodified client library."""

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tritonclient.grpc import InferInput, InferResult, service_pb2

from models.errors import InputError, Malformed
from service.api.values import DATATYPES
from service.grpc import messages
from service.grpc.messages import CONTENTS

TYPES = {name: np.dtype(dtype) for name, dtype in DATATYPES.items() if name != "BF16"}
NUMBERS = [name for name, dtype in TYPES.items() if not dtype.hasobject]


def example(datatype: str) -> np.ndarray:
    """Six values of a type, its limits among them, in shape [2, 3]."""
    dtype = TYPES[datatype]
    if dtype.hasobject:
        flat = [b"", b"a", b"\xff\x00", "ü".encode(), b"long" * 99, b"end"]
        return np.array(flat, dtype=object).reshape(2, 3)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return np.array([limits.min, limits.max, 0, 1, 2, 3], dtype).reshape(2, 3)
    if dtype.kind == "b":
        return np.array([True, False, True, True, False, False]).reshape(2, 3)
    limits = np.finfo(dtype)
    return np.array([limits.min, limits.max, limits.tiny, 0, -0.5, 1 / 3], dtype).reshape(2, 3)


def raw(datatype: str, array: np.ndarray, name: str = "x") -> service_pb2.ModelInferRequest:
    """A request as the client library writes it."""
    one = InferInput(name, list(array.shape), datatype)
    one.set_data_from_numpy(array)
    return service_pb2.ModelInferRequest(
        model_name="m", inputs=[one._get_tensor()], raw_input_contents=[one._get_content()]
    )


def typed(
    datatype: str, array: np.ndarray, field: str | None = None
) -> service_pb2.ModelInferRequest:
    request = service_pb2.ModelInferRequest(model_name="m")
    one = request.inputs.add(name="x", datatype=datatype, shape=array.shape)
    getattr(one.contents, field or CONTENTS[datatype]).extend(array.ravel().tolist())
    return request


def same(found: np.ndarray, wanted: np.ndarray) -> None:
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("datatype", TYPES)
def test_raw_contents_of_every_datatype_are_read(datatype: str):
    asked, found = messages.parse(raw(datatype, example(datatype)))
    same(found["x"], example(datatype))
    assert (asked.id, asked.outputs, asked.timeout, asked.priority) == ("", (), None, 0)


@pytest.mark.parametrize("datatype", CONTENTS)
def test_typed_contents_of_every_datatype_are_read(datatype: str):
    _, found = messages.parse(typed(datatype, example(datatype)))
    same(found["x"], example(datatype))


@pytest.mark.parametrize("datatype", TYPES)
def test_the_client_reads_every_datatype_back(datatype: str):
    asked, _ = messages.parse(raw("FP32", np.zeros(1, np.float32)))
    answer = messages.encode(asked, "m", 3, {"x": np.zeros(1, np.int8), "y": example(datatype)})
    assert (answer.model_name, answer.model_version) == ("m", "3")
    assert [one.datatype for one in answer.outputs] == ["INT8", datatype]
    same(InferResult(answer).as_numpy("y"), example(datatype))


@pytest.mark.parametrize("datatype", CONTENTS)
def test_outputs_travel_typed_where_the_request_says_so(datatype: str):
    request = raw("FP32", np.zeros(1, np.float32))
    request.parameters["binary_data_output"].bool_param = False
    asked, _ = messages.parse(request)
    answer = messages.encode(asked, "m", 1, {"y": example(datatype)})
    (output,) = answer.outputs
    assert not answer.raw_output_contents
    values = list(getattr(output.contents, CONTENTS[datatype]))
    same(np.array(values, TYPES[datatype]).reshape(tuple(output.shape)), example(datatype))


def test_text_of_onnx_runtime_travels_as_bytes():
    asked, _ = messages.parse(raw("FP32", np.zeros(1, np.float32)))
    answer = messages.encode(asked, "m", 1, {"y": np.array(["ü"], dtype=object)})
    assert InferResult(answer).as_numpy("y").tolist() == ["ü".encode()]


def test_what_is_asked_of_a_streams_end_means_nothing():
    request = raw("FP32", np.zeros(1, np.float32))
    request.parameters["triton_enable_empty_final_response"].bool_param = True
    assert messages.parse(request)[0].inputs
    request.parameters["triton_other"].bool_param = True
    with pytest.raises(InputError, match="'triton_other' begins with 'triton_'"):
        messages.parse(request)


def test_parameters_shorten_and_order_and_the_id_is_kept():
    request = raw("FP32", np.zeros(1, np.float32))
    request.id = "seven"
    request.parameters["timeout"].int64_param = 1500
    request.parameters["priority"].uint64_param = 1
    request.outputs.add(name="b")
    request.outputs.add(name="a")
    asked, _ = messages.parse(request)
    assert (asked.id, asked.outputs) == ("seven", ("b", "a"))
    assert (asked.timeout, asked.priority) == (0.0015, 1)
    assert messages.encode(asked, "m", 1, {}).id == "seven"


def changed(change, datatype: str = "FP32", kind=raw) -> service_pb2.ModelInferRequest:
    request = kind(datatype, example(datatype))
    change(request)
    return request


def set_parameter(owner, name: str, **value) -> None:
    owner.parameters[name].CopyFrom(service_pb2.InferParameter(**value))


BAD = {
    "no inputs": (service_pb2.ModelInferRequest(), "the request has no inputs"),
    "an input twice": (
        changed(lambda r: (r.inputs.append(r.inputs[0]), r.raw_input_contents.append(b"\0" * 24))),
        "input 'x' already exists",
    ),
    "raw contents missing": (
        changed(lambda r: r.inputs.add(name="y", datatype="FP32", shape=[1])),
        "raw_input_contents holds 1 tensors, the request has 2 inputs",
    ),
    "contents of both kinds": (
        changed(lambda r: r.inputs[0].contents.fp32_contents.append(1)),
        "input 'x' has contents, but the request has raw ones",
    ),
    "an unknown type": (
        changed(lambda r: setattr(r.inputs[0], "datatype", "FP8")),
        "datatype 'FP8', known are",
    ),
    "too few bytes": (
        changed(lambda r: r.raw_input_contents.__setitem__(0, b"\0" * 20)),
        "input 'x' has 20 bytes, shape [2, 3] of FP32 needs 24",
    ),
    "strings cut off": (
        changed(lambda r: r.raw_input_contents.__setitem__(0, b"\5\0\0\0ab"), "BYTES"),
        "an element of 5 bytes has only 2",
    ),
    "a negative axis": (
        changed(lambda r: r.inputs[0].shape.__setitem__(0, -1)),
        "an axis is negative",
    ),
    "a huge shape": (
        changed(lambda r: r.inputs[0].shape.__setitem__(0, 1 << 40)),
        "more than 1,073,741,824 elements",
    ),
    "shared memory": (
        changed(
            lambda r: set_parameter(r.inputs[0], "shared_memory_region", string_param="region")
        ),
        "input 'x': shared memory is not supported",
    ),
    "a parameter without value": (
        changed(lambda r: r.parameters["timeout"].SetInParent()),
        "parameter 'timeout' of the request has no value",
    ),
    "a timeout in words": (
        changed(lambda r: set_parameter(r, "timeout", string_param="soon")),
        "parameter 'timeout' is 'soon'",
    ),
    "a priority below all": (
        changed(lambda r: set_parameter(r, "priority", int64_param=-1)),
        "parameter 'priority' is -1, an integer from 0 was expected",
    ),
    "an output twice": (
        changed(lambda r: (r.outputs.add(name="y"), r.outputs.add(name="y"))),
        "output 'y' already exists",
    ),
    "too few values": (
        changed(lambda r: r.inputs[0].shape.__setitem__(0, 4), kind=typed),
        "input 'x' has 6 values, shape [4, 3] needs 12",
    ),
    "the wrong field": (
        typed("INT64", example("INT8"), "int_contents"),
        "input 'x' of INT64 has int_contents, int64_contents was expected",
    ),
    "a value beyond its type": (
        typed("INT8", np.array([[300]]), "int_contents"),
        "INT8 holds -128 to 127, 'int_contents' exceeds it",
    ),
    "a type that is raw only": (
        typed("FP16", example("FP32"), "fp32_contents"),
        "FP16 values travel as raw_input_contents only",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_named(case: str):
    request, says = BAD[case]
    with pytest.raises(InputError) as caught:
        messages.parse(request)
    assert says in str(caught.value)


def test_outputs_of_two_forms_are_refused():
    request = raw("FP32", np.zeros(1, np.float32))
    set_parameter(request.outputs.add(name="y"), "binary_data", bool_param=False)
    request.outputs.add(name="z")
    asked, _ = messages.parse(request)
    with pytest.raises(InputError, match="all travel raw or none does"):
        messages.encode(asked, "m", 1, {"y": np.zeros(1), "z": np.zeros(1)})


def test_half_floats_have_no_typed_form():
    request = raw("FP32", np.zeros(1, np.float32))
    set_parameter(request, "binary_data_output", bool_param=False)
    asked, _ = messages.parse(request)
    with pytest.raises(InputError, match="output 'y': FP16 values travel as raw_output_contents"):
        messages.encode(asked, "m", 1, {"y": np.zeros(1, np.float16)})


@given(
    st.sampled_from(NUMBERS).flatmap(
        lambda name: st.tuples(st.just(name), arrays.arrays(TYPES[name], arrays.array_shapes()))
    )
)
@settings(derandomize=True)
def test_whatever_is_sent_comes_back(pair: tuple[str, np.ndarray]):
    datatype, array = pair
    asked, found = messages.parse(raw(datatype, array))
    same(found["x"], array)
    same(InferResult(messages.encode(asked, "m", 1, found)).as_numpy("x"), array)


@given(
    st.builds(
        service_pb2.ModelInferRequest,
        inputs=st.lists(
            st.builds(
                service_pb2.ModelInferRequest.InferInputTensor,
                name=st.sampled_from("xy"),
                datatype=st.sampled_from([*DATATYPES, "", "FP8"]),
                shape=st.lists(st.integers(-2, 4) | st.just(1 << 62), max_size=3),
                contents=st.builds(
                    service_pb2.InferTensorContents,
                    int_contents=st.lists(st.integers(-300, 300), max_size=4),
                    bytes_contents=st.lists(st.binary(max_size=3), max_size=2),
                )
                | st.none(),
            ),
            max_size=3,
        ),
        raw_input_contents=st.lists(st.binary(max_size=40), max_size=3),
    )
)
@settings(derandomize=True)
def test_a_request_is_read_or_refused_with_a_sentence(request: service_pb2.ModelInferRequest):
    try:
        asked, found = messages.parse(request)
    except InputError:
        pass
    else:
        assert [slot.name for slot in asked.inputs] == list(found)
        assert all(found[slot.name].shape == slot.shape for slot in asked.inputs)


@given(st.binary(max_size=64))
@settings(derandomize=True)
def test_bytes_are_a_message_or_malformed(data: bytes):
    with contextlib.suppress(Malformed):
        messages.read(service_pb2.ModelInferRequest, data)
