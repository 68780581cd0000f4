"""A variant's file on a provider: sessions and buffers to run it with, and what became of it there. It must not know variants or callers."""

from pathlib import Path
from typing import NamedTuple

import onnxruntime as ort

from service.engine import native, providers, tensorrt
from service.engine.binding import Bench, Pool, Runner, Shared
from service.engine.config import Options
from service.engine.latency import Bucket
from service.engine.layout import Layout, Tensors

DEVICE = "cuda"
"""Where memory for inputs and outputs lies, for TensorRT, too."""


class File(NamedTuple):
    """An ONNX file, and what its engines are kept under."""

    path: Path
    sha256: str
    precision: str


class Placed(NamedTuple):
    """What runs where. `reason`: what computes on the CPU beside a device; `graphs`: why no runs are captured as CUDA graphs."""

    runner: Runner
    nodes: dict[str, int]
    instances: int
    reason: str | None = None
    graphs: str | None = None


def place(
    file: File,
    provider: str,
    layout: Layout,
    kept: Tensors,
    options: Options,
    first: ort.InferenceSession | None = None,
) -> Placed:
    """Build what runs `file` on `provider`, around its `first` session there where that is built already.

    Raises Misplaced when it does not run there, BundleError when it is no model.
    """
    if provider == "cpu":
        session = first or native.build(file.path, provider, options)
        nodes = providers.count_nodes(session)
        return Placed(Shared(session, layout), nodes, options.instances)
    return place_on_device(file, provider, layout, kept, options, first)


def place_on_device(
    file: File,
    provider: str,
    layout: Layout,
    kept: Tensors,
    options: Options,
    first: ort.InferenceSession | None,
) -> Placed:
    """One session with buffers of its own for each instance: runs of one CUDA session share a stream."""
    told = tensorrt_options(file, layout, kept, options) if provider == "tensorrt" else None
    first = first or native.build(file.path, provider, options, told)
    stray = providers.strays(first)
    if stray is not None and options.strict and options.provider != "auto":
        raise providers.Misplaced(stray)
    no_graphs = native.why_no_graphs(first, options) if provider == "cuda" else "TensorRT runs it"
    if no_graphs is None:
        try:
            first = native.build(file.path, provider, options, graphs=True)
        except providers.Misplaced as error:  # ONNX Runtime has rules of its own
            no_graphs = str(error)
    more = [
        native.build(file.path, provider, options, told) for _ in range(1, options.gpu.instances)
    ]

    def example(bucket: Bucket, rows: int) -> Tensors:
        return layout.example(kept, bucket, rows)

    benches = [
        Bench(session, layout, DEVICE, example, no_graphs is None) for session in (first, *more)
    ]
    nodes = providers.count_nodes(first)
    return Placed(Pool(benches), nodes, options.gpu.instances, stray, no_graphs)


def tensorrt_options(file: File, layout: Layout, kept: Tensors, options: Options) -> dict[str, str]:
    """What TensorRT is to build for, and where it keeps what it built."""
    profile = tensorrt.profiles(layout, layout.buckets(kept), options.gpu.most_rows)
    if profile is None:
        raise providers.Misplaced(
            "TensorRT needs bounds for every axis, and the manifest has some without"
        )
    told = tensorrt.precision(file.precision) | profile
    if options.gpu.engines is not None:
        facts = {**tensorrt.machine(), "onnxruntime": ort.__version__, "model": file.sha256, **told}
        told |= tensorrt.cache(tensorrt.private(Path(options.gpu.engines), tensorrt.key(facts)))
    return told
