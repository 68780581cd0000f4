"""One version's account as one HTML page that loads nothing from anywhere. It must not know where the account came from."""

from collections.abc import Sequence
from html import escape

from service.cli.drift_plots import accuracy_over_time, clock, histogram, p_over_time
from service.monitoring.account import Account
from service.monitoring.quality import Accuracy
from service.monitoring.report import SignalTold

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f23; --page: #ffffff; --faint: #6a737d; --line: #d0d7de; --usual: #c4ccd4; --live: #0a62c9; --bad: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --page: #0d1117; --faint: #9198a1; --line: #3d444d; --usual: #4b5560; --live: #6cb0ff; --bad: #ff8a80; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.faint { color: var(--faint); } .bad { color: var(--bad); }
.signals { display: grid; grid-template-columns: repeat(auto-fill, minmax(18rem, 1fr)); gap: 1.2rem; }
figure { margin: 0; border: 1px solid var(--line); border-radius: 6px; padding: .6rem .8rem; }
figcaption { margin-bottom: .4rem; } svg { width: 100%; height: auto; } svg.long { max-width: 48rem; }
svg text { fill: var(--faint); font-size: 11px; }
rect.usual { fill: var(--usual); } rect.live, circle.live { fill: var(--live); }
polyline.live { fill: none; stroke: var(--live); stroke-width: 1.5; }
line.level { stroke: var(--bad); stroke-dasharray: 4 3; } line.frame { stroke: var(--line); }
table { border-collapse: collapse; } td, th { text-align: left; padding: .2rem 1rem .2rem 0; border-bottom: 1px solid var(--line); }
.key { display: inline-block; width: .8em; height: .8em; border-radius: 2px; }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
BAD = ("drift", "harmful", "data fault")


def page(found: Account, now: float) -> str:
    """The whole page, as it stands at `now`."""
    name = f"{escape(found.model)}/{found.version}"
    parts = [heading(found, name, now), over_time(found), signals(found), labels(found)]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Drift of {name}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body></html>\n"
    )


def heading(found: Account, name: str, now: float) -> str:
    """What it comes to, and what that rests on."""
    kind = found.conclusion.kind
    lines = [
        f"<h1>{name}: {marked(kind, kind)}</h1><p>{escape(found.conclusion.why)}</p>",
        f"<p>Traffic: <b>{marked(found.verdict, found.verdict)}</b>"
        + ("" if found.since is None else f" since {clock(found.since)}")
        + f". {escape(found.reason)}</p>",
    ]
    if (known := found.reference) is not None:
        sizes = ", ".join(f"{size:,}" for size in known.sizes)
        lines.append(
            f'<p class="faint">Compared with {known.rows:,} rows of {escape(known.source)}, which admit windows of {sizes} rows. '
            f"Thresholds are calibrated for {escape(found.calibrated_for)}. "
            f"{found.share:.2%} of the requests are observed.</p>"
        )
    refused = sum(found.inputs.invalid.values())
    lines.append(
        f'<p class="faint">Refused for what was in them: {refused:,} of {found.inputs.requests:,} requests. Written {clock(now)}.</p>'
    )
    return "\n".join(lines)


def marked(kind: str, text: str) -> str:
    """A verdict, in its colour."""
    return f'<span class="{"bad" if kind in BAD else "good"}">{escape(text)}</span>'


def over_time(found: Account) -> str:
    """p and accuracy over time, as far as there are any."""
    parts = []
    if found.history:
        points = [(one.at, one.p) for one in found.history]
        parts.append(f"<h2>Windows over time</h2>{p_over_time(points, found.levels)}")
    if found.accuracy.course:
        test = found.harm.overall
        floor = None if test is None else 1 - test.limit
        plot = accuracy_over_time(found.accuracy.course, floor)
        parts.append(f"<h2>Accuracy by labels over time</h2>{plot}")
    return "\n".join(parts)


def signals(found: Account) -> str:
    """Every signal beside its reference, the strongest evidence first."""
    if not found.signals:
        return ""
    key = (
        '<p class="faint"><span class="key" style="background:var(--usual)"></span> reference '
        '<span class="key" style="background:var(--live)"></span> newest '
        f"{found.samples:,} rows</p>"
    )
    figures = "\n".join(map(figure, found.signals))
    return f'<h2>Signals</h2>{key}<div class="signals">{figures}</div>'


def figure(one: SignalTold) -> str:
    """One signal."""
    moved = ' <b class="bad">moved</b>' if one.moved else ""
    shift = "" if one.shift is None else f", mean {one.shift:+.2f} deviations"
    return (
        f"<figure><figcaption><b>{escape(one.name)}</b> <span class='faint'>{one.kind}</span>{moved}<br>"
        f'<span class="faint">evidence {one.statistic:.1f} (threshold {one.threshold:.1f}), p {one.p:.2g}, n {one.n:,}{shift}; '
        f"PSI {one.psi:.3f}, JS {one.js:.3f}, W1 {one.w1:.3g}</span></figcaption>"
        f"{histogram(one.reference, one.live, one.edges)}</figure>"
    )


def labels(found: Account) -> str:
    """What is known of accuracy and harm."""
    rows = [
        [f"{one.method}, estimated without labels", f"{one.value:.2%}", "", f"{one.n:,}"]
        for one in found.accuracy.estimated
    ]
    for name, share in (("newest labels", found.accuracy.newest), ("all", found.accuracy.overall)):
        rows += [] if share is None else [[f"{name}", *of(share)]]
    for label in found.accuracy.classes:
        if label.recall is not None:
            rows.append([f"rows that are '{label.label}'", *of(label.recall)])
    covered = [
        [f"answered '{one.group}'", f"{one.labelled:,}", f"{one.predictions:,}"]
        for one in found.coverage.by_class
        if one.predictions
    ]
    covered += [
        [f"confidence {one.group}", f"{one.labelled:,}", f"{one.predictions:,}"]
        for one in found.coverage.by_confidence
        if one.predictions
    ]
    harm = f"<p>Harm: <b>{marked(found.harm.verdict, found.harm.verdict)}</b>. {escape(found.harm.reason)}</p>"
    parts = ["<h2>Accuracy and labels</h2>", harm]
    if rows:
        parts.append(tabled(["accuracy", "", "95 % interval", "n"], rows))
    if covered:
        parts += [
            "<h2>Which rows have labels</h2>",
            tabled(["newest kept rows", "labelled", "of"], covered),
        ]
    return "\n".join(parts)


def of(share: Accuracy) -> list[str]:
    """A share with its interval."""
    return [f"{share.value:.2%}", f"{share.low:.2%} to {share.high:.2%}", f"{share.n:,}"]


def tabled(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    head = "".join(f"<th>{escape(one)}</th>" for one in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"
