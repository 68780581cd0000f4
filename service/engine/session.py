"""One bundle loaded into ONNX Runtime: picks a variant, proves it on kept rows, warms it, runs batches. It must not know sockets or queues.

load: choose provider -> for each variant that suits it: place it there -> self-test on samples.npz;  then warm_up
run([tensors of each request]) -> batch (layout) -> ONNX Runtime (binding) -> checks -> [outputs of each request]
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models import bundle, tasks
from models.errors import BundleError
from models.tasks import TensorTask
from service.engine import failures, graph, native, placing, providers, variants
from service.engine.binding import Runner
from service.engine.config import Options
from service.engine.latency import Bucket
from service.engine.layout import Layout, Tensors, layout
from service.errors import DeviceLost, EngineError, OutOfMemory

__all__ = ["Session", "Tensors"]


class Session:
    """A loaded and tested version. `run` may be called from several threads."""

    def __init__(
        self, file: placing.File, task: tasks.Task, layout: Layout, kept: Tensors, runner: Runner
    ) -> None:
        self.file = file
        self.report: dict[str, Any] = {}
        self._layout = layout
        self._kept = kept
        self._runner = runner
        # Of bare tensors nobody has said that NaN means nothing.
        self._numbers = not isinstance(task, TensorTask)

    @classmethod
    def load(cls, directory: Path, options: Options) -> "Session":
        """Load the best variant that agrees with the kept rows. Nothing but those rows has run on it then.

        Raises BundleError when a file is damaged or no variant agrees, SettingsError when the device is
        not there in strict mode.
        """
        return Loading(directory, options).session()

    @property
    def batched(self) -> bool:
        """Whether several requests may run together."""
        return self._layout.batched

    @property
    def counts_rows(self) -> bool:
        """Whether axis 0 of every tensor counts rows."""
        return self._layout.counts_rows

    def check(self, tensors: Tensors) -> None:
        """EngineError where a request that no front end has seen lacks an input, or has one of another name or type."""
        self._layout.check(tensors)

    def rows(self, tensors: Tensors) -> int:
        """How many rows a request brings to a batch."""
        return self._layout.rows(tensors)

    def bucket(self, tensors: Tensors) -> Bucket:
        """Requests of equal buckets may share a batch."""
        return self._layout.bucket(tensors)

    def buckets(self) -> tuple[Bucket, ...]:
        """Every bucket that the manifest declares, or the one of the kept rows where nothing is padded."""
        return self._layout.buckets(self._kept)

    def lengths(self, requests: Sequence[Tensors]) -> tuple[int, int]:
        """(elements that callers sent, elements after padding) along the padded axis; (0, 0) without one."""
        return self._layout.lengths(requests, self._runner.length(requests))

    def example(self, bucket: Bucket, rows: int) -> Tensors:
        """Held-out rows as a request of `rows` rows that fill the bucket."""
        return self._layout.example(self._kept, bucket, rows)

    def warm_up(self, caps: Mapping[Bucket, int]) -> None:
        """Run every bucket at every size that a batch may have, so that no caller pays for a first time.

        What does not fit into memory is left out: whoever forms batches makes them smaller. One row must fit.
        """
        for bucket, cap in caps.items():
            for rows in self._runner.sizes(cap):
                try:
                    self.run([self.example(bucket, rows)])
                except OutOfMemory:
                    if rows == 1:
                        raise
                    break
        self.report["cuda_graphs"] = self._runner.close()

    def run(
        self, requests: Sequence[Tensors], wanted: Sequence[str] | None = None
    ) -> list[Tensors]:
        """Run `requests` (tensors [rows, ...] of one bucket) as one batch; each one's outputs [rows, ...].

        `wanted`: the outputs that somebody asked for. Raises EngineError when the model fails or answers
        with another number of rows, OutOfMemory and DeviceLost among them.
        """
        names = wanted or self._layout.outputs
        rows = sum(map(self._layout.rows, requests))
        try:
            arrays = self._runner.run(requests, rows, names)
        except Exception as error:  # onnxruntime's classes derive from Exception itself
            raise failures.classify(error) from error
        outputs = dict(zip(names, arrays, strict=True))
        for name, array in outputs.items():
            if self._layout.batched and (array.ndim == 0 or len(array) != rows):
                raise EngineError(f"output '{name}' has shape {list(array.shape)} for {rows} rows")
            # A row of NaN may have spoilt its mates, where scales come from the whole batch: the engine runs them apart.
            matters = self._numbers or len(requests) > 1
            if matters and array.dtype.kind == "f" and holds_nan(array):
                raise EngineError(f"output '{name}' holds NaN")
        return self._layout.cut(requests, outputs)


class Loading:
    """The way from a directory to a session that may be served."""

    def __init__(self, directory: Path, options: Options) -> None:
        self._started = time.monotonic()
        self._directory = directory
        self._options = options
        self._manifest = bundle.read(directory)
        bundle.verify(directory, self._manifest)
        self._kept, self._expected = bundle.read_samples(directory)
        self._layout = layout(self._manifest)

    def session(self) -> Session:
        """The best variant on the best provider that really runs it."""
        return providers.on_best(self._options.provider, self._options.strict, self._on)

    def _on(self, provider: str, reason: str | None) -> Session:
        manifest, options = self._manifest, self._options
        found, refused = variants.candidates(manifest, provider, options.variant)
        for variant in found:
            file = placing.File(
                self._directory / variant.file, manifest.files[variant.file], variant.name
            )
            graph.vet(file.path, options.max_model_mb, native.domains())
            placed = placing.place(file, provider, self._layout, self._kept, options)
            session = Session(file, manifest.task, self._layout, self._kept, placed.runner)
            if complaint := self._self_test(session, variant, provider):
                refused.append(f"{variant.name}: {complaint}")
                continue
            session.report = {
                "variant": variant.name,
                "independent": variant.independent,
                "refused": refused,
                "together": {"allowed": True, "reason": "the manifest says so"},
                "device": device(placed, provider, reason, options),
                "instances": placed.instances,
                "load_seconds": round(time.monotonic() - self._started, 3),
            }
            return session
        raise BundleError(
            f"no variant of {manifest.name}/{manifest.version} can be served: {'; '.join(refused)}"
        )

    def _self_test(self, session: Session, variant: bundle.Variant, provider: str) -> str | None:
        """Why this variant cannot be trusted on this machine, or None: it answers the kept rows as expected."""
        output = self._manifest.output("probabilities") or self._manifest.outputs[0]
        try:
            (answer,) = session.run([self._kept])
        except DeviceLost:
            raise
        except EngineError as error:
            return str(error)
        rounds = native.rounds(provider, self._options)
        return variants.disagreement(
            output.name,
            answer[output.name],
            self._expected[output.name],
            variant,
            variants.TF32_FLOOR if rounds else variants.FLOOR,
        )


def device(
    placed: placing.Placed, provider: str, reason: str | None, options: Options
) -> dict[str, Any]:
    """What runs where, as a report tells it. `reason`: why the provider is not what could be hoped for."""
    return {
        "requested": options.provider,
        "provider": provider,
        "nodes": placed.nodes,
        "threads": options.threads,
        "reason": placed.reason or reason,
        "tf32": options.gpu.tf32 if provider != "cpu" else None,
        "graphs": placed.graphs,
    }


def holds_nan(array: np.ndarray) -> bool:
    """One pass and no second array: the minimum of numbers among which one is NaN is NaN."""
    if array.size == 0:
        return False
    least = np.minimum.reduce(array, axis=None)
    return bool(least != least)  # nothing else differs from itself, and asking numpy costs more
