"""The panel: every signal of a model, computed in the same way for the reference and for live traffic.

    inputs, outputs {tensor name: [rows, ...]} -> Panel.values -> float32 [rows, signals]

Inputs are taken as the model takes them: before normalisation, which lies in the graph.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from models.bundle import Manifest, Tensor
from models.profile.answers import AnswerSignals, EmbeddingSignals, Projection
from models.profile.images import ImageSignals
from models.profile.series import SeriesSignals
from models.profile.tensors import TensorSignals
from models.profile.texts import TextSignals
from models.tasks import ImageTask, SeriesTask, TextTask

Kind = Literal["input", "output", "embedding"]
Arrays = dict[str, np.ndarray]


class Signals(Protocol):
    """What some signals are called, and how they come from the tensors: float32 [rows, signals]."""

    names: tuple[str, ...]

    def values(self, arrays: Arrays, rows: int, /) -> np.ndarray: ...


class Panel:
    """All signals of one model version. `wanted` keeps those, in that order; without it, all there are."""

    def __init__(
        self,
        manifest: Manifest,
        directory: Path,
        projection: Projection | None,
        wanted: Sequence[str] | None = None,
    ) -> None:
        self._inputs = input_signals(manifest, directory)
        answers, embedding = AnswerSignals(manifest), EmbeddingSignals(manifest, projection)
        unknown = (
            () if answers.names else tuple(t for t in manifest.outputs if t.role != "embedding")
        )
        tensors = TensorSignals(unknown)
        self._outputs: tuple[Signals, ...] = (answers, tensors, embedding)
        kinds: dict[str, Kind] = dict.fromkeys(self._inputs.names, "input")
        kinds |= dict.fromkeys((*answers.names, *tensors.names), "output")
        kinds |= dict.fromkeys(embedding.names, "embedding")
        self.names: tuple[str, ...] = tuple(kinds if wanted is None else wanted)
        self.kinds: tuple[Kind, ...] = tuple(kinds[name] for name in self.names)
        places = {name: place for place, name in enumerate(kinds)}
        self._places = [places[name] for name in self.names]

    def values(self, inputs: Arrays, outputs: Arrays) -> np.ndarray:
        """float32 [rows, signals]; what an output that is missing would have told is NaN."""
        rows = len(next(iter(inputs.values())))
        # A caller may send infinities: what comes of them is NaN or an infinity, and has its bin.
        with np.errstate(all="ignore"):
            parts = [self._inputs.values(inputs, rows)]
            parts += [part.values(outputs, rows) for part in self._outputs if part.names]
            return np.concatenate(parts, axis=1)[:, self._places]


def input_signals(manifest: Manifest, directory: Path) -> Signals:
    """The signals of the task's modality; of a task that is not known, those of any tensor."""
    match manifest.task:
        case ImageTask():
            return ImageSignals(manifest.task)
        case SeriesTask():
            return SeriesSignals(manifest.task)
        case TextTask():
            return TextSignals(manifest.task, directory / manifest.task.tokenizer)
    declared: tuple[Tensor, ...] = manifest.inputs
    return TensorSignals(declared)
