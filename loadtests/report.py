"""A run as files: report.html for people, one file with its pictures inside, and summary.json for programs.

It must not know Locust: a recording and a verdict are all it needs.
"""

import base64
import html
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from matplotlib.figure import Figure

from loadtests import plots
from loadtests.recording import Recording, Span, Tally
from loadtests.thresholds import Limits, ramped, recovery

REPORT = "report.html"
SUMMARY = "summary.json"

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 }
th, td { padding: .25rem .75rem; border-bottom: 1px solid #ddd; text-align: right; font-variant-numeric: tabular-nums }
th:first-child, td:first-child { text-align: left }
img { display: block; width: 100%; margin: 1.5rem 0 }
.passed, .failed { padding: .5rem 1rem; border-left: 6px solid }
.passed { border-color: #0072B2; background: #eef6fb }
.failed { border-color: #D55E00; background: #fdf1ea }
"""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What was run, when and against what, and what is to be said of it."""

    host: str
    api: str
    started: str
    limits: Limits
    violations: list[str] = []
    notes: list[str] = []


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """A model in a part of a run. `requests_per_s` counts answers; the last three are means, None where no answer told them."""

    requests: int
    answered: int
    failed: int
    shed: int
    requests_per_s: float
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    queue_ms: float | None
    compute_ms: float | None
    rest_ms: float | None


def write(directory: Path, recording: Recording, verdict: Verdict) -> Path:
    """Both files into `directory`/<start>-<shape>, to which `latest` leads afterwards. Returns the report's path."""
    run = directory / f"{verdict.started.replace(':', '')}-{recording.shape}"
    run.mkdir(parents=True, exist_ok=True)
    summary = msgspec.json.format(msgspec.json.encode(summarised(recording, verdict)), indent=2)
    (run / SUMMARY).write_bytes(summary + b"\n")
    (run / REPORT).write_text(page(recording, verdict))
    temporary = directory / f".latest.{os.getpid()}"
    temporary.symlink_to(run.name)
    temporary.rename(directory / "latest")
    return run / REPORT


def summarised(recording: Recording, verdict: Verdict) -> dict[str, Any]:
    """Everything that the report shows, as values."""
    whole = recording.whole()
    stages = [
        {
            "name": span.stage.name,
            "users": span.stage.users,
            "judged": span.stage.judged,
            "begins_s": round(span.begins, 3),
            "seconds": round(span.seconds, 3),
            "total": figures(span, span.total()),
            "models": {model: figures(span, span.tally(model)) for model in span.models},
        }
        for span in recording.stages
    ]
    return {
        "format": 1,
        "shape": recording.shape,
        "passed": not verdict.violations,
        **msgspec.structs.asdict(verdict),
        "seconds": round(recording.seconds, 3),
        "total": figures(whole, whole.total()),
        "models": {model: figures(whole, whole.tally(model)) for model in recording.models},
        "stages": stages,
        "ramp": ramped(recording, verdict.limits.p99_ms),
        "recovery": recovery(recording),
        "series": series(recording),
    }


def series(recording: Recording) -> dict[str, Any]:
    """Windows as columns."""
    windows = recording.windows
    return {
        "begins_s": [round(window.begins, 3) for window in windows],
        "seconds": [round(window.seconds, 3) for window in windows],
        "users": [window.users for window in windows],
        "models": {
            model: {
                name: [getattr(figures(window, window.tally(model)), name) for window in windows]
                for name in Figures.__struct_fields__
            }
            for model in recording.models
        },
    }


def figures(span: Span, tally: Tally) -> Figures:
    """The figures of `tally`, which lasted as long as `span`."""
    queue, compute, rest = plots.parts_ms(tally) if tally.timed else (None, None, None)
    return Figures(
        requests=tally.requests,
        answered=tally.answered,
        failed=tally.failed,
        shed=tally.shed,
        requests_per_s=round(span.rate(tally), 3),
        p50_ms=tally.percentile(0.5),
        p90_ms=tally.percentile(0.9),
        p99_ms=tally.percentile(0.99),
        queue_ms=queue,
        compute_ms=compute,
        rest_ms=rest,
    )


def page(recording: Recording, verdict: Verdict) -> str:
    """The whole document."""
    title = f"Load test: {recording.shape}"
    whole = recording.whole()
    lines = [
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{title}</title><style>{STYLE}</style></head><body>",
        f"<h1>{title}</h1>",
        f"<p>{escape(verdict.host)}, API {escape(verdict.api)}, {escape(verdict.started)}, "
        f"{recording.seconds:.0f} s, at most {whole.users} users</p>",
        *judgement(verdict),
        *(f"<p>{escape(sentence)}</p>" for sentence in findings(recording, verdict)),
        *table("model", [(model, whole, whole.tally(model)) for model in recording.models]),
    ]
    if len(recording.stages) > 1:
        rows = [
            (f"{s.stage.name}, {users_in_words(s.stage.users)}", s, s.total())
            for s in recording.stages
        ]
        lines += table("stage", rows)
    lines += [image(figure) for figure in pictures(recording)]
    lines += [*(f"<p>{escape(note)}</p>" for note in verdict.notes), "</body></html>"]
    return "\n".join(lines)


def judgement(verdict: Verdict) -> Iterator[str]:
    """Whether it passed, and what did not hold."""
    asked = limits_in_words(verdict.limits)
    if not verdict.violations:
        yield f"<div class=passed>Passed. Asked for: {escape(asked)}.</div>"
        return
    yield f"<div class=failed>Failed. Asked for: {escape(asked)}.<ul>"
    yield from (f"<li>{escape(violation)}</li>" for violation in verdict.violations)
    yield "</ul></div>"


def limits_in_words(limits: Limits) -> str:
    """What was asked for."""
    words = [
        f"{name} at most {value:g} ms"
        for name, value in (("p50", limits.p50_ms), ("p99", limits.p99_ms))
        if value is not None
    ]
    if limits.min_rps is not None:
        words.append(f"at least {limits.min_rps:g} requests/s")
    words.append(f"failures at most {limits.max_failure_share:.2%}")
    if limits.max_shed_share < 1:
        words.append(f"refusals at most {limits.max_shed_share:.2%}")
    return ", ".join(words)


def findings(recording: Recording, verdict: Verdict) -> Iterator[str]:
    """What a ramp or a spike is run for, in sentences."""
    if ramp := ramped(recording, verdict.limits.p99_ms):
        yield f"The service kept up with {users_in_words(ramp.users)}: {ramp.requests_per_s:.1f} requests/s."
        yield f"Why it went no further: {ramp.stopped or 'the ceiling was reached'}."
    if found := recovery(recording):
        back = "never" if found.seconds is None else f"within {found.seconds:.1f} s after the burst"
        yield (
            f"Recovery: {back}. The median latency before the burst was {found.before_ms:g} ms, "
            f"at the end it is {'none' if found.after_ms is None else f'{found.after_ms:g} ms'}."
        )


def table(what: str, rows: Sequence[tuple[str, Span, Tally]]) -> Iterator[str]:
    """Figures, a row for each `what`."""
    heads = (
        *("requests", "failed", "refused", "requests/s", "p50 ms", "p90 ms", "p99 ms"),
        *("queue ms", "compute ms", "rest ms"),
    )
    yield f"<table><tr><th>{what}</th>{''.join(f'<th>{head}</th>' for head in heads)}</tr>"
    for name, span, tally in rows:
        f = figures(span, tally)
        cells = (
            *(f"{f.requests:,}", f"{f.failed:,}", f"{f.shed:,}", f"{f.requests_per_s:,.1f}"),
            *map(number, (f.p50_ms, f.p90_ms, f.p99_ms, f.queue_ms, f.compute_ms, f.rest_ms)),
        )
        yield f"<tr><td>{escape(name)}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
    yield "</table>"


def pictures(recording: Recording) -> list[Figure]:
    """All that this recording has something to show in."""
    drawn = [
        plots.knee(recording.stages) if recording.shape == "ramp" else None,
        plots.throughput(recording),
        plots.latency(recording),
        plots.where_time_goes(recording),
        plots.failures(recording),
    ]
    return [figure for figure in drawn if figure is not None]


def image(figure: Figure) -> str:
    """A picture inside the document, with its titles for those who cannot see it."""
    file = io.BytesIO()
    figure.savefig(file, format="svg")
    titles = "; ".join(axis.get_title() for axis in figure.axes)
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="{escape(titles)}" src="data:image/svg+xml;base64,{data}">'


def users_in_words(count: int) -> str:
    """ "1 user", "2 users"."""
    return f"{count} user{'' if count == 1 else 's'}"


def number(value: float | None) -> str:
    """Three figures; a dash where there is none."""
    return "–" if value is None else f"{float(f'{value:.3g}'):,g}"


def escape(text: str) -> str:
    """For the document's text and attributes."""
    return html.escape(text)
