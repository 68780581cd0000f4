"""Inputs that a graph might take, made from what it declares. Pure numpy; it must not know graphs or what they answer.

Nobody has told what the numbers mean, so several guesses are made: lengths of free axes, ranges of numbers.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from models.bundle import ANY_RANK, UNNAMED, Tensor
from service.engine.layout import Tensors

LENGTHS = (8, 64, 1, 32, 224, 512, 3)
"""Of free axes: small ones, those that pictures and sounds need, and one that no division leaves a rest of."""
CHANNELS = 3
"""Of the second of four free axes: pictures."""
INTEGERS = ((0, 7), (0, 99), (0, 1), (1, 1), None)
"""Ranges; None stands for the length of the free axes, for inputs that tell it."""
SCALES = (1.0, 4.0, 0.25)
"""Of the rows of a batch, one after the other: what takes its measure from the whole batch gives itself away."""
WORDS = ("a", "the cat sat", "", "0.5", "Grün")


class Guess(NamedTuple):
    """What free axes and numbers are taken to be. `normal`: floats of either sign, else between 0 and 1."""

    length: int
    integers: tuple[int, int] | None
    normal: bool


def guesses(inputs: Sequence[Tensor]) -> Iterator[Guess]:
    """The guesses that make a difference for `inputs`, likelier ones first."""
    free = any(isinstance(axis, str) for tensor in inputs for axis in tensor.shape[1:])
    first_free = any(tensor.shape and isinstance(tensor.shape[0], str) for tensor in inputs)
    lengths = LENGTHS if free or first_free else LENGTHS[:1]
    whole = any(np.dtype(tensor.dtype).kind in "iu" for tensor in inputs)
    real = any(np.dtype(tensor.dtype).kind == "f" for tensor in inputs)
    ranges = INTEGERS if whole else INTEGERS[:1]
    signs = (True, False) if real else (True,)
    for made in itertools.product(lengths, ranges, signs):
        yield Guess(*made)


def generate(inputs: Sequence[Tensor], guess: Guess, rows: int | None, seed: int) -> Tensors:
    """One array for each of `inputs` that must be sent. With `rows` their first axes have that many elements, each row on a scale of its own."""
    random = np.random.default_rng(seed)
    # An axis of one name has one length, and a first axis may well count rows, of which one is enough.
    first = {one.shape[0]: rows or 1 for one in inputs if len(one.shape) > 1}
    made: Tensors = {}
    for tensor in inputs:
        if tensor.optional:
            continue
        shape = sized(tensor, guess, first, rows)
        array = values(random, tensor.dtype, shape, guess)
        if rows is not None and array.dtype.kind == "f" and guess.normal:
            scales = np.resize(np.array(SCALES, array.dtype), rows)
            array = array * scales.reshape(rows, *[1] * (array.ndim - 1))
        made[tensor.name] = array
    return made


def sized(
    tensor: Tensor, guess: Guess, first: Mapping[int | str, int], rows: int | None
) -> tuple[int, ...]:
    """The shape of an input, with free axes as guessed. `first`: the lengths of the axes that come first somewhere, by name."""
    declared = (UNNAMED, UNNAMED) if tensor.shape == ANY_RANK else tensor.shape
    shape: list[int] = []
    for index, axis in enumerate(declared):
        if isinstance(axis, int):
            shape.append(axis)
        elif index == 0 and rows is not None:
            shape.append(rows)
        elif index == 1 and len(declared) == 4 and all(isinstance(one, str) for one in declared):
            shape.append(CHANNELS)
        elif index == 0 and len(declared) > 1:
            shape.append(1)
        else:
            shape.append(guess.length if axis == UNNAMED else first.get(axis, guess.length))
    return tuple(shape)


def values(
    random: np.random.Generator, dtype: str, shape: tuple[int, ...], guess: Guess
) -> np.ndarray:
    """Numbers, truths or words."""
    kind = np.dtype(dtype).kind
    if kind == "O":
        words = np.empty(shape, object)
        words.ravel()[:] = [WORDS[at] for at in random.integers(len(WORDS), size=words.size)]
        return words
    if kind == "b":
        return np.asarray(random.integers(0, 2, shape), bool)
    if kind in "iu":
        low, high = guess.integers or (guess.length, guess.length)
        return np.asarray(random.integers(low, high, shape, endpoint=True), dtype)
    numbers = random.normal(size=shape) if guess.normal else random.random(shape)
    return np.asarray(numbers, dtype)
