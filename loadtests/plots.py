"""Pictures of a recording, as figures. It must not know where they are shown.

The colours are Okabe and Ito's, which people with any kind of colour vision tell apart; lines also differ in their dashes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator, NullFormatter

from loadtests.recording import Recording, StageSpan, Tally

BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = (
    *("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"),
)
LINES: Sequence[Mapping[str, Any]] = (
    {"color": BLUE, "linestyle": "-"},
    {"color": VERMILION, "linestyle": (0, (6, 2))},
    {"color": GREEN, "linestyle": (0, (1, 1.2))},
    {"color": PURPLE, "linestyle": (0, (6, 2, 1, 2))},
    {"color": ORANGE, "linestyle": (0, (3, 2))},
    {"color": SKY, "linestyle": (0, (8, 2, 1, 2, 1, 2))},
)
WIDTH = 9.0
"""Inches, for every figure, so that the time axes of a report stand above each other."""
TALL_RANGE = 20
"""Latencies that differ by more than this factor get a logarithmic axis: a linear one would show the worst only."""


def throughput(recording: Recording) -> Figure:
    """Answers per second, of each model and all, above the number of users."""
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    rates, users = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    times = middles(recording)
    for model, line in zip(recording.models, LINES, strict=False):
        values = [window.rate(window.tally(model)) for window in recording.windows]
        rates.plot(times, values, label=model, **line)
    if len(recording.models) > 1:
        values = [window.rate(window.total()) for window in recording.windows]
        rates.plot(times, values, label="all", color="black", linewidth=2)
    rates.set(title="Throughput", ylabel="answers per second")
    draw_users(users, recording)
    rates.set_ylim(bottom=0)
    over_time([rates, users], recording)
    outside_legend(rates)
    return figure


def draw_users(axis: Axes, recording: Recording) -> None:
    """How many were asked for, and how many there were at the end of each window."""
    stages = recording.stages
    edges = [stage.begins for stage in stages] + [recording.seconds]
    counts = [stage.stage.users for stage in stages]
    axis.stairs(counts, edges, color="#BBBBBB", fill=True, label="asked for")
    axis.plot(
        [window.ends for window in recording.windows],
        [window.users for window in recording.windows],
        color="black",
        linestyle="none",
        marker=".",
        markersize=3,
        label="there",
    )
    axis.set(title="Users", ylabel="users")
    axis.set_ylim(0, 1.15 * max(counts))
    axis.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    outside_legend(axis)


def latency(recording: Recording) -> Figure:
    """p50, p90 and p99 of each model over time, a panel for each."""
    models = recording.models
    figure = Figure(figsize=(WIDTH, 0.6 + 2.1 * len(models)), layout="constrained")
    panels = figure.subplots(len(models), 1, sharex=True, squeeze=False)[:, 0]
    shares = (("p99", 0.99, VERMILION, "-"), ("p90", 0.9, ORANGE, "--"), ("p50", 0.5, BLUE, "-"))
    for axis, model in zip(panels, models, strict=True):
        drawn: list[float] = []
        for name, share, color, style in shares:
            values = [known(window.tally(model).percentile(share)) for window in recording.windows]
            axis.plot(middles(recording), values, label=name, color=color, linestyle=style)
            drawn += [value for value in values if value > 0]
        axis.set(title=f"Latency of {model}", ylabel="milliseconds")
        if drawn and max(drawn) > TALL_RANGE * min(drawn):
            logarithmic(axis)
        else:
            axis.set_ylim(bottom=0)
    over_time(list(panels), recording)
    outside_legend(panels[0])
    return figure


def where_time_goes(recording: Recording) -> Figure | None:
    """The mean request as queue, compute and rest, over time; None when no answer told it."""
    models = [m for m in recording.models if recording.whole().tally(m).timed]
    if not models:
        return None
    figure = Figure(figsize=(WIDTH, 0.6 + 2.1 * len(models)), layout="constrained")
    panels = figure.subplots(len(models), 1, sharex=True, squeeze=False)[:, 0]
    for axis, model in zip(panels, models, strict=True):
        tallies = [window.tally(model) for window in recording.windows]
        parts = np.array([parts_ms(tally) for tally in tallies]).T
        axis.stackplot(
            middles(recording),
            parts,
            labels=("queue", "compute", "rest"),
            colors=(ORANGE, BLUE, "#BBBBBB"),
        )
        axis.set(title=f"Where the time of {model} goes", ylabel="milliseconds, mean")
        axis.set_ylim(bottom=0)
    over_time(list(panels), recording)
    outside_legend(panels[0], backwards=True)
    return figure


def failures(recording: Recording) -> Figure | None:
    """What failed and what was refused, over time; None when nothing was."""
    totals = [window.total() for window in recording.windows]
    if not any(total.failed or total.shed for total in totals):
        return None
    figure = Figure(figsize=(WIDTH, 2.6), layout="constrained")
    axis = figure.subplots()
    seconds = [window.seconds for window in recording.windows]
    failed = np.array([t.failed / s for t, s in zip(totals, seconds, strict=True)])
    shed = np.array([t.shed / s for t, s in zip(totals, seconds, strict=True)])
    edges = [window.begins for window in recording.windows] + [recording.windows[-1].ends]
    axis.stairs(shed, edges, fill=True, color=SKY, label="refused (503, Retry-After)")
    axis.stairs(
        shed + failed,
        edges,
        baseline=shed,
        fill=True,
        color=VERMILION,
        hatch="///",
        edgecolor="white",
        label="failed",
    )
    axis.set(title="Not answered", ylabel="requests per second")
    axis.set_ylim(bottom=0)
    over_time([axis], recording)
    outside_legend(axis)
    return figure


def knee(steps: Sequence[StageSpan]) -> Figure:
    """A ramp's answers per second and p99 against the number of users."""
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    rates, waits = figure.subplots(1, 2)
    users = [step.stage.users for step in steps]
    rates.plot(users, [step.rate(step.total()) for step in steps], color=BLUE, marker="o")
    rates.set(title="Throughput against users", ylabel="answers per second")
    models = sorted({model for step in steps for model in step.models})
    for model, line in zip(models, LINES, strict=False):
        values = [known(step.tally(model).percentile(0.99)) for step in steps]
        waits.plot(users, values, marker="o", label=model, **line)
    waits.set(title="p99 against users", ylabel="milliseconds")
    for axis in (rates, waits):
        axis.set_xscale("log", base=2)
        axis.set_xticks(users, [str(count) for count in users])
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_xlabel("users")
        axis.set_ylim(0, 1.08 * axis.get_ylim()[1])
        axis.grid(alpha=0.3)
    waits.legend(frameon=False)
    return figure


def middles(recording: Recording) -> list[float]:
    """Where each window stands on the time axis."""
    return [(window.begins + window.ends) / 2 for window in recording.windows]


def known(value: float | None) -> float:
    """A gap in a line, where there is no value."""
    return float("nan") if value is None else value


def parts_ms(tally: Tally) -> tuple[float, float, float]:
    """Mean queue, compute and rest."""
    count = max(tally.timed, 1)
    return tally.queue_ms / count, tally.compute_ms / count, tally.rest_ms / count


def over_time(axes: Sequence[Axes], recording: Recording) -> None:
    """The shared time axis, with stages after the first set apart."""
    stages = recording.stages
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.set_xlim(0, max(recording.seconds, 1e-3))
        for stage in stages[1::2]:
            axis.axvspan(stage.begins, stage.ends, color="#eeeeee", linewidth=0, zorder=0)
    if len(stages) > 1:
        name_stages(axes[0], recording)
    label_time(axes[-1], recording.seconds)


def label_time(axis: Axes, seconds: float) -> None:
    """Whole seconds; whole minutes when the run was longer than ten."""
    if seconds <= 600:
        axis.xaxis.set_major_locator(MaxNLocator(10, integer=True, steps=[1, 2, 5, 10]))
        axis.set_xlabel("seconds from the start")
        return
    step = next(m for m in (1, 2, 5, 10, 20, 30, 60, 120, 240) if seconds / 60 / m <= 12)
    axis.xaxis.set_major_locator(MultipleLocator(60 * step))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 60:g}"))
    axis.set_xlabel("minutes from the start")


def name_stages(axis: Axes, recording: Recording) -> None:
    """Each stage's name where it has room, in a strip that is added above the lines."""
    low, high = axis.get_ylim()
    axis.set_ylim(low, high * 1.8 if axis.get_yscale() == "log" else high * 1.12)
    for stage in recording.stages:
        if stage.seconds >= 0.07 * recording.seconds:
            axis.text(
                (stage.begins + stage.ends) / 2,
                0.97,
                stage.stage.name,
                transform=axis.get_xaxis_transform(),
                ha="center",
                va="top",
                fontsize="small",
            )


def logarithmic(axis: Axes) -> None:
    """A logarithmic axis whose numbers are written out."""
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.set_title(f"{axis.get_title()} (logarithmic)")


def outside_legend(axis: Axes, backwards: bool = False) -> None:
    """Beside the lines, where it hides none."""
    handles, labels = axis.get_legend_handles_labels()
    step = -1 if backwards else 1  # a stack is read from its top
    axis.legend(
        handles[::step], labels[::step], loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False
    )
