"""Whether a model is wrong more often than was promised, asked anew with every label. Pure: no clock, no store, no model.

    limit = the error that was promised + a tolerance
    label -> a bet against "the error is at most the limit" -> evidence -> unknown | harmless | harmful

The tests hold however often one looks, which a test repeated on a sliding window does not. Evidence is capital: a gambler with nothing
to his name but 1 stakes a share of it on every label being wrong, at odds that are fair if the error is at the limit. Who comes to
1/alpha that way was lucky with a probability of at most alpha, whenever one stops (Ville's inequality; Podkopaev & Ramdas 2022).
Several stakes play side by side, each best against another error; their mean counts.

A long good past ruins the gambler before a change comes. So another one starts at every label, and the sum of what all of them hold
is watched, too (Shiryaev and Roberts; an e-detector, Shin, Ramdas & Rinaldo 2023). Its alarm level is simulated: within HORIZON labels
a model as good as promised reaches it with a probability of at most alpha, one exactly at the limit with AT_LIMIT.
"""

import functools
import math
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np

Verdict = Literal["unknown", "harmless", "harmful"]

ALPHA = 0.01
"""The chance of a false "harmful": ever for the first test, within HORIZON labels for the second."""
ALPHA_HARMLESS = 0.05
"""The chance of a false "harmless", which wakes nobody up."""
AT_LIMIT = 0.15
HORIZON = 5000
STAKES = (0.02, 0.05, 0.1, 0.2, 0.4)
"""Shares of the capital: the first is best against an error of 2 % of the way from the limit to 1, the last against 40 %."""
RUNS = 4000
"""Simulated stretches behind an alarm level."""


class Evidence(msgspec.Struct, frozen=True):
    """How much of it there is and how much it takes, both as natural logarithms."""

    log: float
    alarm: float


class Harm(msgspec.Struct, frozen=True):
    """Where the test stands after `labels` labels, `wrong` of them wrong answers.

    `verdict` stands until the opposite is shown. `overall`: against the limit since the beginning; `recent`: since whichever label makes
    it worst; `harmless`: for an error below the limit, since the verdict was last harmful. `labels_to_harmless`: about how many more it
    takes to show that, if the error is as promised.
    """

    verdict: Verdict
    promised: float
    limit: float
    labels: int
    wrong: int
    overall: Evidence
    recent: Evidence
    harmless: Evidence
    labels_to_harmless: int


class HarmTest:
    """The tests of one version. `promised`: the error that its makers found, at worst; `tolerance`: what more is put up with.

    The state is what the labels made of it, in order: whoever has stored them has stored it.
    """

    def __init__(self, promised: float, tolerance: float, alpha: float = ALPHA) -> None:
        self.promised = round(min(max(promised, 0.001), 0.98), 6)
        self.limit = round(min(self.promised + max(tolerance, 0.0), 0.99), 6)
        self._alarms = (
            math.log(1 / alpha),
            restart_alarm(self.promised, self.limit, alpha),
            math.log(1 / ALPHA_HARMLESS),
        )
        self._wins, self._losses = odds(self.limit, STAKES)
        self._verdict: Verdict = "unknown"
        self._labels = self._wrong = 0
        self._begin_against()
        self._harmless = 0.0

    def update(self, wrong: bool) -> Harm:
        """Count one label: whether the model's answer to that row was wrong."""
        self._labels += 1
        self._wrong += wrong
        for index, moved in enumerate(self._wins if wrong else self._losses):
            self._overall[index] += moved
            self._recent[index] = log_one_more(self._recent[index]) + moved
        self._harmless += self._harmless_step(wrong)
        self._judge()
        return self.state()

    def state(self) -> Harm:
        """Where the test stands."""
        overall, recent, harmless = self._alarms
        return Harm(
            self._verdict,
            self.promised,
            self.limit,
            self._labels,
            self._wrong,
            Evidence(log_mean(self._overall), overall),
            Evidence(max(log_mean(self._recent), 0.0), recent),
            Evidence(self._harmless, harmless),
            self._needed(),
        )

    def _judge(self) -> None:
        """The verdict stands until the opposite is shown, by labels that came after it."""
        overall, recent, harmless = self._alarms
        if self._verdict != "harmful" and (
            log_mean(self._overall) >= overall or log_mean(self._recent) >= recent
        ):
            self._verdict, self._harmless = "harmful", 0.0
        elif self._verdict != "harmless" and self._harmless >= harmless:
            if self._verdict == "harmful":
                self._begin_against()
            self._verdict = "harmless"

    def _begin_against(self) -> None:
        self._overall = [0.0] * len(STAKES)
        self._recent = [-math.inf] * len(STAKES)

    def _harmless_step(self, wrong: bool) -> float:
        """The odds of one label if the error is as promised, against those at the limit."""
        if wrong:
            return math.log(self.promised / self.limit)
        return math.log((1 - self.promised) / (1 - self.limit))

    def _needed(self) -> int:
        """How many labels it takes, at the mean step, to get from here to "harmless"."""
        missing = self._alarms[2] - self._harmless
        if self._verdict == "harmless" or missing <= 0:
            return 0
        error = self.promised
        step = error * self._harmless_step(True) + (1 - error) * self._harmless_step(False)
        return math.ceil(missing / step) if step > 1e-9 else -1


def odds(limit: float, stakes: Sequence[float]) -> tuple[list[float], list[float]]:
    """By how much the logarithm of the capital moves when an answer was wrong, and when it was right; fair at `limit`."""
    wins = [math.log1p(stake * (1 - limit) / limit) for stake in stakes]
    return wins, [math.log1p(-stake) for stake in stakes]


def log_one_more(log: float) -> float:
    """log(exp(log) + 1): another gambler comes in with 1."""
    return log + math.log1p(math.exp(-log)) if log > 0 else math.log1p(math.exp(log))


def log_mean(logs: Sequence[float]) -> float:
    """The logarithm of the mean of what `logs` are logarithms of."""
    most = max(logs)
    if most == -math.inf:
        return most
    return most + math.log(sum(math.exp(one - most) for one in logs) / len(logs))


@functools.lru_cache(maxsize=256)
def restart_alarm(promised: float, limit: float, alpha: float) -> float:
    """The alarm level of the restarted test, as the natural logarithm."""
    return max(
        exceeded(promised, limit, alpha),
        exceeded(limit, limit, max(alpha, AT_LIMIT)),
    )


def exceeded(error: float, limit: float, share: float) -> float:
    """The level that a model with this error exceeds in at most `share` of all stretches of HORIZON labels.

    Simulated, always with the same numbers. Two standard errors of the simulation are left as a margin.
    """
    rng = np.random.default_rng(0)
    wins, losses = (np.exp(one)[:, None] for one in odds(limit, STAKES))
    held, most = np.zeros((len(STAKES), RUNS)), np.zeros(RUNS)
    for _ in range(HORIZON):
        held += 1
        held *= np.where(rng.random(RUNS) < error, wins, losses)
        np.maximum(most, held.mean(0), out=most)
    margin = 2 * math.sqrt(share * (1 - share) / RUNS)
    return float(np.log(np.quantile(most, 1 - max(share - margin, 0.2 * share))))
