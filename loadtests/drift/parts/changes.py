"""How long changes take to be seen (A7, unseen people), and what a change looks like as it goes on."""

import numpy as np

from loadtests.drift.bench import Bench, Steps
from loadtests.drift.found import Course, Delays, Verdict
from loadtests.drift.material import Material, Ours, Split
from loadtests.drift.parts.labels import alarmed
from loadtests.drift.pools import UNSEEN
from loadtests.drift.rows import Scored
from loadtests.drift.shifts import Shift, draw
from service.monitoring.detector import Detector
from service.monitoring.judge import SHARE

N = 200
"""Rows in a window; fewer where the service takes fewer without a setting."""
STEP = Shift("images", "delay", "image medium 0.5", "image medium", 0.5)
PEOPLE = Shift("series", "delay", UNSEEN, UNSEEN)
GIVEN_UP = 4000
"""Requests after which a change counts as missed."""
COURSES = (STEP, PEOPLE, Shift("texts", "delay", "tweets", "tweets"))
BEFORE, AFTER = 2000, 1500
"""Rows of a course."""


def run(bench: Bench) -> Steps:
    """Delays of many streams, then one stream of each modality."""
    for shift in (STEP, PEOPLE):
        yield from steps(bench, shift)
    judge(bench)
    for shift in COURSES:
        yield 1, 1, f"course: {shift.name}"
        bench.found.courses.append(course(bench, shift))


def steps(bench: Bench, shift: Shift) -> Steps:
    """Streams that change at a random place: requests until watch, and until drift."""
    material = bench.material(shift.modality)
    for variant in material.load([shift]):
        yield 0, bench.scale.streams, f"{shift.modality}: {variant}"
    first: dict[str, list[int]] = {"watch": [], "drift": []}
    for number in range(bench.scale.streams):
        yield number, bench.scale.streams, f"step change: {shift.name}"
        split, ours = material.split(number % bench.scale.power_splits)
        rng = np.random.default_rng([bench.seed, 7, number])
        for alarm, requests in delays(material, split, ours, shift, rng).items():
            first[alarm].append(requests)
    n = size(material.split(0)[1])
    bench.found.delays += [
        Delays(modality=shift.modality, shift=shift.name, alarm=alarm, n=n, requests=requests)
        for alarm, requests in first.items()
    ]


def size(ours: Ours) -> int:
    """Of a window."""
    return ours.size(min(N, int(SHARE * ours.profile.rows)))


def delays(
    material: Material, split: Split, ours: Ours, shift: Shift, rng: np.random.Generator
) -> dict[str, int]:
    """One stream: clean rows for two windows and a bit, then shifted ones."""
    n = size(ours)
    half = n // 2
    clean = 2 * n + int(rng.integers(half))
    bins = ours.bins(material.clean.rows(rng.choice(split.traffic, clean)))
    detector, found = Detector(), {"watch": -1, "drift": -1}
    seen = n
    while seen < clean + GIVEN_UP and -1 in found.values():
        while len(bins) < seen:
            more = ours.bins(draw(shift, material.scored, split.traffic, half, rng))
            bins = np.concatenate([bins, more])
        p = ours.p_values(bins, np.arange(seen - n, seen)[None])[0]
        verdict = detector.update(float(p), float(seen))
        if seen > clean:
            for alarm, verdicts in (("watch", ("watch", "drift")), ("drift", ("drift",))):
                if verdict in verdicts and found[alarm] < 0:
                    found[alarm] = seen - clean
        seen += half
    return found


def course(bench: Bench, shift: Shift) -> Course:
    """One stream, from the first window on."""
    material = bench.material(shift.modality)
    list(material.load([shift]))
    split, ours = material.split(0)
    rng = np.random.default_rng([bench.seed, 8])
    clean = material.clean.rows(rng.choice(split.traffic, BEFORE))
    after = draw(shift, material.scored, split.traffic, AFTER, rng)
    rows = Scored(*(np.concatenate(pair) for pair in zip(clean, after, strict=True)))
    n = size(ours)
    ends = np.arange(n, rows.size + 1, n // 2)
    windows = np.array([np.arange(end - n, end) for end in ends])
    p = ours.p_values(ours.bins(rows), windows)
    detector, estimate = Detector(), ours.profile.estimate
    assert estimate is not None
    right = rows.probabilities.argmax(1) == rows.labels
    # The promise of the service: the lower end of the interval that the bundle found.
    promised = 1 - material.model.manifest.metrics["accuracy"].low
    told = alarmed(~right[BEFORE:], promised)
    return Course(
        modality=shift.modality,
        shift=shift.name,
        n=n,
        changed=BEFORE,
        harmful=None if told is None else BEFORE + told,
        rows=ends.tolist(),
        p=[float(one) for one in p],
        verdicts=[
            detector.update(float(one), float(end)) for one, end in zip(p, ends, strict=True)
        ],
        accuracy=[float(right[window].mean()) for window in windows],
        estimated=[
            estimate.accuracies(estimate.sums(rows.probabilities[window]))["cbpe"]
            for window in windows
        ],
    )


def judge(bench: Bench) -> None:
    """Missed changes count as the longest delay."""

    def quantile(shift: Shift, alarm: str, share: float) -> tuple[float, str]:
        one = next(d for d in bench.found.delays if (d.shift, d.alarm) == (shift.name, alarm))
        known = [d if d >= 0 else GIVEN_UP for d in one.requests]
        return float(np.quantile(known, share)), f"{len(known)} streams, n={one.n}"

    page, _ = quantile(STEP, "drift", 0.5)
    for share, most, name in ((0.5, 150, "median"), (0.95, 300, "95 %")):
        value, note = quantile(STEP, "watch", share)
        what = f"requests from {STEP.name} to the first alarm (watch), {name}"
        note += f"; to a page (drift), median {page:.0f}"
        bench.found.verdicts.append(Verdict(id="A7", what=what, value=value, most=most, note=note))
    for alarm, what in (("watch", "the first alarm"), ("drift", "a page")):
        value, note = quantile(PEOPLE, alarm, 0.5)
        late, _ = quantile(PEOPLE, alarm, 0.95)
        note += f"; 95 %: {late:.0f}"
        if alarm == "drift":
            note += "; it takes two windows, and one comes every n/2 rows: smaller ones page sooner"
        bench.found.verdicts.append(
            Verdict(
                id="people",
                what=f"rows of people never seen until {what}, median",
                value=value,
                most=200,
                note=note,
            )
        )
