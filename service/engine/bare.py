"""A version without a manifest, loaded: one ONNX file, of which nothing is known but what it says and how it answers.

    examine the file -> build it -> see whether rows may run together -> a manifest that says so -> Session

A Triton configuration, where there is one, chooses the file and narrows what the graph declares (`arranged`).

What is decided, and why, is in the report: front ends build their signature from the manifest there. It must not know sockets or queues.
"""

import time
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime as ort

from models import bundle
from models.bundle import Manifest, Tensor
from models.errors import BundleError
from models.triton import TritonConfig
from service.engine import arranged, failures, graph, native, placing, providers
from service.engine.batchable import Found, Search, TooSlow
from service.engine.binding import Runner
from service.engine.config import Options
from service.engine.layout import Tensors, layout
from service.engine.session import Session, device
from service.errors import SettingsError

VARIANT = "bare"


def load(directory: Path, options: Options) -> Session:
    """The session of the bare version in `directory`. Generated rows may have run on it.

    Raises BundleError when the file cannot be served, SettingsError when the device is not there in strict mode or a variant is pinned.
    """
    if options.variant is not None:
        raise SettingsError(
            f"variant '{options.variant}' was asked for, but {directory.parent.name}/{directory.name} is one bare file"
        )
    return Loading(directory, options).session()


class Loading:
    """The way from one file to a session that may be served."""

    def __init__(self, directory: Path, options: Options) -> None:
        self._started = time.monotonic()
        self._options = options
        self._config = options.triton or TritonConfig()
        path = directory / self._config.file
        if not path.is_file():
            raise BundleError(f"{directory} holds neither {bundle.MANIFEST} nor {path.name}")
        self._graph = graph.examine(path, options.max_model_mb, native.domains())
        self._declared = declared = arranged.narrowed(self._graph, self._config)
        self._manifest = bundle.bare(path, declared.inputs, declared.outputs)
        self._file = placing.File(path, self._manifest.files[path.name], VARIANT)
        self._model = directory.parent

    def session(self) -> Session:
        """On the best provider that really runs it."""
        return providers.on_best(self._options.provider, self._options.strict, self._on)

    def _on(self, provider: str, reason: str | None) -> Session:
        if provider == "tensorrt":
            raise providers.Misplaced(
                "TensorRT needs bounds for every axis, and a bare file has none"
            )
        options = self._options
        first = native.build(self._file.path, provider, options)
        found = self._search(first, provider)
        inside = concluded(self._manifest, found)
        placed = placing.place(self._file, provider, layout(inside), found.kept, options, first)
        manifest, kept, runner = self._seen_from_outside(inside, found, placed.runner)
        session = Session(self._file, manifest.task, layout(manifest), kept, runner)
        session.report = {
            "variant": VARIANT,
            "independent": found.batched,
            "refused": [],
            "notes": notes(self._manifest, found) + arranged.notes(self._graph, self._config),
            "together": {"allowed": found.batched, "reason": found.reason},
            "manifest": msgspec.to_builtins(manifest),
            "device": device(placed, provider, reason, options),
            "instances": placed.instances,
            "load_seconds": round(time.monotonic() - self._started, 3),
        }
        return session

    def _seen_from_outside(
        self, inside: Manifest, found: Found, runner: Runner
    ) -> tuple[Manifest, Tensors, Runner]:
        """What callers see, rows that they might send, and what runs those."""
        arranged.check_answers(self._graph, self._declared, self._config, found.answers)
        rows = arranged.most_rows(self._graph, self._config)
        manifest = arranged.outside(inside, self._config, rows, self._model)
        outward = arranged.Reshape(manifest, inside.inputs, manifest.inputs)
        if outward or arranged.Reshape(manifest, inside.outputs, manifest.outputs):
            runner = arranged.Reshaped(runner, inside, manifest)
        return manifest, outward(found.kept), runner

    def _search(self, session: ort.InferenceSession, provider: str) -> Found:
        def run(tensors: Tensors, seconds: float) -> Tensors:
            try:
                return native.run_for(session, tensors, seconds)
            except TimeoutError as error:
                raise TooSlow(str(error)) from error
            except Exception as error:
                raise failures.classify(error) from error

        apart = "max_batch_size is 0" if self._config.max_batch_rows == 0 else None
        tf32 = native.rounds(provider, self._options)
        return Search(self._declared, run, tf32, apart).result()


def concluded(manifest: Manifest, found: Found) -> Manifest:
    """What the graph declares, with what its answers have shown."""
    inputs = manifest.inputs
    if found.batched:
        # A batch has one value of each; callers who bring their own would need a batch of theirs.
        inputs = tuple(by_rows(one) for one in inputs if not one.optional)
    outputs = tuple(observed(one, found.answers) for one in manifest.outputs)
    if found.batched:
        outputs = tuple(map(by_rows, outputs))
    return msgspec.structs.replace(manifest, inputs=inputs, outputs=outputs, batched=found.batched)


def by_rows(tensor: Tensor) -> Tensor:
    """The tensor with its first axis named as rows."""
    return msgspec.structs.replace(tensor, shape=(bundle.ROWS, *tensor.shape[1:]))


def observed(tensor: Tensor, answers: Tensors) -> Tensor:
    """An output as it is declared, unless it was seen to be otherwise: then nothing but its number of axes is believed."""
    if tensor.name not in answers or agrees(tensor, answers[tensor.name]):
        return tensor
    free = (bundle.UNNAMED,) * answers[tensor.name].ndim
    return msgspec.structs.replace(tensor, shape=free)


def agrees(tensor: Tensor, answer: np.ndarray) -> bool:
    """Whether an answer has the shape that is declared."""
    if tensor.shape == bundle.ANY_RANK or len(tensor.shape) != answer.ndim:
        return False
    pairs = zip(tensor.shape, answer.shape, strict=True)
    return all(isinstance(axis, str) or axis == count for axis, count in pairs)


def notes(manifest: Manifest, found: Found) -> list[str]:
    """What whoever brought the file should know."""
    told = [
        f"output '{one.name}' is declared {list(one.shape)}, it answered {list(found.answers[one.name].shape)}"
        for one in manifest.outputs
        if one.name in found.answers
        and one.shape != bundle.ANY_RANK
        and not agrees(one, found.answers[one.name])
    ]
    optional = [one.name for one in manifest.inputs if one.optional]
    if optional and found.batched:
        told.append(
            f"{len(optional)} inputs have values of their own, which callers cannot replace because rows run together: "
            f"{', '.join(optional[:8])}{', ...' if len(optional) > 8 else ''}"
        )
    return told
