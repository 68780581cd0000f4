"""Small bundles that are complete and quick: a picture's brightness, a series' mean, a text's known words.

Their answers can be worked out by hand, which is what the tests do.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

from models import bundle, tasks

TRAINING = bundle.Training("0" * 64, {}, 0, 0.0, "cpu", "2026-01-01T00:00:00Z")


def constant(name: str, values: object, dtype: str = "float32") -> TensorProto:
    return numpy_helper.from_array(np.array(values, dtype=dtype), name)


def save(path: Path, nodes: list, inputs: list, outputs: list, constants: list) -> None:
    graph = helper.make_graph(nodes, "toy", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def publish(
    directory: Path, task: tasks.Task, given: dict, expected: dict, **fields: object
) -> None:
    """Write samples and manifest for the model.fp32.onnx in `directory`."""
    bundle.write_samples(directory, given, expected)
    file = directory / "model.fp32.onnx"
    variant = bundle.Variant("fp32", file.name, file.stat().st_size, 1.0, 0.0, True)
    metric = bundle.Metric(1.0, 100, 0.96, 1.0)
    manifest = bundle.Manifest(
        name=directory.parent.name,
        version=int(directory.name),
        description="a toy",
        task=task,
        variants=(variant,),
        metrics={"accuracy": metric},
        training=TRAINING,
        files={},
        **fields,  # type: ignore[arg-type]
    )
    bundle.write(directory, manifest)


def softmax(logits: np.ndarray) -> np.ndarray:
    exp = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (exp / exp.sum(axis=-1, keepdims=True)).astype(np.float32)


def image(root: Path, name: str = "toy-image", version: int = 1) -> Path:
    """Bright pictures are "light", others "dark": logits = [mean, 1 - mean] * 10. Input 4 x 4, grey."""
    directory = root / name / str(version)
    directory.mkdir(parents=True)
    nodes = [
        helper.make_node("ReduceMean", ["image", "axes"], ["mean"], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "one"], ["column"]),
        helper.make_node("MatMul", ["column", "weight"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
    ]
    constants = [
        constant("axes", [1, 2, 3], "int64"),
        constant("one", [1], "int64"),
        constant("weight", [[10, -10]]),
        constant("bias", [0, 10]),
    ]
    given = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 4, 4])]
    outputs = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 2])
        for n in ("logits", "probabilities")
    ]
    save(directory / "model.fp32.onnx", nodes, given, outputs, constants)
    rows = np.linspace(0, 1, 16, dtype=np.float32)[:, None, None, None] * np.ones(
        (1, 1, 4, 4), np.float32
    )
    mean = rows.mean(axis=(1, 2, 3))
    logits = np.stack([10 * mean, 10 - 10 * mean], axis=1).astype(np.float32)
    publish(
        directory,
        tasks.ImageTask("image", 4, 4),
        {"image": rows},
        {"logits": logits, "probabilities": softmax(logits)},
        labels=("light", "dark"),
        inputs=(bundle.Tensor("image", "float32", ("batch", 1, 4, 4)),),
        outputs=(
            bundle.Tensor("logits", "float32", ("batch", 2), "logits"),
            bundle.Tensor("probabilities", "float32", ("batch", 2), "probabilities"),
        ),
    )
    return directory


def series(root: Path, name: str = "toy-series", version: int = 1) -> Path:
    """Sum over time / length, so that padding must not count: "up" where it is positive. 3 to 8 samples of 2 channels."""
    directory = root / name / str(version)
    directory.mkdir(parents=True)
    nodes = [
        helper.make_node("ReduceSum", ["series", "axes"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["lengths"], ["float_lengths"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["sum", "float_lengths"], ["mean"]),
        helper.make_node("Unsqueeze", ["mean", "one"], ["column"]),
        helper.make_node("MatMul", ["column", "weight"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
    ]
    constants = [
        constant("axes", [1, 2], "int64"),
        constant("one", [1], "int64"),
        constant("weight", [[1, -1]]),
    ]
    given = [
        helper.make_tensor_value_info("series", TensorProto.FLOAT, ["batch", "time", 2]),
        helper.make_tensor_value_info("lengths", TensorProto.INT32, ["batch"]),
    ]
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 2])]
    save(directory / "model.fp32.onnx", nodes, given, outputs, constants)
    rows = np.random.default_rng(0).normal(size=(16, 8, 2)).astype(np.float32)
    lengths = np.full(16, 8, dtype=np.int32)
    mean = rows.sum(axis=(1, 2)) / 8
    publish(
        directory,
        tasks.SeriesTask("series", "lengths", ("x", "y"), 3, 8, 50.0),
        {"series": rows, "lengths": lengths},
        {"probabilities": softmax(np.stack([mean, -mean], axis=1))},
        labels=("up", "down"),
        inputs=(
            bundle.Tensor("series", "float32", ("batch", "time", 2)),
            bundle.Tensor("lengths", "int32", ("batch",)),
        ),
        outputs=(bundle.Tensor("probabilities", "float32", ("batch", 2), "probabilities"),),
        padding=bundle.Padding("time", {"series": 0.0}, (4, 8), 3),
    )
    return directory


def text(root: Path, name: str = "toy-text", version: int = 1) -> Path:
    """Counts "good" (id 2) against "bad" (id 3) where the mask is 1. At most 16 tokens."""
    directory = root / name / str(version)
    directory.mkdir(parents=True)
    tokenizer = Tokenizer(
        models.WordLevel({"[PAD]": 0, "[UNK]": 1, "good": 2, "bad": 3}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_padding(length=16)  # as real files do; serving must switch it off
    tokenizer.save(str(directory / "tokenizer.json"))
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["scores"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
        helper.make_node("Mul", ["scores", "column"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "axes"], ["logits"], keepdims=0),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
    ]
    table = np.array([[9, -9], [0, 0], [2, 0], [0, 2]], dtype=np.float32)
    constants = [
        constant("table", table),
        constant("last", [2], "int64"),
        constant("axes", [1], "int64"),
    ]
    given = [
        helper.make_tensor_value_info(n, TensorProto.INT64, ["batch", "sequence"])
        for n in ("input_ids", "attention_mask")
    ]
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 2])]
    save(directory / "model.fp32.onnx", nodes, given, outputs, constants)
    ids = np.random.default_rng(0).integers(1, 4, size=(16, 6)).astype(np.int64)
    publish(
        directory,
        tasks.TextTask("input_ids", "attention_mask", "tokenizer.json", 16),
        {"input_ids": ids, "attention_mask": np.ones_like(ids)},
        {"probabilities": softmax(table[ids].sum(axis=1))},
        labels=("positive", "negative"),
        inputs=tuple(
            bundle.Tensor(n, "int64", ("batch", "sequence"))
            for n in ("input_ids", "attention_mask")
        ),
        outputs=(bundle.Tensor("probabilities", "float32", ("batch", 2), "probabilities"),),
        padding=bundle.Padding("sequence", {"input_ids": 0, "attention_mask": 0}, (4, 8, 16)),
    )
    return directory


STEPS = 8000
"""Steps of `troubled` for a first pixel of 1, which take about a second."""


def troubled(root: Path, name: str = "toy-troubled", version: int = 1) -> Path:
    """Brightness as `image` tells it, and whatever trouble a picture's first pixel asks for.

    0 none; above it that share of STEPS for the batch; between -2 and 0 a row of NaN; from -2 down no row at all.
    """
    directory = root / name / str(version)
    directory.mkdir(parents=True)
    work = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "turn"], ["next"]),
            helper.make_node("Identity", ["go"], ["on"]),
        ],
        "work",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [256, 256]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [256, 256]),
        ],
    )
    nodes = [
        helper.make_node("Reshape", ["image", "flat"], ["pixels"]),
        helper.make_node("Gather", ["pixels", "first"], ["asked"], axis=1),
        helper.make_node("ReduceMax", ["asked"], ["longest"], keepdims=0),
        helper.make_node("Relu", ["longest"], ["share"]),
        helper.make_node("Mul", ["share", "steps"], ["count"]),
        helper.make_node("Cast", ["count"], ["trips"], to=TensorProto.INT64),
        helper.make_node("Loop", ["trips", "", "start"], ["worked"], body=work),
        helper.make_node("ReduceSum", ["worked"], ["nothing"], keepdims=0),
        helper.make_node("Sqrt", ["asked"], ["root"]),
        helper.make_node("Sub", ["root", "root"], ["nothing_or_nan"]),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["mean"], keepdims=1),
        helper.make_node("MatMul", ["mean", "weight"], ["product"]),
        helper.make_node("Sum", ["product", "bias", "nothing", "nothing_or_nan"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["shares"], axis=-1),
        helper.make_node("Reshape", ["asked", "everything"], ["each"]),
        helper.make_node("Greater", ["each", "least"], ["kept"]),
        helper.make_node("Compress", ["shares", "kept"], ["probabilities"], axis=0),
    ]
    constants = [
        constant("flat", [-1, 16], "int64"),
        constant("everything", [-1], "int64"),
        constant("first", [0], "int64"),
        constant("axes", [1], "int64"),
        constant("steps", STEPS),
        constant("least", -2),
        constant("start", np.zeros((256, 256))),
        constant("turn", np.eye(256)),
        constant("weight", [[10, -10]]),
        constant("bias", [0, 10]),
    ]
    given = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 4, 4])]
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["rows", 2])]
    save(directory / "model.fp32.onnx", nodes, given, outputs, constants)
    rows = np.linspace(0, 1, 16, dtype=np.float32)[:, None, None, None] * np.ones(
        (1, 1, 4, 4), np.float32
    )
    rows[:, 0, 0, 0] = 0
    mean = rows.mean(axis=(1, 2, 3))
    publish(
        directory,
        tasks.ImageTask("image", 4, 4),
        {"image": rows},
        {"probabilities": softmax(np.stack([10 * mean, 10 - 10 * mean], axis=1))},
        labels=("light", "dark"),
        inputs=(bundle.Tensor("image", "float32", ("batch", 1, 4, 4)),),
        outputs=(bundle.Tensor("probabilities", "float32", ("batch", 2), "probabilities"),),
    )
    return directory


def repository(root: Path) -> Path:
    """Those without trouble."""
    for make in (image, series, text):
        make(root)
    return root
