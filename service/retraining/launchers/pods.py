"""What Kubernetes tells of a Job and its pods, as far as it is read, and what it means. Pure; it must not know how it is asked."""

import msgspec


class Meta(msgspec.Struct, rename="camel"):
    """Times are RFC 3339, always in UTC, so that they sort."""

    name: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None


class Condition(msgspec.Struct, rename="camel"):
    """Something that is so, or is not."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None


class JobStatus(msgspec.Struct, rename="camel"):
    """`ready`: pods that run."""

    conditions: list[Condition] = []
    ready: int = 0


class Job(msgspec.Struct):
    """A Job."""

    metadata: Meta = msgspec.field(default_factory=Meta)
    status: JobStatus = msgspec.field(default_factory=JobStatus)

    def condition(self, kind: str) -> Condition | None:
        """The condition of that kind, where it holds."""
        held = (one for one in self.status.conditions if one.type == kind and one.status == "True")
        return next(held, None)


class Waiting(msgspec.Struct):
    """Why a container does not run yet."""

    reason: str = ""
    message: str = ""


class Terminated(msgspec.Struct, rename="camel"):
    """How a container ended; its message is the end of its log."""

    exit_code: int = 0
    reason: str = ""
    message: str = ""


class ContainerState(msgspec.Struct):
    """One of them, or neither while it runs."""

    waiting: Waiting | None = None
    terminated: Terminated | None = None


class Container(msgspec.Struct):
    """The one container of a run."""

    state: ContainerState = msgspec.field(default_factory=ContainerState)


class PodStatus(msgspec.Struct, rename="camel"):
    """How a pod is."""

    conditions: list[Condition] = []
    container_statuses: list[Container] = []
    reason: str = ""
    message: str = ""


class Pod(msgspec.Struct):
    """A pod of a Job."""

    metadata: Meta
    status: PodStatus = msgspec.field(default_factory=PodStatus)


class Pods(msgspec.Struct):
    """All of a Job's."""

    items: list[Pod] = []

    @property
    def newest(self) -> Pod | None:
        """Of several the last one: a pod that was evicted has been replaced."""
        return max(self.items, key=lambda pod: pod.metadata.creation_timestamp or "", default=None)


def waits_for(pod: Pod | None) -> str:
    """Why a run has not begun, in Kubernetes' words: no node has room, the image cannot be had."""
    if pod is None:
        return "its pod is not there yet"
    for container in pod.status.container_statuses:
        if (waiting := container.state.waiting) is not None and waiting.reason:
            return joined(waiting.reason, waiting.message)
    for condition in pod.status.conditions:
        if condition.type == "PodScheduled" and condition.status == "False":
            return joined(condition.reason, condition.message)
    return "its pod is being started"


def ended_by(pod: Pod | None) -> str:
    """What ended the run's process: OOMKilled, an exit code and the last line that it printed."""
    for container in () if pod is None else pod.status.container_statuses:
        if (ended := container.state.terminated) is not None:
            last = (ended.message.strip().splitlines() or [""])[-1]
            return joined(f"{ended.reason or 'it ended'} (exit code {ended.exit_code})", last)
    return "" if pod is None else joined(pod.status.reason, pod.status.message)


def joined(reason: str, message: str) -> str:
    """`reason: message`, or the one that is there."""
    return ": ".join(part for part in (reason, message) if part)
