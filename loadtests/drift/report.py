"""A run for people: drift.md with its tables. It must not measure anything; the pictures stand in `drawings`."""

from loadtests.drift import drawings
from loadtests.drift.found import Found, Rate, Verdict, mean
from loadtests.drift.parts.false_alarms import OURS

SUITES = {
    "rabanser": "Rabanser's suite (pictures)",
    "corruptions": "corruptions (pictures)",
    "series": "sensors and unseen people (series)",
    "texts": "writing and other domains (texts)",
}
BESIDE = 200
"""The windows whose false alarms stand beside power."""
MARKS = {True: "met", False: "**missed**", None: "not measured"}
CAPTIONS = {
    "false-alarms.svg": "False alarms without a shift; the grey band is the target.",
    "power.svg": "Power over Rabanser's suite.",
    "courses.svg": "What is told as traffic goes on: after the dashed line rows come from elsewhere. The dotted line is where labels would "
    "show harm, if every row got one.",
    "harm.svg": "What is told of harm without labels.",
    "delays.svg": "How long a change takes to be seen.",
    "power-by-shift.svg": "Power on each shift of Rabanser's suite.",
}

pictures = drawings.pictures


def markdown(found: Found, names: list[str]) -> str:
    """The whole page. `names`: the pictures beside it."""
    machine = ", ".join(f"{value}" for value in found.machine.values())
    versions = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    sources = {m: s for part in found.parts.values() for m, s in part.sources.items()}
    parts = [
        "# How well drift is told",
        f"On {machine}. {versions}. `make drift-benchmark` measures it again; `python -m loadtests.drift --parts A --output FOLDER` measures "
        "one part again and leaves the others.",
        "Held-out rows are split at random into a reference (two thirds), from which a profile is built as it lies in a bundle, and "
        "traffic, from which windows are drawn; every contender sees the same reference and the same windows. No model was trained on "
        "any of these rows. A window has at most a third of the reference's rows. Intervals are 95 %, over splits unless the note says otherwise.",
        "\n".join(f"- {modality}: {source}." for modality, source in sources.items()),
        "## Judgement",
        judgement(found.verdicts),
        *(f"![{CAPTIONS[name]}]({name})\n\n{CAPTIONS[name]}" for name in names),
        *section(
            "False alarms at alpha .05: rate ± half its interval (windows)",
            false_alarms(found.rates),
        ),
        *section(
            "Power by suite: share of windows with an alarm, mean over shifts", powers(found.rates)
        ),
        *section("Power by shift", by_shift(found)),
        *section("What was run", runs(found)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def section(title: str, table: str) -> list[str]:
    """A table with its title, if there is one."""
    return [f"## {title}", table] if table else []


def judgement(verdicts: list[Verdict]) -> str:
    """The verdicts as a table."""
    lines = []
    for one in verdicts:
        cells = (one.id, one.what, one.target, measured(one), MARKS[one.met], one.note)
        lines.append(f"| {' | '.join(cells)} |")
    return table(["id", "what", "target", "measured", "", "note"], lines)


def measured(verdict: Verdict) -> str:
    """The value with its unit, and its interval."""
    if verdict.value is None:
        return ""
    told = f"{number(verdict.value)}{verdict.unit}"
    if verdict.low is None or verdict.high is None:
        return told
    return f"{told} ({number(verdict.low)} to {number(verdict.high)})"


def number(value: float) -> str:
    """With as many digits as say something."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def false_alarms(rates: list[Rate]) -> str:
    """By modality, contender and size."""
    chosen = [one for one in rates if one.suite in ("clean", "dependent")]
    sizes = sorted({one.n for one in chosen})
    keys = dict.fromkeys((one.modality, one.contender, one.suite, one.shift) for one in chosen)
    lines = []
    for modality, contender, suite, shift in keys:
        own = {
            one.n: one
            for one in chosen
            if (one.modality, one.contender, one.suite, one.shift)
            == (modality, contender, suite, shift)
        }
        cells = [rate(own[n]) if n in own else "" for n in sizes]
        name = contender if suite == "clean" else f"{contender}, {shift}"
        lines.append(f"| {modality} | {name} | {' | '.join(cells)} |")
    return table(["modality", "contender", *(f"n={n}" for n in sizes)], lines)


def rate(one: Rate) -> str:
    """With half its interval, and how many windows it is of."""
    half = "" if one.low is None or one.high is None else f" ± {(one.high - one.low) / 2:.3f}"
    return f"{one.rate:.3f}{half} ({one.windows:,})"


def table(heads: list[str], lines: list[str]) -> str:
    """Nothing without lines."""
    if not lines:
        return ""
    return "\n".join([f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *lines])


def powers(rates: list[Rate]) -> str:
    """Means over the shifts of each suite, beside the contender's false alarms: power alone is easily had."""
    chosen = [one for one in rates if one.suite in SUITES]
    sizes = sorted({one.n for one in chosen})
    false = {
        (r.modality, r.contender): r.rate for r in rates if (r.suite, r.n) == ("clean", BESIDE)
    }
    lines = []
    for suite, contender in dict.fromkeys((one.suite, one.contender) for one in chosen):
        own = [one for one in chosen if (one.suite, one.contender) == (suite, contender)]
        means = [mean([one.rate for one in own if one.n == n]) for n in sizes]
        cells = ["" if value is None else f"{value:.2f}" for value in means]
        alarms = false.get((own[0].modality, contender))
        cells.append("" if alarms is None else f"{alarms:.2f}")
        lines.append(f"| {SUITES[suite]} | {contender} | {' | '.join(cells)} |")
    heads = ["suite", "contender", *(f"n={n}" for n in sizes), f"false alarms, n={BESIDE}"]
    return table(heads, lines)


def by_shift(found: Found) -> str:
    """Evergreen's power on every shift, with what the shift does to accuracy."""
    chosen = [one for one in found.rates if one.suite in SUITES and one.contender == OURS]
    sizes = sorted({one.n for one in chosen})
    effects = {(one.modality, one.shift): one for one in found.effects}
    lines = []
    for modality, shift in dict.fromkeys((one.modality, one.shift) for one in chosen):
        own = {one.n: one.rate for one in chosen if (one.modality, one.shift) == (modality, shift)}
        cells = [f"{own[n]:.2f}" if n in own else "" for n in sizes]
        effect = effects.get((modality, shift))
        if effect:
            lost = "unknown" if effect.lost is None else f"{100 * effect.lost:+.1f}"
            told = f"{effect.estimates['cbpe']:.1%}, {effect.estimates['atc']:.1%}"
            now = "" if effect.accuracy is None else f"{effect.accuracy:.1%}"
            cells += [now, lost, told]
        lines.append(f"| {modality} | {shift} | {' | '.join(cells)} |")
    heads = ["accuracy", "points lost", "estimated (cbpe, atc)"] if effects else []
    return table(["modality", "shift", *(f"n={n}" for n in sizes), *heads], lines)


def runs(found: Found) -> str:
    """When each part was measured, how long it took, and what there is to say of it."""
    lines = [
        f"| {name} | {one.date} | {one.scale} | {one.seed} | {one.seconds:,.0f} | {' '.join(one.notes)} |"
        for name, one in found.parts.items()
    ]
    return table(["part", "date", "scale", "seed", "seconds", "note"], lines)


def line(verdict: Verdict) -> str:
    """For a person: met or missed, what, the value, the target."""
    mark = {True: "met", False: "MISSED", None: "unknown"}[verdict.met]
    value = measured(verdict) or "not measured"
    note = f" ({verdict.note})" if verdict.note else ""
    return f"{mark:8} {verdict.id:6} {verdict.what}: {value}, target {verdict.target}{note}"
