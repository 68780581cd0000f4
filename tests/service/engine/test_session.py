"""A loaded version: the right variant, the right answers, padding that changes nothing."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import oddities
import onnx
import pytest

from models import bundle
from models.errors import BundleError
from service.engine import cores, native, placing, providers, session
from service.engine.config import Options
from service.engine.latency import Bucket
from service.errors import DeviceLost, EngineError, OutOfMemory, SettingsError


@pytest.fixture(scope="module")
def text(repository: Path) -> session.Session:
    return session.Session.load(repository / "toy-text" / "1", Options())


@pytest.fixture(scope="module")
def series(repository: Path) -> session.Session:
    return session.Session.load(repository / "toy-series" / "1", Options())


def tokens(*ids: int) -> dict[str, np.ndarray]:
    row = np.array([ids], dtype=np.int64)
    return {"input_ids": row, "attention_mask": np.ones_like(row)}


def test_a_row_alone_equals_the_row_padded_in_a_batch(text: session.Session):
    requests = [tokens(2, 2), tokens(3), tokens(2, 3, 3, 1)]
    together = text.run(requests)
    for request, answer in zip(requests, together, strict=True):
        (alone,) = text.run([request])
        np.testing.assert_array_equal(alone["probabilities"], answer["probabilities"])


def test_buckets_are_those_of_the_manifest_or_the_shape_of_the_kept_rows(
    text: session.Session, repository: Path
):
    assert text.buckets() == (Bucket(4), Bucket(8), Bucket(16))
    image = session.Session.load(repository / "toy-image" / "1", Options())
    assert image.buckets() == (Bucket(1, ((1, 4, 4),)),)
    assert image.bucket({"image": np.zeros((3, 1, 4, 4), np.float32)}) == image.buckets()[0]


def test_an_example_fills_its_bucket_and_runs(text: session.Session, series: session.Session):
    for loaded in (text, series):
        for bucket in loaded.buckets():
            example = loaded.example(bucket, 20)
            assert loaded.bucket(example) == bucket
            (answer,) = loaded.run([example])
            assert len(answer["probabilities"]) == 20
    assert series.example(Bucket(4), 2)["lengths"].tolist() == [4, 4]


def test_warming_up_runs_every_bucket_alone_and_full(
    series: session.Session, monkeypatch: pytest.MonkeyPatch
):
    ran = []
    monkeypatch.setattr(series, "run", lambda requests: ran.append(len(requests[0]["series"])))
    series.warm_up({Bucket(4): 6, Bucket(8): 1})
    assert ran == [1, 6, 1]
    assert series.report["cuda_graphs"] == 0


def test_sizes_beyond_the_memory_are_not_warmed_but_one_row_must_fit(
    series: session.Session, monkeypatch: pytest.MonkeyPatch
):
    most = 4

    def run(requests: list[dict[str, np.ndarray]]) -> None:
        if len(requests[0]["series"]) > most:
            raise OutOfMemory("too many")

    monkeypatch.setattr(series, "run", run)
    series.warm_up({Bucket(8): 8})
    most = 0
    with pytest.raises(OutOfMemory):
        series.warm_up({Bucket(8): 8})


def test_only_wanted_outputs_are_answered(repository: Path):
    image = session.Session.load(repository / "toy-image" / "1", Options())
    request = {"image": np.ones((2, 1, 4, 4), np.float32)}
    (everything,) = image.run([request])
    (wanted,) = image.run([request], ["logits"])
    assert (everything.keys(), wanted.keys()) == ({"logits", "probabilities"}, {"logits"})
    np.testing.assert_array_equal(wanted["logits"], everything["logits"])


def test_threads_share_a_session(series: session.Session):
    requests = [
        {"series": np.full((1, 4, 2), n, np.float32), "lengths": np.array([4], np.int32)}
        for n in range(40)
    ]
    alone = [series.run([request])[0]["probabilities"] for request in requests]
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda request: series.run([request]), requests))
    for (answer,), expected in zip(answers, alone, strict=True):
        np.testing.assert_array_equal(answer["probabilities"], expected)


def test_each_request_gets_its_own_rows(series: session.Session):
    def request(value: float, rows: int) -> dict[str, np.ndarray]:
        return {
            "series": np.full((rows, 4, 2), value, np.float32),
            "lengths": np.full(rows, 4, np.int32),
        }

    up, down = series.run([request(1.0, 2), request(-1.0, 3)])
    assert up["probabilities"].argmax(1).tolist() == [0, 0]
    assert down["probabilities"].argmax(1).tolist() == [1, 1, 1]


def test_a_failing_run_is_an_engine_error_in_one_line(text: session.Session):
    with pytest.raises(EngineError, match="the model failed") as failure:
        text.run([tokens(999)])
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("what", ["another file", "too large"])
def test_a_bundles_files_are_looked_through_like_anybodys(
    repository: Path, tmp_path: Path, what: str
):
    directory = shutil.copytree(repository / "toy-image" / "1", tmp_path / "toy-image" / "1")
    file = directory / "model.fp32.onnx"
    if what == "another file":
        file.write_bytes(oddities.external("weights.bin").SerializeToString())
    else:
        file.write_bytes(file.read_bytes() + bytes(2 << 20))
    bundle.write(directory, bundle.read(directory))
    says = {"another file": "'w' lies in another file", "too large": "has 2 MB, the limit is 1"}
    with pytest.raises(BundleError, match=rf"^model\.fp32\.onnx.* {says[what]}"):
        session.Session.load(directory, Options(provider="cpu", max_model_mb=1))


def test_the_report_says_what_runs_where(text: session.Session):
    report = msgspec.to_builtins(text.report)
    assert report["variant"] == "fp32"
    assert report["device"]["provider"] == "cpu"
    assert report["device"]["nodes"] == {"cpu": 6}
    assert report["device"]["reason"]


class Failing:
    """A runner that raises, or answers, what it was told."""

    def __init__(self, outcome: Exception | list[np.ndarray]) -> None:
        self.outcome = outcome

    def run(self, *_: object) -> list[np.ndarray]:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.mark.parametrize(
    ("outcome", "kind", "says"),
    [
        (RuntimeError("CUDA failure 700: an illegal memory access"), DeviceLost, "failure 700"),
        (RuntimeError("CUDA failure 2: out of memory"), OutOfMemory, "did not fit"),
        ([np.zeros((3, 2), np.float32)], EngineError, r"has shape \[3, 2\] for 1 rows"),
        ([np.float32(1)], EngineError, r"has shape \[\] for 1 rows"),
        ([np.array([[1, np.nan]], np.float32)], EngineError, "holds NaN"),
    ],
)
def test_what_went_wrong_in_a_run_has_its_class(
    text: session.Session,
    monkeypatch: pytest.MonkeyPatch,
    outcome: Exception | list[np.ndarray],
    kind: type[EngineError],
    says: str,
):
    monkeypatch.setattr(text, "_runner", Failing(outcome))
    with pytest.raises(kind, match=says) as failure:
        text.run([tokens(2)])
    assert type(failure.value) is kind


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_nan_is_found_anywhere_and_infinity_is_not_nan(dtype: type):
    array = np.zeros((5, 33), dtype)
    array[0, 0], array[4, 32] = np.inf, -np.inf
    assert not session.holds_nan(array)
    assert not session.holds_nan(array[:0])
    for place in ((0, 1), (2, 16), (4, 31)):
        spoilt = array.copy()
        spoilt[place] = np.nan
        assert session.holds_nan(spoilt)


@pytest.fixture
def copied(repository: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(repository / "toy-image" / "1", tmp_path / "toy-image" / "1"))


def test_a_damaged_file_is_refused(copied: Path):
    (copied / "model.fp32.onnx").write_bytes(b"garbage")
    with pytest.raises(BundleError, match="sha256"):
        session.Session.load(copied, Options())


def add_wrong_int8(directory: Path) -> bundle.Manifest:
    """A real int8 file beside the fp32 one that answers otherwise; the manifest names it first."""
    manifest = bundle.read(directory)
    model = onnx.load(directory / "model.fp32.onnx")
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.array([10, 0], np.float32), "bias"))
    onnx.save(model, directory / "model.int8.onnx")
    wrong = msgspec.structs.replace(manifest.variants[0], name="int8", file="model.int8.onnx")
    both = msgspec.structs.replace(manifest, variants=(wrong, *manifest.variants))
    return bundle.write(directory, both)


def test_a_variant_that_disagrees_with_the_kept_rows_is_refused_and_the_next_one_taken(
    copied: Path, monkeypatch: pytest.MonkeyPatch
):
    add_wrong_int8(copied)
    monkeypatch.setattr(cores, "has_vnni", lambda: True)
    loaded = session.Session.load(copied, Options(provider="cpu"))
    assert loaded.report["variant"] == "fp32"
    (refused,) = loaded.report["refused"]
    assert refused.startswith("int8: 'probabilities' differs by")


@pytest.mark.parametrize("by", ["settings", "manifest"])
def test_a_pinned_variant_that_disagrees_has_no_successor(copied: Path, by: str):
    manifest = add_wrong_int8(copied)
    if by == "manifest":
        bundle.write(copied, msgspec.structs.replace(manifest, pinned="int8"))
    options = Options(variant="int8" if by == "settings" else None)
    with pytest.raises(BundleError, match=r"toy-image/1 can be served: int8: .* differs by"):
        session.Session.load(copied, options)


def test_settings_win_over_the_manifests_pin(copied: Path):
    manifest = add_wrong_int8(copied)
    bundle.write(copied, msgspec.structs.replace(manifest, pinned="int8"))
    assert session.Session.load(copied, Options(variant="fp32")).report["variant"] == "fp32"


def test_answers_unlike_the_kept_ones_stop_the_load(copied: Path):
    inputs, expected = bundle.read_samples(copied)
    bundle.write_samples(
        copied, inputs, {**expected, "probabilities": expected["probabilities"][:, ::-1]}
    )
    bundle.write(copied, bundle.read(copied))
    with pytest.raises(BundleError, match=r"no variant of toy-image/1 can be served.*differs by"):
        session.Session.load(copied, Options())


@pytest.fixture
def has_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose libraries all answer, while ONNX Runtime puts nothing on the device."""
    monkeypatch.setattr(providers, "why_no_cuda", lambda: None)
    monkeypatch.setattr(providers, "why_no_tensorrt", lambda: None)
    monkeypatch.setattr(placing, "tensorrt_options", lambda *_: {})
    real = native.build

    def build(path: Path, provider: str, *others: object, **more: object) -> object:
        if provider != "cpu":
            raise providers.Misplaced(f"ONNX Runtime put no node of {path.name} on {provider}")
        return real(path, provider, *others, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(native, "build", build)


@pytest.mark.usefixtures("has_device")
@pytest.mark.parametrize("asked", ["auto", "cuda", "tensorrt"])
def test_a_device_that_onnx_runtime_passes_over_leaves_the_cpu_and_a_reason(
    repository: Path, asked: str
):
    loaded = session.Session.load(repository / "toy-text" / "1", Options(provider=asked))
    device = loaded.report["device"]
    assert (device["requested"], device["provider"]) == (asked, "cpu")
    assert device["reason"] == "ONNX Runtime put no node of model.fp32.onnx on cuda"


@pytest.mark.usefixtures("has_device")
@pytest.mark.parametrize("asked", ["cuda", "tensorrt"])
def test_in_strict_mode_it_stops_the_load(repository: Path, asked: str):
    with pytest.raises(SettingsError, match=f"'{asked}' was asked for, but ONNX Runtime put no"):
        session.Session.load(repository / "toy-text" / "1", Options(provider=asked, strict=True))
