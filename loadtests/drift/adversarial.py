"""Pictures changed against the CNN: one step along the sign of the loss's gradient (FGSM, Goodfellow et al. 2015), by torch from the bundle's weights."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from models import bundle
from models.recipes.fashion_cnn import FashionCnn

EPSILON = 0.1
BATCH = 250


def changed(directory: Path, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Pictures float32 [rows, 1, height, width], 0..1, each changed by at most EPSILON a pixel."""
    return np.concatenate(list(steps(network(directory), images, labels)))


def network(directory: Path) -> nn.Module:
    """The bundle's network as it was trained."""
    recipe = FashionCnn()
    training = bundle.read(directory).training
    assert training is not None
    made = recipe.network(msgspec.convert(training.parameters, type(recipe.hyper)))
    made.load_state_dict(load_file(directory / "weights.safetensors"))
    return made.eval()


def steps(made: nn.Module, images: np.ndarray, labels: np.ndarray) -> Iterator[np.ndarray]:
    """Batch after batch."""
    for start in range(0, len(images), BATCH):
        pictures = torch.from_numpy(images[start : start + BATCH]).requires_grad_()
        logits, _ = made(pictures)
        loss = nn.functional.cross_entropy(logits, torch.from_numpy(labels[start : start + BATCH]))
        (gradient,) = torch.autograd.grad(loss, pictures)
        moved: np.ndarray = (pictures + EPSILON * gradient.sign()).clamp(0, 1).detach().numpy()
        yield moved
