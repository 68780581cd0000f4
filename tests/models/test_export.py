"""The gates that an exported graph passes, each broken once by a network or a file made for it."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import small
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from models import export
from models.errors import BundleError


@pytest.fixture(autouse=True)
def small_transformer(monkeypatch: pytest.MonkeyPatch) -> None:
    small.shrink(monkeypatch)


def network_of(recipe: object) -> nn.Module:
    torch.manual_seed(0)
    return recipe.network(recipe.hyper).eval()


class Careless(nn.Module):
    """Means over all steps, the padding as well."""

    def __init__(self) -> None:
        super().__init__()
        self.classify = nn.Linear(6, 7)

    def forward(self, series: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        embedding = series.mean(1) * (1 + 0 * lengths[:, None])
        return 9 * self.classify(embedding), embedding


@pytest.mark.parametrize("make", [small.Fashion, small.Sentiment])
def test_every_recipes_network_passes_the_gates_untrained(make: type, tmp_path: Path) -> None:
    recipe = make()
    graph = export.export(network_of(recipe), recipe, tmp_path / "model.fp32.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model.fp32.onnx"]
    for declared, found in zip(recipe.inputs, graph.session.get_inputs(), strict=True):
        assert (declared.name, list(declared.shape)) == (found.name, found.shape)
    for declared, found in zip(export.outputs_of(recipe), graph.session.get_outputs(), strict=True):
        assert (declared.name, list(declared.shape)) == (found.name, found.shape)


def test_the_lstms_graph_has_the_declared_axes(activity: export.Graph) -> None:
    assert [one.shape for one in activity.session.get_inputs()] == [["batch", "time", 6], ["batch"]]
    assert [one.shape for one in activity.session.get_outputs()] == [
        ["batch", 7],
        ["batch", 7],
        ["batch", 8],
    ]


def test_an_lstm_exported_again_in_one_process_keeps_its_time_axis(
    activity: export.Graph, tmp_path: Path
) -> None:
    recipe = small.Activity()
    again = export.export(network_of(recipe), recipe, tmp_path / "model.fp32.onnx")
    assert again.session.get_inputs()[0].shape == ["batch", "time", 6]
    for time in (100, 173, 300):
        series = np.ones((2, time, 6), dtype=np.float32)
        given = {"series": series, "lengths": np.full(2, time, dtype=np.int32)}
        np.testing.assert_allclose(
            again.run(given)["probabilities"], activity.run(given)["probabilities"], atol=1e-6
        )


def test_a_network_whose_answer_depends_on_padding_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    with pytest.raises(BundleError, match="a row alone differs from the row in a batch by") as said:
        export.export(Careless().eval(), small.Activity(), tmp_path / "model.fp32.onnx")
    assert "the limit is 1e-05" in str(said.value)


def test_a_graph_that_answers_otherwise_than_torch_is_refused(activity: export.Graph) -> None:
    recipe = small.Activity()
    other = network_of(recipe)
    with torch.no_grad():
        other.classify.bias[0] += 1
    with pytest.raises(BundleError, match=r"differs from torch's by .*, the limit is 0\.0002"):
        export.check_parity(activity, other, recipe)


def test_a_graph_that_answers_nan_is_refused(activity: export.Graph) -> None:
    recipe = small.Activity()
    other = network_of(recipe)
    with torch.no_grad():
        other.classify.bias[0] = torch.nan
    with pytest.raises(BundleError, match="differs from torch's by nan"):
        export.check_parity(activity, other, recipe)


def altered(graph: export.Graph, path: Path, change: object) -> Path:
    model = onnx.load(graph.path)
    change(model)
    onnx.save(model, path)
    return path


def test_the_file_gate_passes_what_was_exported(activity: export.Graph) -> None:
    export.check_file(activity.path, small.Activity())


@pytest.mark.parametrize(("place", "value"), [(0, 3), (1, 250)])
def test_a_frozen_axis_is_refused_with_both_shapes(tmp_path: Path, place: int, value: int) -> None:
    shape = ["batch", "time", 6]
    shape[place] = value
    file = with_inputs(tmp_path / "model.onnx", "series", shape)
    with pytest.raises(
        BundleError, match=r"input 'series' is .*declared is .'batch', 'time', 6."
    ) as e:
        export.check_file(file, small.Activity())
    assert str(value) in str(e.value)


def test_an_input_of_another_name_is_refused(tmp_path: Path) -> None:
    file = with_inputs(tmp_path / "model.onnx", "x", ["batch", "time", 6])
    with pytest.raises(BundleError, match="input 'x'"):
        export.check_file(file, small.Activity())


def with_inputs(path: Path, name: str, shape: list) -> Path:
    """A graph that passes its inputs on."""
    given = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape),
        helper.make_tensor_value_info("lengths", TensorProto.INT32, ["batch"]),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)]
    graph = helper.make_graph([helper.make_node("Relu", [name], ["y"])], "g", given, outputs)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path
    )
    return path


@pytest.mark.parametrize(
    "trace", ['File "/somewhere/net.py", line 3', "lib/site-packages/torch", f"{Path.home()}/x"]
)
def test_a_file_with_a_path_of_its_machine_is_refused(
    activity: export.Graph, tmp_path: Path, trace: str
) -> None:
    def note(model: onnx.ModelProto) -> None:
        model.graph.node[0].doc_string = trace

    path = altered(activity, tmp_path / "model.onnx", note)
    with pytest.raises(BundleError, match="a trace of this machine"):
        export.check_file(path, small.Activity())


def test_strip_takes_the_machine_out_of_a_file(activity: export.Graph, tmp_path: Path) -> None:
    def note(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            node.doc_string = 'File "/somewhere/net.py", line 3'
            node.metadata_props.add(key="pkg.torch.onnx.stack_trace", value="site-packages")
        export.strip(model)

    export.check_file(altered(activity, tmp_path / "model.onnx", note), small.Activity())


def test_weights_beside_the_file_are_refused(activity: export.Graph, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(
        onnx.load(activity.path),
        path,
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=64,
    )
    with pytest.raises(BundleError, match="weights lie outside the file"):
        export.check_file(path, small.Activity())


def test_a_file_that_the_checker_rejects_is_refused(activity: export.Graph, tmp_path: Path) -> None:
    def unknown(model: onnx.ModelProto) -> None:
        model.graph.node[0].op_type = "NoSuchOperator"

    path = altered(activity, tmp_path / "model.onnx", unknown)
    with pytest.raises(onnx.checker.ValidationError, match="NoSuchOperator"):
        export.check_file(path, small.Activity())


def test_a_row_alone_has_no_padding() -> None:
    recipe = small.Activity()
    batch, _ = small.first(recipe.samples())
    for index, length in enumerate(batch["lengths"]):
        row = export.alone(batch, index, recipe)
        assert row["series"].shape == (1, length, 6)
        np.testing.assert_array_equal(row["series"][0], batch["series"][index, :length])


def test_a_text_row_alone_has_no_padding() -> None:
    recipe = small.Sentiment()
    batch, _ = small.first(recipe.samples())
    for index, mask in enumerate(batch["attention_mask"]):
        row = export.alone(batch, index, recipe)
        assert row["input_ids"].shape == (1, mask.sum())
        assert row["attention_mask"].all()


def test_answers_cover_every_row(activity: export.Graph) -> None:
    rows = small.activity_lstm.FixedWindows(small.Activity().windows(70))
    probabilities, labels = export.answers(activity, rows)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    np.testing.assert_array_equal(labels, rows.windows.labels)


def test_a_variant_is_measured_against_its_reference(activity: export.Graph) -> None:
    recipe = small.Activity()
    rows = small.activity_lstm.FixedWindows(recipe.windows(40))
    found = export.variant(activity, "fp32", activity, recipe, rows)
    probabilities, labels = export.answers(activity, rows)
    assert found.accuracy == round(float((probabilities.argmax(1) == labels).mean()), 6)
    assert (found.parity, found.independent) == (0.0, True)
    assert found.bytes == activity.path.stat().st_size
