"""Fashion-MNIST: 60,000 + 10,000 grey pictures of 28 x 28, ten classes, the official split (Xiao et al. 2017, MIT licence)."""

import gzip
from typing import NamedTuple

import numpy as np

from models.datasets.sources import File, from_debian

LABELS = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
PACKAGE = "dataset-fashion-mnist"
FOLDER = "usr/share/datasets/fashion-mnist"
ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
SHA256 = {
    "train-images-idx3-ubyte.gz": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
    "train-labels-idx1-ubyte.gz": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
    "t10k-images-idx3-ubyte.gz": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    "t10k-labels-idx1-ubyte.gz": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
}


class Pictures(NamedTuple):
    """images uint8 [n, 28, 28], labels int64 [n]."""

    images: np.ndarray
    labels: np.ndarray


def load() -> tuple[Pictures, Pictures]:
    """(training, held out). DataError when the files cannot be had."""
    return read("train"), read("t10k")


def read(part: str) -> Pictures:
    """One half of the official split, from its idx files."""
    images = idx(f"{part}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
    return Pictures(images, idx(f"{part}-labels-idx1-ubyte.gz", 8).astype(np.int64))


def idx(name: str, header: int) -> np.ndarray:
    """The bytes behind an idx file's header."""
    path = from_debian(PACKAGE, File(name, SHA256[name], f"{FOLDER}/{name}"), f"{ADDRESS}/{name}")
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)
