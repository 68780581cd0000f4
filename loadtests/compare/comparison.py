"""A whole run: environments, files, then every round through the plan. What fails is written down, and the run goes on.

It must not know the command line or how results are shown.
"""

import datetime
from collections.abc import Callable, Iterator
from importlib import metadata

from loadtests.compare import environments, files, machine, measure, plan
from loadtests.compare.contenders import CONTENDERS
from loadtests.compare.errors import NotMeasured
from loadtests.compare.plan import LOOP, Options, Setup
from loadtests.compare.results import Absence, Results

Say = Callable[[str], None]
QUIET = 0.2
"""Cores in use from which on somebody else is at work."""
OURS = ("evergreen-serving", "onnxruntime-gpu", "onnxruntime", "numpy")


class Comparison:
    """One run. `results` may be read at any time; it holds what was measured so far."""

    def __init__(self, options: Options, say: Say) -> None:
        self.options = options
        self.say = say
        self.subjects: dict[tuple[str, str], measure.Subject] = {}
        self._given_up: set[tuple[str, ...]] = set()
        self.results = Results(
            date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
            machine=machine.describe(),
            options=described(options),
            versions={},
            notes=busy(machine.cores_in_use()),
        )

    def prepare(self) -> None:
        """Environments and files: what takes long, and only once."""
        for name in ("evergreen", *self.options.peers):
            contender = CONTENDERS[name]
            self.say(f"environment of {name}")
            try:
                environments.ensure(contender)
            except NotMeasured as error:
                self.absent(Absence(server=name, reason=str(error)))
                self._given_up.add((name,))
                continue
            found = environments.versions(contender) if contender.requirements else ours()
            self.results.versions[name] = found
            self.results.batching[name] = contender.batching
        for model in self.options.models:
            for variant in self.options.variants:
                self.prepare_file(model, variant)

    def prepare_file(self, model: str, variant: str) -> None:
        """One file, trained here if need be, and the rows for it."""
        file = files.find(model, variant)
        if file is None:
            self.say(f"training {model} for its {variant} file, once, some minutes")
            try:
                files.train(model)
                file = files.find(model, variant)
            except NotMeasured as error:
                self.absent(Absence(server="all", model=model, variant=variant, reason=str(error)))
                return
        if file is None:
            reason = "training did not bring this file"
            self.absent(Absence(server="all", model=model, variant=variant, reason=reason))
            return
        if file.repository == files.TRAINED:
            self.results.notes.append(
                f"The repository ships {model} without {variant}: that file was trained here, with the same recipe and data."
            )
        self.say(f"rows of {model} {variant}")
        self.subjects[model, variant] = measure.subject(file)
        self.results.rows[model] = self.subjects[model, variant].source

    def steps(self) -> Iterator[tuple[int, Setup]]:
        """(round, setup) in the order of measuring, without what has been given up by then."""
        for number in range(self.options.rounds):
            for group in plan.setups(self.options):
                for setup in plan.rotated(group, number):
                    known = (setup.model, setup.variant) in self.subjects
                    if known and not self._given_up & {(setup.server,), self.key(setup)}:
                        yield number, setup

    def take(self, number: int, setup: Setup) -> None:
        """Measure one setup. One that cannot be is not tried again in later rounds."""
        subject = self.subjects[setup.model, setup.variant]
        try:
            if setup.server == LOOP:
                self.results.limits += measure.limits(setup, subject, number + 1, self.options)
            else:
                self.results.measurements += measure.server(
                    setup, subject, number + 1, self.options
                )
        except NotMeasured as error:
            self._given_up.add(self.key(setup))
            self.absent(
                Absence(
                    server=setup.server,
                    model=setup.model,
                    variant=setup.variant,
                    batching=None if setup.server == LOOP else setup.batching,
                    reason=f"{error} (round {number + 1})",
                )
            )

    def absent(self, absence: Absence) -> None:
        """Write down what is not measured."""
        self.results.absences.append(absence)
        self.say(f"not measured: {absence.server} {absence.model or ''}: {absence.reason}")

    @staticmethod
    def key(setup: Setup) -> tuple[str, ...]:
        """What is given up together."""
        return setup.server, setup.model, setup.variant, str(setup.batching)


def described(options: Options) -> dict[str, str | int]:
    """The options as they stand in the results."""
    seconds = {model: plan.seconds(options, model) for model in options.models}
    return {
        "rounds": options.rounds,
        "seconds a measurement": ", ".join(f"{v} ({k})" for k, v in seconds.items()),
    }


def busy(cores: float) -> list[str]:
    """A warning for the reader where others were using the machine when the run began: `cores` of it."""
    if cores < QUIET:
        return []
    return [
        f"Others kept {cores:.1f} cores busy when this run began: its figures say that everything works, not how fast it is."
    ]


def ours() -> dict[str, str]:
    """What of Evergreen's is installed."""
    found = {}
    for name in OURS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
