"""What happens to texts: changes to one text, given all of them. Other domains are other rows and stand in `loadtests.drift.pools`."""

import string
from collections.abc import Callable, Mapping, Sequence

import numpy as np

Change = Callable[[str, Sequence[str], np.random.Generator], str]

BOILERPLATE = "Please read the following review and tell me whether it is positive or negative: "
SUBJECTS = {
    "de": ("der film", "die handlung", "das drehbuch", "die regie", "das ende", "die musik"),
    "fr": ("le film", "l'intrigue", "le scénario", "la mise en scène", "la fin", "la musique"),
    "es": ("la película", "la trama", "el guion", "la dirección", "el final", "la música"),
}
JUDGEMENTS = {
    "de": (
        "ist wunderbar und geht zu herzen",
        "langweilt von der ersten bis zur letzten minute",
        "überrascht immer wieder",
        "bleibt leider ohne jede idee",
    ),
    "fr": (
        "est une vraie merveille",
        "ennuie du début jusqu'à la fin",
        "surprend sans cesse",
        "manque hélas de toute idée",
    ),
    "es": (
        "es una verdadera maravilla",
        "aburre de principio a fin",
        "sorprende una y otra vez",
        "carece por desgracia de ideas",
    ),
}
"""Favourable and unfavourable in turn."""


def doubled(text: str, texts: Sequence[str], rng: np.random.Generator) -> str:
    """Twice as long: another text follows."""
    return f"{text} {texts[int(rng.integers(len(texts)))]}"


def unknown_words(text: str, texts: Sequence[str], rng: np.random.Generator) -> str:
    """A fifth of the words are replaced by made-up ones."""
    words = text.split()
    return " ".join(invented(rng) if rng.random() < 0.2 else word for word in words)


def invented(rng: np.random.Generator) -> str:
    """A word that nobody knows."""
    letters = rng.choice(list(string.ascii_lowercase), int(rng.integers(5, 10)))
    return "".join(letters)


def typos(share: float) -> Change:
    """Letters are exchanged with the next one, left out, doubled or replaced."""

    def change(text: str, texts: Sequence[str], rng: np.random.Generator) -> str:
        out, position = [], 0
        while position < len(text):
            letter = text[position]
            kind = int(rng.integers(4)) if letter.isalpha() and rng.random() < share else None
            if kind == 0 and position + 1 < len(text):
                out.append(text[position + 1] + letter)
                position += 1
            elif kind == 2:
                out.append(letter * 2)
            elif kind == 3:
                out.append(str(rng.choice(list(string.ascii_lowercase))))
            elif kind != 1:
                out.append(letter)
            position += 1
        return "".join(out)

    return change


def other_language(text: str, texts: Sequence[str], rng: np.random.Generator) -> str:
    """A verdict on a film in German, French or Spanish."""
    language = str(rng.choice(list(SUBJECTS)))
    judgement = int(rng.integers(4))
    subject = SUBJECTS[language][int(rng.integers(6))]
    return f"{subject} {JUDGEMENTS[language][judgement]}."


def truncated(text: str, texts: Sequence[str], rng: np.random.Generator) -> str:
    """The second half of the words is missing."""
    words = text.split()
    return " ".join(words[: max(1, len(words) // 2)])


def boilerplate(text: str, texts: Sequence[str], rng: np.random.Generator) -> str:
    """A prompt stands before the text."""
    return BOILERPLATE + text


CHANGES: Mapping[str, Change] = {
    "length x2": doubled,
    "unknown words": unknown_words,
    "typos 5 %": typos(0.05),
    "typos 10 %": typos(0.10),
    "other language": other_language,
    "truncation": truncated,
    "boilerplate": boilerplate,
}
UNLABELLED = ("other language", "length x2")
"""After these a row's label no longer says whether an answer is right."""
