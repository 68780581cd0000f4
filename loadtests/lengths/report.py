"""A run for people: lengths.md with its table, lengths.svg with its picture. It must not measure anything."""

from io import StringIO
from statistics import median

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadtests.compare import report
from loadtests.lengths.contest import POLICIES
from loadtests.lengths.found import TARGETS, Found, Paced, ratios, select

NAMES = {
    "buckets": "Evergreen's buckets",
    "arrival": "order of arrival, batch 16",
    "alone": "one at a time",
    "sorted": "a perfect sort, batch 16",
}
HEADS = ("policy", "rows/s", "over arrival", "padded / real", "batches")


def markdown(found: Found) -> str:
    """The whole page."""
    machine = ", ".join(f"{value}" for value in found.machine.values())
    options = ", ".join(f"{name} {value}" for name, value in found.options.items())
    versions = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    parts = [
        "# Mixed lengths: what padding buckets are worth",
        f"{found.date}, on {machine}. {options}. {versions}. `.venv/bin/python -m loadtests.lengths` measures it again.",
        f"{found.source}, all queued at once, and as many rows with lengths drawn uniformly from 4 to 128, cut from the same tokens. One thread, in process, no HTTP: "
        "Evergreen's scheduler, session and runner with caps measured as the engine does it, against batches of 16 padded to their longest. "
        "Ratios are taken within a round; every figure is the median over rounds.",
        *found.notes,
        report.judgement(found.verdicts),
    ]
    for variant in dict.fromkeys(one.variant for one in found.paced):
        for lengths in TARGETS:
            parts += [f"## {variant}, {lengths}", table(select(found.paced, variant, lengths))]
        caps = ", ".join(f"{length}: {cap}" for length, cap in found.caps[variant].items())
        parts.append(f"Caps by padded length, {variant}: {caps}.")
    return "\n\n".join(part for part in parts if part) + "\n"


def table(paced: list[Paced]) -> str:
    """Every policy on one file and one kind of lengths."""
    lines = [f"| {' | '.join(HEADS)} |", "|---" * len(HEADS) + "|"]
    for policy in POLICIES:
        own = [one for one in paced if one.policy == policy]
        if not own:
            continue
        pace = median(one.rows_per_second for one in own)
        values = ratios(paced, policy, "arrival")
        over = f"{median(values):.2f}x" if values else ""
        waste = median(one.padding for one in own)
        batches = median(one.batches for one in own)
        lines.append(f"| {NAMES[policy]} | {pace:,.0f} | {over} | {waste:.2f} | {batches:.0f} |")
    return "\n".join(lines)


def picture(found: Found) -> str:
    """An SVG: rows a second by policy, one field for each kind of lengths."""
    variants = list(dict.fromkeys(one.variant for one in found.paced))
    with mpl.rc_context({"svg.hashsalt": "evergreen", "font.size": 9}):
        figure = Figure(figsize=(8.4, 2.8), layout="constrained")
        for number, lengths in enumerate(TARGETS):
            axes = figure.add_subplot(1, len(TARGETS), number + 1)
            bars(axes, found, lengths, variants)
            if number:
                axes.set_yticklabels([])
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
        text = StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()


def bars(axes: Axes, found: Found, lengths: str, variants: list[str]) -> None:
    """One kind of lengths."""
    policies = POLICIES[::-1]
    height = 0.8 / len(variants)
    for number, variant in enumerate(variants):
        chosen = select(found.paced, variant, lengths)
        places = [row + (number - (len(variants) - 1) / 2) * height for row in range(len(policies))]
        paces = [
            median([one.rows_per_second for one in chosen if one.policy == policy] or [0.0])
            for policy in policies
        ]
        axes.barh(places, paces, height, label=variant, color=report.COLOURS.get(variant))
    axes.set_yticks(range(len(policies)), [NAMES[policy] for policy in policies])
    axes.set_title(lengths)
    axes.set_xlabel("rows/s")
    axes.spines[["top", "right"]].set_visible(False)
