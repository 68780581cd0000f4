"""An ONNX file before it is trusted: is it one self-contained file of sane size, what does its graph take and give? It must not run it.

Everything here happens in the engine process, on a file that somebody else made; ONNX Runtime sees it only when this has let it pass.
"""

from collections.abc import Iterator, Set
from pathlib import Path
from typing import NamedTuple, TypeAlias

import onnx
from onnx import AttributeProto, FunctionProto, GraphProto, NodeProto, TensorProto

from models.bundle import ANY_RANK, UNNAMED, Tensor
from models.errors import BundleError

MOST_BYTES = (1 << 31) - 1
"""protobuf's own limit."""
MOST_NODES = 200_000
"""Counted with every function's nodes wherever it is called: functions that call functions grow beyond any file."""
MOST_DEPTH = 32
MOST_TENSORS = 1024
ALIASES = {"ai.onnx": ""}
FILES = frozenset(("EPContext",))
"""Operators that name a file for ONNX Runtime to read."""

DTYPES = {
    TensorProto.FLOAT: "float32",
    TensorProto.DOUBLE: "float64",
    TensorProto.FLOAT16: "float16",
    TensorProto.BOOL: "bool",
    TensorProto.STRING: "object",
    TensorProto.INT8: "int8",
    TensorProto.INT16: "int16",
    TensorProto.INT32: "int32",
    TensorProto.INT64: "int64",
    TensorProto.UINT8: "uint8",
    TensorProto.UINT16: "uint16",
    TensorProto.UINT32: "uint32",
    TensorProto.UINT64: "uint64",
}
KINDS = {
    "sequence_type": "a sequence",
    "map_type": "a map",
    "optional_type": "an optional value",
    "sparse_tensor_type": "a sparse tensor",
}

Body: TypeAlias = GraphProto | FunctionProto
Call = tuple[str, str]
"""The domain and the name of an operator."""


class Signature(NamedTuple):
    """What a graph declares to take and give. Whether that is so is another question."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    operators: frozenset[str] = frozenset()
    """The kinds of nodes, wherever they are."""


def examine(path: Path, most_mb: int, domains: Set[str]) -> Signature:
    """What the graph in `path` declares, once nothing speaks against loading it. `domains`: those of operators that can be run.

    Raises BundleError with the reason.
    """
    model = parse(path, most_mb)
    check(path.name, model, domains)
    return signature(path.name, model)


def vet(path: Path, most_mb: int, domains: Set[str]) -> None:
    """Raise BundleError where something speaks against loading `path`; what it takes and gives is known from elsewhere."""
    check(path.name, parse(path, most_mb), domains)


def parse(path: Path, most_mb: int) -> onnx.ModelProto:
    """The file's protobuf."""
    size, limit = path.stat().st_size, min(most_mb << 20, MOST_BYTES)
    if size > limit:
        raise BundleError(
            f"{path.name} has {size / 2**20:,.0f} MB, the limit is {limit / 2**20:,.0f}"
        )
    try:
        model = onnx.ModelProto.FromString(path.read_bytes())
    except Exception as error:  # protobuf's classes depend on its build
        # It says the same where there was no memory for the bytes and what they become: then this raises MemoryError.
        bytearray(2 * size)
        raise BundleError(f"{path.name} is no ONNX file: {error}") from error
    if not model.HasField("graph"):
        raise BundleError(f"{path.name} is no ONNX file: it holds no graph")
    return model


def check(name: str, model: onnx.ModelProto, domains: Set[str]) -> None:
    """Raise BundleError where `model` needs other files or operators than there are, or is too deep or too large."""
    functions = {(ALIASES.get(f.domain, f.domain), f.name): f for f in model.functions}
    known = domains | {domain for domain, _ in functions}
    for body in (model.graph, *model.functions, *(info.algorithm for info in model.training_info)):
        for node in nodes(name, body):
            check_node(name, node, known)
        for tensor in tensors(name, body):
            check_tensor(name, tensor)
    sizes: dict[Call, int] = {}
    for call in functions:
        count_nodes(name, call, functions, sizes, ())
    total = sum(sizes.get(called(node), 1) for node in nodes(name, model.graph))
    if total > MOST_NODES:
        raise BundleError(f"{name} comes to {total:,} nodes, the limit is {MOST_NODES:,}")


def check_node(name: str, node: NodeProto, known: Set[str]) -> None:
    """One operator: of a known domain, and none that reads files."""
    domain, operator = called(node)
    if domain not in known:
        raise BundleError(
            f"{name}: operator '{operator}' is of the domain '{domain}', which is not there; "
            f"known are {', '.join(sorted(one or 'ai.onnx' for one in known))}"
        )
    if operator in FILES:
        raise BundleError(f"{name}: operator '{operator}' reads another file, which is not allowed")


def check_tensor(name: str, tensor: TensorProto) -> None:
    """A constant: in the file itself."""
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        told = {entry.key: entry.value for entry in tensor.external_data}
        raise BundleError(
            f"{name}: tensor '{tensor.name}' lies in another file ('{told.get('location', '')}'); a model must be "
            "one file, as onnx.save writes it without save_as_external_data"
        )


def called(node: NodeProto) -> Call:
    """Which operator or function a node calls."""
    return ALIASES.get(node.domain, node.domain), node.op_type


def count_nodes(
    name: str,
    call: Call,
    functions: dict[Call, FunctionProto],
    sizes: dict[Call, int],
    within: tuple[Call, ...],
) -> int:
    """The nodes of a function with those of every function that it calls."""
    if call in within or len(within) > MOST_DEPTH:
        raise BundleError(f"{name}: function '{call[1]}' calls itself, or too many others")
    if call not in sizes:
        total = 0
        for node in nodes(name, functions[call]):
            inner = called(node)
            total += (
                count_nodes(name, inner, functions, sizes, (*within, call))
                if inner in functions
                else 1
            )
        sizes[call] = total
    return sizes[call]


def bodies(name: str, body: Body) -> Iterator[Body]:
    """`body` and every graph within it, without recursion."""
    waiting: list[tuple[Body, int]] = [(body, 0)]
    while waiting:
        found, depth = waiting.pop()
        if depth > MOST_DEPTH:
            raise BundleError(f"{name}: graphs lie more than {MOST_DEPTH} deep in one another")
        yield found
        for node in found.node:
            for attribute in node.attribute:
                inner = [*attribute.graphs]
                if attribute.HasField("g"):
                    inner.append(attribute.g)
                waiting += [(graph, depth + 1) for graph in inner]


def nodes(name: str, body: Body) -> Iterator[NodeProto]:
    """Every node of `body` and of the graphs within it."""
    for found in bodies(name, body):
        yield from found.node


def tensors(name: str, body: Body) -> Iterator[TensorProto]:
    """Every constant of `body` and of the graphs within it."""
    for found in bodies(name, body):
        if isinstance(found, GraphProto):
            yield from found.initializer
            for sparse in found.sparse_initializer:
                yield from (sparse.values, sparse.indices)
        for node in found.node:
            for attribute in node.attribute:
                yield from of_attribute(attribute)


def of_attribute(attribute: AttributeProto) -> Iterator[TensorProto]:
    """The constants that an attribute holds."""
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    sparse = [*attribute.sparse_tensors]
    if attribute.HasField("sparse_tensor"):
        sparse.append(attribute.sparse_tensor)
    for one in sparse:
        yield from (one.values, one.indices)


def signature(name: str, model: onnx.ModelProto) -> Signature:
    """What the graph declares. An input with a value of its own need not be sent. BundleError where /v2 cannot carry a tensor."""
    graph = model.graph
    valued = {tensor.name for tensor in graph.initializer}
    valued |= {sparse.values.name for sparse in graph.sparse_initializer}
    # Before version 4 every constant was listed among the inputs, and none could be replaced.
    offered = [one for one in graph.input if model.ir_version >= 4 or one.name not in valued]
    inputs = tuple(read(name, "input", one, one.name in valued) for one in offered)
    outputs = tuple(read(name, "output", one) for one in graph.output)
    if not inputs:
        raise BundleError(f"{name}: the graph takes no inputs, so there is nothing to ask it")
    if not outputs:
        raise BundleError(f"{name}: the graph gives no outputs")
    if (count := len(inputs) + len(outputs)) > MOST_TENSORS:
        raise BundleError(f"{name} has {count:,} inputs and outputs, the limit is {MOST_TENSORS:,}")
    everywhere = (node for body in (graph, *model.functions) for node in nodes(name, body))
    return Signature(inputs, outputs, frozenset(node.op_type for node in everywhere))


def read(name: str, role: str, one: onnx.ValueInfoProto, optional: bool = False) -> Tensor:
    """One input or output."""
    kind = one.type.WhichOneof("value")
    if kind != "tensor_type":
        what = KINDS.get(kind or "", "of no type")
        hint = (
            "; scikit-learn's converter leaves it out with zipmap=False" if role == "output" else ""
        )
        raise BundleError(f"{name}: {role} '{one.name}' is {what}, only tensors travel{hint}")
    dtype = DTYPES.get(one.type.tensor_type.elem_type)
    if dtype is None:
        known = TensorProto.DataType.items()
        code = one.type.tensor_type.elem_type
        found = next((word for word, number in known if number == code), str(code))
        raise BundleError(
            f"{name}: {role} '{one.name}' has type {found}, which cannot be served; a Cast in the graph would help"
        )
    if not one.type.tensor_type.HasField("shape"):
        return Tensor(one.name, dtype, ANY_RANK, optional=optional)
    axes = one.type.tensor_type.shape.dim
    return Tensor(one.name, dtype, tuple(map(axis, axes)), optional=optional)


def axis(dim: onnx.TensorShapeProto.Dimension) -> int | str:
    """Its length, its name, or UNNAMED."""
    if dim.HasField("dim_value") and dim.dim_value >= 0:
        return int(dim.dim_value)
    return dim.dim_param or UNNAMED
