"""Graphs as other people export them, each odd in one way: saved bare, as <root>/<name>/1/model.onnx."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

FLOAT, INT32, INT64 = TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64
BOOL, STRING, BF16 = TensorProto.BOOL, TensorProto.STRING, TensorProto.BFLOAT16

node = helper.make_node
tensor = helper.make_tensor_value_info


def constant(name: str, values: object, dtype: str = "float32") -> TensorProto:
    return numpy_helper.from_array(np.array(values, dtype=dtype), name)


def model(
    nodes: Sequence[NodeProto],
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[ValueInfoProto],
    constants: Sequence[TensorProto] = (),
    opset: int = 20,
    ir: int = 10,
    **more: object,
) -> onnx.ModelProto:
    """Nothing is checked: files that other people made were not checked, either."""
    graph = helper.make_graph(list(nodes), "odd", list(inputs), list(outputs), list(constants))
    imports = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir, **more)


def save(root: Path, made: onnx.ModelProto, name: str = "odd", version: int = 1) -> Path:
    """The directory of the bare version."""
    directory = root / name / str(version)
    directory.mkdir(parents=True)
    (directory / "model.onnx").write_bytes(made.SerializeToString())
    return directory


def linear(first: int | str | None = "n", width: int = 3, dtype: int = FLOAT) -> onnx.ModelProto:
    """y = x @ w + b, row by row."""
    return model(
        [node("MatMul", ["x", "w"], ["p"]), node("Add", ["p", "b"], ["y"])],
        [tensor("x", dtype, [first, width])],
        [tensor("y", dtype, [first, 2])],
        [constant("w", np.arange(2 * width).reshape(width, 2)), constant("b", [0.5, -0.5])],
    )


def identity(dtype: int, shape: Sequence[int | str | None] | None = ("n", 2)) -> onnx.ModelProto:
    return model(
        [node("Identity", ["x"], ["y"])], [tensor("x", dtype, shape)], [tensor("y", dtype, shape)]
    )


def centred() -> onnx.ModelProto:
    """Each row minus the mean of all: rows depend on one another."""
    return model(
        [node("ReduceMean", ["x", "axes"], ["mean"]), node("Sub", ["x", "mean"], ["y"])],
        [tensor("x", FLOAT, ["n", 3])],
        [tensor("y", FLOAT, ["n", 3])],
        [constant("axes", [0], "int64")],
    )


def quantized() -> onnx.ModelProto:
    """A product in int8 with one scale for the whole batch, as quantize_dynamic writes it."""
    random = np.random.default_rng(0)
    return model(
        [
            node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]),
            node("MatMulInteger", ["xq", "w", "xz"], ["p"]),
            node("Cast", ["p"], ["f"], to=FLOAT),
            node("Mul", ["f", "xs"], ["y"]),
        ],
        [tensor("x", FLOAT, ["n", 16])],
        [tensor("y", FLOAT, ["n", 4])],
        [constant("w", random.integers(-99, 99, (16, 4)), "int8")],
    )


def recurrent(first: str = "batch") -> onnx.ModelProto:
    """A voice detector's kind: samples, a state that travels [2, batch, 8], a scalar rate; a score and the next state."""
    return model(
        [
            node("ReduceMean", ["input", "one"], ["mean"], keepdims=1),
            node("ReduceMean", ["state", "ends"], ["past"], keepdims=0),
            node("Cast", ["sr"], ["rate"], to=FLOAT),
            node("Div", ["rate", "rate"], ["unit"]),
            node("Unsqueeze", ["past", "one"], ["column"]),
            node("Sum", ["mean", "column", "unit"], ["output"]),
            node("Add", ["state", "unit"], ["stateN"]),
        ],
        [
            tensor("input", FLOAT, [first, "samples"]),
            tensor("state", FLOAT, [2, first, 8]),
            tensor("sr", INT64, []),
        ],
        [tensor("output", FLOAT, [first, 1]), tensor("stateN", FLOAT, [2, first, 8])],
        [constant("one", [1], "int64"), constant("ends", [0, 2], "int64")],
    )


def four_outputs() -> onnx.ModelProto:
    """Scalars in, among them a count in int32; four outputs, two of rank 0. Names as TensorFlow and paths have them."""
    return model(
        [
            node("ReduceSum", ["images:0"], ["sum/total?"], keepdims=0),
            node("ReduceMax", ["images:0"], ["largest"], keepdims=0),
            node("Cast", ["count"], ["scale"], to=FLOAT),
            node("Mul", ["images:0", "scale"], ["scaled:0"]),
            node("Shape", ["images:0"], ["shape"]),
        ],
        [tensor("images:0", FLOAT, ["a", "b", "c"]), tensor("count", INT32, [])],
        [
            tensor("sum/total?", FLOAT, []),
            tensor("largest", FLOAT, []),
            tensor("scaled:0", FLOAT, ["a", "b", "c"]),
            tensor("shape", INT64, [3]),
        ],
    )


def looked_up(rows: int = 4) -> onnx.ModelProto:
    """Numbers of words -> their vectors: no number beyond the table."""
    table = np.random.default_rng(0).normal(size=(rows, 5))
    return model(
        [
            node("Gather", ["table", "ids"], ["vectors"]),
            node("ReduceSum", ["vectors", "axes"], ["y"], keepdims=0),
        ],
        [tensor("ids", INT64, ["n", "length"])],
        [tensor("y", FLOAT, ["n", 5])],
        [constant("table", table), constant("axes", [1], "int64")],
    )


def valued(ir: int = 10) -> onnx.ModelProto:
    """A constant among the inputs: from IR version 4 on, callers may replace it."""
    return model(
        [node("Add", ["x", "w"], ["y"])],
        [tensor("x", FLOAT, [3]), tensor("w", FLOAT, [3])],
        [tensor("y", FLOAT, [3])],
        [constant("w", [1, 2, 3])],
        ir=ir,
    )


def external(location: str) -> onnx.ModelProto:
    """The weights lie in another file."""
    made = linear()
    weight = made.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    return made


def hungry() -> onnx.ModelProto:
    """Fills as many numbers as it is asked to, and adds them up."""
    return model(
        [
            node("ConstantOfShape", ["count"], ["many"]),
            node("ReduceSum", ["many"], ["y"], keepdims=0),
        ],
        [tensor("count", INT64, [1])],
        [tensor("y", FLOAT, [])],
    )


def nested(depth: int) -> onnx.ModelProto:
    """An If in an If in an If ..."""
    inner = [node("Identity", ["x"], ["y0"])]
    for level in range(1, depth):
        branch = helper.make_graph(inner, f"b{level}", [], [tensor(f"y{level - 1}", FLOAT, ["n"])])
        inner = [node("If", ["go"], [f"y{level}"], then_branch=branch, else_branch=branch)]
    return model(
        inner,
        [tensor("x", FLOAT, ["n"]), tensor("go", BOOL, [])],
        [tensor(f"y{depth - 1}", FLOAT, ["n"])],
    )


def unfolding(levels: int, calls: int = 10) -> onnx.ModelProto:
    """Functions that call functions: calls ** levels nodes in a file of a few kilobytes."""
    functions = []
    imports = [helper.make_opsetid("", 20), helper.make_opsetid("mine", 1)]
    for level in range(levels):
        operator, domain = ("Relu", "") if level == 0 else (f"f{level - 1}", "mine")
        names = ["x", *(f"t{i}" for i in range(calls - 1)), "y"]
        steps = [node(operator, [a], [b], domain=domain) for a, b in itertools.pairwise(names)]
        functions.append(helper.make_function("mine", f"f{level}", ["x"], ["y"], steps, imports))
    made = model(
        [node(f"f{levels - 1}", ["x"], ["y"], domain="mine")],
        [tensor("x", FLOAT, ["n"])],
        [tensor("y", FLOAT, ["n"])],
        functions=functions,
    )
    made.opset_import.append(helper.make_opsetid("mine", 1))
    return made
