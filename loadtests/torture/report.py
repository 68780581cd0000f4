"""A run for people: a table, what does not hold, and a picture of each scenario. It must not know how anything was found."""

from pathlib import Path

import msgspec

from loadtests.torture import picture
from loadtests.torture.found import Found, Report, Tally, growth, violations

NAME = "torture"


def write(found: Report, folder: Path) -> None:
    """torture.json, torture.md and torture.svg in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    told = msgspec.json.format(msgspec.json.encode(slim(found)), indent=1)
    (folder / f"{NAME}.json").write_bytes(told + b"\n")
    (folder / f"{NAME}.md").write_text(page(found))
    picture.draw(found, folder / f"{NAME}.svg")


def slim(found: Report) -> Report:
    """Without the courses and the single probes, which the picture shows."""
    return msgspec.structs.replace(found, found=[thin(one) for one in found.found])


def thin(one: Found) -> Found:
    """A scenario's figures."""
    probes = msgspec.structs.replace(one.probes, service=[], models={})
    return msgspec.structs.replace(one, courses={}, probes=probes, memory=one.memory[::10])


def counted(total: Tally) -> str:
    """A tally in words."""
    known = f"{total.right:,} right, {total.refused:,} refused cleanly, {total.wrong:,} wrong, {total.lost:,} lost"
    rest = {"cut on purpose": total.cut, "not connected": total.unreached}
    return ", ".join([known, *(f"{count:,} {what}" for what, count in rest.items() if count)])


def page(found: Report) -> str:
    """The report in Markdown."""
    machine = ", ".join(
        str(found.machine[key]) for key in ("processor", "cores", "memory", "python")
    )
    total = found.total
    lines = [
        "# Faults and load",
        "",
        f"{found.date}, {machine}. `make torture` measures it again.",
        "",
        f"**{total.requests:,} requests: {counted(total)}.**",
        "",
        f"![What became of requests, second by second]({NAME}.svg)",
        "",
        "| scenario | right | refused | wrong | lost | liveness | answers again after | memory |",
        "|---|---|---|---|---|---|---|---|",
        *(row(one) for one in found.found),
        "",
        "Refused: 503 with `Retry-After`, 504, or 429. Every other answer is held against a reference, most of them to the last bit; "
        "readiness of each model is held against what requests to it met.",
    ]
    for one in found.found:
        lines += ["", f"**{one.name}.** {one.about}", ""]
        lines += [f"- {fault}" for fault in told(one)]
        lines += [f"- {note}" for note in one.notes]
        lines += [f"- missed: {sentence}" for sentence in violations(one)]
    for name, reason in found.skipped.items():
        lines += ["", f"**{name}** was left out: {reason}"]
    return "\n".join(lines) + "\n"


def row(one: Found) -> str:
    """A scenario's line of the table."""
    total = one.total
    live = f"{one.probes.live - len(one.probes.dead)} of {one.probes.live}"
    again = "" if one.recovered_s is None else f"{one.recovered_s:g} s"
    memory = f"{growth(one.memory):+.2%}" if one.memory else ""
    figures = (f"{count:,}" for count in (total.right, total.refused, total.wrong, total.lost))
    return f"| {one.name} | {' | '.join(figures)} | {live} | {again} | {memory} |"


def told(one: Found) -> list[str]:
    """Its faults, each once with how often it was done."""
    seen: dict[str, int] = {}
    for fault in one.faults:
        seen[fault.what] = seen.get(fault.what, 0) + 1
    return [f"{what} ({times} times)" if times > 1 else what for what, times in seen.items()]
