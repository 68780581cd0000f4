"""What is served and what is asked: two graphs made here, the committed models, and questions with their answers.

exact     y = x @ w of small whole numbers: equal to the last bit in any batch
troubled  the same, and whatever trouble a row's first two numbers ask for: steps of work, and mebibytes of memory
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from loadtests.compare import rows
from loadtests.torture import asking
from loadtests.torture.asking import Question
from models import bundle
from service import examples

EXACT, TROUBLED = "exact", "troubled"
COMMITTED = Path(__file__).parents[2] / "models" / "repository"
PICTURES, SERIES, TEXTS = "fashion-cnn", "activity-lstm", "sentiment-transformer"
VARIANTS: dict[str, bundle.Precision] = {PICTURES: "fp32", SERIES: "fp32", TEXTS: "int8"}
"""Which file of a committed model answers."""
TOLERANCES = {PICTURES: 1e-4, SERIES: 1e-4, TEXTS: 0.1}
"""A batch of another size may differ in the last bits; the Transformer's int8 scales depend on everybody in a batch: in a million mixed requests by
up to 0.068 of a probability.
"""
WIDTH, SEED = 8, 7
QUESTIONS = 512
STEP_WIDTH = 256
"""A step of work is a product of two square matrices of this size: about 1 ms on one thread."""
FOREVER = 1e9
OPSET, IR_VERSION = 20, 10

node = helper.make_node


def weights() -> np.ndarray:
    """Of both graphs."""
    return np.random.default_rng(SEED).integers(-9, 10, (WIDTH, WIDTH)).astype(np.float32)


def constant(name: str, values: object, dtype: str = "float32") -> TensorProto:
    """A tensor that the graph holds."""
    return numpy_helper.from_array(np.array(values, dtype=dtype), name)


def exact() -> onnx.ModelProto:
    """y = x @ w."""
    return model([node("MatMul", ["x", "w"], ["y"])], [constant("w", weights())])


def troubled() -> onnx.ModelProto:
    """y = x @ w after max(x[:, 0]) steps of work and with max(x[:, 1]) MiB held; neither changes y."""
    work = helper.make_graph(
        [
            node("MatMul", ["state", "turn"], ["next"]),
            node("Identity", ["go"], ["on"]),
        ],
        "work",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [STEP_WIDTH, STEP_WIDTH]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [STEP_WIDTH, STEP_WIDTH]),
        ],
    )
    nodes = [
        node("ReduceMax", ["x", "down"], ["most"], keepdims=0),
        node("Relu", ["most"], ["asked"]),
        node("Gather", ["asked", "first"], ["steps"]),
        node("Cast", ["steps"], ["trips"], to=TensorProto.INT64),
        node("Loop", ["trips", "", "start"], ["worked"], body=work),
        node("ReduceSum", ["worked"], ["worked_sum"], keepdims=0),
        node("Gather", ["asked", "second"], ["mebibytes"]),
        node("Mul", ["mebibytes", "floats"], ["numbers"]),
        node("Cast", ["numbers"], ["length"], to=TensorProto.INT64),
        node("ConstantOfShape", ["length"], ["held"]),
        node("ReduceSum", ["held"], ["held_sum"], keepdims=0),
        node("MatMul", ["x", "w"], ["product"]),
        node("Sum", ["product", "worked_sum", "held_sum"], ["y"]),
    ]
    constants = [
        constant("w", weights()),
        constant("down", [0], "int64"),
        constant("first", 0, "int64"),
        constant("second", [1], "int64"),
        constant("floats", [2**18]),
        constant("start", np.zeros((STEP_WIDTH, STEP_WIDTH))),
        constant("turn", np.eye(STEP_WIDTH)),
    ]
    return model(nodes, constants)


def model(nodes: list[onnx.NodeProto], constants: list[TensorProto]) -> onnx.ModelProto:
    """A graph from x to y."""
    given, made = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", WIDTH]) for name in "xy"
    )
    graph = helper.make_graph(nodes, "torture", [given], [made], constants)
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def repository(root: Path, names: tuple[str, ...]) -> Path:
    """A repository with the models of these names; those made here have two versions alike."""
    made = {EXACT: exact, TROUBLED: troubled}
    for name in names:
        if name in made:
            for version in ("1", "2"):
                (root / name / version).mkdir(parents=True)
                onnx.save(made[name](), root / name / version / "model.onnx")
        else:
            shutil.copytree(COMMITTED / name, root / name)
    return root


def questions(names: tuple[str, ...]) -> list[Question]:
    """What well-behaved callers ask these models, and a few faulty requests, in an order that is always the same."""
    found: list[Question] = []
    for name in names:
        found += list(whole_numbers(name) if name in (EXACT, TROUBLED) else kept(name))
    found += list(faulty(names[0])) if EXACT in names else []
    order = np.random.default_rng(SEED).permutation(len(found))
    return [found[index] for index in order]


def whole_numbers(name: str, count: int = QUESTIONS) -> Iterator[Question]:
    """Questions with answers that differ: as JSON and as they are, of one row and of a few. Their first two numbers ask for no trouble."""
    rng = np.random.default_rng(SEED)
    for number in range(count):
        x = rng.integers(-999, 1000, (1 + number % 3, WIDTH)).astype(np.float32)
        x[:, :2] = -np.abs(x[:, :2])
        check = asking.equal("y", x @ weights())
        if number % 2:
            yield Question(name, "binary", asking.as_binary(name, {"x": x}, "y"), check)
        else:
            yield Question(name, "json", asking.as_json(name, {"x": x}), check)


def trouble(steps: float = 0, mebibytes: float = 0) -> Question:
    """A row that asks for trouble. It may be answered, refused or failed: with a sentence."""
    x = np.array([[steps, mebibytes, *range(WIDTH - 2)]], np.float32)
    answered = asking.equal("y", x @ weights())
    refused = asking.refused_with(500)

    def check(status: int, body: bytes, length: int) -> str | None:
        return (answered if status == 200 else refused)(status, body, length)

    return Question(TROUBLED, "trouble", asking.as_json(TROUBLED, {"x": x}), check)


def kept(name: str) -> Iterator[Question]:
    """The held-out rows that a bundle keeps, as tensors, and where it is a picture as a file too. The reference is the file's own answer."""
    directory = COMMITTED / name / "1"
    manifest = bundle.read(directory)
    inputs, _ = bundle.read_samples(directory)
    count, tolerance = len(next(iter(inputs.values()))), TOLERANCES[name]
    given = [{key: array[i : i + 1] for key, array in inputs.items()} for i in range(count)]
    answers = rows.answers(directory / manifest.variant(VARIANTS[name]).file, given)
    for row, expected in zip(given, answers, strict=True):
        binary = asking.as_binary(name, row, rows.OUTPUT)
        yield Question(name, "held-out row", binary, asking.close(expected[None], tolerance))
        if name == PICTURES:
            (picture,) = row.values()
            best = int(expected.argmax())
            path, kind = f"/v1/models/{name}/predict", "image/png"
            sent = asking.message(path, examples.png(picture[0]), kind)
            check = asking.labelled(manifest.labels[best], float(expected[best]), tolerance)
            yield Question(name, "picture", sent, check)


def settings(names: tuple[str, ...]) -> dict[str, str]:
    """Which file of each model answers, as settings."""
    plain = {name: name.replace("-", "_") for name in names if name in VARIANTS}
    return {f"models__{key}__variant": VARIANTS[name] for name, key in plain.items()}


def faulty(name: str) -> Iterator[Question]:
    """Requests that must be refused, each for its own reason."""
    path = f"/v2/models/{name}/infer"
    x = {"name": "x", "shape": [1, WIDTH], "datatype": "FP32", "data": [0] * WIDTH}
    bodies = {
        "no JSON": b'{"inputs": [',
        "another length": msgspec.json.encode({"inputs": [x | {"shape": [2, WIDTH]}]}),
        "another type": msgspec.json.encode({"inputs": [x | {"datatype": "INT64"}]}),
        "another name": msgspec.json.encode({"inputs": [x | {"name": "z"}]}),
        "no inputs": b"{}",
    }
    for kind, body in bodies.items():
        yield Question(name, kind, asking.message(path, body), asking.refused_with(400))
    nobody = asking.message("/v2/models/nobody/infer", b"{}")
    yield Question(name, "no such model", nobody, asking.refused_with(404))
