"""One model version as files: what a bundle declares, and how it is read, verified and written.

It must not know how a model was trained or how it is served; both sides meet here.

    <model>/<version>/
        manifest.json        everything below, written last: a directory without one is no version
        model.fp32.onnx ...  one file per variant
        weights.safetensors  what a later fine-tuning starts from
        samples.npz          held-out rows with expected outputs, for warm-up and self-test
        profile.json         what held-out rows look like, for drift; profile.int8.json where that variant's answers differ
        tokenizer.json       text models only
        card.md, *.png       for people
        model.sig            where somebody vouches for all of the above; the manifest cannot list what signs it

A directory that holds BARE (or what a config.pbtxt names instead) and no manifest is a version, too: the engine reads the rest from the graph.
"""

import hashlib
import os
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np

from models.errors import BundleError
from models.tasks import Task, TensorTask, TextTask

MANIFEST = "manifest.json"
SAMPLES = "samples.npz"
BARE = "model.onnx"
"""The file of a version that has no manifest."""
SIGNATURE = "model.sig"

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$(?!\n)"  # a bare $ would let one line feed in
Name = Annotated[str, msgspec.Meta(pattern=NAME)]
Version = Annotated[int, msgspec.Meta(ge=1, le=10**9 - 1)]
Role = Literal["logits", "probabilities", "embedding"]
Precision = Literal["fp32", "fp16", "int8"]


class Tensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input or output of the graph. A string in `shape` is a symbolic axis; axis 0 is the batch.

    `dtype` is numpy's name ("float32", "int64", "object" for strings). `optional`: an input that has a value of its own.
    `labels`: the names of an output's classes, where they are not the model's.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    role: Role | None = None
    optional: bool = False
    labels: tuple[str, ...] = ()


ANY_RANK = ("...",)
"""The shape of a tensor whose number of axes nobody has declared."""
UNNAMED = "?"
"""A symbolic axis that nobody has named."""
ROWS = "batch"
"""The name of axis 0 in a bare version that takes rows."""


class Padding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How rows of different lengths share a batch: pad `axis` of the named inputs up to a bucket.

    `values` maps each input that has the axis to its pad value. What tells the model which part is
    real (a mask, or lengths) is an input like any other, so padding never changes an answer.
    """

    axis: str
    values: dict[str, float]
    buckets: tuple[int, ...]
    minimum: int = 1

    @property
    def maximum(self) -> int:
        """The longest row that the model takes."""
        return self.buckets[-1]


class Variant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One precision of the model. `absent` where it was built and measured but not shipped.

    `accuracy` is on the whole held-out split, `parity` the largest absolute difference of a
    probability from the fp32 graph on `samples.npz`'s source rows.
    `independent`: a row's answer does not depend on its batch mates.
    """

    name: Precision
    file: str
    bytes: int
    accuracy: float
    parity: float
    independent: bool
    absent: bool = False
    quantization: Literal["static", "dynamic"] | None = None


class Metric(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A share of correct answers over `n` rows, with its 95 % Wilson interval."""

    value: float
    n: int
    low: float
    high: float


class Rows(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows that were met while serving: their file's sha256, how many, and when the first and last of them were met."""

    sha256: str
    count: Annotated[int, msgspec.Meta(ge=1)]
    since: str
    until: str


class Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a version comes from: enough to repeat the run, and to trace a later one back. `data_sha256` is of the recipe's own data, beside `traffic`."""

    data_sha256: str
    parameters: dict[str, int | float | str | bool]
    seed: int
    duration_s: float
    device: str
    created_at: str
    code_revision: str | None = None
    parent: int | None = None
    trigger: str = "person"
    reason: str = ""
    evidence: dict[str, int | float | str | bool] = {}
    traffic: Rows | None = None
    base_share: float | None = None


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a bundle says of itself. `files` maps each file present (but this one and the signature) to its sha256."""

    name: Name
    version: Version
    description: str
    task: Task
    labels: tuple[str, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    variants: tuple[Variant, ...]
    metrics: dict[str, Metric]
    training: Training | None
    """None where nobody has told."""
    files: dict[str, str]
    padding: Padding | None = None
    pinned: Precision | None = None
    """The only variant to serve, whatever the device; settings may name another."""
    batched: bool = True
    """Axis 0 of every tensor counts rows, and rows of several requests may run together. Otherwise each request runs alone, as it is."""
    most_rows: int | None = None
    """The most rows in a request, where somebody has said so: then axis 0 of every tensor counts rows, `batched` or not."""
    priorities: tuple[int, int] | None = None
    """How many levels of priority callers may name, and the one of requests that name none. Not told: 1 to 3, and 2."""
    format: Literal[1] = 1

    @property
    def counts_rows(self) -> bool:
        """Whether axis 0 of every tensor counts rows."""
        return self.batched or self.most_rows is not None

    def variant(self, name: str) -> Variant:
        """The variant called `name`; BundleError names the ones there are."""
        for variant in self.variants:
            if variant.name == name:
                return variant
        known = ", ".join(v.name for v in self.variants)
        raise BundleError(f"{self.name}/{self.version} has no variant '{name}', only {known}")

    def output(self, role: Role) -> Tensor | None:
        """The output that plays `role`, if the model has one."""
        return next((tensor for tensor in self.outputs if tensor.role == role), None)


def read(directory: Path) -> Manifest:
    """The manifest of the bundle in `directory`; BundleError when it is missing or malformed."""
    path = directory / MANIFEST
    try:
        return decoded(path.read_bytes(), str(path))
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror or error}") from error


def decoded(data: bytes, where: str) -> Manifest:
    """The manifest in `data`; BundleError names `where` when it is malformed."""
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleError(f"{where}: {error}") from error
    named = [*manifest.files, *(variant.file for variant in manifest.variants)]
    if isinstance(manifest.task, TextTask):
        named.append(manifest.task.tokenizer)
    for name in named:
        if name in (".", "..") or Path(name).name != name:
            raise BundleError(f"{where}: the file name '{name}' leaves the bundle")
    return manifest


def is_bare(directory: Path) -> bool:
    """Whether the version in `directory` has no manifest: it is one ONNX file, of which nothing is declared."""
    return not (directory / MANIFEST).exists()


def bare(file: Path, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> Manifest:
    """What can be said of a version that is this one `file`, given what its graph takes and gives. BundleError where its names cannot be."""
    directory = file.parent
    manifest = Manifest(
        name=directory.parent.name,
        version=int(directory.name),
        description="",
        task=TensorTask(),
        labels=(),
        inputs=inputs,
        outputs=outputs,
        variants=(),
        metrics={},
        training=None,
        files={file.name: sha256(file)},
    )
    return from_builtins(msgspec.to_builtins(manifest))


def from_builtins(told: object) -> Manifest:
    """A manifest that came as plain data, checked as one that is read. BundleError where it cannot be one."""
    try:
        return msgspec.convert(told, Manifest)
    except msgspec.ValidationError as error:
        raise BundleError(f"no manifest: {error}") from error


def verify(directory: Path, manifest: Manifest) -> None:
    """Raise BundleError unless `directory` is <name>/<version>, and every file is there with its sha256."""
    place = (directory.parent.name, directory.name)
    if place != (manifest.name, str(manifest.version)):
        raise BundleError(f"{directory} holds {manifest.name}/{manifest.version}")
    verify_files(directory, manifest)


def verify_files(directory: Path, manifest: Manifest) -> None:
    """Raise BundleError unless every file of the manifest is in `directory`, whatever that is called, with its sha256."""
    needed = {v.file for v in manifest.variants if not v.absent} | {SAMPLES}
    if missing := sorted(needed - manifest.files.keys()):
        raise BundleError(f"{directory}: {MANIFEST} gives no sha256 of {', '.join(missing)}")
    for name, expected in manifest.files.items():
        path = directory / name
        if not path.is_file():
            raise BundleError(f"{path} is missing, though {MANIFEST} lists it")
        if (found := sha256(path)) != expected:
            raise BundleError(
                f"{path} has sha256 {found[:12]}..., {MANIFEST} says {expected[:12]}..."
            )


def write(directory: Path, manifest: Manifest) -> Manifest:
    """Publish the files in `directory`: record each one's sha256 and put the manifest down last.

    The rename makes the version visible whole or not at all. Returns the manifest as written.
    """
    beside = (MANIFEST, SIGNATURE)
    present = sorted(p for p in directory.iterdir() if p.is_file() and p.name not in beside)
    complete = msgspec.structs.replace(manifest, files={p.name: sha256(p) for p in present})
    temporary = directory / f".{MANIFEST}.{os.getpid()}"
    temporary.write_bytes(encoded(complete))
    temporary.rename(directory / MANIFEST)
    return complete


def encoded(manifest: Manifest) -> bytes:
    """The manifest as its file holds it."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def write_samples(
    directory: Path, inputs: dict[str, np.ndarray], outputs: dict[str, np.ndarray]
) -> None:
    """Keep held-out rows with the fp32 graph's answers; all arrays share their first axis."""
    arrays = {f"input.{name}": array for name, array in inputs.items()}
    arrays |= {f"output.{name}": array for name, array in outputs.items()}
    np.savez_compressed(directory / SAMPLES, **arrays)  # type: ignore[arg-type]


def read_samples(directory: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The kept rows: (inputs, expected outputs), each name -> array with rows first."""
    with np.load(directory / SAMPLES, allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    inputs = {k.removeprefix("input."): v for k, v in arrays.items() if k.startswith("input.")}
    outputs = {k.removeprefix("output."): v for k, v in arrays.items() if k.startswith("output.")}
    return inputs, outputs


def sha256(path: Path) -> str:
    """The file's sha256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
