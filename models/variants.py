"""Smaller and faster forms of an exported graph: int8 for processors, fp16 for GPUs. Each is measured before it is admitted.

int8 is static where that holds its accuracy: activations are scaled by what calibration saw, so a row's answer does not depend on
its batch mates. Dynamic scales come from the whole batch; a variant that needs them says so.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from models import bundle
from models.export import Graph, check_file, open_graph, strip, variant
from models.recipes import Examples, Recipe, Splits

MOST_LOST = 0.005
"""int8 is admitted when it loses at most half a point on the whole held-out split."""
CALIBRATION_ROWS = 512
LARGE_TABLE = 1_000_000
"""Embedding tables from this many numbers on are stored as int8 with a scale per row."""


class Calibration(CalibrationDataReader):  # type: ignore[misc] # untyped
    """Training rows, never held-out ones, for the scales of a static variant."""

    def __init__(self, examples: Examples) -> None:
        self._batches = self._read(examples)

    @staticmethod
    def _read(examples: Examples) -> Iterator[dict[str, np.ndarray]]:
        seen = 0
        for inputs, labels in examples.batches(16):
            yield inputs
            seen += len(labels)
            if seen >= CALIBRATION_ROWS:
                return

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._batches, None)


def build(reference: Graph, recipe: Recipe, splits: Splits) -> list[bundle.Variant]:
    """fp32 as measured, then every other variant that passes its gates. Prints what was refused, with its figures."""
    held_out = splits.tests["accuracy"]
    found = [variant(reference, "fp32", reference, recipe, held_out)]
    for quantization, make in (("static", static_int8), ("dynamic", dynamic_int8)):
        path = int8(reference.path, make, splits.train)
        check_file(path, recipe)
        one = variant(open_graph(path), "int8", reference, recipe, held_out, quantization)
        lost = found[0].accuracy - one.accuracy
        print(
            f"int8 {quantization}: accuracy {one.accuracy:.2%} ({-100 * lost:+.2f} points), {one.bytes / 1e6:.1f} MB"
        )
        if lost <= MOST_LOST:
            found.append(one)
            break
        path.unlink()
    half = fp16(reference.path)
    check_file(half, recipe)
    found.append(variant(open_graph(half), "fp16", reference, recipe, held_out))
    print(f"fp16: accuracy {found[-1].accuracy:.2%}, {found[-1].bytes / 1e6:.1f} MB")
    return found


def int8(
    source: Path, quantize: Callable[[Path, Path, Examples], None], training: Examples
) -> Path:
    """The graph prepared, quantized and cleared of the quantizer's notes."""
    target = source.with_name("model.int8.onnx")
    with tempfile.TemporaryDirectory() as folder:
        quantize(prepare(source, Path(folder)), target, training)
    model = onnx.load(target)
    strip(model)
    onnx.save(model, target)
    return target


def static_int8(prepared: Path, target: Path, training: Examples) -> None:
    """QDQ with scales from calibration, weights per channel, a bit less of range for processors without VNNI."""
    quantize_static(
        prepared,
        target,
        Calibration(training),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv", "MatMul", "Gemm"],
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
    )


def dynamic_int8(prepared: Path, target: Path, training: Examples) -> None:
    """Weights as int8, activations scaled batch by batch: the training rows are not asked."""
    quantize_dynamic(
        prepared,
        target,
        op_types_to_quantize=["MatMul", "Gemm", "LSTM"],
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
    )


def prepare(source: Path, folder: Path) -> Path:
    """Shapes inferred and constants folded, as the quantizer wants them; large tables already small."""
    prepared = folder / "prepared.onnx"
    quant_pre_process(source, prepared, skip_symbolic_shape=True)
    model = onnx.load(prepared)
    shrink_tables(model)
    onnx.save(model, prepared)
    return prepared


def shrink_tables(model: onnx.ModelProto) -> None:
    """Gather(table, ids) -> Cast(Gather(int8 table, ids)) * Gather(scales, ids): a quarter of the size, each row with its own scale."""
    graph = model.graph
    tables = {
        tensor.name: tensor
        for tensor in graph.initializer
        if len(tensor.dims) == 2 and np.prod(tensor.dims) >= LARGE_TABLE
    }
    for position, node in reversed(list(enumerate(graph.node))):
        if node.op_type != "Gather" or node.input[0] not in tables:
            continue
        table = tables[node.input[0]]
        values = numpy_helper.to_array(table)
        scales = (
            np.maximum(np.abs(values).max(axis=1, keepdims=True), 1e-9).astype(np.float32) / 127
        )
        name, ids, out = table.name, node.input[1], node.output[0]
        graph.initializer.remove(table)
        graph.initializer.append(
            numpy_helper.from_array(np.round(values / scales).astype(np.int8), f"{name}.int8")
        )
        graph.initializer.append(numpy_helper.from_array(scales, f"{name}.scale"))
        replacement = [
            helper.make_node("Gather", [f"{name}.int8", ids], [f"{out}.int8"]),
            helper.make_node("Cast", [f"{out}.int8"], [f"{out}.float"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Gather", [f"{name}.scale", ids], [f"{out}.scale"]),
            helper.make_node("Mul", [f"{out}.float", f"{out}.scale"], [out]),
        ]
        graph.node.remove(node)
        for one in reversed(replacement):
            graph.node.insert(position, one)


def fp16(source: Path) -> Path:
    """Half precision inside, float32 at the ends, so that a caller sees no difference."""
    target = source.with_name("model.fp16.onnx")
    model = convert_float_to_float16(onnx.load(source), keep_io_types=True)
    OnnxModel(model).topological_sort()  # the converter appends its casts
    strip(model)
    onnx.save(model, target)
    return target
