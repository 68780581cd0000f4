"""TensorRT is told every shape, and its engines lie where nobody else can put one."""

from pathlib import Path

import msgspec
import pytest

from models import bundle
from service.engine import placing, providers, tensorrt
from service.engine.config import Gpu, Options
from service.engine.layout import Layout
from service.errors import SettingsError

FACTS = {"gpu": "NVIDIA H200", "capability": "9.0", "tensorrt": "101600", "onnxruntime": "1.31.1"}


def layout_of(directory: Path, **fields: object) -> Layout:
    return Layout(msgspec.structs.replace(bundle.read(directory), **fields))


def test_profiles_span_every_bucket_and_every_number_of_rows(repository: Path):
    directory = repository / "toy-text" / "1"
    layout = layout_of(directory)
    kept, _ = bundle.read_samples(directory)
    assert tensorrt.profiles(layout, layout.buckets(kept), 64) == {
        "trt_profile_min_shapes": "input_ids:1x4,attention_mask:1x4",
        "trt_profile_opt_shapes": "input_ids:16x8,attention_mask:16x8",
        "trt_profile_max_shapes": "input_ids:64x16,attention_mask:64x16",
    }


def test_inputs_without_the_padded_axis_have_profiles_too(repository: Path):
    directory = repository / "toy-series" / "1"
    layout = layout_of(directory)
    kept, _ = bundle.read_samples(directory)
    told = tensorrt.profiles(layout, layout.buckets(kept), 8)
    assert told is not None
    assert told["trt_profile_max_shapes"] == "series:8x8x2,lengths:8"


def test_an_axis_without_bounds_is_not_for_tensorrt(repository: Path):
    directory = repository / "toy-text" / "1"
    manifest = bundle.read(directory)
    free = bundle.Tensor("extra", "float32", ("batch", "free"))
    layout = layout_of(directory, inputs=(*manifest.inputs, free))
    kept, _ = bundle.read_samples(directory)
    file = placing.File(directory / "model.fp32.onnx", "0" * 64, "fp32")
    with pytest.raises(providers.Misplaced, match="bounds for every axis"):
        placing.tensorrt_options(file, layout, kept, Options())


def test_an_engine_is_kept_for_one_file_gpu_and_version(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    directory = repository / "toy-text" / "1"
    layout = layout_of(directory)
    kept, _ = bundle.read_samples(directory)
    options = Options(gpu=Gpu(engines=str(tmp_path / "engines")))

    def place(sha256: str = "0" * 64, precision: str = "fp16", **facts: str) -> str:
        monkeypatch.setattr(tensorrt, "machine", lambda: FACTS | facts)
        file = placing.File(directory / "model.onnx", sha256, precision)
        told = placing.tensorrt_options(file, layout, kept, options)
        assert told["trt_fp16_enable"] == str(int(precision == "fp16"))
        assert told["trt_engine_cache_enable"] == "1"
        return told["trt_engine_cache_path"]

    first = place()
    assert place() == first
    others = [
        place(sha256="1" * 64),
        place(precision="fp32"),
        place(gpu="NVIDIA A100"),
        place(tensorrt="101700"),
    ]
    assert len({first, *others}) == 5


def test_engines_lie_in_a_directory_of_our_own(tmp_path: Path):
    folder = tensorrt.private(tmp_path / "state" / "tensorrt", "key")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folder.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("how", ["open", "elsewhere"])
def test_a_directory_that_others_can_enter_or_chose_is_refused(tmp_path: Path, how: str):
    root = tmp_path / "tensorrt"
    root.mkdir(mode=0o700)
    if how == "open":
        (root / "key").mkdir()
        (root / "key").chmod(0o755)
    else:
        (tmp_path / "theirs").mkdir(mode=0o700)
        (root / "key").symlink_to(tmp_path / "theirs")
    with pytest.raises(SettingsError, match=r"must be a directory that only this user can enter"):
        tensorrt.private(root, "key")
