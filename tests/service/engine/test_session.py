"""A loaded version: the right variant, the right answers, padding that changes nothing."""

import shutil
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest

from models import bundle
from models.errors import BundleError
from service.engine import providers, session
from service.engine.config import Options
from service.errors import EngineError, SettingsError


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


def test_lengths_are_filled_up_to_the_bucket(text: session.Session):
    assert [text.bucket(tokens(*range(1, n + 1))) for n in (1, 4, 5, 16)] == [4, 4, 8, 16]
    assert text.join([tokens(2, 2), tokens(3)])["input_ids"].tolist() == [
        [2, 2, 0, 0],
        [3, 0, 0, 0],
    ]
    assert text.lengths([tokens(2, 2), tokens(3)]) == (3, 8)


def test_models_without_padding_share_a_batch_by_shape(repository: Path):
    image = session.Session.load(repository / "toy-image" / "1", Options())
    assert image.bucket({"image": np.zeros((3, 1, 4, 4), np.float32)}) == ((1, 4, 4),)


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


def test_the_report_says_what_runs_where(text: session.Session):
    report = msgspec.to_builtins(text.report)
    assert report["variant"] == "fp32"
    assert report["device"]["provider"] == "cpu"
    assert report["device"]["nodes"] == {"cpu": 6}
    assert report["device"]["reason"]


@pytest.fixture
def copied(repository: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(repository / "toy-image" / "1", tmp_path / "toy-image" / "1"))


def test_a_damaged_file_is_refused(copied: Path):
    (copied / "model.fp32.onnx").write_bytes(b"garbage")
    with pytest.raises(BundleError, match="sha256"):
        session.Session.load(copied, Options())


def test_a_variant_that_disagrees_with_the_kept_rows_is_refused_and_the_next_one_taken(
    copied: Path, tmp_path: Path
):
    manifest = bundle.read(copied)
    model = onnx.load(copied / "model.fp32.onnx")
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.array([10, 0], np.float32), "bias"))
    onnx.save(model, copied / "model.int8.onnx")
    wrong = msgspec.structs.replace(manifest.variants[0], name="int8", file="model.int8.onnx")
    bundle.write(copied, msgspec.structs.replace(manifest, variants=(wrong,)))
    with pytest.raises(BundleError, match="differs by"):
        session.Session.load(copied, Options())
    bundle.write(copied, msgspec.structs.replace(manifest, variants=(wrong, *manifest.variants)))
    loaded = session.Session.load(copied, Options(provider="cpu"))
    assert loaded.report["variant"] == "fp32"
    assert bool(loaded.report["refused"]) == providers.has_vnni()


def test_answers_unlike_the_kept_ones_stop_the_load(copied: Path):
    inputs, expected = bundle.read_samples(copied)
    bundle.write_samples(
        copied, inputs, {**expected, "probabilities": expected["probabilities"][:, ::-1]}
    )
    bundle.write(copied, bundle.read(copied))
    with pytest.raises(BundleError, match=r"no variant of toy-image/1 can be served.*differs by"):
        session.Session.load(copied, Options())


def test_int8_comes_first_only_where_the_processor_has_vnni(
    copied: Path, monkeypatch: pytest.MonkeyPatch
):
    manifest = bundle.read(copied)
    others = [msgspec.structs.replace(manifest.variants[0], name=name) for name in ("int8", "fp16")]
    manifest = msgspec.structs.replace(manifest, variants=(*manifest.variants, *others))
    for vnni, best in ((True, "int8"), (False, "fp32")):
        monkeypatch.setattr(providers, "has_vnni", lambda vnni=vnni: vnni)
        assert session.candidates(manifest, "cpu", None)[0].name == best
    assert session.candidates(manifest, "cuda", None)[0].name == "fp16"


def test_a_pinned_variant_that_was_not_shipped_says_so(copied: Path):
    manifest = bundle.read(copied)
    absent = msgspec.structs.replace(manifest.variants[0], absent=True)
    with pytest.raises(BundleError, match="was not shipped"):
        session.candidates(msgspec.structs.replace(manifest, variants=(absent,)), "cpu", "fp32")


@pytest.mark.skipif(providers.why_no_cuda() is None, reason="this machine has CUDA")
def test_cuda_where_there_is_none_is_a_reason_or_in_strict_mode_an_error():
    provider, reason = providers.choose("cuda", strict=False)
    assert provider == "cpu"
    assert reason
    with pytest.raises(SettingsError, match="'cuda' was asked for, but"):
        providers.choose("cuda", strict=True)


def test_one_wheel_of_onnxruntime_is_installed():
    assert providers.clashing_wheels() is None
