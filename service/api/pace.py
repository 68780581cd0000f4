"""Whether a connection's client keeps its time. Pure: it must not know sockets or HTTP.

What is awaited of it: "headers", "body", "request" (an idle connection, which has a timer of its own), "reading" (of an answer), "end", or
None while it waits itself.
"""

from service.edge import Limits


class Pace:
    """Of one client: what is awaited of it, since when, and how much had come by then."""

    def __init__(self, limits: Limits, now: float) -> None:
        self.since = now
        self._limits = limits
        self._seen: tuple[str | None, int] = (None, 0)
        self._had = self._unsent = 0

    def late(
        self, awaited: str | None, message: int, received: int, unsent: int, now: float
    ) -> bool:
        """Whether it has taken too long. Of its request number `message` so many bytes of a body were `received`; an answer's are `unsent`."""
        limits, seen = self._limits, (awaited, message)
        if seen != self._seen or (awaited == "reading" and unsent < self._unsent):
            self._seen, self.since, self._had = seen, now, received
        self._unsent = unsent
        waited = now - self.since
        if awaited == "headers":
            return waited > limits.header_timeout_s
        if awaited not in ("body", "reading", "end") or waited <= limits.body_timeout_s:
            return False
        if awaited == "body" and received - self._had >= limits.body_bytes_per_s * waited:
            # From now on anew: what came fast at first pays for no rest, during which it would take the memory of others' bodies.
            self.since, self._had = now, received
            return False
        return True
