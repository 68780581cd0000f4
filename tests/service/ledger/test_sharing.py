"""Several processes write to one ledger: each label is accepted once, and who reads on from a position misses nothing."""

import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import ledgers
import live
import msgspec
import pytest

from service.ledger import schema
from service.ledger.ledger import Ledger

OF = (ledgers.MODEL, ledgers.VERSION)
BY = (*OF, ledgers.PROFILE)
PROGRAM = str(Path(ledgers.__file__))


def started(*arguments: str) -> subprocess.Popen:
    """A process that uses a ledger."""
    return subprocess.Popen(
        [sys.executable, PROGRAM, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_several_machines_share_a_ledger(ledger: Ledger, url: str) -> None:
    made = ledgers.predictions(40)
    ledger.add_predictions(made)
    machines = ["a", "b", "c"]
    processes = [started("compete", url, machine) for machine in machines]
    told = msgspec.json.encode(made).decode() + "\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(told)
        process.stdin.close()
        process.stdin = None

    labels: list[int] = []
    blocks: list[tuple[str, int]] = []
    position = 0
    while True:
        over = all(process.poll() is not None for process in processes)
        labels += [one.position for one in ledger.labels_after(*OF, max([0, *labels]))]
        arrived = ledger.blocks_after(*BY, position=position)
        blocks += [(one.machine, one.number) for _, one in arrived]
        position = arrived[-1][0] if arrived else position
        if over:
            break

    outcomes = Counter(word for one in processes for word in one.communicate()[0].split())
    assert [process.returncode for process in processes] == [0] * 3
    assert outcomes == {"accepted": 2 * len(made), "duplicate": 2 * 2 * len(made)}
    assert labels == [one.position for one in ledger.labels_after(*OF)]
    assert len(labels) == 2 * len(made)
    assert sorted(blocks) == [(machine, n) for machine in machines for n in range(1, 41)]
    newest = ledger.newest_blocks(*BY, samples=10**6)
    assert [(one.machine, one.number) for _, one in newest] == blocks


def test_a_lower_position_never_appears_after_a_higher_one(server: ledgers.Server) -> None:
    url = server.fresh()
    slow, quick, reader = (Ledger.open(url) for _ in range(3))
    blocks = [ledgers.block(1, 1.0, "slow"), ledgers.block(1, 1.0, "quick")]
    database = slow._database
    with database.appending() as connection:
        database.insert(connection, schema.blocks, [msgspec.structs.asdict(blocks[0])])
        other = threading.Thread(target=quick.add_blocks, args=(blocks[1:],))
        other.start()
        waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        live.until(lambda: not other.is_alive() or server.said(waits) == "1", "the second writer")
        before = reader.blocks_after(*BY)
    other.join(live.PATIENCE)
    after = reader.blocks_after(*BY, position=before[-1][0] if before else 0)
    assert [one for _, one in before + after] == blocks
    for ledger in (slow, quick, reader):
        ledger.close()


def test_processes_that_start_at_once_make_the_tables_once(url: str) -> None:
    processes = [started("open", url) for _ in range(4)]
    assert [process.communicate()[0] for process in processes] == ["0\n"] * 4
    assert [process.returncode for process in processes] == [0] * 4


@pytest.mark.parametrize("lines", [1, 20])
def test_acknowledged_labels_survive_a_killed_process(url: str, lines: int) -> None:
    process = started("label", url)
    assert process.stdout is not None
    acknowledged = [process.stdout.readline() for _ in range(lines)]
    process.kill()
    rest = process.communicate()[0]
    told = [
        one
        for line in [*acknowledged, *rest.splitlines(keepends=True)]
        if line.endswith("\n")
        for one in line.split()
    ]
    ledger = Ledger.open(url)
    there = {one.label.id for one in ledger.labels_after(*OF, limit=10**6)}
    assert len(told) >= 3 * lines
    assert there >= set(told)
    assert len(there) % 3 == 0, "a transaction is there as a whole"
    [made] = ledgers.predictions(at=time.time())
    ledger.add_predictions([made])
    assert ledger.add_labels([ledgers.label(made)]) == ["accepted"]
    ledger.close()
