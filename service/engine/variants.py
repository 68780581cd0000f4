"""Which variant of a model is served here: by device and declared accuracy, then by its answers to the kept rows. It must not know ONNX Runtime."""

import numpy as np

from models import bundle
from models.errors import BundleError
from service.engine import cores

MOST_LOST = 0.005
"""A variant whose declared accuracy is further below the best is served only where it is pinned; `models.variants` admits no other."""
SLACK = 2.0
"""Kept rows may differ from their expected probabilities by this many times the parity measured at export."""
FLOOR = 1e-3
"""... and by this much in any case: other processors round differently."""
TF32_FLOOR = 1e-2
"""... or by this much where matrix products keep ten bits of the mantissa."""

FASTEST_FIRST = {
    "device": ("fp16", "fp32", "int8"),
    "vnni": ("int8", "fp32", "fp16"),
    "cpu": ("fp32", "int8", "fp16"),
}


def candidates(
    manifest: bundle.Manifest, provider: str, pinned: str | None = None
) -> tuple[list[bundle.Variant], list[str]]:
    """(shipped variants, best first; what was refused and why). `pinned`, or the manifest's own pin, leaves only that one."""
    if name := pinned or manifest.pinned:
        variant = manifest.variant(name)
        if variant.absent:
            raise BundleError(
                f"variant '{name}' of {manifest.name}/{manifest.version} was not shipped; `make models` builds it"
            )
        return [variant], []
    kind = "device" if provider != "cpu" else "vnni" if cores.has_vnni() else "cpu"
    best = max(variant.accuracy for variant in manifest.variants)
    taken, refused = [], []
    for variant in sorted(manifest.variants, key=lambda v: FASTEST_FIRST[kind].index(v.name)):
        if variant.absent:
            continue
        if round(best - variant.accuracy, 9) > MOST_LOST:
            refused.append(f"{variant.name}: declares {variant.accuracy:.4g}, the best {best:.4g}")
        else:
            taken.append(variant)
    return taken, refused


def disagreement(
    name: str, answer: np.ndarray, expected: np.ndarray, variant: bundle.Variant, floor: float
) -> str | None:
    """Why the kept rows' output `name` cannot be trusted, or None."""
    if answer.shape != expected.shape:
        return f"'{name}' has shape {list(answer.shape)}, the kept answers {list(expected.shape)}"
    difference = float(np.abs(answer - expected).max())
    limit = max(floor, SLACK * variant.parity)
    if not difference <= limit:  # NaN fails too
        return (
            f"'{name}' differs by {difference:.2g} from the kept answers, the limit is {limit:.2g}"
        )
    return None
