"""Which variant is served: by device and declared accuracy, unless one is pinned."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from models import bundle
from models.errors import BundleError
from models.variants import MOST_LOST
from service.engine import cores, variants


@pytest.fixture
def manifest(repository: Path) -> bundle.Manifest:
    """One with all three variants."""
    found = bundle.read(repository / "toy-image" / "1")
    others = [msgspec.structs.replace(found.variants[0], name=name) for name in ("int8", "fp16")]
    return msgspec.structs.replace(found, variants=(*found.variants, *others))


def change(manifest: bundle.Manifest, name: str, **fields: object) -> bundle.Manifest:
    changed = [
        msgspec.structs.replace(v, **fields) if v.name == name else v for v in manifest.variants
    ]
    return msgspec.structs.replace(manifest, variants=tuple(changed))


def names(found: tuple[list[bundle.Variant], list[str]]) -> list[str]:
    return [variant.name for variant in found[0]]


@pytest.mark.parametrize(
    ("provider", "vnni", "order"),
    [
        ("cpu", True, ["int8", "fp32", "fp16"]),
        ("cpu", False, ["fp32", "int8", "fp16"]),
        ("cuda", True, ["fp16", "fp32", "int8"]),
        ("tensorrt", False, ["fp16", "fp32", "int8"]),
    ],
)
def test_the_device_decides(
    manifest: bundle.Manifest,
    monkeypatch: pytest.MonkeyPatch,
    provider: str,
    vnni: bool,
    order: list[str],
):
    monkeypatch.setattr(cores, "has_vnni", lambda: vnni)
    assert names(variants.candidates(manifest, provider)) == order


def test_a_variant_that_declares_too_little_is_refused_with_both_figures(manifest: bundle.Manifest):
    weak = change(manifest, "fp16", accuracy=0.9)
    taken, refused = variants.candidates(weak, "cuda")
    assert [variant.name for variant in taken] == ["fp32", "int8"]
    assert refused == ["fp16: declares 0.9, the best 1"]
    assert names(variants.candidates(weak, "cuda", "fp16")) == ["fp16"]


def test_what_training_admits_is_served(manifest: bundle.Manifest):
    assert variants.MOST_LOST == MOST_LOST
    least = change(manifest, "fp16", accuracy=1.0 - MOST_LOST)
    assert names(variants.candidates(least, "cuda"))[0] == "fp16"


def test_an_absent_variant_is_passed_over_but_its_accuracy_counts(manifest: bundle.Manifest):
    absent = change(manifest, "fp32", absent=True)
    assert names(variants.candidates(absent, "cuda")) == ["fp16", "int8"]
    with pytest.raises(BundleError, match="'fp32' of toy-image/1 was not shipped"):
        variants.candidates(absent, "cuda", "fp32")


def test_the_manifests_pin_holds_unless_settings_name_another(manifest: bundle.Manifest):
    pinned = msgspec.structs.replace(manifest, pinned="int8")
    assert names(variants.candidates(pinned, "cuda")) == ["int8"]
    assert names(variants.candidates(pinned, "cuda", "fp32")) == ["fp32"]


def test_answers_may_differ_by_twice_the_parity_of_the_export(manifest: bundle.Manifest):
    expected = np.array([[0.5, 0.5]], np.float32)
    variant = msgspec.structs.replace(manifest.variants[0], parity=0.1)

    def complaint(answer: np.ndarray) -> str | None:
        return variants.disagreement("p", answer, expected, variant, variants.FLOOR)

    assert complaint(expected + np.float32(0.15)) is None
    assert complaint(expected + np.float32(0.25)) == (
        "'p' differs by 0.25 from the kept answers, the limit is 0.2"
    )
    assert "nan" in str(complaint(expected * np.float32("nan")))
    assert "shape [2, 2]" in str(complaint(np.zeros((2, 2), np.float32)))
