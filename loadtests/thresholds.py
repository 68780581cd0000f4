"""What a run must have held, and whether it did: recordings and limits in, sentences with both numbers out."""

from collections.abc import Iterator, Sequence

import msgspec

from loadtests.recording import Recording, StageSpan

OVERLOAD_SHARE = 0.01
"""A step of a ramp in which more is refused or fails is one that the service did not keep up with."""
GROWTH = 1.05
"""... and so are two doublings of the users that bring less than this."""
RECOVERED = 2.0
"""After a burst the service has recovered when the median latency is at most this many times the one before it."""


class Limits(msgspec.Struct, frozen=True):
    """What is asked for; None asks for nothing. Shares are 0 to 1."""

    p50_ms: float | None = None
    p99_ms: float | None = None
    min_rps: float | None = None
    max_failure_share: float = 0.0
    max_shed_share: float = 0.0


class Ramped(msgspec.Struct, frozen=True):
    """What a ramp found: with how many users the rate was reached, and why it went no further (None: it was to go no further)."""

    users: int
    requests_per_s: float
    stopped: str | None


class Recovery(msgspec.Struct, frozen=True):
    """Median latency before a burst and at the end, and how long after it the service was as before (None: never)."""

    before_ms: float
    after_ms: float | None
    seconds: float | None


def violations(recording: Recording, limits: Limits) -> list[str]:
    """What did not hold, each with what was and what was asked for."""
    whole = recording.whole().total()
    if not whole.requests:
        return ["no request was sent"]
    found = []
    for share, many, most, what in (
        (whole.failure_share, whole.failed, limits.max_failure_share, "failed"),
        (whole.shed_share, whole.shed, limits.max_shed_share, "were refused with Retry-After"),
    ):
        if share > most:
            found.append(
                f"{many} of {whole.requests} requests {what} ({share:.2%}), at most {most:.2%} were asked for"
            )
    for stage in recording.stages:
        if stage.stage.judged:
            found += stage_violations(stage, limits, len(recording.stages) > 1)
    ramp = ramped(recording, limits.p99_ms)
    if ramp and ramp.requests_per_s < (asked := limits.min_rps or 0.0):
        found.append(
            f"the ramp reached {ramp.requests_per_s:.1f} requests/s, at least {asked:g} were asked for"
        )
    if ramp and not ramp.users:
        found.append(f"the service kept up with no step of the ramp: {ramp.stopped}")
    return found + no_recovery(recovery(recording))


def stage_violations(stage: StageSpan, limits: Limits, several: bool) -> Iterator[str]:
    """Latencies of each model and the rate of all in one stage."""
    where = f" in stage '{stage.stage.name}'" if several else ""
    if not stage.total().answered:
        yield f"no request was answered{where}"
    for model, tally in sorted(stage.models.items()):
        for name, share, most in (("p50", 0.5, limits.p50_ms), ("p99", 0.99, limits.p99_ms)):
            found = tally.percentile(share)
            if most is not None and found is not None and found > most:
                yield f"{model}: {name}{where} is {found:g} ms, at most {most:g} were asked for"
    rate = stage.rate(stage.total())
    if limits.min_rps is not None and rate < limits.min_rps:
        yield f"{rate:.1f} requests/s were answered{where}, at least {limits.min_rps:g} were asked for"


def fell_behind(step: StageSpan, p99_ms: float | None) -> str | None:
    """Why a service does not keep up with this step of a ramp, told by the step alone."""
    total = step.total()
    if not total.answered:
        return f"no request was answered at {step.stage.users} users"
    share = total.shed_share + total.failure_share
    if share > OVERLOAD_SHARE:
        return (
            f"{share:.1%} of the requests were refused or failed at {step.stage.users} users, "
            f"at most {OVERLOAD_SHARE:.0%} may"
        )
    for model, tally in sorted(step.models.items()):
        p99 = tally.percentile(0.99)
        if p99_ms is not None and p99 is not None and p99 > p99_ms:
            return f"p99 of {model} is {p99:g} ms at {step.stage.users} users, at most {p99_ms:g} were asked for"
    return None


def overload(steps: Sequence[StageSpan], p99_ms: float | None) -> str | None:
    """Why a ramp should go no further after these steps; None while it should."""
    if not steps:
        return None
    if reason := fell_behind(steps[-1], p99_ms):
        return reason
    rates = [step.rate(step.total()) for step in steps]
    # Two in a row: on a machine with other work, one step without growth is often chance.
    if len(rates) > 2 and max(rates[-2:]) < GROWTH * max(rates[:-2]):
        return (
            f"{rates[-1]:.0f} requests/s at {steps[-1].stage.users} users are less than {GROWTH - 1:.0%} more "
            f"than the {max(rates[:-2]):.0f} that fewer users reached"
        )
    return None


def ramped(recording: Recording, p99_ms: float | None) -> Ramped | None:
    """The knee: the fewest users with which 95 % of the best rate was reached, in steps that the service kept up with."""
    if recording.shape != "ramp" or not recording.stages:
        return None
    stopped = overload(recording.stages, p99_ms)
    kept = [step for step in recording.stages if fell_behind(step, p99_ms) is None]
    if not kept:
        return Ramped(0, 0.0, stopped)
    best = max(step.rate(step.total()) for step in kept)
    knee = next(step for step in kept if step.rate(step.total()) >= 0.95 * best)
    return Ramped(knee.stage.users, knee.rate(knee.total()), stopped)


def recovery(recording: Recording) -> Recovery | None:
    """How a service came back from a burst; None when there was none, nothing before it, or no time after it."""
    stages = {stage.stage.name: stage for stage in recording.stages}
    if recording.shape != "spike" or "after" not in stages:
        return None
    before = stages["before"].total().percentile(0.5)
    if before is None:
        return None
    ended = stages["burst"].ends
    seconds = None
    for window in recording.windows:
        total = window.total()
        median = total.percentile(0.5)
        if window.begins < ended or median is None or total.failed or total.shed:
            continue
        if median <= RECOVERED * before:
            seconds = window.ends - ended
            break
    return Recovery(before, stages["after"].total().percentile(0.5), seconds)


def no_recovery(found: Recovery | None) -> list[str]:
    """A burst whose effect stays is the fault that a spike is to find."""
    if found is None:
        return []
    stays = found.after_ms is None or found.after_ms > RECOVERED * found.before_ms
    if found.seconds is not None and not stays:
        return []
    after = "none" if found.after_ms is None else f"{found.after_ms:g} ms"
    return [
        f"no recovery: the median latency after the burst is {after}, before it was {found.before_ms:g} ms, "
        f"at most {RECOVERED:g} times as much is recovered"
    ]
