import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from models import tasks
from models.errors import BundleError
from models.profile.texts import TextSignals

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "film", "##s", "!", "42", "кино", "x1"]
IDS = {word: number for number, word in enumerate(WORDS)}


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    made = Tokenizer(models.WordPiece(IDS, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    made.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def told(tokenizer: Path, *texts: str) -> dict[str, np.ndarray]:
    """Each signal of texts whose words are tokens."""
    rows = [[IDS[word] for word in f"[CLS] {text} [SEP]".split()] for text in texts]
    longest = max(map(len, rows))
    ids = np.array([row + [0] * (longest - len(row)) for row in rows], dtype=np.int64)
    mask = np.array([[1] * len(row) + [0] * (longest - len(row)) for row in rows], dtype=np.int64)
    signals = TextSignals(tasks.TextTask("ids", "mask", tokenizer.name, 64), tokenizer)
    values = signals.values({"ids": ids, "mask": mask}, len(rows))
    assert values.dtype == np.float32
    return dict(zip(signals.names, values.T, strict=True))


def test_special_tokens_and_padding_do_not_count(tokenizer: Path) -> None:
    signals = told(tokenizer, "good film", "good film ! ! ! !")
    np.testing.assert_array_equal(signals["tokens"], [2, 6])
    alone = told(tokenizer, "good film")
    assert all(signals[name][0] == alone[name][0] for name in alone)


@pytest.mark.parametrize(
    ("signal", "text", "share"),
    [
        ("unknown", "good [UNK]", 0.5),
        ("subword", "film ##s good !", 0.25),
        ("punctuation", "good ! ! !", 0.75),
        ("digits", "42 x1 good film", 0.5),
        ("non_latin", "кино film", 0.5),
        ("repetition", "good good good film", 0.5),
    ],
)
def test_shares_of_kinds_of_tokens(tokenizer: Path, signal: str, text: str, share: float) -> None:
    assert told(tokenizer, text)[signal] == pytest.approx(share)


def test_rarer_tokens_have_larger_numbers(tokenizer: Path) -> None:
    assert told(tokenizer, "x1 кино")["rarity"] > told(tokenizer, "good film")["rarity"]


def test_a_text_of_nothing_but_special_tokens_has_finite_signals(tokenizer: Path) -> None:
    assert all(np.isfinite(value).all() for value in told(tokenizer, "").values())


def test_words_that_mark_their_beginning_are_no_pieces(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    words = {"\u2581good": 0, "\u2581film": 1, "s": 2, "!": 3}
    path.write_text(json.dumps({"model": {"vocab": [[word, 0.0] for word in words], "unk_id": 9}}))
    signals = TextSignals(tasks.TextTask("ids", "mask", path.name, 64), path)
    ids = np.array([[0, 1, 2, 3]])
    found = signals.values({"ids": ids, "mask": np.ones_like(ids)}, 1)[0]
    assert found[signals.names.index("subword")] == 0.25


@pytest.mark.parametrize("content", ["", "{}", '{"model": {"vocab": 3}}', "[]"])
def test_a_tokenizer_that_cannot_be_read_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(BundleError, match=r"tokenizer\.json: what its tokens are cannot be read"):
        TextSignals(tasks.TextTask("ids", "mask", path.name, 64), path)
