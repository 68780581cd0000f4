"""Who learns from what: poison is left out, the newest of each class judge, and no row does both."""

from collections import Counter
from collections.abc import Callable

from hypothesis import example, given
from hypothesis import strategies as st

from service.ledger.records import Said
from service.monitoring.quality import ACTIVE
from service.retraining.selection import FEWEST, Row, capped, settle, split, untrusted

LABELS = ("yes", "no")


def said(number: int, label: str = "yes", **more: object) -> Said:
    """A label of row 0 of a request of its own; what the model answered was right."""
    told: dict = {
        "position": number,
        "id": f"{number:08d}",
        "row": 0,
        "label": label,
        "source": "",
        "observed_at": float(number),
        "counted": True,
        "version": 1,
        "at": float(number),
        "answer": LABELS.index(label) if label in LABELS else 0,
    }
    return Said(**(told | more))


def rows(count: int, label: Callable[[int], str] = lambda n: LABELS[n % 2]) -> list[Row]:
    return [Row((f"{n:08d}", 0), label(n), "", float(n), False) for n in range(count)]


def test_a_row_is_what_its_last_label_says():
    found = settle([said(1, "yes"), said(2, "no", id="00000001", observed_at=9.0)], LABELS, 1.0)
    assert [(row.key, row.label) for row in found.rows] == [(("00000001", 0), "no")]


def test_where_sources_contradict_each_other_nobody_is_believed():
    told = [said(1, source="a"), said(2, "no", id="00000001", source="b"), said(3)]
    found = settle(told, LABELS, 1.0)
    assert [row.key[0] for row in found.rows] == ["00000003"]
    assert found.left_out == {"sources contradict each other": 1}


def test_what_is_no_class_of_the_model_is_left_out():
    found = settle([said(1, "maybe"), said(2)], LABELS, 1.0)
    assert (len(found.rows), found.left_out) == (1, {"no class of the model": 1})


def flipped(n: int, source: str) -> Said:
    """A label that differs from what was answered."""
    return said(n, LABELS[n % 2], source=source, answer=(n + 1) % 2)


def test_a_source_that_disagrees_far_more_than_the_others_is_left_out():
    good = [said(n, LABELS[n % 2], source="good") for n in range(100)]
    bad = [flipped(n, "bad") for n in range(100, 140)]
    found = settle([*good, *bad], LABELS, 1.0)
    assert {row.source for row in found.rows} == {"good"}
    assert found.left_out == {"source that disagrees with the others": 40}


def test_where_the_model_has_become_wrong_for_everybody_nobody_is_left_out():
    told = [flipped(n, "ab"[n % 2]) if n % 3 else said(n, source="ab"[n % 2]) for n in range(200)]
    assert untrusted([[one] for one in told], LABELS) == set()


def test_a_source_alone_or_with_few_labels_is_not_judged():
    assert untrusted([[flipped(n, "")] for n in range(500)], LABELS) == set()
    few = [*[[said(n, source="a")] for n in range(500)], [flipped(1, "b")] * (FEWEST - 1)]
    assert untrusted(few, LABELS) == set()


def test_rows_that_were_picked_because_they_are_hard_accuse_nobody():
    told = [[said(n, source="a")] for n in range(100)]
    assert untrusted([*told, *[[flipped(n, ACTIVE)] for n in range(100)]], LABELS) == set()


def test_one_of_several_sources_gives_at_most_its_share_and_its_newest_rows():
    many = [one._replace(source="many") for one in rows(90)]
    few = [Row((f"few{n}", 0), "yes", "few", 100.0 + n, False) for n in range(10)]
    kept = capped([*many, *few], 0.8)
    assert Counter(row.source for row in kept) == {"many": 40, "few": 10}
    assert kept[0].at == 50.0
    assert capped(many, 0.8) == many
    assert capped([*many, *few], 1.0) == [*many, *few]


def test_the_newest_of_each_class_judge():
    train, judged = split(rows(200), 0.25)
    assert Counter(row.label for row in judged) == {"yes": 25, "no": 25}
    assert min(row.at for row in judged) > max(row.at for row in train)


def test_a_class_that_came_first_is_judged_too():
    train, judged = split(rows(200, lambda n: LABELS[n // 100]), 0.25)
    assert Counter(row.label for row in judged) == {"yes": 25, "no": 25}
    assert len(train) == 150


def test_few_labels_give_a_larger_share_to_the_judges_but_never_more_than_half():
    assert len(split(rows(50), 0.25)[1]) == FEWEST
    assert len(split(rows(10), 0.25)[1]) == 4  # of each class two of five


def test_what_a_champion_has_learnt_from_is_taught_again_but_never_judges():
    everything = rows(100)
    known = {row.key for row in everything[50:]}
    train, judged = split(everything, 0.25, known)
    assert not known & {row.key for row in judged}
    assert known <= {row.key for row in train}


def test_rows_that_were_picked_because_they_are_hard_teach_and_do_not_judge():
    picked = [row._replace(picked=row.at >= 80) for row in rows(100)]
    train, judged = split(picked, 0.25)
    assert all(row.at < 80 for row in judged)
    assert sum(row.picked for row in train) == 20


@example([(0, "yes", False)] * 5, 0.5)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from(LABELS), st.booleans()), max_size=80),
    st.floats(0.05, 0.5),
)
def test_rows_of_one_request_stay_on_one_side(told: list[tuple[int, str, bool]], share: float):
    given_rows = [
        Row((f"{request:04d}", number), label, "", float(request), picked)
        for number, (request, label, picked) in enumerate(told)
    ]
    train, judged = split(given_rows, share)
    assert not {row.key[0] for row in train} & {row.key[0] for row in judged}
    assert not any(row.picked for row in judged)
    fair = [row for row in given_rows if not row.picked]
    assert len(judged) <= len(fair) / 2
