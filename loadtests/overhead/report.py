"""A run for people: overhead.md. It must not measure anything."""

from statistics import median

from loadtests.compare import report
from loadtests.overhead.found import CNN, TEXT, TRIVIAL, Found, Sample

HEADS = (
    "server",
    "model",
    "body",
    "c",
    "requests/s",
    "p50, ms",
    "p99, ms",
    "front-end CPU, µs a request",
)


def markdown(found: Found) -> str:
    """The whole page."""
    parts = [
        "# What the service costs beside the model",
        about(found),
        report.judgement(found.verdicts),
        LEGEND,
        table(found.samples),
        "## Also seen" if found.figures else "",
        figures(found),
        "## The loop" if found.raw else "",
        limits(found),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


LEGEND = (
    "`bare` is a uvicorn application that reads the body and answers a constant of the size of Evergreen's answer; `litestar` the same in "
    "a handler of Evergreen's own application; `hot` the same behind Evergreen's hot route. None of the three has a model behind it, so "
    "their requests a second say what HTTP alone allows, while Evergreen computes on the same cores; the CPU of the front-end process "
    "compares like with like.\n\n"
    f"The line about requests a second asks what the service costs, so it is judged with `{TRIVIAL}`: a model made for this run that takes "
    f"and gives what {CNN} does, in binary answers of the same length, and computes almost nothing. All else is the whole path: front "
    f"end, engine process, batches, ONNX Runtime. With {CNN} its own computation in one ONNX Runtime thread bounds the figure, and the "
    'line would judge that; what it reaches stands under "Also seen".'
)


def about(found: Found) -> str:
    """Where and how it was measured."""
    machine = ", ".join(f"{value}" for value in found.machine.values())
    options = ", ".join(f"{name} {value}" for name, value in found.options.items())
    versions = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    lines = [
        f"{found.date}, on {machine}. {options}. {versions}. `.venv/bin/python -m loadtests.overhead` measures it again.",
        "One model instance and one ONNX Runtime thread; load from wrk with one thread on the same cores. Ratios are taken within a round; "
        "every figure is the median over rounds. CPU is user and system time of the one process that speaks HTTP.",
        *found.notes,
    ]
    return "\n\n".join(lines)


def table(samples: list[Sample]) -> str:
    """Every server under every load."""
    if not samples:
        return ""
    lines = [f"| {' | '.join(HEADS)} |", "|---" * len(HEADS) + "|"]
    keys = dict.fromkeys(
        (one.concurrency, one.model, one.variant, one.form, one.server) for one in samples
    )
    for key in sorted(keys, key=lambda key: (-key[0], *key[1:])):
        concurrency, model, variant, form, server = key
        own = [
            one
            for one in samples
            if (one.concurrency, one.model, one.variant, one.form, one.server) == key
        ]
        name = f"**{server}**" if server == "evergreen" else server
        what = f"{model} {variant}" if server == "evergreen" else "a constant"
        failures = sum(one.failures for one in own)
        pace = f"{median(one.per_second for one in own):,.0f}"
        cells = [
            name,
            what,
            form,
            str(concurrency),
            pace + (f" ({failures:,} failed)" * bool(failures)),
        ]
        cells += [
            f"{median(one.p50_ms for one in own):.2f}",
            f"{median(one.p99_ms for one in own):.2f}",
        ]
        cells.append(f"{median(one.cpu_us for one in own):.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def figures(found: Found) -> str:
    """What has no target."""
    if not found.figures:
        return ""
    lines = ["| what | measured | per round |", "|---|---|---|"]
    for one in found.figures:
        each = ", ".join(f"{value:.2f}" for value in one.rounds)
        lines.append(f"| {one.what} | {one.value:.2f}{one.unit} | {each} |")
    return "\n".join(lines)


def limits(found: Found) -> str:
    """ONNX Runtime without a service."""
    lines = []
    for model, variant, batches in dict.fromkeys(
        (o.model, o.variant, o.batches) for o in found.raw
    ):
        own = [o for o in found.raw if (o.model, o.variant, o.batches) == (model, variant, batches)]
        pace, p50 = median(o.rows_per_second for o in own), median(o.p50_ms for o in own)
        how = "one row at a time" if batches == "alone" else "in full batches of its buckets"
        line = f"- {model} {variant}, {how}: {pace:,.0f} rows/s, {p50:.2f} ms a run"
        if model == TEXT and own[-1].caps:
            caps = ", ".join(f"{length}: {cap}" for length, cap in own[-1].caps.items())
            line += f"; caps of the last round by padded length: {caps}"
        lines.append(line)
    return "\n".join(lines)
