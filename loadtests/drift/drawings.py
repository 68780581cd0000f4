"""The pictures of a run, as SVG texts by file name. It must not measure anything."""

from collections.abc import Callable
from io import StringIO

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadtests.drift.found import Course, Delays, Found, Rate, mean
from loadtests.drift.parts.false_alarms import LEAST, MOST, OURS
from loadtests.drift.parts.power import HARM
from loadtests.plots import BLUE, GREEN, LINES, ORANGE, VERMILION

WIDTH = 9.0
COLUMNS = 6
FEWEST = 10
"""Streams that are worth a histogram."""
VERDICTS = {"quiet": GREEN, "watch": ORANGE, "drift": VERMILION}


def pictures(found: Found) -> dict[str, str]:
    """Those for which there is something to draw."""
    drawn: dict[str, tuple[bool, Callable[[Found], Figure]]] = {
        "false-alarms.svg": (bool(clean(found.rates)), false_alarms),
        "power.svg": (bool(suite(found.rates)), power),
        "courses.svg": (bool(found.courses), courses),
        "harm.svg": (any(one.lost is not None for one in found.effects), harm),
        "delays.svg": (bool(changes(found)), delays),
        "power-by-shift.svg": (bool(suite(found.rates)), by_shift),
    }
    with mpl.rc_context({"svg.hashsalt": "evergreen", "font.size": 8}):
        return {name: svg(draw(found)) for name, (there, draw) in drawn.items() if there}


def svg(figure: Figure) -> str:
    """As text."""
    text = StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()


def clean(rates: list[Rate]) -> list[Rate]:
    """Without a shift."""
    return [one for one in rates if one.suite == "clean"]


def suite(rates: list[Rate]) -> list[Rate]:
    """Under Rabanser's shifts."""
    return [one for one in rates if one.suite == "rabanser"]


def false_alarms(found: Found) -> Figure:
    """False-alarm rate against n, a field for each modality."""
    rates = clean(found.rates)
    modalities = list(dict.fromkeys(one.modality for one in rates))
    figure = Figure(figsize=(WIDTH, 2.8), layout="constrained")
    panels = figure.subplots(1, len(modalities), sharey=True, squeeze=False)[0]
    for axes, modality in zip(panels, modalities, strict=True):
        axes.axhspan(LEAST, MOST, color="#dddddd", linewidth=0)
        own = [one for one in rates if one.modality == modality]
        lines(axes, own)
        axes.set(title=modality, xlabel="rows in a window")
        axes.set_ylim(-0.03, 1.03)
    panels[0].set_ylabel("false alarms at alpha .05")
    panels[0].legend(frameon=False)
    return figure


def lines(axes: Axes, rates: list[Rate]) -> None:
    """One line a contender, rates against n."""
    for contender, style in zip(contenders(rates), LINES, strict=False):
        own = sorted((one.n, one.rate) for one in rates if one.contender == contender)
        axes.plot(*zip(*own, strict=True), label=contender, marker=".", **style)
    axes.set_xscale("log")
    sizes = sorted({one.n for one in rates})
    axes.set_xticks(sizes, [f"{n}" for n in sizes])
    axes.minorticks_off()


def contenders(rates: list[Rate]) -> list[str]:
    """Evergreen first."""
    names = dict.fromkeys(one.contender for one in rates)
    return sorted(names, key=lambda name: name != OURS)


def power(found: Found) -> Figure:
    """Mean power over Rabanser's suite against n."""
    rates = suite(found.rates)
    figure = Figure(figsize=(WIDTH / 2, 2.8), layout="constrained")
    axes = figure.subplots()
    means = []
    for contender in contenders(rates):
        own = [one for one in rates if one.contender == contender]
        for n in sorted({one.n for one in own}):
            value = mean([one.rate for one in own if one.n == n])
            assert value is not None
            means.append(
                Rate(
                    modality="images",
                    suite="rabanser",
                    shift="",
                    contender=contender,
                    n=n,
                    windows=0,
                    rate=value,
                )
            )
    lines(axes, means)
    axes.set(title="Rabanser's suite", xlabel="rows in a window", ylabel="windows with an alarm")
    axes.set_ylim(-0.03, 1.03)
    axes.legend(frameon=False)
    return figure


def by_shift(found: Found) -> Figure:
    """A small field for every shift of Rabanser's suite."""
    rates = suite(found.rates)
    shifts = list(dict.fromkeys(one.shift for one in rates))
    rows = -(-len(shifts) // COLUMNS)
    figure = Figure(figsize=(WIDTH, 1.5 * rows), layout="constrained")
    panels = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, shift in zip(panels, shifts, strict=False):
        lines(axes, [one for one in rates if one.shift == shift])
        axes.set_title(shift.replace(" + ", "\n+ "), fontsize=6)
        axes.set_ylim(-0.05, 1.05)
        axes.tick_params(labelsize=5)
    for axes in panels[len(shifts) :]:
        axes.set_axis_off()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def harm(found: Found) -> Figure:
    """Points lost against points that the estimate says are lost; and the ROC of telling losses of more than five."""
    known = [one for one in found.effects if one.lost is not None and one.accuracy is not None]
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    scatter, roc = figure.subplots(1, 2)
    true = np.array([one.accuracy for one in known], dtype=float)
    for method, colour in (("cbpe", BLUE), ("atc", ORANGE)):
        told = [one.estimates[method] for one in known]
        scatter.plot(true, told, ".", color=colour, label=method)
    scatter.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
    scatter.set(xlabel="accuracy", ylabel="estimated without labels", title="every shift")
    scatter.legend(frameon=False)
    hurt = np.array([one.lost is not None and one.lost > HARM for one in known])
    scores = {
        "estimated loss": [one.told for one in known],
        "largest statistic": [one.severity for one in known],
        "largest PSI of inputs": [one.psi for one in known],
    }
    for (name, score), colour in zip(scores.items(), (BLUE, GREEN, VERMILION), strict=True):
        order = np.argsort(-np.array(score), kind="stable")
        right = np.r_[0, np.cumsum(hurt[order])] / max(hurt.sum(), 1)
        wrong = np.r_[0, np.cumsum(~hurt[order])] / max((~hurt).sum(), 1)
        roc.plot(wrong, right, color=colour, label=name)
    roc.set(xlabel="harmless shifts above", ylabel="harmful shifts above", title="ROC of harm")
    roc.legend(frameon=False)
    return figure


def changes(found: Found) -> list[Delays]:
    """Those of many streams."""
    return [one for one in found.delays if len(one.requests) >= FEWEST]


def delays(found: Found) -> Figure:
    """How many requests a change takes to be seen."""
    chosen = changes(found)
    rows = -(-len(chosen) // 2)
    figure = Figure(figsize=(WIDTH, 2.4 * rows), layout="constrained")
    panels = figure.subplots(rows, 2, squeeze=False).ravel()
    for axes, one in zip(panels, chosen, strict=False):
        known = [requests for requests in one.requests if requests >= 0]
        missed = len(one.requests) - len(known)
        axes.hist(known, bins=30, color=BLUE)
        axes.set(
            title=f"{one.shift}: to {one.alarm}, n={one.n}, {missed} missed",
            xlabel="requests after the change",
            ylabel="streams",
        )
    return figure


def courses(found: Found) -> Figure:
    """One stream of each modality: p and verdict of every window above, accuracy below."""
    chosen = found.courses
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    panels = figure.subplots(2, len(chosen), sharex="col", sharey="row", squeeze=False)
    for (above, below), one in zip(panels.T, chosen, strict=True):
        chances(above, one)
        below.plot(one.rows, one.accuracy, color=BLUE, label="accuracy")
        below.plot(one.rows, one.estimated, color=ORANGE, linestyle="--", label="estimated (cbpe)")
        below.set(xlabel=f"rows, {one.modality}")
        for axes in (above, below):
            axes.axvline(one.changed, color="#777777", linestyle="--", linewidth=0.8)
        if one.harmful is not None:
            below.axvline(one.harmful, color=VERMILION, linestyle=":", linewidth=1.2)
    panels[0, 0].set_ylabel("p of the newest window")
    panels[1, 0].set_ylabel("share of right answers")
    panels[0, 0].legend(frameon=False, loc="lower left")
    panels[1, 0].legend(frameon=False, loc="lower left")
    return figure


def chances(axes: Axes, one: Course) -> None:
    """p on a logarithmic axis, each in the colour of its verdict."""
    for verdict, colour in VERDICTS.items():
        chosen = [i for i, told in enumerate(one.verdicts) if told == verdict]
        axes.plot(
            [one.rows[i] for i in chosen],
            [one.p[i] for i in chosen],
            ".",
            color=colour,
            label=verdict,
        )
    axes.set_yscale("log")
    axes.set_title(f"{one.shift}, n={one.n}")
