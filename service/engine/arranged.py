"""A bare graph as its Triton configuration has it: which tensors callers see, and in which shapes. It must not know ONNX Runtime.

narrowed   what the graph declares, with what the configuration knows of it: this is what is tried, and run
outside    the manifest that callers see; where its shapes are others, Reshaped stands between the two
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from models import modelconfig, triton
from models.bundle import ANY_RANK, ROWS, UNNAMED, Manifest, Tensor
from models.errors import BundleError
from models.triton import TritonConfig
from service.engine.binding import Runner
from service.engine.graph import Signature
from service.engine.layout import Tensors
from service.errors import EngineError

Shape = tuple[int | str, ...]


def most_rows(declared: Signature, config: TritonConfig) -> int | None:
    """The most rows in a request, or None where there are no rows: nothing says so, or the graph alone tells shapes and has none."""
    told = config.inputs or config.outputs
    required = [one for one in declared.inputs if not one.optional]
    free = all(has_rows(one) for one in (*required, *declared.outputs))
    return config.max_batch_rows or None if told or free else None


def has_rows(tensor: Tensor) -> bool:
    """Whether the first axis is free."""
    return tensor.shape == ANY_RANK or (bool(tensor.shape) and isinstance(tensor.shape[0], str))


def narrowed(declared: Signature, config: TritonConfig) -> Signature:
    """What the graph declares of the tensors that the configuration names. BundleError where they contradict each other.

    Outputs are judged by their answers: what graphs declare of them is not always so.
    """
    rows = most_rows(declared, config)
    inputs = chosen("input", declared.inputs, config.inputs)
    outputs = chosen("output", declared.outputs, config.outputs)
    return Signature(
        tuple(narrowed_input(one, told, rows) for one, told in inputs),
        tuple(narrowed_output(one, told, rows) for one, told in outputs),
        declared.operators,
    )


def chosen(
    role: str, own: Sequence[Tensor], told: Sequence[modelconfig.Tensor]
) -> list[tuple[Tensor, modelconfig.Tensor | None]]:
    """The graph's tensors that callers see, in the configuration's order; all of them where it names none."""
    known = {one.name: one for one in own}
    for one in told:
        if one.name not in known:
            raise BundleError(
                f"{role} '{one.name}' of {triton.FILE} is not in the graph, which has {', '.join(known)}"
            )
        if modelconfig.DTYPES.get(one.data_type) != known[one.name].dtype:
            raise BundleError(
                f"{role} '{one.name}' is {known[one.name].dtype} in the graph, {triton.FILE} says {one.data_type}"
            )
    names = {one.name for one in told}
    needed = [one.name for one in own if role == "input" and not one.optional]
    if told and (missing := [name for name in needed if name not in names]):
        raise BundleError(f"input '{missing[0]}' of the graph is not in {triton.FILE}")
    return [(known[one.name], one) for one in told] or [(one, None) for one in own]


def narrowed_input(own: Tensor, told: modelconfig.Tensor | None, rows: int | None) -> Tensor:
    """An input's shape: of graph and configuration the one that knows more."""
    asked = asked_shape(own, told, rows)
    one_row = rows == 1 and own.shape[:1] == (1,)
    if own.shape == ANY_RANK:
        return msgspec.structs.replace(own, shape=asked)
    fits = len(asked) == len(own.shape) and all(
        isinstance(a, str) or isinstance(b, str) or a == b
        for a, b in zip(asked, own.shape, strict=True)
    )
    if not fits or (rows and not own.optional and not (has_rows(own) or one_row)):
        raise contradiction("input", own.name, own.shape, asked)
    if one_row:
        asked = (1, *asked[1:])
    return msgspec.structs.replace(own, shape=known_best(own.shape, asked))


def narrowed_output(own: Tensor, told: modelconfig.Tensor | None, rows: int | None) -> Tensor:
    """An output's shape: the configuration's, where it has one."""
    asked = asked_shape(own, told, rows)
    same = len(asked) == len(own.shape) and own.shape != ANY_RANK
    if same and rows == 1 and own.shape[0] == 1:
        asked = (1, *asked[1:])
    return msgspec.structs.replace(own, shape=known_best(own.shape, asked) if same else asked)


def asked_shape(own: Tensor, told: modelconfig.Tensor | None, rows: int | None) -> Shape:
    """The graph's shape as the configuration has it."""
    if told is None:
        return (
            (ROWS, *own.shape[1:])
            if rows and has_rows(own) and own.shape != ANY_RANK
            else own.shape
        )
    inner = tuple(UNNAMED if axis < 0 else axis for axis in told.inner)
    return (ROWS, *inner) if rows else inner


def known_best(own: Shape, asked: Shape) -> Shape:
    """Of every axis its length, else the rows' name, else the graph's name."""
    return tuple(
        a if isinstance(a, int) or a == ROWS else b for a, b in zip(asked, own, strict=True)
    )


def contradiction(role: str, name: str, own: Sequence[object], asked: Shape) -> BundleError:
    """What graph and configuration say of a tensor."""
    shown = [-1 if isinstance(axis, str) else axis for axis in asked]
    hint = ", with an axis of rows in front because max_batch_size is above 0" * (ROWS in asked[:1])
    return BundleError(
        f"{role} '{name}' has shape {list(own)} in the graph, {triton.FILE} makes it {shown}{hint}"
    )


def check_answers(
    declared: Signature, seen: Signature, config: TritonConfig, answers: Tensors
) -> None:
    """BundleError where an output that the configuration tells of is another: by its answer, or, where there is none, by the graph."""
    own = {one.name: one.shape for one in declared.outputs}
    named = {one.name for one in config.outputs}
    for one in seen.outputs:
        found: Shape = answers[one.name].shape if one.name in answers else own[one.name]
        if one.name not in named or found == ANY_RANK:
            continue
        fits = len(found) == len(one.shape) and all(
            isinstance(a, str) or isinstance(b, str) or a == b
            for a, b in zip(found, one.shape, strict=True)
        )
        if not fits:
            raise contradiction("output", one.name, found, one.shape)


def outside(inside: Manifest, config: TritonConfig, rows: int | None, model: Path) -> Manifest:
    """What callers see of the manifest `inside`; the files of labels lie in the directory `model`. BundleError where they do not."""
    told = {one.name: one for one in (*config.inputs, *config.outputs)}
    return msgspec.structs.replace(
        inside,
        inputs=tuple(shown(one, told.get(one.name), rows) for one in inside.inputs),
        outputs=tuple(
            msgspec.structs.replace(
                shown(one, told.get(one.name), rows),
                labels=triton.labels(told[one.name], model) if one.name in told else (),
            )
            for one in inside.outputs
        ),
        most_rows=rows,
        priorities=config.priorities,
    )


def shown(own: Tensor, told: modelconfig.Tensor | None, rows: int | None) -> Tensor:
    """One tensor in the shape that callers see."""
    shape = own.shape
    if told is not None and told.reshape is not None:
        inner = tuple(UNNAMED if axis < 0 else axis for axis in told.dims)
        shape = (ROWS, *inner) if rows else inner
    elif rows and shape and shape != ANY_RANK and not own.optional:
        shape = (ROWS, *shape[1:])
    return msgspec.structs.replace(own, shape=shape)


class Reshaped:
    """A runner for callers whose tensors have other shapes than the graph's."""

    def __init__(self, runner: Runner, inside: Manifest, told: Manifest) -> None:
        self._runner = runner
        self._inward = Reshape(told, told.inputs, inside.inputs)
        self._outward = Reshape(told, inside.outputs, told.outputs)

    def run(
        self, requests: Sequence[Tensors], rows: int, names: Sequence[str]
    ) -> Sequence[np.ndarray]:
        """See `Runner`."""
        arrays = self._runner.run([self._inward(one) for one in requests], rows, names)
        return list(self._outward(dict(zip(names, arrays, strict=True))).values())

    def length(self, requests: Sequence[Tensors]) -> int:
        """See `Runner`."""
        return self._runner.length(requests)

    def sizes(self, most: int) -> list[int]:
        """See `Runner`."""
        return self._runner.sizes(most)

    def close(self) -> int:
        """See `Runner`."""
        return self._runner.close()


class Reshape:
    """Tensors of given shapes -> the same in wanted ones; rows stay rows, and axes of any length follow one another."""

    def __init__(self, told: Manifest, given: Sequence[Tensor], wanted: Sequence[Tensor]) -> None:
        self._lead = lead = int(told.most_rows is not None or told.batched)
        pairs = {one.name: (one.shape[lead:],) for one in given}
        self._shapes: dict[str, tuple[Shape, Shape]] = {
            one.name: (*pairs[one.name], one.shape[lead:])
            for one in wanted
            if lengths(one.shape[lead:]) != lengths(*pairs[one.name])
        }

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._shapes)

    def __call__(self, tensors: Mapping[str, np.ndarray]) -> Tensors:
        """EngineError where a tensor cannot have the shape."""
        return {
            name: self._changed(name, array) if name in self._shapes else array
            for name, array in tensors.items()
        }

    def _changed(self, name: str, array: np.ndarray) -> np.ndarray:
        given, wanted = self._shapes[name]
        own = array.shape[self._lead :]
        free = (length for length, axis in zip(own, given, strict=False) if isinstance(axis, str))
        inner = tuple(next(free, 0) if isinstance(axis, str) else axis for axis in wanted)
        try:
            return array.reshape(array.shape[: self._lead] + inner)
        except ValueError as error:
            raise EngineError(
                f"'{name}' has shape {list(array.shape)}, {triton.FILE} makes {list(wanted)} of it"
            ) from error


def lengths(shape: Shape) -> tuple[int, ...]:
    """The shape with -1 for every axis of any length."""
    return tuple(-1 if isinstance(axis, str) else axis for axis in shape)


def notes(declared: Signature, config: TritonConfig) -> list[str]:
    """What of the configuration could not be kept."""
    told = []
    if config.max_batch_rows and most_rows(declared, config) is None:
        told.append(
            f"max_batch_size is {config.max_batch_rows}, but the graph has no free first axis: requests run as they are"
        )
    required = {one.name for one in declared.inputs if not one.optional}
    told += [
        f"input '{one.name}' is optional in {triton.FILE}, the graph has no value for it: it must be sent"
        for one in config.inputs
        if one.optional and one.name in required
    ]
    return told
