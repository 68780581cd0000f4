"""What can go wrong while serving. The caller's faults are `models.errors`; these are states of the service.

EvergreenError                (models.errors)
├── NotFound                  no such model, version, or path
├── Refused                   a change of what is served was not made, and why
├── UnsupportedMedia          the body's type is none that the task takes
│   └── UnsupportedCoding     ... or it is compressed in a way that nobody here reads
├── Unsupported               the protocol knows it, this service does not do it
├── Unauthenticated           the token is missing or wrong
├── Forbidden                 nobody may do this here, as the service is set up, or the token's scopes do not hold it
├── QuotaExceeded             the client has asked more than its quota: `retry_after` says when it may again
├── Unavailable               not now: `retry_after` says when to come back
│   ├── QueueFull             the model's queue holds its bound
│   ├── DeadlineUnmeetable    the queue is too long for the request's deadline
│   └── EngineLost            the engine went away with the request; it was not answered
├── ClientGone                nobody waits for the answer any more
├── DeadlineExceeded          the answer would come too late, or did not come in time
├── EngineError               the model failed on this request
│   ├── OutOfMemory           the batch did not fit into the memory of device or process
│   └── DeviceLost            the device answers with errors; nothing runs on it any more
├── LauncherError             whoever runs trainings answered, and refused
└── SettingsError             a setting cannot be what it was given as
"""

from models.errors import EvergreenError


class NotFound(EvergreenError):
    """There is no such model, version or path."""


class Refused(EvergreenError):
    """A change of what is served was not made; what answered before it still does. The message says why."""


class UnsupportedMedia(EvergreenError):
    """The body's content type is none that the model's task takes."""


class UnsupportedCoding(UnsupportedMedia):
    """The body's content coding is none of those that are read here."""


class Unsupported(EvergreenError):
    """The protocol knows it, this service does not do it; the message says what there is instead."""


class Unauthenticated(EvergreenError):
    """A token is needed, and none that is known was given."""


class Forbidden(EvergreenError):
    """As the service is set up nobody may do this, or this token may not; the message says how to change that, or what is needed."""


class QuotaExceeded(EvergreenError):
    """The client has used up its own quota; others have theirs. `retry_after` is the number of seconds until it may ask again."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(EvergreenError):
    """Not now. `retry_after` is the number of seconds after which it is worth asking again."""

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QueueFull(Unavailable):
    """The model's queue holds its bound; nothing was accepted."""


class DeadlineUnmeetable(Unavailable):
    """The answer would come after the deadline; nothing was accepted. `retry_after`: when it should come in time."""


class EngineLost(Unavailable):
    """The engine process went away before it answered; running the request again is safe."""


class ClientGone(EvergreenError):
    """The caller closed the connection before the answer was there; the request was cancelled."""


class DeadlineExceeded(EvergreenError):
    """The request's deadline passed before its answer was there."""


class EngineError(EvergreenError):
    """The model failed on this request alone; its batch mates were answered."""


class OutOfMemory(EngineError):
    """The batch did not fit into the memory of device or process; a smaller one may."""


class DeviceLost(EngineError):
    """The device answers with errors, and will to every later run: the engine has to leave."""


class LauncherError(EvergreenError):
    """Whoever runs trainings answered, and refused; the message has its words. Asking again changes nothing until somebody changes something."""


class SettingsError(EvergreenError):
    """A setting cannot be what it was given as; the message names it."""
