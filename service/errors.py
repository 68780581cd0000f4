"""What can go wrong while serving. The caller's faults are `models.errors`; these are states of the service.

EvergreenError                (models.errors)
├── NotFound                  no such model, version, or path
├── UnsupportedMedia          the body's type is none that the task takes
├── Unavailable               not now: `retry_after` says when to come back
│   ├── QueueFull             the model's queue holds its bound
│   └── EngineLost            the engine went away with the request; it was not answered
├── DeadlineExceeded          the answer would come too late, or did not come in time
├── EngineError               the model failed on this request
└── SettingsError             a setting cannot be what it was given as
"""

from models.errors import EvergreenError


class NotFound(EvergreenError):
    """There is no such model, version or path."""


class UnsupportedMedia(EvergreenError):
    """The body's content type is none that the model's task takes."""


class Unavailable(EvergreenError):
    """Not now. `retry_after` is the number of seconds after which it is worth asking again."""

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QueueFull(Unavailable):
    """The model's queue holds its bound; nothing was accepted."""


class EngineLost(Unavailable):
    """The engine process went away before it answered; running the request again is safe."""


class DeadlineExceeded(EvergreenError):
    """The request's deadline passed before its answer was there."""


class EngineError(EvergreenError):
    """The model failed on this request alone; its batch mates were answered."""


class SettingsError(EvergreenError):
    """A setting cannot be what it was given as; the message names it."""
