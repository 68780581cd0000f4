"""A job as it comes on: a live bar on a terminal, a line for each state elsewhere. It must not know what is trained."""

import time
from collections.abc import Iterator
from typing import Any

import click
import httpx
import msgspec
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from service.cli.asking import Service, error_console, sentence
from service.retraining.jobs import ENDED, Event

SILENCE_SECONDS = 60.0
"""A service that says nothing for so long, not even that it is there, is asked anew."""
AGAIN_SECONDS = 1.0


class Ending(click.exceptions.Exit):
    """The program ends with 1, and has said why already."""

    def __init__(self, state: str) -> None:
        super().__init__(1)
        self.state = state


def follow(service: Service, job: str, *, quiet: bool = False) -> dict[str, Any]:
    """The job once it has ended. `quiet`: for programs, which want its end alone."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[told]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=error_console, disable=quiet) as bar:
        task = bar.add_task("waiting", total=None, told="")
        last = 0
        while True:
            for event in events(service, job, last):
                last = event.number
                show(bar, task, event)
            told: dict[str, Any] = service.asked("GET", f"/v1/retrainings/{job}")
            if told["state"] in ENDED and told["number"] <= last:
                return told
            time.sleep(AGAIN_SECONDS)


def show(bar: Progress, task: TaskID, event: Event) -> None:
    """One event."""
    progress = event.data.get("progress") or {}
    if event.kind == "state":
        if not bar.console.is_terminal and not bar.disable:
            bar.console.print(f"{event.state}: {event.text}" if event.text else event.state)
        bar.update(task, description=event.state, total=None, completed=0, told="")
    elif event.kind == "progress":
        total = progress.get("total") or None
        loss = progress.get("loss")
        told = progress.get("stage", "") + ("" if loss is None else f", loss {loss:.3f}")
        bar.update(task, total=total, completed=progress.get("done", 0), told=told)
    elif event.text:
        bar.console.print(event.text, markup=False)


def events(service: Service, job: str, after: int) -> Iterator[Event]:
    """What happens from now on, as Server-Sent Events; ends when the service ends them or cannot be heard."""
    headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
    if service.token is not None:
        headers["Authorization"] = f"Bearer {service.token}"
    url = f"{service.url}/v1/retrainings/{job}/events"
    limits = httpx.Timeout(30.0, read=SILENCE_SECONDS)
    try:
        with httpx.stream("GET", url, headers=headers, timeout=limits) as answer:
            if answer.status_code == httpx.codes.NOT_FOUND:
                answer.read()
                raise click.ClickException(f"404: {sentence(answer)}")
            if not answer.is_error:
                yield from decoded(answer.iter_lines())
    except httpx.HTTPError:
        return  # the next question says whether it is there


def decoded(lines: Iterator[str]) -> Iterator[Event]:
    """The events in a stream: each is one line of data."""
    for line in lines:
        if line.startswith("data: {"):
            yield msgspec.json.decode(line.removeprefix("data: "), type=Event)
