"""A whole run: the plan's steps, round by round, and what they found. It must not know the command line or how results are shown."""

import datetime
from collections.abc import Iterator
from typing import Literal, NamedTuple

from loadtests.compare import comparison, files, machine, measure, plan
from loadtests.compare.contenders import ROOT
from loadtests.compare.errors import NotMeasured
from loadtests.compare.measure import Subject
from loadtests.overhead import found, loops, measuring, standins, trivial
from loadtests.overhead.bodies import FORMS
from loadtests.overhead.found import CNN, TEXT, TOGETHER, TRIVIAL, Found
from loadtests.overhead.measuring import Running
from service.api.infer import Answer

Part = Literal["front-end", "latency", "share"]
PARTS: tuple[Part, ...] = ("front-end", "latency", "share")
SCRATCH = ROOT / ".evergreen" / "overhead"
START_S = 4.0
"""A start with its check, roughly: for the estimate alone."""


class Options(NamedTuple):
    """What was asked for: seconds of each measurement, rounds, parts."""

    seconds: int = 4
    rounds: int = 5
    parts: tuple[Part, ...] = PARTS


class Step(NamedTuple):
    """One start of one server. `server` matters for the front end alone, elsewhere it is Evergreen."""

    part: Part
    model: str
    variant: str
    server: str = "evergreen"

    @property
    def what(self) -> str:
        """For a person."""
        return f"{self.part}: {self.model} {self.variant} on {self.server}"


def steps(options: Options, there: set[tuple[str, str]]) -> list[list[Step]]:
    """Groups of steps that are compared with each other; `there`: the files that can be had."""
    groups = []
    if "front-end" in options.parts:
        models = [Step("front-end", model, "fp32") for model in (CNN, TRIVIAL)]
        constants = [Step("front-end", CNN, "fp32", kind) for kind in standins.KINDS]
        groups.append([*models, *constants])
    if "latency" in options.parts:
        for model in plan.MODELS:
            variant = "fp32" if (model, "fp32") in there else "int8"
            groups.append([Step("latency", model, variant)])
    if "share" in options.parts:
        variants = [one for one in plan.VARIANTS if (TEXT, one) in there]
        groups += [[Step("share", TEXT, variant)] for variant in variants]
    return groups


def rotated(group: list[Step], number: int) -> list[Step]:
    """The group in the order of round `number`: each round begins one further on."""
    start = number % len(group)
    return [*group[start:], *group[:start]]


def duration(options: Options, step: Step) -> float:
    """How long a step takes, roughly."""
    loads = {"front-end": 2, "latency": 3, "share": 2}[step.part]
    return START_S + 2 * measuring.WARM_UP_S + loads * (options.seconds + plan.PAUSE_S)


class Run:
    """`found` may be read at any time; it holds what was measured so far."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.subjects: dict[tuple[str, str], Subject] = {}
        self.groups: list[list[Step]] = []
        self._constants: dict[str, Answer] = {}
        self.found = Found(
            date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
            machine=machine.describe(),
            options={"rounds": options.rounds, "seconds a measurement": options.seconds},
            versions=comparison.ours(),
            notes=comparison.busy(machine.cores_in_use()),
        )

    def prepare(self) -> None:
        """Rows, what ONNX Runtime says to them, the trivial model, and the constants."""
        known = {(m, v): files.find(m, v) for m in plan.MODELS for v in plan.VARIANTS}
        self.groups = steps(self.options, {key for key, file in known.items() if file})
        for key in {(step.model, step.variant) for group in self.groups for step in group}:
            if file := known.get(key):
                self.subjects[key] = measure.subject(file)
        if known[TEXT, "fp32"] is None:
            note = f"{TEXT} was measured without its fp32 file, which `make models` or `make compare` brings."
            self.found.notes.append(note)
        if "front-end" in self.options.parts:
            cnn = self.subjects[CNN, "fp32"]
            self.subjects[TRIVIAL, "fp32"] = trivial.subject(cnn, SCRATCH / "repository")
            self._constants = measuring.constants(cnn)

    def estimate(self) -> float:
        """Seconds of all rounds."""
        once = sum(duration(self.options, step) for group in self.groups for step in group)
        return self.options.rounds * once

    def order(self) -> Iterator[tuple[int, Step]]:
        """(round, step) in the order of measuring."""
        for number in range(self.options.rounds):
            for group in self.groups:
                for step in rotated(group, number):
                    yield number, step

    def take(self, number: int, step: Step) -> None:
        """Measure one step; one that cannot be is written down."""
        subject = self.subjects[step.model, step.variant]
        try:
            if step.part == "front-end":
                self._front_end(number, step, subject)
            else:
                self._beside_the_loop(number, step, subject)
        except NotMeasured as error:
            note = f"Not measured in round {number + 1}, {step.what}: {error}"
            self.found.notes.append(note)

    def _front_end(self, number: int, step: Step, subject: Subject) -> None:
        """Both forms at full load."""
        ours = step.server == "evergreen"
        server = (
            measuring.evergreen(subject)
            if ours
            else measuring.standin(step.server, subject, self._constants)
        )
        with server as running:
            measuring.warm_up(running)
            for form in FORMS if number % 2 else reversed(FORMS):
                one = measuring.sample(running, form, number + 1, TOGETHER, self.options.seconds)
                self.found.samples.append(one)

    def _beside_the_loop(self, number: int, step: Step, subject: Subject) -> None:
        """The loop and the service in turn, each while the other is idle; every second round the loop is first."""
        with measuring.evergreen(subject) as running:
            measuring.warm_up(running)
            if number % 2:
                self._loop(number, step, running)
                self._loaded(number, step, running)
            else:
                self._loaded(number, step, running)
                self._loop(number, step, running)

    def _loop(self, number: int, step: Step, running: Running) -> None:
        limit = loops.alone if step.part == "latency" else loops.in_buckets
        self.found.raw.append(limit(running, number + 1, self.options.seconds))

    def _loaded(self, number: int, step: Step, running: Running) -> None:
        alone = step.part == "latency"
        forms, concurrency = (FORMS, 1) if alone else (FORMS[1:], TOGETHER)
        for form in forms:
            one = measuring.sample(running, form, number + 1, concurrency, self.options.seconds)
            self.found.samples.append(one)


def judge(run: Run) -> Found:
    """What was found, with its verdicts and figures."""
    run.found.verdicts, run.found.figures = found.judged(run.found), found.figures(run.found)
    return run.found
