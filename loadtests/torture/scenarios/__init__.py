"""What is done to a service, by name: each says in its first line what it is, and asserts the recovery."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from loadtests.torture.found import Found
from loadtests.torture.scenarios import clients, clock, ending, engines, soak, storage
from loadtests.torture.trial import Options

Scenario = Callable[[Options, Path], Awaitable[Found]]

FAULTS: dict[str, Scenario] = {
    "engines killed": engines.kill,
    "engines stopped": engines.stop,
    "memory exhausted": engines.exhaust_memory,
    "runs that hang": engines.hang,
    "disk full": storage.fill_disk,
    "registry away": storage.remove_registry,
    "database away": storage.drop_database,
    "idle connections": clients.stay_idle,
    "slow clients": clients.be_slow,
    "half-closed sockets": clients.half_close,
    "clock jumps": clock.jump,
    "SIGTERM": ending.sigterm,
    "rolling restart": ending.restart_in_turn,
}
LOADS: dict[str, Scenario] = {"many requests": soak.many, "a day": soak.day}
SCENARIOS = FAULTS | LOADS
