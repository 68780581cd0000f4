"""A job's directory, from a real ledger: what is learnt from and what judges share no row, and everything is named with its hash."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ledgers
import numpy as np
import pytest
import toys
from ledgers import MODEL

from models import job
from models.errors import DataError
from models.traffic import read
from service.ledger.ledger import Ledger
from service.monitoring import payloads
from service.retraining import traffic
from service.retraining.options import Retraining
from service.retraining.traffic import HOLDOUT, Source, Written, hashed
from service.retraining.triggers import Trigger

LABELS = ("no", "yes")
PERSON = Trigger(kind="person")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    yield ledger
    ledger.close()


def tensors(number: float) -> dict[str, np.ndarray]:
    return {"x": np.full(3, number, dtype=np.float32)}


def add(ledger: Ledger, count: int, begin: int = 0, **more: Any) -> None:
    """Rows that differ, each with a label."""
    made = []
    for number in range(begin, begin + count):
        (one,) = ledgers.predictions(1, 1_790_000_000.0 + number, label=number % 2)
        made.append((one, number))
    ledger.add_predictions([one for one, _ in made])
    ledger.add_payloads(
        [ledgers.payload(one, payloads.encode(tensors(n % more.get("of", 1e9)))) for one, n in made]
    )
    said = [
        ledgers.label(one, more.get("says") or LABELS[n % 2], more.get("source", ""))
        for one, n in made
    ]
    assert set(ledger.add_labels(said)) == {"accepted"}


def written(
    ledger: Ledger, directory: Path, trigger: Trigger = PERSON, **source: Any
) -> tuple[Written, Any, Any]:
    """What was written, and both files as they are read."""
    directory.mkdir(exist_ok=True)
    told = {"versions": [1], "trained": set(), "after": 0} | source
    found = traffic.write(
        directory, Source(ledger.learning, MODEL, **told), LABELS, Retraining(), trigger
    )
    train = read(directory / job.TRAFFIC, found.learnt.sha256)
    judged = read(directory / HOLDOUT, found.learnt.held_out_sha256)
    return found, train, judged


def numbers(rows: Any) -> list[float]:
    return [float(row["x"][0]) for row in rows.rows]


def test_rows_are_learnt_from_or_judge_with_their_labels(ledger: Ledger, tmp_path: Path):
    add(ledger, 100)
    found, train, judged = written(ledger, tmp_path / "job")
    assert (found.learnt.trained, found.learnt.held_out) == (76, 24)
    assert sorted(numbers(train) + numbers(judged)) == list(range(100))
    assert min(numbers(judged)) >= 74
    for rows in (train, judged):
        assert [int(number) % 2 for number in numbers(rows)] == rows.labels.tolist()
    assert (found.learnt.labels, found.learnt.with_payload, found.learnt.position) == (
        *(100, 100),
        100,
    )
    assert found.hashes == [hashed(row) for row in train.rows]
    assert found.traffic.count == 76
    assert found.traffic.since.startswith("2026-")


def test_equal_rows_are_one_and_those_said_to_be_different_things_are_none(
    ledger: Ledger, tmp_path: Path
):
    add(ledger, 60)
    add(ledger, 60, begin=1000, of=1000)  # 0..59 once more, with the same labels
    (one,) = ledgers.predictions(1, 1_790_002_000.0)
    ledger.add_predictions([one])
    ledger.add_payloads([ledgers.payload(one, payloads.encode(tensors(7)))])
    ledger.add_labels([ledgers.label(one, "no")])  # 7 is "yes" twice
    found, train, judged = written(ledger, tmp_path / "job")
    everything = numbers(train) + numbers(judged)
    assert sorted(everything) == [n for n in range(60) if n != 7]
    assert found.learnt.left_out == {"not kept, or twice the same": 62}


def test_what_a_champion_has_learnt_from_never_judges(ledger: Ledger, tmp_path: Path):
    add(ledger, 80)
    known = {hashed(tensors(n)) for n in range(40, 80)}
    found, _, judged = written(ledger, tmp_path / "job", trained=known)
    assert not known & {hashed(row) for row in judged.rows}
    assert known <= set(found.hashes)


def test_the_reference_is_traffic_that_is_not_learnt_from(ledger: Ledger, tmp_path: Path):
    add(ledger, 40)
    unlabelled = ledgers.predictions(5, 1_790_000_500.0)
    ledger.add_payloads(
        [
            ledgers.payload(one, payloads.encode(tensors(500 + n)))
            for n, one in enumerate(unlabelled)
        ]
    )
    found, train, judged = written(ledger, tmp_path / "job")
    assert found.reference is not None
    rows = read(tmp_path / "job" / job.REFERENCE, found.reference.sha256)
    assert not set(numbers(rows)) & set(numbers(train))
    assert set(numbers(rows)) == set(numbers(judged)) | {500.0, 501.0, 502.0, 503.0, 504.0}
    assert set(rows.labels.tolist()) == {-1}


@pytest.mark.parametrize(("new", "alone"), [(299, False), (300, True)])
def test_the_reference_is_what_came_since_the_traffic_drifted_where_that_is_enough(
    ledger: Ledger, tmp_path: Path, new: int, alone: bool
):
    began = 1_790_000_500.0
    add(ledger, 40)
    rows = ledgers.predictions(new, began)
    ledger.add_payloads(
        [ledgers.payload(one, payloads.encode(tensors(500 + n))) for n, one in enumerate(rows)]
    )
    found, _, judged = written(ledger, tmp_path / "job", drifting_since=began)
    assert found.reference is not None
    reference = read(tmp_path / "job" / job.REFERENCE, found.reference.sha256)
    before = set() if alone else set(numbers(judged))
    assert set(numbers(reference)) == before | {500.0 + n for n in range(new)}


def test_only_rows_of_the_time_that_is_asked_for_and_of_versions_alike(
    ledger: Ledger, tmp_path: Path
):
    add(ledger, 100)
    begin = 1_790_000_000.0
    some = Trigger(kind="person", since=begin + 20, until=begin + 60)
    _, train, judged = written(ledger, tmp_path / "job", some)
    assert sorted(numbers(train) + numbers(judged)) == list(range(20, 60))
    with pytest.raises(DataError, match="of 0 labelled rows 0 are left to train on"):
        written(ledger, tmp_path / "other", versions=[2])


def test_a_poisoned_source_reaches_neither_side(ledger: Ledger, tmp_path: Path):
    add(ledger, 100, source="good")
    add(ledger, 60, begin=200, source="bad", says="no")  # half of them are answered "yes"
    found, train, judged = written(ledger, tmp_path / "job")
    assert sorted(numbers(train) + numbers(judged)) == list(range(100))
    assert found.learnt.left_out == {"source that disagrees with the others": 60}


def test_what_people_sent_does_not_stay_when_the_job_has_ended(ledger: Ledger, tmp_path: Path):
    add(ledger, 40)
    directory = tmp_path / "job"
    written(ledger, directory)
    champion = toys.image(tmp_path / "models")
    assert traffic.parent(directory, champion) == "parent"
    kept = {file.name for file in champion.iterdir()}
    assert {file.name for file in (directory / "parent").iterdir()} == kept
    (directory / "log.txt").write_text("printed")
    traffic.tidy(directory)
    traffic.tidy(directory)
    assert [path.name for path in directory.iterdir()] == ["log.txt"]
    assert {file.name for file in champion.iterdir()} == kept
