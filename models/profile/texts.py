"""Signals of texts, from their tokens alone: length, unknown words, pieces of words, punctuation, digits, script, repetition, rarity.

What a token is comes from the bundle's tokenizer.json. Special tokens and what the mask leaves out never count.
"""

import unicodedata
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from models.errors import BundleError
from models.tasks import TextTask

KINDS = ("unknown", "subword", "punctuation", "digits", "non_latin", "rarity")
"""What is known of each token; a text's signal is the mean over its tokens."""
TOPICS = 8
"""Each token falls into one of so many groups, by its number; a shift of subject moves their shares."""
START_MARKS = ("\u0120", "\u2581")
"""How tokenizers that mark the beginning of a word do it; the others mark a continuation with ##."""


class TextSignals:
    """Length and the mean token of each text."""

    def __init__(self, task: TextTask, tokenizer: Path) -> None:
        self.ids, self.mask = task.ids, task.mask
        self.names: tuple[str, ...] = ("tokens", *KINDS, "repetition")
        self._tokens = token_table(tokenizer)

    def values(self, inputs: dict[str, np.ndarray], rows: int) -> np.ndarray:
        """float32 [rows, signals]."""
        ids, mask = inputs[self.ids], inputs[self.mask]
        known = self._tokens[np.where(mask > 0, ids, len(self._tokens) - 1)]
        sums = known.sum(axis=1)
        count = np.maximum(sums[:, :1], 1)
        ordered = np.sort(np.where(known[:, :, 0] > 0, ids, -1), axis=1)
        again = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).sum(axis=1)
        columns = [sums[:, :1], sums[:, 1:] / count, again[:, None] / count]
        return np.concatenate(columns, axis=1).astype(np.float32)


def token_table(tokenizer: Path) -> np.ndarray:
    """float32 [tokens + 1, 1 + kinds]: whether a token counts, then what it is. The last row is nothing at all."""
    try:
        told: dict[str, Any] = msgspec.json.decode(tokenizer.read_bytes())
        model = told["model"]
        words = vocabulary(model)
        special = {token["id"] for token in told.get("added_tokens", ()) if token["special"]}
        unknown = words.get(model.get("unk_token", ""), model.get("unk_id"))
    except (OSError, msgspec.DecodeError, KeyError, TypeError) as error:
        raise BundleError(f"{tokenizer}: what its tokens are cannot be read ({error!r})") from error
    table = np.zeros((max([*words.values(), *special]) + 2, 1 + len(KINDS)), np.float32)
    marks = any(word.startswith(START_MARKS) for word in words)
    for word, number in words.items():
        if number not in special or number == unknown:
            table[number] = (1, number == unknown, *traits(word, marks), np.log(1 + number))
    return table


def vocabulary(model: dict[str, Any]) -> dict[str, int]:
    """Each token's number: a mapping in most models, a list of (token, score) in one."""
    words = model["vocab"]
    if isinstance(words, dict):
        return words
    return {word: number for number, (word, _) in enumerate(words)}


def traits(word: str, marks: bool) -> tuple[bool, bool, bool, bool]:
    """(piece of a word, punctuation, digits, letters that are not Latin)."""
    piece = word.startswith("##") or (marks and not word.startswith(START_MARKS))
    plain = word.removeprefix("##").lstrip("".join(START_MARKS))
    letters = [letter for letter in plain if letter.isalpha()]
    foreign = any("LATIN" not in unicodedata.name(letter, "") for letter in letters)
    digits = any(letter.isdigit() for letter in plain)
    return piece and bool(letters), not letters and not digits, digits, foreign
