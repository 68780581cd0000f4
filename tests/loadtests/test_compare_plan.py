"""Who is measured when."""

from loadtests.compare import plan
from loadtests.compare.plan import LOOP, Options, Setup

LETTERS = [Setup("m", "fp32", name, True, (1,)) for name in "abcdefg"]


def test_every_round_has_every_setup_once() -> None:
    for number in range(4):
        assert sorted(plan.rotated(LETTERS, number)) == LETTERS


def test_three_rounds_begin_with_three_different_servers() -> None:
    firsts = [plan.rotated(LETTERS, number)[0].server for number in range(3)]
    assert len(set(firsts)) == 3


def test_nothing_can_be_rotated() -> None:
    assert plan.rotated([], 2) == []


def test_the_same_file_with_batching_is_measured_on_everybody_at_every_concurrency() -> None:
    for group in plan.setups(Options(variants=("fp32",))):
        batching = [one for one in group if one.batching and one.server != LOOP]
        assert [one.server for one in batching] == ["evergreen", *plan.PEER_NAMES]
        assert {one.concurrencies for one in batching} == {plan.CONCURRENCIES}


def test_peers_are_measured_without_batching_where_rows_differ_in_length() -> None:
    off = {
        (one.model, one.server)
        for group in plan.setups(Options())
        for one in group
        if not one.batching
    }
    assert off == {(model, peer) for model in plan.VARYING for peer in plan.PEER_NAMES}


def test_every_file_has_its_limit() -> None:
    for group in plan.setups(Options()):
        assert [one.server for one in group].count(LOOP) == 1


def test_both_files_of_the_cnn_are_measured_where_the_fastest_file_is_judged() -> None:
    groups = plan.setups(Options(models=("fashion-cnn",), variants=("int8",)))
    asked = {one.concurrencies for one in groups[0] if one.server != LOOP}
    assert asked == {(32, 128)}


def test_a_short_run_holds_what_was_asked_for() -> None:
    options = Options(models=("fashion-cnn",), variants=("fp32",), peers=("mosec",), rounds=1)
    (group,) = plan.setups(options)
    assert [one.server for one in group] == [LOOP, "evergreen", "mosec"]


def test_a_single_high_concurrency_is_measured_everywhere() -> None:
    for group in plan.setups(Options(concurrencies=(128,))):
        assert all(one.concurrencies in ((128,), ()) for one in group)
        assert sum(one.server != LOOP for one in group) >= 7


def test_full_leaves_nothing_out() -> None:
    for group in plan.setups(Options(full=True)):
        assert {one.concurrencies for one in group if one.server != LOOP} == {plan.CONCURRENCIES}


def test_a_whole_run_takes_about_forty_minutes() -> None:
    assert 20 < plan.estimate(Options()) / 60 < 45


def test_the_estimate_grows_with_rounds_and_seconds() -> None:
    short = Options(rounds=1, seconds=1)
    assert plan.estimate(short._replace(rounds=2)) == 2 * plan.estimate(short)
    assert plan.estimate(short._replace(seconds=3)) > plan.estimate(short)
