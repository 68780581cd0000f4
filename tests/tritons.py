"""A repository as Triton's examples are: models of several backends beside one another, with graphs that tell what they were asked."""

from pathlib import Path

import oddities as odd
from oddities import FLOAT, INT32, STRING, constant, node, tensor
from onnx import ModelProto, TensorProto

INT8 = TensorProto.INT8
CLASSES = ("tench", "goldfish", "white shark", "tiger shark")


def add_sub(dtype: int) -> ModelProto:
    """Two rows of 16 -> their sum and their difference, as Triton's `simple` and `simple_int8`."""
    names = ("INPUT0", "INPUT1")
    return odd.model(
        [
            *(node("Cast", [name], [f"{name}_"], to=INT32) for name in names),
            node("Add", ["INPUT0_", "INPUT1_"], ["sum"]),
            node("Sub", ["INPUT0_", "INPUT1_"], ["difference"]),
            node("Cast", ["sum"], ["OUTPUT0"], to=dtype),
            node("Cast", ["difference"], ["OUTPUT1"], to=dtype),
        ],
        [tensor(name, dtype, ["n", 16]) for name in names],
        [tensor(name, dtype, ["n", 16]) for name in ("OUTPUT0", "OUTPUT1")],
    )


def joined() -> ModelProto:
    """Two rows of 16 words -> pairs, in one order and in the other."""
    return odd.model(
        [
            node("StringConcat", ["INPUT0", "INPUT1"], ["OUTPUT0"]),
            node("StringConcat", ["INPUT1", "INPUT0"], ["OUTPUT1"]),
        ],
        [tensor(name, STRING, ["n", 16]) for name in ("INPUT0", "INPUT1")],
        [tensor(name, STRING, ["n", 16]) for name in ("OUTPUT0", "OUTPUT1")],
    )


def densenet(first: int | str = 1) -> ModelProto:
    """A picture of 3 x 2 x 2 -> four scores, shaped as a convolution leaves them: [1, 4, 1, 1]."""
    return odd.model(
        [
            node("Reshape", ["data_0", "flat"], ["rows"]),
            node("MatMul", ["rows", "weight"], ["scores"]),
            node("Reshape", ["scores", "out"], ["fc6_1"]),
        ],
        [tensor("data_0", FLOAT, [first, 3, 2, 2])],
        [tensor("fc6_1", FLOAT, [first, 4, 1, 1])],
        [
            constant("flat", [-1, 12], "int64"),
            constant("out", [-1, 4, 1, 1], "int64"),
            constant("weight", [[0, 1, 2, 3]] * 12),
        ],
    )


def scaled(factor: float) -> ModelProto:
    """x -> x times a number that tells which version it is."""
    return odd.model(
        [node("Mul", ["x", "factor"], ["y"])],
        [tensor("x", FLOAT, ["n", 2])],
        [tensor("y", FLOAT, ["n", 2])],
        [constant("factor", factor)],
    )


def chosen() -> ModelProto:
    """Numbers of a table with four rows -> those rows: it fails for every other number."""
    return odd.looked_up(4)


def flattened() -> ModelProto:
    """One number for each row, without an axis of its own."""
    return odd.model(
        [node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)],
        [tensor("x", FLOAT, ["n", 3])],
        [tensor("y", FLOAT, ["n"])],
        [constant("axes", [1], "int64")],
    )


def pair(datatype: str, backend: str = 'platform: "onnxruntime_onnx"') -> str:
    """The configuration of a model with two inputs and two outputs of 16."""

    def one(name: str) -> str:
        return f'{{ name: "{name}" data_type: {datatype} dims: [ 16 ] }}'

    return (
        f"{backend}\nmax_batch_size: 8\ninput [ {one('INPUT0')}, {one('INPUT1')} ]\n"
        f"output [ {one('OUTPUT0')}, {one('OUTPUT1')} ]\n"
    )


DENSENET = """
name: "densenet_onnx"
platform: "onnxruntime_onnx"
max_batch_size : 0
input [
  {
    name: "data_0"
    data_type: TYPE_FP32
    format: FORMAT_NCHW
    dims: [ 3, 2, 2 ]
    reshape { shape: [ 1, 3, 2, 2 ] }
  }
]
output [
  {
    name: "fc6_1"
    data_type: TYPE_FP32
    dims: [ 4 ]
    reshape { shape: [ 1, 4, 1, 1 ] }
    label_filename: "densenet_labels.txt"
  }
]
"""
ONE_ROW = """
platform: "onnxruntime_onnx"
max_batch_size: 1
input { name: "data_0" data_type: TYPE_FP32 dims: [ 3, 2, 2 ] }
output {
  name: "fc6_1" data_type: TYPE_FP32 dims: [ 4 ] reshape { shape: [ 4, 1, 1 ] } label_filename: "labels.txt"
}
"""
SEQUENCE = """
platform: "onnxruntime_onnx"
max_batch_size: 8
sequence_batching {
  control_input { name: "START" control { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } }
}
input { name: "x" data_type: TYPE_FP32 dims: [ 2 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ 2 ] }
"""
DYNAMIC = """
platform: "custom"
max_batch_size: 8
default_model_filename: "libdyna_sequence.so"
"""
VERSIONS = """
backend: "onnxruntime"
max_batch_size: 4
version_policy { specific { versions: [ 1, 2 ] } }
dynamic_batching { priority_levels: 5 default_priority_level: 3 }
"""
NAMED = """
backend: "onnxruntime"
default_model_filename: "trees.onnx"
max_batch_size: 16
input { name: "x" data_type: TYPE_FP32 dims: [ 3 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ 1 ] reshape { shape: [ ] } }
"""
WARMED = """
backend: "onnxruntime"
max_batch_size: 4
input { name: "ids" data_type: TYPE_INT64 dims: [ 2 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ 5 ] }
model_warmup { name: "known" batch_size: 3 count: 2
  inputs { key: "ids" value { data_type: TYPE_INT64 dims: [ 2 ] input_data_file: "ids" } } }
"""


def add(root: Path, name: str, config: str, files: dict[str, bytes]) -> None:
    """A model: its configuration, and files by their paths in its directory."""
    (root / name).mkdir(parents=True)
    (root / name / "config.pbtxt").write_text(config)
    for path, content in files.items():
        (root / name / path).parent.mkdir(exist_ok=True)
        (root / name / path).write_bytes(content)


def onnx(made: ModelProto, version: int = 1, file: str = "model.onnx") -> dict[str, bytes]:
    """A version's file."""
    return {f"{version}/{file}": made.SerializeToString()}


def repository(root: Path) -> Path:
    """All of them."""
    labels = "\n".join(name.upper() for name in CLASSES).encode()
    add(root, "densenet_onnx", DENSENET, onnx(densenet()) | {"densenet_labels.txt": labels})
    add(root, "densenet_rows", ONE_ROW, onnx(densenet()) | {"labels.txt": labels})
    add(root, "simple", pair("TYPE_INT32"), onnx(add_sub(INT32)))
    add(root, "simple_int8", pair("TYPE_INT8"), onnx(add_sub(INT8)))
    add(root, "simple_string", pair("TYPE_STRING"), onnx(joined()))
    add(
        root, "versions", VERSIONS, {k: v for n in (1, 2, 3) for k, v in onnx(scaled(n), n).items()}
    )
    add(root, "named", NAMED, onnx(flattened(), file="trees.onnx"))
    ids = (0).to_bytes(8, "little") + (3).to_bytes(8, "little")
    add(root, "warmed", WARMED, onnx(chosen()) | {"warmup/ids": ids})
    unserved(root)
    return root


def unserved(root: Path) -> None:
    """Models that are for other backends, or cannot be served as they ask."""
    graph = {"1/model.graphdef": b"not ours"}
    tensorflow = pair("TYPE_STRING", 'platform: "tensorflow_savedmodel"')
    add(root, "simple_identity", tensorflow, {"1/model.savedmodel": b"not ours"})
    add(root, "inception_graphdef", 'platform: "tensorflow_graphdef"\nmax_batch_size: 128', graph)
    add(root, "python_model", 'backend: "python"', {"1/model.py": b"pass"})
    add(root, "preprocess_ensemble", 'platform: "ensemble"\nensemble_scheduling { }', {})
    add(root, "simple_dyna_sequence", DYNAMIC, {"1/libdyna_sequence.so": b"not ours"})
    add(root, "simple_sequence", SEQUENCE, onnx(scaled(1)))
    add(root, "broken", "max_batch_size: many", onnx(scaled(1)))
    add(root, "mismatched", pair("TYPE_FP32"), onnx(add_sub(INT32)))
    failing = WARMED.replace('input_data_file: "ids"', "random_data: true")
    add(root, "unwarmed", failing, onnx(chosen()))
    add(root, "chosen_none", "version_policy { specific { versions: 9 } }", onnx(scaled(1)))


UNSERVED = {
    "simple_identity": "line 1: 'tensorflow_savedmodel' is not served here",
    "inception_graphdef": "line 1: 'tensorflow_graphdef' is not served here",
    "python_model": "line 1: 'python' is not served here",
    "preprocess_ensemble": "line 1: 'ensemble' is not served here",
    "simple_dyna_sequence": "line 2: 'custom' is not served here",
    "simple_sequence": "line 4: 'sequence_batching' is not served, requests of one sequence",
    "broken": "config.pbtxt, line 1: max_batch_size: Expected `int`",
    "mismatched": "input 'INPUT0' is int32 in the graph, config.pbtxt says TYPE_FP32",
    "unwarmed": "warm-up 'known' failed",
    "chosen_none": "chooses none of its versions, which are 1",
}
"""What the index says of each."""
