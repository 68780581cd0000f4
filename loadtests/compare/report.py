"""A run for people: compare.md with its tables, compare.svg with its picture. It must not measure anything."""

from collections.abc import Iterable
from io import StringIO

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadtests.compare.results import Limit, Measurement, Results, Verdict, middle, select
from loadtests.compare.verdicts import MODELS, US

MIDDLE = 32
COLOURS = {"fp32": "#4c78a8", "int8": "#f58518"}

Key = tuple[str, bool]
"""A server and whether it batches."""


def markdown(results: Results) -> str:
    """The whole page."""
    parts = ["# Evergreen beside other servers", about(results), judgement(results.verdicts)]
    for model in ordered({one.model for one in results.measurements}):
        parts.append(f"## {model}")
        parts.append(f"Sent: {results.rows.get(model, 'unknown rows')}, one a request.")
        chosen = select(results.measurements, model=model)
        for variant in sorted({one.variant for one in chosen}):
            parts.append(f"### {variant}")
            parts.append(table(select(chosen, variant=variant)))
            limits = [one for one in results.limits if (one.model, one.variant) == (model, variant)]
            parts.append(limit_line(limits))
    parts += [absences(results), versions(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def about(results: Results) -> str:
    """Where and how it was measured."""
    machine = ", ".join(f"{value}" for value in results.machine.values())
    options = ", ".join(f"{name} {value}" for name, value in results.options.items())
    lines = [
        f"{results.date}, on {machine}. {options}. `make compare` measures it again.",
        "One model instance and one ONNX Runtime thread for everybody; load from wrk with one thread on the same cores. Every cell is "
        "the median over rounds. CPU is user and system time of the server's whole process tree; memory is the sum of its "
        "proportional set sizes (PSS) right after load, the highest seen. Every server's answers were compared with ONNX Runtime's "
        "before it was measured, alone and 32 at a time.",
        *results.notes,
    ]
    return "\n\n".join(lines)


def judgement(verdicts: list[Verdict]) -> str:
    """The verdicts as a table."""
    if not verdicts:
        return ""
    lines = ["| what | target | measured | per round | against |", "|---|---|---|---|---|"]
    for one in verdicts:
        sign = "≤" if one.at_most else "≥"
        value = "not measured" if one.value is None else f"**{one.value:.2f}{one.unit}**"
        mark = {True: "", False: " (missed)", None: ""}[one.met]
        each = ", ".join(f"{value:.2f}" for value in one.rounds)
        lines.append(
            f"| {one.what} | {sign} {one.target:g}{one.unit} | {value}{mark} | {each} | {one.against} |"
        )
    return "\n".join(lines)


def table(measurements: list[Measurement]) -> str:
    """One file's servers: requests a second with p50 and p99 at each concurrency, CPU, memory."""
    concurrencies = sorted({one.concurrency for one in measurements})
    at = MIDDLE if MIDDLE in concurrencies else concurrencies[-1]
    heads = [f"c={c}: requests/s (p50, p99 ms)" for c in concurrencies]
    heads = ["server", "batching", *heads, f"CPU s per 1,000 (c={at})", "peak memory, MiB"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for server, batching in ranked(measurements, at):
        own = select(measurements, server=server, batching=batching)
        cells = [cell(select(own, concurrency=c)) for c in concurrencies]
        cpu = middle(select(own, concurrency=at), lambda one: one.cpu_s_per_1000)
        memory = max(one.memory_mib for one in own)
        name = f"**{server}**" if server == US else server
        row = [name, "on" if batching else "off", *cells, "" if cpu is None else f"{cpu:.2f}"]
        lines.append(f"| {' | '.join(row)} | {memory:,.0f} |")
    return "\n".join(lines)


def cell(measurements: list[Measurement]) -> str:
    """Medians of one server at one concurrency; requests that failed are told."""
    if not measurements:
        return ""
    pace = middle(measurements, lambda one: one.per_second) or 0.0
    p50 = middle(measurements, lambda one: one.p50_ms) or 0.0
    p99 = middle(measurements, lambda one: one.p99_ms) or 0.0
    failures = sum(one.failures for one in measurements)
    failed = f", {failures:,} failed" if failures else ""
    return f"{pace:,.0f} ({p50:,.1f}, {p99:,.1f}{failed})"


def ranked(measurements: list[Measurement], concurrency: int) -> list[Key]:
    """Evergreen first, then the fastest."""

    def rank(key: Key) -> tuple[bool, float]:
        own = select(measurements, server=key[0], batching=key[1], concurrency=concurrency)
        return key[0] != US, -(middle(own, lambda one: one.per_second) or 0.0)

    return sorted({(one.server, one.batching) for one in measurements}, key=rank)


def limit_line(limits: list[Limit]) -> str:
    """The loop's rows a second by batch size."""
    if not limits:
        return ""
    parts = []
    for batch in sorted({one.batch for one in limits}):
        pace = sorted(one.rows_per_second for one in limits if one.batch == batch)
        parts.append(f"{pace[len(pace) // 2]:,.0f} rows/s at batch {batch}")
    return (
        f"The limit, ONNX Runtime in a loop with one thread on the same rows: {', '.join(parts)}."
    )


def absences(results: Results) -> str:
    """What could not be measured, and why."""
    if not results.absences:
        return ""
    lines = ["## Not measured"]
    for one in results.absences:
        what = [one.model, one.variant]
        if one.batching is not None:
            what.append(f"batching {'on' if one.batching else 'off'}")
        lines.append(f"- {one.server}, {', '.join(w for w in what if w) or 'at all'}: {one.reason}")
    return "\n".join(lines)


def versions(results: Results) -> str:
    """What was installed where, and how it batches."""
    lines = ["## Versions and batching"]
    for server, found in results.versions.items():
        parts = [f"{name} {version}" for name, version in found.items()]
        lines.append(f"- {server}: {', '.join(parts)}; {results.batching.get(server, '')}")
    return "\n".join(lines)


def ordered(models: Iterable[str]) -> list[str]:
    """In the order in which they are always named."""
    known = list(MODELS)
    return sorted(models, key=known.index)


def picture(results: Results) -> str:
    """An SVG: for each model the requests a second at concurrency 32, by server and file."""
    models = ordered({one.model for one in results.measurements})
    with mpl.rc_context({"svg.hashsalt": "evergreen", "font.size": 9}):
        figure = Figure(figsize=(4.2 * len(models), 3.8), layout="constrained")
        known: dict[str, Artist] = {}
        for number, model in enumerate(models):
            axes = figure.add_subplot(1, len(models), number + 1)
            bars(axes, results, model)
            handles, labels = axes.get_legend_handles_labels()
            known |= dict(zip(labels, handles, strict=True))
        figure.legend(
            known.values(), known.keys(), loc="outside lower center", ncols=4, frameon=False
        )
        text = StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()


def bars(axes: Axes, results: Results, model: str) -> None:
    """One model: each server at its best setting, and the loop's best batch as a dashed line."""
    chosen = select(results.measurements, model=model)
    concurrencies = {one.concurrency for one in chosen}
    at = MIDDLE if MIDDLE in concurrencies else max(concurrencies)
    chosen = select(chosen, concurrency=at)
    servers = list(dict.fromkeys(server for server, _ in ranked(chosen, at)))[::-1]
    variants = sorted({one.variant for one in chosen})
    height = 0.8 / max(len(variants), 1)
    for number, variant in enumerate(variants):
        places = [row + (number - (len(variants) - 1) / 2) * height for row in range(len(servers))]
        paces = [best(select(chosen, server=server, variant=variant)) for server in servers]
        axes.barh(places, paces, height, label=variant, color=COLOURS.get(variant))
        if limit := loop_best(results.limits, model, variant):
            label = f"{variant}, the loop's best batch"
            axes.axvline(limit, color=COLOURS.get(variant), ls="--", lw=1, label=label)
    axes.set_yticks(range(len(servers)), servers)
    axes.set_title(model)
    axes.set_xlabel(f"requests/s at concurrency {at}")
    axes.spines[["top", "right"]].set_visible(False)


def best(measurements: list[Measurement]) -> float:
    """The better of batching on and off, by their medians."""
    paces = [
        middle(select(measurements, batching=batching), lambda one: one.per_second)
        for batching in (True, False)
    ]
    return max((pace for pace in paces if pace is not None), default=0.0)


def loop_best(limits: list[Limit], model: str, variant: str) -> float | None:
    """The loop's rows a second at its best batch size."""
    paces = [one.rows_per_second for one in limits if (one.model, one.variant) == (model, variant)]
    return max(paces, default=None)
