"""Two manifests side by side. Pure; it must not know where they came from."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from models.bundle import Manifest, Metric, Tensor, Variant


class Line(NamedTuple):
    """What is compared, and what either side says; empty where it says nothing."""

    what: str
    first: str
    second: str


def differences(first: Manifest, second: Manifest) -> Iterator[Line]:
    """The lines of which the sides differ."""
    one, other = described(first), described(second)
    for what in dict.fromkeys([*one, *other]):
        line = Line(what, one.get(what, ""), other.get(what, ""))
        if line.first != line.second:
            yield line


def described(manifest: Manifest) -> Mapping[str, str]:
    """What of a manifest people compare, in words."""
    told = {
        "description": manifest.description,
        "task": str(type(manifest.task).__struct_config__.tag),
        "labels": ", ".join(manifest.labels),
    }
    told |= {f"metric {name}": of_metric(one) for name, one in sorted(manifest.metrics.items())}
    told |= {f"input {one.name}": of_tensor(one) for one in manifest.inputs}
    told |= {f"output {one.name}": of_tensor(one) for one in manifest.outputs}
    told |= {f"variant {one.name}": of_variant(one) for one in manifest.variants}
    if (padding := manifest.padding) is not None:
        told["buckets"] = f"{padding.axis}: {', '.join(map(str, padding.buckets))}"
    if (training := manifest.training) is not None:
        told["trained"] = f"{training.created_at}, {training.trigger}"
        told["data"] = training.data_sha256[:12]
        told |= {f"parameter {name}": str(one) for name, one in sorted(training.parameters.items())}
    return told


def of_metric(metric: Metric) -> str:
    """A share with its interval."""
    return f"{metric.value:.2%} ({100 * metric.low:.1f}-{100 * metric.high:.1f}, n {metric.n:,})"


def of_tensor(tensor: Tensor) -> str:
    """Type and shape."""
    shape = " x ".join(map(str, tensor.shape)) or "scalar"
    return f"{tensor.dtype} {shape}{' (optional)' if tensor.optional else ''}"


def of_variant(variant: Variant) -> str:
    """Size and accuracy."""
    shipped = ", not shipped" if variant.absent else ""
    return f"{variant.bytes / 1e6:.2f} MB, {variant.accuracy:.2%}{shipped}"
