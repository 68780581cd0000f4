"""Smaller forms of a graph: what rounding may cost, and what is refused."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from models import export, variants
from models.recipes import Splits, activity_lstm


def lookup(table: np.ndarray) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "ids"], ["rows"])],
        "lookup",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", table.shape[1]])],
        [numpy_helper.from_array(table, "table")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@given(st.integers(0, 2**32), st.floats(1e-4, 1e4))
@settings(max_examples=30, deadline=None)
def test_a_shrunk_table_keeps_each_value_within_half_a_step_of_its_row(
    seed: int, size: float
) -> None:
    rng = np.random.default_rng(seed)
    table = (size * rng.normal(size=(30, 8)) * rng.lognormal(0, 3, (30, 1))).astype(np.float32)
    table[7] = 0
    model = lookup(table)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(variants, "LARGE_TABLE", 200)
        variants.shrink_tables(model)
    onnx.checker.check_model(model, full_check=True)
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    assert stored["table.int8"].dtype == np.int8
    assert "table" not in stored
    session = export.ort.InferenceSession(model.SerializeToString())
    (rows,) = session.run(None, {"ids": np.arange(30)})
    step = np.abs(table).max(1, keepdims=True) / 127
    assert (np.abs(rows - table) <= step * 0.501).all()
    np.testing.assert_array_equal(rows[7], 0)


def test_a_small_table_stays_as_it_is() -> None:
    model = lookup(np.ones((30, 8), dtype=np.float32))
    before = model.SerializeToString()
    variants.shrink_tables(model)
    assert model.SerializeToString() == before


@pytest.fixture(scope="module")
def splits() -> Splits:
    windows = small.Activity().windows
    rows = activity_lstm.FixedWindows(windows(48))
    return Splits(rows, rows, {"accuracy": rows}, "0" * 64)


@pytest.fixture
def graph(activity: export.Graph, tmp_path: Path) -> export.Graph:
    """A copy, beside which variants may be written."""
    return export.open_graph(Path(shutil.copy(activity.path, tmp_path / "model.fp32.onnx")))


def test_every_variant_is_a_checked_file_with_its_size(graph: export.Graph, splits: Splits) -> None:
    recipe, folder = small.Activity(), graph.path.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(variants, "MOST_LOST", 1.0)
        found = variants.build(graph, recipe, splits)
    assert [(one.name, one.quantization) for one in found] == [
        ("fp32", None),
        ("int8", "static"),
        ("fp16", None),
    ]
    for one in found:
        export.check_file(folder / one.file, recipe)
        assert one.bytes == (folder / one.file).stat().st_size
        assert one.independent
    assert {path.name for path in folder.iterdir()} == {one.file for one in found}


def test_an_int8_that_loses_too_much_is_refused_and_its_file_removed(
    graph: export.Graph, splits: Splits, capsys: pytest.CaptureFixture
) -> None:
    real = variants.variant

    def worse(*arguments: object) -> object:
        found = real(*arguments)
        lost = 0.00501 if found.name == "int8" else 0.0
        return export.bundle.msgspec.structs.replace(found, accuracy=0.9 - lost)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(variants, "variant", worse)
        found = variants.build(graph, small.Activity(), splits)
    assert [one.name for one in found] == ["fp32", "fp16"]
    assert not (graph.path.parent / "model.int8.onnx").exists()
    said = capsys.readouterr().out
    assert "int8 static: accuracy 89.50% (-0.50 points)" in said
    assert "int8 dynamic" in said


def test_where_static_loses_too_much_dynamic_is_taken_and_says_so(
    graph: export.Graph, splits: Splits
) -> None:
    real = variants.variant

    def worse(*arguments: object) -> object:
        found = real(*arguments)
        lost = 0.02 if found.quantization == "static" else 0.0
        return export.bundle.msgspec.structs.replace(found, accuracy=0.9 - lost)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(variants, "variant", worse)
        found = variants.build(graph, small.Activity(), splits)
    assert found[1].quantization == "dynamic"


def test_calibration_reads_training_rows_up_to_its_limit() -> None:
    rows = activity_lstm.FixedWindows(small.Activity().windows(600))
    reader, seen = variants.Calibration(rows), 0
    while (batch := reader.get_next()) is not None:
        seen += len(batch["lengths"])
    assert seen == variants.CALIBRATION_ROWS
    assert reader.get_next() is None


def test_half_precision_keeps_float32_at_its_ends(graph: export.Graph) -> None:
    half = export.open_graph(variants.fp16(graph.path))
    assert half.session.get_inputs()[0].type == "tensor(float)"
    assert {output.type for output in half.session.get_outputs()} == {"tensor(float)"}
    inputs, _ = small.first(small.Activity().samples())
    given, expected = half.run(inputs), graph.run(inputs)
    assert export.distance(given["probabilities"], expected["probabilities"]) < 2e-3
    assert half.path.stat().st_size < graph.path.stat().st_size
