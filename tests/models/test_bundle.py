"""A bundle's files: published whole or not at all, and never trusted before they were checked."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
import toys

from models import bundle
from models.errors import BundleError


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return toys.image(tmp_path)


def changed(directory: Path, **fields: object) -> None:
    """The manifest with other fields, as a careless hand would write it."""
    path = directory / bundle.MANIFEST
    path.write_bytes(msgspec.json.encode(msgspec.json.decode(path.read_bytes()) | fields))


def test_write_records_the_sha256_of_every_file_but_the_manifest(directory: Path) -> None:
    manifest = bundle.read(directory)
    expected = {p.name: bundle.sha256(p) for p in directory.iterdir() if p.name != bundle.MANIFEST}
    assert manifest.files == expected
    assert set(expected) == {"model.fp32.onnx", "samples.npz"}


def test_what_write_returns_is_what_read_gives(directory: Path) -> None:
    assert bundle.write(directory, bundle.read(directory)) == bundle.read(directory)


def test_the_manifest_is_the_last_thing_that_write_puts_down(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = bundle.read(directory)
    (directory / bundle.MANIFEST).unlink()
    seen: list[bool] = []

    def watching(path: Path) -> str:
        seen.append((directory / bundle.MANIFEST).exists())
        return "0" * 64

    monkeypatch.setattr(bundle, "sha256", watching)
    bundle.write(directory, manifest)
    assert seen == [False, False]
    assert (directory / bundle.MANIFEST).is_file()


def test_an_interrupted_write_publishes_nothing(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = bundle.read(directory)
    (directory / bundle.MANIFEST).unlink()

    def interrupted(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bundle.write(directory, manifest)
    with pytest.raises(BundleError, match="No such file"):
        bundle.read(directory)


def test_write_leaves_no_temporary_file(directory: Path) -> None:
    names = {path.name for path in directory.iterdir()}
    assert names == {"model.fp32.onnx", "samples.npz", "manifest.json"}


def test_verify_passes_on_what_was_written(directory: Path) -> None:
    bundle.verify(directory, bundle.read(directory))


def test_verify_names_the_missing_file(directory: Path) -> None:
    (directory / "samples.npz").unlink()
    with pytest.raises(BundleError, match=r"samples\.npz is missing"):
        bundle.verify(directory, bundle.read(directory))


def test_verify_names_the_damaged_file_and_both_hashes(directory: Path) -> None:
    manifest, path = bundle.read(directory), directory / "model.fp32.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match=r"model\.fp32\.onnx") as caught:
        bundle.verify(directory, manifest)
    assert bundle.sha256(path)[:12] in str(caught.value)
    assert manifest.files[path.name][:12] in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b'{"name": "a"}', b"\xff\xfe"])
def test_read_refuses_a_malformed_manifest_and_names_it(tmp_path: Path, data: bytes) -> None:
    (tmp_path / bundle.MANIFEST).write_bytes(data)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        bundle.read(tmp_path)


def test_read_refuses_unknown_fields(directory: Path) -> None:
    changed(directory, colour="green")
    with pytest.raises(BundleError, match="colour"):
        bundle.read(directory)


def test_read_refuses_another_format(directory: Path) -> None:
    changed(directory, format=2)
    with pytest.raises(BundleError, match="format"):
        bundle.read(directory)


@pytest.mark.parametrize("version", [0, -1, "1", 1.5])
def test_read_refuses_a_version_that_is_no_positive_whole_number(
    directory: Path, version: object
) -> None:
    changed(directory, version=version)
    with pytest.raises(BundleError, match="version"):
        bundle.read(directory)


@pytest.mark.parametrize("name", ["", "..", "../other", "a/b", ".hidden", "a" * 129, "a b"])
def test_read_refuses_a_name_that_is_no_folder_name(directory: Path, name: str) -> None:
    changed(directory, name=name)
    with pytest.raises(BundleError, match="name"):
        bundle.read(directory)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "folder/file", "."])
def test_read_refuses_a_listed_file_that_leaves_the_bundle(directory: Path, name: str) -> None:
    changed(directory, files={name: "0" * 64})
    with pytest.raises(BundleError, match="leaves the bundle"):
        bundle.read(directory)


def test_read_refuses_the_parent_folder_as_a_file(directory: Path) -> None:
    changed(directory, files={"..": "0" * 64})
    with pytest.raises(BundleError, match="leaves the bundle"):
        bundle.read(directory)


@pytest.mark.parametrize("name", ["../other/1/model.onnx", "/model.onnx"])
def test_read_refuses_a_variant_whose_file_leaves_the_bundle(directory: Path, name: str) -> None:
    variants = msgspec.to_builtins(bundle.read(directory).variants)
    variants[0]["file"] = name
    changed(directory, variants=variants)
    with pytest.raises(BundleError, match="leaves the bundle"):
        bundle.read(directory)


def test_read_refuses_a_tokenizer_outside_the_bundle(tmp_path: Path) -> None:
    directory = toys.text(tmp_path)
    task = msgspec.to_builtins(bundle.read(directory).task)
    changed(directory, task=task | {"tokenizer": "../../tokenizer.json"})
    with pytest.raises(BundleError, match="leaves the bundle"):
        bundle.read(directory)


def test_an_unknown_variant_is_refused_with_the_known_ones(directory: Path) -> None:
    manifest = bundle.read(directory)
    assert manifest.variant("fp32").file == "model.fp32.onnx"
    with pytest.raises(BundleError, match=r"no variant 'int4', only fp32"):
        manifest.variant("int4")


def test_outputs_are_found_by_their_role(directory: Path) -> None:
    manifest = bundle.read(directory)
    assert manifest.output("probabilities") == manifest.outputs[1]
    assert manifest.output("embedding") is None


def test_samples_come_back_as_they_were_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    inputs = {"series": rng.normal(size=(16, 5, 2)).astype(np.float32), "lengths": np.arange(16)}
    outputs = {"probabilities": rng.random((16, 3)).astype(np.float32)}
    bundle.write_samples(tmp_path, inputs, outputs)
    for before, after in zip((inputs, outputs), bundle.read_samples(tmp_path), strict=True):
        assert before.keys() == after.keys()
        for name, array in before.items():
            assert array.dtype == after[name].dtype
            np.testing.assert_array_equal(array, after[name])


def test_samples_are_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / bundle.SAMPLES, **{"input.x": np.array([{}], dtype=object)})
    with pytest.raises(ValueError, match="allow_pickle=False"):
        bundle.read_samples(tmp_path)
