"""What is committed under models/repository: whole, portable, as good as promised, and answering as its manifest says."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from models import bundle, evaluation, export, profile, tasks, train
from models.recipes import recipes

ROOT = train.REPOSITORY
BUNDLES = sorted(path.parent for path in ROOT.glob(f"*/*/{bundle.MANIFEST}"))
SHIPPED = [
    (directory, variant)
    for directory in BUNDLES
    for variant in bundle.read(directory).variants
    if not variant.absent
]
TARGETS = {
    ("fashion-cnn", "accuracy"): 0.930,
    ("activity-lstm", "accuracy"): 0.985,
    ("sentiment-transformer", "accuracy"): 0.820,
    ("sentiment-transformer", "accuracy_vader"): 0.845,
}
each_bundle = pytest.mark.parametrize("directory", BUNDLES, ids=lambda path: path.parent.name)
each_file = pytest.mark.parametrize(
    ("directory", "variant"),
    SHIPPED,
    ids=[f"{directory.parent.name}-{variant.name}" for directory, variant in SHIPPED],
)


def opened(directory: Path, variant: bundle.Variant) -> export.Graph:
    return export.open_graph(directory / variant.file, threads=1)


def alone(manifest: bundle.Manifest, inputs: dict, index: int) -> dict:
    """A row of the samples without its padding, as a caller would send it."""
    row = {name: array[index : index + 1] for name, array in inputs.items()}
    if manifest.padding is None:
        return row
    match manifest.task:
        case tasks.SeriesTask(lengths=lengths):
            real = int(row[lengths][0])
        case tasks.TextTask(mask=mask):
            real = int(row[mask].sum())
    return {n: a[:, :real] if n in manifest.padding.values else a for n, a in row.items()}


def longest(manifest: bundle.Manifest, inputs: dict) -> dict:
    """The samples padded up to the largest bucket."""
    if manifest.padding is None:
        return inputs
    padded = dict(inputs)
    for name, value in manifest.padding.values.items():
        more = manifest.padding.maximum - inputs[name].shape[1]
        width = [(0, 0), (0, more)] + [(0, 0)] * (inputs[name].ndim - 2)
        padded[name] = np.pad(inputs[name], width, constant_values=value)
    return padded


def test_every_recipe_has_a_committed_bundle() -> None:
    assert {directory.parent.name for directory in BUNDLES} == set(recipes())


@each_bundle
def test_a_bundle_is_whole_and_lists_every_file(directory: Path) -> None:
    manifest = bundle.read(directory)
    bundle.verify(directory, manifest)
    assert (manifest.name, str(manifest.version)) == (directory.parent.name, directory.name)
    present = {path.name for path in directory.iterdir()} - {bundle.MANIFEST}
    assert present == set(manifest.files)
    assert {"card.md", "training.png", "confusion.png", bundle.SAMPLES} <= present
    for variant in manifest.variants:
        assert variant.absent != (variant.file in present)


@each_bundle
def test_a_bundle_says_what_its_recipe_says(directory: Path) -> None:
    manifest, recipe = bundle.read(directory), recipes()[directory.parent.name]
    for field in ("task", "labels", "inputs", "padding", "description"):
        assert getattr(manifest, field) == getattr(recipe, field)
    assert manifest.outputs == export.outputs_of(recipe)


@each_file
def test_a_shipped_graph_passes_the_checker_and_the_file_gate(
    directory: Path, variant: bundle.Variant
) -> None:
    path = directory / variant.file
    assert path.stat().st_size == variant.bytes
    onnx.checker.check_model(str(path), full_check=True)
    export.check_file(path, recipes()[directory.parent.name])
    data = path.read_bytes()
    for trace in (b'.py"', b"/home/", b"/tmp/", b"site-packages", str(ROOT.parents[1]).encode()):
        assert trace not in data


@each_file
def test_a_shipped_graphs_declared_axes_are_symbolic(
    directory: Path, variant: bundle.Variant
) -> None:
    manifest, session = bundle.read(directory), opened(directory, variant).session
    for declared, found in (
        *zip(manifest.inputs, session.get_inputs(), strict=True),
        *zip(manifest.outputs, session.get_outputs(), strict=True),
    ):
        assert found.name == declared.name
        assert len(found.shape) == len(declared.shape)
        for axis, size in zip(declared.shape, found.shape, strict=True):
            assert isinstance(size, str) if isinstance(axis, str) else size == axis


@each_file
def test_a_row_alone_equals_the_row_padded_in_a_batch(
    directory: Path, variant: bundle.Variant
) -> None:
    manifest, graph = bundle.read(directory), opened(directory, variant)
    inputs, _ = bundle.read_samples(directory)
    together = graph.run(longest(manifest, inputs))["probabilities"]
    apart = max(
        export.distance(graph.run(alone(manifest, inputs, i))["probabilities"][0], row)
        for i, row in enumerate(together)
    )
    if variant.quantization == "dynamic":  # its scales come from the whole batch, and it says so
        assert not variant.independent
        assert apart > export.INDEPENDENT
    else:
        assert variant.independent
        assert apart <= export.INDEPENDENT


@each_file
def test_a_shipped_graph_reproduces_the_kept_probabilities(
    directory: Path, variant: bundle.Variant
) -> None:
    inputs, expected = bundle.read_samples(directory)
    probabilities = opened(directory, variant).run(inputs)["probabilities"]
    assert export.distance(probabilities, expected["probabilities"]) <= 2 * variant.parity + 1e-3


@each_bundle
def test_the_samples_are_16_rows_of_the_declared_tensors(directory: Path) -> None:
    manifest = bundle.read(directory)
    for tensors, arrays in zip(
        (manifest.inputs, manifest.outputs), bundle.read_samples(directory), strict=True
    ):
        assert {tensor.name for tensor in tensors} == set(arrays)
        for tensor in tensors:
            array = arrays[tensor.name]
            assert len(array) == 16
            assert array.dtype == tensor.dtype
            assert array.ndim == len(tensor.shape)
    _, outputs = bundle.read_samples(directory)
    np.testing.assert_allclose(outputs["probabilities"].sum(1), 1, atol=1e-5)


@each_bundle
def test_a_bundle_has_a_reference_that_fits_it(directory: Path) -> None:
    manifest = bundle.read(directory)
    found = profile.read(directory)
    assert found is not None
    assert (found.model, found.version) == (manifest.name, manifest.version)
    assert found.data_sha256 == manifest.training.data_sha256
    assert found.resamples >= 10_000
    assert found.sizes[:2] == (100, 200)
    panel = profile.panel(manifest, directory, found)
    assert panel.names == found.names
    values = panel.values(*bundle.read_samples(directory))
    assert values.shape == (16, len(found.names))
    assert np.isfinite(values).all()
    assert (directory / profile.FILE).stat().st_size < 150_000
    assert f"on {found.rows:,} rows: {found.source}" in (directory / "card.md").read_text()


@each_file
def test_a_reference_is_of_the_variants_own_answers_where_they_matter(
    directory: Path, variant: bundle.Variant
) -> None:
    found = profile.read(directory, variant.name)
    if variant.name == "int8" and found.sizes[-1] >= 500:
        assert found.variant == "int8"
    assert found.estimate.accuracy == pytest.approx(variant.accuracy, abs=0.02)


@each_bundle
def test_int8_loses_at_most_half_a_point(directory: Path) -> None:
    manifest = bundle.read(directory)
    lost = manifest.variant("fp32").accuracy - manifest.variant("int8").accuracy
    assert lost <= 0.005 + 1e-9


@each_bundle
def test_every_metrics_interval_is_wilsons_and_holds_its_value(directory: Path) -> None:
    manifest = bundle.read(directory)
    for metric in manifest.metrics.values():
        assert 0 <= metric.low <= metric.value <= metric.high <= 1
        expected = evaluation.share(round(metric.value * metric.n), metric.n)
        assert (metric.value, metric.low, metric.high) == pytest.approx(
            (expected.value, expected.low, expected.high)
        )
    assert manifest.variant("fp32").accuracy == pytest.approx(
        manifest.metrics["accuracy"].value, abs=1.5 / manifest.metrics["accuracy"].n
    )


@pytest.mark.parametrize(("name", "metric"), TARGETS)
def test_the_promised_accuracy_is_reached(name: str, metric: str) -> None:
    assert bundle.read(ROOT / name / "1").metrics[metric].value >= TARGETS[name, metric]


def test_the_repository_is_small_enough_to_clone() -> None:
    assert sum(path.stat().st_size for path in ROOT.rglob("*") if path.is_file()) <= 45_000_000


def test_no_pickle_is_committed() -> None:
    suffixes = {path.suffix for path in ROOT.rglob("*") if path.is_file()}
    assert suffixes <= {".onnx", ".json", ".npz", ".png", ".md", ".safetensors"}
