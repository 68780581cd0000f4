"""A model that computes almost nothing, in a bundle that speaks as the CNN's: what is left of a request is the service.

the CNN's manifest -> a graph with its inputs and outputs -> the repository -> Subject with the CNN's rows

A name as long as the CNN's makes a binary answer as long as the CNN's, which is the constant of the stand-ins. It must not know
who serves it.
"""

import datetime
import math
import shutil
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from loadtests.compare import rows
from loadtests.compare.files import ModelFile
from loadtests.compare.measure import Subject
from loadtests.overhead.found import TRIVIAL
from models import bundle
from models.bundle import Manifest, Precision, Tensor

VERSION = 1
VARIANT: Precision = "fp32"
SEED = 7
SPREAD = 0.1
"""Of the weights: answers to pictures differ by far more than a check allows, so that one for another is noticed."""
OPSET, IR_VERSION = 20, 10


def subject(cnn: Subject, repository: Path) -> Subject:
    """The trivial model, published anew in `repository`, with the rows and requests of the CNN and its own answers to them."""
    directory = publish(cnn.file.path.parent, repository)
    path = directory / bundle.read(directory).variant(VARIANT).file
    file = ModelFile(TRIVIAL, VARIANT, repository, path, True)
    return cnn._replace(file=file, expected=rows.answers(path, cnn.rows))


def publish(source: Path, repository: Path) -> Path:
    """Write the trivial model for the bundle in `source`, in the place of an earlier one; its directory."""
    manifest = bundle.read(source)
    kept, _ = bundle.read_samples(source)
    directory = repository / TRIVIAL / str(VERSION)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    path = directory / manifest.variant(VARIANT).file
    onnx.save(graph(manifest), path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [tensor.name for tensor in manifest.outputs]
    bundle.write_samples(directory, kept, dict(zip(names, session.run(names, kept), strict=True)))
    bundle.write(directory, renamed(manifest, path))
    return directory


def renamed(manifest: Manifest, path: Path) -> Manifest:
    """The same task, labels, inputs and outputs with one variant, of which nobody claims that it is right."""
    variant = bundle.Variant(VARIANT, path.name, path.stat().st_size, 0.0, 0.0, True)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return msgspec.structs.replace(
        manifest,
        name=TRIVIAL,
        version=VERSION,
        description="Takes and gives what the CNN does and computes almost nothing.",
        variants=(variant,),
        metrics={},
        training=bundle.Training("0" * 64, {}, SEED, 0.0, "cpu", now),
    )


def graph(manifest: Manifest) -> onnx.ModelProto:
    """Four nodes: Flatten, a MatMul to the logits, their Softmax, and a MatMul from the logits to the embedding."""
    (given,) = manifest.inputs
    outputs = {tensor.role: tensor for tensor in manifest.outputs}
    logits, probabilities, embedding = (
        outputs[role] for role in ("logits", "probabilities", "embedding")
    )
    nodes = [
        helper.make_node("Flatten", [given.name], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "weights"], [logits.name]),
        helper.make_node("Softmax", [logits.name], [probabilities.name], axis=-1),
        helper.make_node("MatMul", [logits.name, "widening"], [embedding.name]),
    ]
    rng = np.random.default_rng(SEED)
    constants = [
        numpy_helper.from_array(
            (SPREAD * rng.standard_normal((width(source), width(target)))).astype(np.float32), name
        )
        for name, source, target in (("weights", given, logits), ("widening", logits, embedding))
    ]
    made = helper.make_graph(
        nodes, TRIVIAL, [declared(given)], list(map(declared, manifest.outputs)), constants
    )
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(made, opset_imports=opsets, ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return model


def width(tensor: Tensor) -> int:
    """How many numbers a row has."""
    return math.prod(int(axis) for axis in tensor.shape[1:])


def declared(tensor: Tensor) -> onnx.ValueInfoProto:
    """A tensor as a graph declares it."""
    dtype = helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
    return helper.make_tensor_value_info(tensor.name, dtype, tensor.shape)
