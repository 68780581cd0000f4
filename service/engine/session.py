"""One bundle loaded into ONNX Runtime: picks a variant, proves it on kept rows, warms it, runs batches. It must not know sockets or queues.

choose provider -> for each variant that suits it: build session -> self-test on samples.npz -> warm up
run([tensors of each request]) -> pad and join -> session.run -> cut -> [outputs of each request]
"""

import time
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from models import bundle
from models.errors import BundleError
from service.engine import providers
from service.engine.config import Options
from service.errors import EngineError

Tensors = dict[str, np.ndarray]

SELF_TEST_SLACK = 2.0
"""Kept rows may differ from their expected probabilities by this many times the parity measured at export."""
SELF_TEST_FLOOR = 1e-3
"""... and by this much in any case: other processors round differently."""


class Session:
    """A loaded, tested and warm version. `run` may be called from several threads."""

    def __init__(
        self, manifest: bundle.Manifest, session: ort.InferenceSession, report: dict[str, Any]
    ) -> None:
        self.manifest = manifest
        self.report = report
        self._session = session
        self._names = [tensor.name for tensor in manifest.outputs]

    @classmethod
    def load(cls, directory: Path, options: Options) -> "Session":
        """Load the best variant that agrees with the kept rows.

        Raises BundleError when a file is damaged or no variant agrees, SettingsError when the device is
        not there in strict mode.
        """
        started = time.monotonic()
        manifest = bundle.read(directory)
        bundle.verify(directory, manifest)
        provider, reason = providers.choose(options.provider, options.strict)
        refused: list[str] = []
        for variant in candidates(manifest, provider, options.variant):
            native = build(directory / variant.file, provider, options.threads)
            session = cls(manifest, native, {})
            if complaint := session.self_test(directory, variant):
                refused.append(f"{variant.name}: {complaint}")
                continue
            session.warm_up(directory, options.max_batch_rows)
            session.report = {
                "variant": variant.name,
                "independent": variant.independent,
                "refused": refused,
                "device": providers.DeviceReport(
                    options.provider,
                    provider,
                    providers.count_nodes(native),
                    options.threads,
                    reason,
                ),
                "instances": options.instances,
                "max_batch_rows": options.max_batch_rows,
                "load_seconds": round(time.monotonic() - started, 3),
            }
            return session
        raise BundleError(
            f"no variant of {manifest.name}/{manifest.version} can be served: {'; '.join(refused)}"
        )

    def bucket(self, tensors: Tensors) -> Hashable:
        """Requests of equal buckets may share a batch: the padded length, or else the exact shapes."""
        if self.manifest.padding is None:
            return tuple(array.shape[1:] for array in tensors.values())
        return self._padded_length(tensors)

    def run(self, requests: Sequence[Tensors]) -> list[Tensors]:
        """Run `requests` (tensors [rows, ...] of one bucket) as one batch; each one's outputs [rows, ...].

        Raises EngineError when the model fails or answers with another number of rows.
        """
        rows = [len(next(iter(request.values()))) for request in requests]
        batch = self.join(requests)
        try:
            outputs = self._session.run(self._names, batch)
        except Exception as error:  # onnxruntime's classes derive from Exception itself
            raise EngineError(f"the model failed: {str(error).splitlines()[0][:300]}") from error
        for name, array in zip(self._names, outputs, strict=True):
            if array.ndim == 0 or len(array) != sum(rows):
                raise EngineError(
                    f"output '{name}' has shape {list(array.shape)} for {sum(rows)} rows"
                )
            # A row of NaN may have spoilt its mates, where scales come from the whole batch: the engine runs them apart.
            if array.dtype.kind == "f" and np.isnan(array).any():
                raise EngineError(f"output '{name}' holds NaN")
        return self._cut(requests, rows, outputs)

    def join(self, requests: Sequence[Tensors]) -> Tensors:
        """The requests' rows as one batch, padded to their bucket where the manifest declares padding."""
        padding = self.manifest.padding
        batch: Tensors = {}
        for tensor in self.manifest.inputs:
            arrays = [request[tensor.name] for request in requests]
            if padding is not None and tensor.name in padding.values:
                axis = tensor.shape.index(padding.axis)
                length = self._padded_length(requests[0])
                batch[tensor.name] = pad(arrays, axis, length, padding.values[tensor.name])
            else:
                # A copy of even a single request: ONNX Runtime wants aligned memory, a frame's body is not.
                batch[tensor.name] = np.concatenate(arrays)
        return batch

    def lengths(self, requests: Sequence[Tensors]) -> tuple[int, int]:
        """(elements that callers sent, elements after padding) along the padded axis; (0, 0) without one."""
        if self.manifest.padding is None:
            return 0, 0
        rows = [len(next(iter(request.values()))) for request in requests]
        real = sum(
            self._length(request) * count for request, count in zip(requests, rows, strict=True)
        )
        return real, self._padded_length(requests[0]) * sum(rows)

    def self_test(self, directory: Path, variant: bundle.Variant) -> str | None:
        """Why this variant cannot be trusted on this machine, or None: it answers the kept rows as expected."""
        inputs, expected = bundle.read_samples(directory)
        output = self.manifest.output("probabilities") or self.manifest.outputs[0]
        try:
            (answer,) = self.run([inputs])
        except EngineError as error:
            return str(error)
        difference = float(np.abs(answer[output.name] - expected[output.name]).max())
        limit = max(SELF_TEST_FLOOR, SELF_TEST_SLACK * variant.parity)
        if not difference <= limit:  # NaN fails too
            return f"'{output.name}' differs by {difference:.2g} from the kept answers, the limit is {limit:.2g}"
        return None

    def warm_up(self, directory: Path, max_batch_rows: int) -> None:
        """Run every bucket alone and as a full batch, so that no caller pays for a first time."""
        inputs, _ = bundle.read_samples(directory)
        sizes = sorted({1, min(max_batch_rows, len(next(iter(inputs.values()))))})
        padding = self.manifest.padding
        for bucket in padding.buckets if padding else (0,):
            for size in sizes:
                self.run(
                    [
                        {
                            name: self._resize(name, array[:size], bucket)
                            for name, array in inputs.items()
                        }
                    ]
                )

    def _resize(self, name: str, array: np.ndarray, length: int) -> np.ndarray:
        """Repeat `array` along its padded axis to exactly `length`."""
        padding = self.manifest.padding
        if padding is None or name not in padding.values:
            return array
        tensor = next(tensor for tensor in self.manifest.inputs if tensor.name == name)
        axis = tensor.shape.index(padding.axis)
        resized: np.ndarray = array.take(np.arange(length) % array.shape[axis], axis=axis)
        return resized

    def _length(self, tensors: Tensors) -> int:
        padding = self.manifest.padding
        if padding is None:
            return 0
        tensor = next(tensor for tensor in self.manifest.inputs if tensor.name in padding.values)
        return int(tensors[tensor.name].shape[tensor.shape.index(padding.axis)])

    def _padded_length(self, tensors: Tensors) -> int:
        padding = self.manifest.padding
        buckets = padding.buckets if padding else ()
        length = self._length(tensors)
        return next((size for size in buckets if size >= length), length)

    def _cut(
        self, requests: Sequence[Tensors], rows: Sequence[int], outputs: Sequence[np.ndarray]
    ) -> list[Tensors]:
        padding = self.manifest.padding
        answers: list[Tensors] = []
        start = 0
        for request, count in zip(requests, rows, strict=True):
            answer: Tensors = {}
            for tensor, array in zip(self.manifest.outputs, outputs, strict=True):
                own = array[start : start + count]
                if padding is not None and padding.axis in tensor.shape:
                    axis = tensor.shape.index(padding.axis)
                    own = np.take(own, np.arange(self._length(request)), axis=axis)
                answer[tensor.name] = own
            answers.append(answer)
            start += count
        return answers


def candidates(
    manifest: bundle.Manifest, provider: str, pinned: str | None
) -> list[bundle.Variant]:
    """The shipped variants, best first: int8 on a CPU that has VNNI, fp16 on CUDA, fp32 otherwise."""
    if pinned is not None:
        variant = manifest.variant(pinned)
        if variant.absent:
            raise BundleError(
                f"variant '{pinned}' of {manifest.name}/{manifest.version} was not shipped; `make models` builds it"
            )
        return [variant]
    if provider == "cuda":
        order = ["fp16", "fp32", "int8"]
    elif providers.has_vnni():
        order = ["int8", "fp32", "fp16"]
    else:
        order = ["fp32", "int8", "fp16"]
    return sorted((v for v in manifest.variants if not v.absent), key=lambda v: order.index(v.name))


def build(path: Path, provider: str, threads: int) -> ort.InferenceSession:
    """An ONNX Runtime session that reports where its nodes run. Raises BundleError when the file is no model."""
    ort.set_default_logger_severity(
        4
    )  # what matters is in the report; the C++ lines repeat it without a model's name
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Spinning buys 2 ms at best and burns a core while requests trickle.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        # Without enable_fallback=0 a failed run would rebuild the session on the CPU, unseen.
        return ort.InferenceSession(
            str(path), options, providers=providers.provider_list(provider), enable_fallback=0
        )
    except Exception as error:
        raise BundleError(
            f"{path.name} cannot be loaded: {str(error).splitlines()[0][:300]}"
        ) from error


def pad(arrays: Sequence[np.ndarray], axis: int, length: int, value: float) -> np.ndarray:
    """Join `arrays` [rows, ...] along the rows, each filled up to `length` along `axis` with `value`."""
    shape = list(arrays[0].shape)
    shape[0] = sum(len(array) for array in arrays)
    shape[axis] = length
    joined = np.full(shape, value, dtype=arrays[0].dtype)
    start = 0
    for array in arrays:
        where = [slice(None)] * joined.ndim
        where[0] = slice(start, start + len(array))
        where[axis] = slice(array.shape[axis])
        joined[tuple(where)] = array
        start += len(array)
    return joined
