"""Versions for tests of the life cycle: good ones, and some with one fault each."""

from pathlib import Path

import msgspec
import toys

from models import bundle
from models.registry import Registry

FAULTY_ENGINE = """
import os, sys
argv = sys.orig_argv
if "service.engine.worker" in argv and '"model":"{model}","version":{version},' in argv[3]:
    from service.engine import serving
    accept = serving.Engine._accept_request

    def fault(self, channel, message, tensors):
        {fault}
        accept(self, channel, message, tensors)

    serving.Engine._accept_request = fault
"""


def text(root: Path, version: int) -> Path:
    """A good version of toy-text."""
    return toys.text(root, version=version)


def swapped(root: Path, version: int) -> Path:
    """One that calls good bad: whole in itself, and at odds with every other."""
    directory = toys.text(root, version=version)
    manifest = bundle.read(directory)
    labels = tuple(reversed(manifest.labels))
    bundle.write(directory, msgspec.structs.replace(manifest, labels=labels))
    return directory


def corrupt(root: Path, version: int) -> Path:
    """One whose model is not what the manifest says."""
    directory = toys.text(root, version=version)
    (directory / "model.fp32.onnx").write_bytes(b"damaged")
    return directory


def faulty(directory: Path, version: int, fault: str, model: str = "toy-text") -> dict[str, str]:
    """The environment in which a version's engine does `fault` whenever it is asked something."""
    directory.mkdir(exist_ok=True)
    code = FAULTY_ENGINE.format(model=model, version=version, fault=fault)
    (directory / "sitecustomize.py").write_text(code)
    return {"PYTHONPATH": str(directory)}


def champion(repository: Path, state: Path, version: int, model: str = "toy-text") -> Registry:
    """The registry, after somebody has made `version` the champion."""
    registry = Registry([repository], state / "registry")
    registry.promote(model, version, who="a test")
    return registry
