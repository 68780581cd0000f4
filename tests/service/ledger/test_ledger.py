"""What is put into a ledger is there, once, until it is erased or expires: in SQLite and PostgreSQL alike."""

import time
import traceback
from pathlib import Path
from typing import Any

import ledgers
import msgspec
import pytest

from service import settings
from service.errors import SettingsError
from service.ledger import schema
from service.ledger.ledger import Ledger
from service.ledger.records import DAY, Block, Label, Limits, Prediction

OF = (ledgers.MODEL, ledgers.VERSION)
BY = (*OF, ledgers.PROFILE)


# Predictions and payloads


def test_records_come_back_as_they_were(ledger: Ledger) -> None:
    one, other = ledgers.predictions(2, confidence=1 / 3, share=1 / 4096)
    second_row = msgspec.structs.replace(one, row=1, label=7)
    ledger.add_predictions([second_row, one, other])
    asked = ledgers.payload(one, bytes(range(256)) * 100)
    ledger.add_payloads([asked])
    assert ledger.predictions([one.id, ledgers.new_id(time.time())]) == [one, second_row]
    assert list(ledger.payloads(ledgers.MODEL, one.at - 1, one.at + 1)) == [(asked, None)]


def test_what_is_added_again_is_there_once(ledger: Ledger) -> None:
    made = ledgers.predictions(20)
    for _ in range(2):
        ledger.add_predictions([*made, *made])
        ledger.add_payloads([ledgers.payload(one) for one in made])
        ledger.add_blocks([ledgers.block(number, number) for number in range(5)])
        ledger.add_evaluations([ledgers.evaluation(1.0), ledgers.evaluation(2.0)])
    found = ledger.figures()
    assert (found.predictions, found.payloads, found.blocks, found.evaluations) == (20, 20, 5, 2)
    assert found.payload_bytes == 100
    assert found.bytes > 0


def test_adding_nothing_adds_nothing(ledger: Ledger) -> None:
    ledger.add_predictions([])
    ledger.add_payloads([])
    ledger.add_blocks([])
    ledger.add_evaluations([])
    assert ledger.add_labels([]) == []
    assert ledger.figures().predictions == 0


def test_more_ids_than_one_question_holds_are_found(ledger: Ledger) -> None:
    made = ledgers.predictions(1201)
    ledger.add_predictions(made)
    assert len(ledger.predictions([one.id for one in made])) == 1201
    assert ledger.add_labels([ledgers.label(one) for one in made]) == ["accepted"] * 1201


def test_an_id_that_is_none_is_not_found(ledger: Ledger) -> None:
    assert ledger.predictions(["", "none", "%" * 36, "é" * 32]) == []
    assert ledger.erase("none") is False


def test_payloads_are_read_in_parts_by_time_model_and_label(ledger: Ledger) -> None:
    times = [1_000_000.0 + number for number in range(120)]
    made = [ledgers.predictions(at=at)[0] for at in times]
    elsewhere = ledgers.predictions(at=times[5], model="other")[0]
    ledger.add_predictions([*made, elsewhere])
    ledger.add_payloads([ledgers.payload(one) for one in [*made[::-1], elsewhere]])
    ledger.add_labels([ledgers.label(one, "no") for one in made[10:13]])
    ledger.add_labels([ledgers.label(made[11], "yes", at=1)])
    ledger.add_labels([ledgers.label(made[12], "maybe", at=-1)])

    def read(**told: Any) -> list[tuple[str, str | None]]:
        found = ledger.payloads(ledgers.MODEL, times[2], times[110], **told)
        return [(asked.id, truth) for asked, truth in found]

    everything = read()
    assert [one for one, _ in everything] == [one.id for one in made[2:110]]
    assert dict(everything)[made[2].id] is None
    truths = list(zip([one.id for one in made[10:13]], ["no", "yes", "no"], strict=True))
    assert read(labelled=True) == truths
    assert [one for one in everything if one[1]] == truths


def test_labels_are_wanted_where_they_tell_most(ledger: Ledger) -> None:
    sure, older, newer, labelled, unpaid = (
        ledgers.predictions(at=1000.0 + number, confidence=confidence)[0]
        for number, confidence in enumerate([0.9, 0.4, 0.4, 0.1, 0.2])
    )
    other = ledgers.predictions(version=2)[0]
    made = [sure, older, newer, labelled, unpaid, other]
    ledger.add_predictions(made)
    ledger.add_payloads([ledgers.payload(one) for one in made if one is not unpaid])
    ledger.add_labels([ledgers.label(labelled)])
    assert ledger.wanted(*OF) == [newer, older, sure]
    assert ledger.wanted(*OF, limit=1) == [newer]


# Blocks and evaluations


def test_newest_blocks_are_those_that_came_last_whatever_their_clocks_say(ledger: Ledger) -> None:
    there = [
        ledgers.block(number, ended_at=-number // 3, machine=machine)
        for number in range(150)
        for machine in ("b", "a")
    ]
    ledger.add_blocks(there[:130])
    ledger.add_blocks(there[130:])

    def newest(samples: int) -> list[Block]:
        return [one for _, one in ledger.newest_blocks(*BY, samples=samples)]

    assert newest(500) == there[-10:]
    assert newest(501) == there[-11:]
    assert newest(64 * 50) == there[-64:]
    assert newest(10**9) == there
    assert ledger.newest_blocks(*BY, samples=10**9) == ledger.blocks_after(*BY)
    assert ledger.newest_blocks(*OF, "another", samples=500) == []


def test_blocks_are_read_on_from_a_position(ledger: Ledger) -> None:
    there = [ledgers.block(number, ended_at=100 - number) for number in range(1, 8)]
    ledger.add_blocks(there[:4])
    first = ledger.blocks_after(*BY, limit=3)
    ledger.add_blocks(there[4:])
    rest = ledger.blocks_after(*BY, position=first[-1][0])
    assert [one for _, one in first + rest] == there


def test_the_newest_evaluations_come_oldest_first(ledger: Ledger) -> None:
    found = [ledgers.evaluation(float(at), p=at / 10) for at in range(5)]
    ledger.add_evaluations(found)
    ledger.add_evaluations([msgspec.structs.replace(found[0], version=2)])
    assert ledger.evaluations(*OF, limit=3) == found[2:]


# Labels


def test_a_label_is_accepted_once(ledger: Ledger) -> None:
    [made] = ledgers.predictions()
    ledger.add_predictions([made])
    one, other = ledgers.label(made), ledgers.label(made, source="another person")
    assert ledger.add_labels([one, one, other]) == ["accepted", "duplicate", "accepted"]
    assert ledger.add_labels([other, one]) == ["duplicate", "duplicate"]
    assert ledger.figures().labels == 2


def test_the_same_id_written_otherwise_is_the_same(ledger: Ledger) -> None:
    [made] = ledgers.predictions()
    ledger.add_predictions([made])
    loud = msgspec.structs.replace(ledgers.label(made), id=made.id.upper())
    assert ledger.add_labels([loud, ledgers.label(made)]) == ["accepted", "duplicate"]


def test_labels_of_what_was_not_kept_are_unknown_or_late_and_not_stored(ledger: Ledger) -> None:
    [kept] = ledgers.predictions()
    ledger.add_predictions([kept])
    [sampled_out] = ledgers.predictions()
    [old] = ledgers.predictions(at=kept.at - 91 * DAY)
    late = Label(old.id, 0, "yes", "a person", old.at, kept.at)
    other_row = msgspec.structs.replace(ledgers.label(kept), row=1)
    nonsense = msgspec.structs.replace(ledgers.label(kept), id="none")
    told = ledger.add_labels([ledgers.label(sampled_out), late, other_row, nonsense])
    assert told == ["unknown", "late", "unknown", "unknown"]
    assert ledger.figures().labels == 0


def test_labels_are_read_on_from_a_position_with_what_they_correct(ledger: Ledger) -> None:
    first, second = ledgers.predictions(2)
    ledger.add_predictions([first, second])
    ledger.add_labels([ledgers.label(first, "no"), ledgers.label(second, "yes")])
    ledger.add_labels([ledgers.label(first, "yes", at=2), ledgers.label(first, "old", at=1)])
    ledger.add_labels([ledgers.label(first, "maybe", source="b", at=2)])
    found = ledger.labels_after(*OF)
    told = [(one.prediction, one.label.label, one.before) for one in found]
    assert told == [
        (first, "no", None),
        (second, "yes", None),
        (first, "yes", "no"),
        (first, "maybe", "yes"),
    ]
    assert ledger.labels_after(*OF, position=found[1].position) == found[2:]
    assert ledger.labels_after(*OF, limit=2) == found[:2]
    assert ledger.labels_after(ledgers.MODEL, 2) == []


def test_positions_are_not_used_again(ledger: Ledger) -> None:
    first, second = ledgers.predictions(2)
    ledger.add_predictions([first, second])
    ledger.add_labels([ledgers.label(first)])
    [before] = ledger.labels_after(*OF)
    ledger.erase(first.id)
    ledger.add_labels([ledgers.label(second)])
    [after] = ledger.labels_after(*OF)
    assert after.position > before.position


# Opening


def test_the_file_lies_in_the_state_directory_for_its_owner_alone(tmp_path: Path) -> None:
    ledger = Ledger.of(settings.load({"state": tmp_path / "state", "payload_mb": 3}, {}))
    ledger.add_predictions(ledgers.predictions())
    [file] = [path for path in (tmp_path / "state").iterdir() if path.suffix == ".sqlite"]
    assert file.name == "ledger.sqlite"
    assert all(path.stat().st_mode & 0o077 == 0 for path in file.parent.iterdir())
    assert ledger.limits == Limits(payload_bytes=3 * 1024 * 1024)
    ledger.close()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("", "is not a URL"),
        ("secret", "is not a URL"),
        ("mysql://me:secret@there/x", "'mysql' is not"),
        ("sqlite://", "sqlite:///PATH are known"),
        ("postgresql://me:secret@there:port/x", "is not a URL"),
        ("postgresql://me:secret@there/x?color=secret", "'color' is not known"),
        ("postgresql://me:secret@there/x?sslmode=maybe", "not 'maybe'"),
        ("postgresql://me:secret@there/x?sslmode=verify-full&sslrootcert=/none", "sslrootcert"),
    ],
)
def test_a_url_that_cannot_be_one_is_refused_without_being_repeated(url: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told) as refused:
        Ledger.open(url)
    assert "secret" not in "".join(traceback.format_exception(refused.value))


def test_ids_sort_by_time() -> None:
    made: list[Prediction] = [ledgers.predictions(at=1000.0 + n / 1000)[0] for n in range(50)]
    assert sorted(made, key=lambda one: one.id) == made
    assert schema.first_id(-1.0) <= schema.first_id(1000.0) < made[0].id < schema.first_id(1000.1)
    assert made[-1].id < schema.first_id(float("inf"))
