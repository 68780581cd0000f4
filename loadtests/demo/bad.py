"""A version that is bad in a way that happens: somebody sorted the labels after the training. It must not know who promotes it."""

import shutil
import tempfile
from pathlib import Path

import msgspec

from models import bundle
from models.registry import Registry


def publish(registry: Registry, model: str, version: int) -> int:
    """A copy of a version with its labels in another order, as the next version; its number."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / model / str(version)
        _, source = registry.resolve(model, version)
        shutil.copytree(source, directory)
        manifest = bundle.read(directory)
        labels = (*manifest.labels[1:], manifest.labels[0])
        bundle.write(directory, msgspec.structs.replace(manifest, labels=labels))
        return registry.publish(directory, who="the demonstration", why="labels in another order")
