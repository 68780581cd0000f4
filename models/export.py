"""A trained network as ONNX files, each admitted through gates. The only place beside the engine that knows ONNX Runtime.

    network -> fp32 graph (gates) -> int8, fp16 (gates, accuracy on the whole held-out split) -> Variant

Gates: the file stands alone and carries no path of the machine that made it; the checker passes; declared axes are still
symbolic; answers equal torch's at other shapes than the traced one; a row alone equals the row padded in a batch.
"""

import logging
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import Tensor, nn

from models import bundle
from models.errors import BundleError
from models.recipes import Examples, Recipe
from models.traffic import single

PARITY = 2e-4
"""The most by which a probability of the fp32 graph may differ from torch's."""
INDEPENDENT = 1e-5
"""A row's probabilities alone and in a batch differ by less where the row's answer does not depend on its mates."""
MOST_LOST = 0.005
"""int8 is admitted when it loses at most half a point on the whole held-out split."""
TRACED_ROWS = 3  # 1 would be frozen into the graph, for the LSTM
CALIBRATION_ROWS = 512

Outputs = dict[str, np.ndarray]


class Graph(NamedTuple):
    """An exported file and its runner."""

    path: Path
    session: ort.InferenceSession

    def run(self, inputs: dict[str, np.ndarray]) -> Outputs:
        """Every output by name."""
        names = [output.name for output in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, inputs), strict=True))


class Answering(nn.Module):
    """The network with the outputs that a bundle promises."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits, embedding = self.network(*inputs)
        return logits, logits.softmax(-1), embedding


def open_graph(path: Path, threads: int = 0) -> Graph:
    """The file in ONNX Runtime on the CPU."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.log_severity_level = 3
    return Graph(path, ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]))


def outputs_of(recipe: Recipe) -> tuple[bundle.Tensor, ...]:
    """What every graph gives: logits, probabilities, embedding."""
    classes = ("batch", len(recipe.labels))
    return (
        bundle.Tensor("logits", "float32", classes, "logits"),
        bundle.Tensor("probabilities", "float32", classes, "probabilities"),
        recipe.embedding,
    )


def export(network: nn.Module, recipe: Recipe, path: Path) -> Graph:
    """Write the fp32 graph and put it through every gate. BundleError names the gate and the figures."""
    examples = [inputs for inputs, _ in recipe.samples().batches(TRACED_ROWS)]
    traced = tuple(torch.from_numpy(examples[0][tensor.name]) for tensor in recipe.inputs)
    axes = {
        name: torch.export.Dim.DYNAMIC
        for tensor in recipe.inputs
        for name in tensor.shape
        if isinstance(name, str)
    }
    shapes = [
        {i: axes[a] for i, a in enumerate(tensor.shape) if isinstance(a, str)}
        for tensor in recipe.inputs
    ]
    # torch 2.13 keeps an LSTM's kernel from the first export in a process and then freezes its time axis.
    torch.ops.aten.lstm.input._dispatch_cache.clear()
    logging.getLogger("torch.onnx").setLevel(
        logging.ERROR
    )  # it says of every export that torchvision is missing
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            Answering(network.eval()),
            traced,
            dynamo=True,
            opset_version=recipe.opset,
            input_names=[tensor.name for tensor in recipe.inputs],
            output_names=[tensor.name for tensor in outputs_of(recipe)],
            dynamic_shapes=[tuple(shapes)],  # Answering takes *inputs: one argument, a tuple
            verbose=False,
        )
    assert program is not None  # noqa: S101 - dynamo returns a program
    model = program.model_proto
    rename_axes(model, recipe)
    strip(model)
    onnx.save(model, path)
    check_file(path, recipe)
    graph = open_graph(path)
    check_parity(graph, network, recipe)
    check_rows(graph, recipe, INDEPENDENT)
    return graph


def rename_axes(model: onnx.ModelProto, recipe: Recipe) -> None:
    """The axes' declared names instead of the exporter's."""
    declared = {tensor.name: tensor for tensor in (*recipe.inputs, *outputs_of(recipe))}
    for value in (*model.graph.input, *model.graph.output):
        for dimension, axis in zip(
            value.type.tensor_type.shape.dim, declared[value.name].shape, strict=True
        ):
            if isinstance(axis, str) and not dimension.HasField("dim_value"):
                dimension.dim_param = axis


def strip(model: onnx.ModelProto) -> None:
    """Take out what the exporter notes of the machine: stack traces with source paths, inner shapes, doc strings."""
    del model.graph.value_info[:]
    del model.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for function in model.functions:
        del function.metadata_props[:]
        for node in function.node:
            del node.metadata_props[:]
            node.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]


def check_file(path: Path, recipe: Recipe) -> None:
    """A single, checked file without traces of its machine, whose axes are what the recipe declares."""
    onnx.checker.check_model(str(path), full_check=True)
    data = path.read_bytes()
    for trace in (b"/models/", b'.py"', b"site-packages", str(Path.home()).encode()):
        if trace in data:
            raise BundleError(
                f"{path.name}: the file holds '{trace.decode()}', a trace of this machine"
            )
    model = onnx.load_model_from_string(data)
    if any(tensor.external_data for tensor in model.graph.initializer):
        raise BundleError(f"{path.name}: weights lie outside the file")
    session = open_graph(path).session
    for declared, found in zip(recipe.inputs, session.get_inputs(), strict=True):
        if declared.name != found.name or list(declared.shape) != found.shape:
            raise BundleError(
                f"{path.name}: input '{found.name}' is {found.shape}, declared is {list(declared.shape)}"
            )


def check_parity(graph: Graph, network: nn.Module, recipe: Recipe) -> float:
    """The largest distance of a probability from torch's over batches of 1, 2, 5, 7 and 16 rows. BundleError beyond PARITY."""
    worst = 0.0
    for size in (1, 2, 5, 7, 16):
        for inputs, _ in recipe.samples().batches(size):
            with torch.no_grad():
                logits, _ = network(
                    *(torch.from_numpy(inputs[tensor.name]) for tensor in recipe.inputs)
                )
            expected = logits.softmax(-1).numpy()
            worst = float(
                np.maximum(worst, distance(graph.run(inputs)["probabilities"], expected))
            )  # NaN stays
    if not worst <= PARITY:
        raise BundleError(
            f"{graph.path.name}: a probability differs from torch's by {worst:.2g}, the limit is {PARITY:.2g}"
        )
    return worst


def check_rows(graph: Graph, recipe: Recipe, limit: float) -> float:
    """The largest distance between a row alone and the same row padded in a batch. BundleError beyond `limit`."""
    joined = next(iter(recipe.samples().batches(16)))[0]
    together = graph.run(joined)["probabilities"]
    apart = [
        distance(graph.run(alone(joined, i, recipe))["probabilities"][0], row)
        for i, row in enumerate(together)
    ]
    worst = float(np.max(apart))  # NaN stays
    if not worst <= limit:
        raise BundleError(
            f"{graph.path.name}: a row alone differs from the row in a batch by {worst:.2g}, the limit is {limit:.2g}"
        )
    return worst


def alone(batch: dict[str, np.ndarray], index: int, recipe: Recipe) -> dict[str, np.ndarray]:
    """One row of a batch, without its padding."""
    return {name: np.asarray(v)[None] for name, v in single(batch, index, recipe).items()}


def distance(left: np.ndarray, right: np.ndarray) -> float:
    """The largest absolute difference."""
    return float(np.abs(left - right).max())


def answers(graph: Graph, examples: Examples, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """(probabilities [n, classes], labels [n]) over all rows."""
    pairs = [
        (graph.run(inputs)["probabilities"], labels) for inputs, labels in examples.batches(size)
    ]
    return np.concatenate([p for p, _ in pairs]), np.concatenate([labels for _, labels in pairs])


def variant(
    graph: Graph,
    name: Any,
    reference: Graph,
    recipe: Recipe,
    held_out: Examples,
    quantization: Any = None,
) -> bundle.Variant:
    """Measure a file: accuracy on the whole held-out split, distance from the fp32 graph, whether rows stand alone."""
    probabilities, labels = answers(graph, held_out)
    joined = next(iter(recipe.samples().batches(16)))[0]
    parity = distance(graph.run(joined)["probabilities"], reference.run(joined)["probabilities"])
    apart = check_rows(graph, recipe, np.inf)
    return bundle.Variant(
        name=name,
        file=graph.path.name,
        bytes=graph.path.stat().st_size,
        accuracy=round(float((probabilities.argmax(1) == labels).mean()), 6),
        parity=parity,
        independent=apart <= INDEPENDENT,
        quantization=quantization,
    )
