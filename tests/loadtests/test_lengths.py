"""How batches of mixed lengths are planned, made and judged: the rules behind the figures of `python -m loadtests.lengths`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtests.compare.contenders import ROOT
from loadtests.lengths import __main__ as program
from loadtests.lengths import contest, found, policies, report
from loadtests.lengths.found import HELD_OUT, UNIFORM, Found, Paced
from loadtests.lengths.policies import Planned

LENGTHS = [5, 30, 7, 31]


def row(*tokens: int) -> policies.Row:
    ids = np.array([tokens])
    return {"ids": ids, "mask": np.ones_like(ids)}


def one_of(policy: str, pace: float, **changed: Any) -> Paced:
    given = {"round": 1, "variant": "int8", "lengths": HELD_OUT, "padding": 1.5, "batches": 4}
    return Paced(policy=policy, rows_per_second=pace, **(given | changed))


def test_rows_in_the_order_of_arrival_are_padded_to_the_longest_of_their_batch() -> None:
    assert policies.in_order(LENGTHS, 2) == [Planned([0, 1], 30), Planned([2, 3], 31)]


def test_a_perfect_sort_puts_equal_lengths_together() -> None:
    assert policies.sorted_first(LENGTHS, 2) == [Planned([0, 2], 7), Planned([1, 3], 31)]


def test_one_at_a_time_pads_nothing() -> None:
    assert policies.waste(policies.one_at_a_time(LENGTHS), LENGTHS) == 1


def test_a_bucket_holds_what_fits_and_no_more_rows_than_its_cap() -> None:
    plan = policies.bucketed([16, 17, 3, 9, 32], [16, 32], {16: 2, 32: 8})
    assert plan == [Planned([0, 2], 16), Planned([3], 16), Planned([1, 4], 32)]


def test_a_bucket_without_a_cap_takes_the_nearest_ones() -> None:
    plan = policies.bucketed([60, 60, 60], [16, 48, 64], {16: 1, 48: 2})
    assert [one.rows for one in plan] == [[0, 1], [2]]


def test_what_is_longer_than_every_bucket_keeps_its_length() -> None:
    assert policies.bucketed([40], [16, 32], {16: 8}) == [Planned([0], 40)]


def test_waste_is_padded_over_real() -> None:
    assert policies.waste([Planned([0, 1], 30)], LENGTHS) == 60 / 35


def test_padding_is_zeros_behind_the_shorter() -> None:
    batch = policies.padded([row(1, 2), row(3, 4, 5)], 4)
    assert batch["ids"].tolist() == [[1, 2, 0, 0], [3, 4, 5, 0]]
    assert batch["mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 0]]


def test_uniform_lengths_reach_both_ends_and_are_always_the_same() -> None:
    drawn = policies.uniform(2000, 4, 128, seed=7)
    assert (min(drawn), max(drawn)) == (4, 128)
    assert drawn == policies.uniform(2000, 4, 128, seed=7)
    assert np.mean(drawn) == pytest.approx(66, abs=3)


def test_rows_are_cut_anew_from_the_tokens_between_their_first_and_last() -> None:
    made = policies.recut([row(101, 1, 2, 102), row(101, 3, 4, 5, 102)], "ids", [4, 3, 6])
    assert [one["ids"][0].tolist() for one in made] == [
        [101, 1, 2, 102],
        [101, 3, 102],
        [101, 4, 5, 1, 2, 102],
    ]
    assert all(one["mask"].shape == one["ids"].shape and one["mask"].all() for one in made)


def test_every_row_gets_its_own_answer_whatever_the_order_of_batches() -> None:
    class Echo:
        def run(self, outputs: list[str], batch: policies.Row) -> list[np.ndarray]:
            return [batch["ids"][:, :1]]

    rows = [row(n, *[0] * (9 - n)) for n in range(6)]
    for make in contest.PLANS.values():
        answers = contest.run_plan(Echo(), rows, make).answers  # type: ignore[arg-type]
        assert answers.ravel().tolist() == [0, 1, 2, 3, 4, 5]


def test_ratios_are_taken_within_a_round() -> None:
    paced = [
        *(one_of("buckets", 300), one_of("arrival", 200)),
        *(one_of("arrival", 50, round=2), one_of("buckets", 100, round=2)),
        one_of("buckets", 999, round=3),
    ]
    assert found.ratios(paced, "buckets", "arrival") == [1.5, 2.0]


def test_each_kind_of_lengths_is_judged_by_its_own_target() -> None:
    paced = [one_of("buckets", 150), one_of("arrival", 100)]
    paced += [one_of(one.policy, one.rows_per_second, lengths=UNIFORM) for one in paced]
    assert [(one.target, one.value, one.met) for one in found.judged(paced)] == [
        (1.35, 1.5, True),
        (2.0, 1.5, False),
    ]


def test_what_was_not_measured_is_not_met() -> None:
    lines = found.judged([one_of("buckets", 150)])
    assert [one.met for one in lines] == [None, None]


def test_every_policy_begins_a_round() -> None:
    assert {program.rotated(number)[0] for number in range(4)} == set(contest.POLICIES)
    assert sorted(program.rotated(3)) == sorted(contest.POLICIES)


def test_only_a_whole_run_replaces_the_published_results() -> None:
    published = ROOT / "loadtests" / "results"
    assert program.parse([])[1] == published
    assert program.parse(["--rounds", "2"])[1] != published
    assert program.parse(["--variants", "int8"])[1] != published
    assert program.parse(["--to", "x"])[1] == Path("x")


def test_the_page_and_the_picture_hold_every_policy() -> None:
    paced = [one_of(policy, 100.0 + 50 * (policy == "buckets")) for policy in contest.POLICIES]
    results = Found(
        date="2026-01-01", machine={}, options={}, versions={}, caps={"int8": {16: 8}}, paced=paced
    )
    results.verdicts = found.judged(paced)
    page = report.markdown(results)
    assert "| Evergreen's buckets | 150 | 1.50x | 1.50 | 4 |" in page
    assert "16: 8" in page
    drawn = report.picture(results)
    assert drawn.lstrip().startswith("<?xml")
    assert drawn == report.picture(results)
