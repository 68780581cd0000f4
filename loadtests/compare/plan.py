"""What is measured, in which order, and how long that takes. Pure.

A setup is one start of one server. Every round goes through all setups of a file before the next file, so that the servers that
are compared stand minutes, not an hour, apart; each round begins with another server.
"""

from collections.abc import Sequence
from typing import NamedTuple

from loadtests.compare.contenders import CONTENDERS, PEERS

MODELS = ("fashion-cnn", "activity-lstm", "sentiment-transformer")
VARIANTS = ("fp32", "int8")
PEER_NAMES = tuple(one.name for one in PEERS)
CONCURRENCIES = (1, 32, 128)
MIDDLE = 32
VARYING = frozenset({"activity-lstm", "sentiment-transformer"})
"""Rows of these differ in length, so batching costs padding, and being without it may be a peer's best setting."""
LOOP = "onnxruntime-loop"
LOOP_BATCHES = (1, 8, 32)
SECONDS = {"fashion-cnn": 2, "activity-lstm": 2, "sentiment-transformer": 4}
"""A slow model needs longer: what is under way when wrk stops is not counted."""
WARM_UP_S = 1
CHECK_S, END_S, PAUSE_S = 1.0, 1.5, 0.3


class Options(NamedTuple):
    """What was asked for. `seconds` None: SECONDS. `full`: every file and setting at every concurrency."""

    models: tuple[str, ...] = MODELS
    variants: tuple[str, ...] = VARIANTS
    peers: tuple[str, ...] = PEER_NAMES
    concurrencies: tuple[int, ...] = CONCURRENCIES
    seconds: int | None = None
    rounds: int = 3
    full: bool = False


class Setup(NamedTuple):
    """One server with one file and one way of batching, and what it is measured at."""

    model: str
    variant: str
    server: str
    batching: bool
    concurrencies: tuple[int, ...]


def setups(options: Options) -> list[list[Setup]]:
    """For every file the setups that are compared with each other."""
    return [
        one_file(options, model, variant)
        for model in options.models
        for variant in options.variants
    ]


def one_file(options: Options, model: str, variant: str) -> list[Setup]:
    """The loop, Evergreen, each peer with batching, and without it where rows differ in length."""
    found = [Setup(model, variant, LOOP, True, ())]
    for server in ("evergreen", *options.peers):
        for batching in (True, False):
            if not batching and (server == "evergreen" or model not in VARYING):
                continue
            chosen = concurrencies(options, model, variant, batching)
            if chosen:
                found.append(Setup(model, variant, server, batching, chosen))
    return found


def concurrencies(options: Options, model: str, variant: str, batching: bool) -> tuple[int, ...]:
    """fp32 with batching is measured everywhere; the rest where a line of the judgement asks for it."""
    asked = options.concurrencies
    if options.full or (variant == "fp32" and batching):
        return asked
    if model not in VARYING:
        return tuple(one for one in asked if one > 1)
    if not batching and variant != "fp32" and model == "activity-lstm":
        return ()
    return (MIDDLE,) if MIDDLE in asked else asked[-1:]


def rotated(setups: Sequence[Setup], number: int) -> list[Setup]:
    """The setups of round `number`, counted from 0: each round starts one third of the way further on."""
    if not setups:
        return []
    step = max(1, len(setups) // 3)
    start = number * step % len(setups)
    return [*setups[start:], *setups[:start]]


def seconds(options: Options, model: str) -> int:
    """How long one measurement lasts."""
    return options.seconds or SECONDS[model]


def duration(options: Options, setup: Setup) -> float:
    """How long a setup takes, roughly."""
    if setup.server == LOOP:
        return len(LOOP_BATCHES) * seconds(options, setup.model) + 1.5
    measured = len(setup.concurrencies) * (seconds(options, setup.model) + PAUSE_S)
    return CONTENDERS[setup.server].start_s + CHECK_S + WARM_UP_S + measured + END_S


def estimate(options: Options) -> float:
    """Seconds of all rounds, without building environments and files."""
    return options.rounds * sum(
        duration(options, setup) for group in setups(options) for setup in group
    )
