"""The protocol's messages <-> arrays. Pure, and in the words of `api.tensors`: what /v2 refuses is refused here by the same sentence.

It must not know calls, deadlines or metadata.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from tritonclient.grpc import service_pb2

from models.errors import InputError, Malformed
from service.api import tensors, values
from service.api.tensors import Asked, Parameters
from service.api.values import Slot
from service.engine import wire

CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""The field of typed contents for each datatype; what is not here travels raw only."""
ENDS = "triton_enable_empty_final_response"
"""Asks how a stream ends. Triton's C++ client sends it with every request, where it means nothing."""
TYPED = msgspec.Raw(b"[]")
"""Stands for `data` where the values are typed contents."""


def parse(request: Any) -> tuple[Asked, dict[str, np.ndarray]]:
    """What a ModelInferRequest asks, and its tensors. Raises InputError naming the tensor and both figures."""
    if not request.inputs:
        raise InputError("the request has no inputs")
    raws = request.raw_input_contents
    slots = tuple(read_slot(given, bool(raws)) for given in request.inputs)
    if raws and len(raws) != len(slots):
        raise InputError(
            f"raw_input_contents holds {len(raws)} tensors, the request has {len(slots)} inputs"
        )
    if name := tensors.repeated([slot.name for slot in slots]):
        raise InputError(f"input '{name}' already exists in the request")
    asked = tensors.read_outputs(read_request(request), slots)
    if not raws:
        given = zip(slots, request.inputs, strict=True)
        return asked, {slot.name: from_contents(slot, one.contents) for slot, one in given}
    found = {}
    for slot, raw in zip(slots, raws, strict=True):
        sized = msgspec.structs.replace(slot, size=len(raw))
        values.check_size(sized)
        found[slot.name] = values.from_bytes(sized, raw, 0)
    return asked, found


def read_request(request: Any) -> tensors.Infer:
    """What a request says beside its inputs. Outputs travel raw unless the request says otherwise."""
    parameters = {"binary_data_output": True} | read_parameters(request.parameters, "the request")
    parameters.pop(ENDS, None)
    outputs = [
        tensors.Output(one.name, read_parameters(one.parameters, f"output '{one.name}'"))
        for one in request.outputs
    ]
    return tensors.Infer([], request.id, parameters, outputs)


def read_slot(given: Any, raw: bool) -> Slot:
    """One input, as far as it can be wrong without its values."""
    parameters = read_parameters(given.parameters, f"input '{given.name}'")
    if raw and given.HasField("contents"):
        raise InputError(f"input '{given.name}' has contents, but the request has raw ones as well")
    shape = list(given.shape)
    return tensors.read_slot(tensors.Input(given.name, shape, given.datatype, TYPED, parameters))


def read_parameters(given: Any, owner: str) -> Parameters:
    """A map of InferParameter as plain values."""
    found: Parameters = {}
    for name, parameter in given.items():
        if (kind := parameter.WhichOneof("parameter_choice")) is None:
            raise InputError(f"parameter '{name}' of {owner} has no value")
        found[name] = getattr(parameter, kind)
    return found


def from_contents(slot: Slot, contents: Any) -> np.ndarray:
    """Typed contents as an array of the stated shape."""
    field = CONTENTS.get(slot.datatype)
    if field is None:
        raise InputError(
            f"input '{slot.name}': {slot.datatype} values travel as raw_input_contents only"
        )
    for found, _ in contents.ListFields():
        if found.name != field:
            raise InputError(
                f"input '{slot.name}' of {slot.datatype} has {found.name}, {field} was expected"
            )
    given = getattr(contents, field)
    if slot.datatype == "BYTES":
        array = np.empty(len(given), dtype=object)
        array[:] = list(given)
        return values.reshaped(slot, array)
    try:
        return values.reshaped(slot, np.fromiter(given, slot.dtype, len(given)))
    except OverflowError as error:
        limits = np.iinfo(slot.dtype)
        raise InputError(
            f"input '{slot.name}': {slot.datatype} holds {limits.min} to {limits.max}, '{field}' exceeds it"
        ) from error


def encode(asked: Asked, model: str, version: int, outputs: Mapping[str, np.ndarray]) -> Any:
    """The ModelInferResponse. Raw contents belong to all outputs or to none, so the outputs' forms must agree."""
    answer = service_pb2.ModelInferResponse(
        model_name=model, model_version=str(version), id=asked.id
    )
    forms = {asked.binary.get(name, asked.binary_default) for name in outputs}
    if len(forms) > 1:
        raise InputError("'binary_data' differs between outputs: all travel raw or none does")
    for name, array in outputs.items():
        told = answer.outputs.add(name=name, datatype=values.datatype(array), shape=array.shape)
        if asked.binary.get(name, asked.binary_default):
            answer.raw_output_contents.append(bytes(wire.raw(array)))
        else:
            to_contents(told, array)
    return answer


def to_contents(told: Any, array: np.ndarray) -> None:
    """Put `array` into the typed contents of an output."""
    field = CONTENTS.get(told.datatype)
    if field is None:
        raise InputError(
            f"output '{told.name}': {told.datatype} values travel as raw_output_contents only"
        )
    flat = array.ravel().tolist()
    if told.datatype == "BYTES":
        flat = [one.encode() if isinstance(one, str) else one for one in flat]
    getattr(told.contents, field).extend(flat)


def read(kind: Any, message: bytes) -> Any:
    """A message of `kind` (a class of the stubs). Malformed when the bytes are none."""
    try:
        return kind.FromString(message)
    except Exception as error:
        raise Malformed(f"the message is not a {kind.DESCRIPTOR.name}: {error}") from error
