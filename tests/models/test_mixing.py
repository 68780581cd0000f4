"""What a retraining learns from and stops by: traffic among the recipe's own rows, in the shares that were asked for."""

import jobs
import numpy as np
import pytest

from models import traffic
from models.errors import DataError
from models.mixing import RECENT, mixed, profiled
from models.recipes import Splits, from_file

RECIPE = from_file(jobs.RECIPE)
TRAFFIC = jobs.dark(50, 1)


@pytest.fixture(scope="module")
def base() -> Splits:
    return RECIPE.splits(RECIPE.hyper, 1)


def mix(base: Splits, share: float | None, rows: traffic.Traffic = TRAFFIC) -> Splits:
    return mixed(RECIPE, RECIPE.hyper, base, rows, share, 1)


def prints(images: np.ndarray) -> list[str]:
    return [traffic.fingerprint({"image": one}) for one in images]


def test_a_fifth_of_the_traffic_is_never_trained_on(base: Splits) -> None:
    splits = mix(base, 0.75)
    trained = {one for x, _ in splits.train.batches(16) for one in prints(x["image"])}
    kept = {one for x, _ in splits.tests[RECENT].batches(16) for one in prints(x["image"])}
    everything = set(prints([row["image"] for row in TRAFFIC.rows]))
    assert len(kept) == 10
    assert not kept & trained
    assert everything == kept | (everything & trained)


def test_old_and_new_rows_count_the_same_in_the_validation(base: Splits) -> None:
    images = np.concatenate([x["image"] for x, _ in mix(base, 0.75).validation.batches(64)])
    old = set(prints(next(base.validation.batches(300))[0]["image"]))
    assert sum(one in old for one in prints(images)) == 30
    assert len(images) == 60


def test_a_network_that_begins_anew_goes_through_all_base_rows(base: Splits) -> None:
    train = mix(base, None).train
    rows = sum(len(labels) for _, labels in train.batches(32, np.random.default_rng(0)))
    assert len(train) == 1500 + 40
    assert abs(rows - len(train)) < 32


def test_very_little_traffic_is_all_trained_on(base: Splits) -> None:
    splits = mix(base, 0.5, jobs.dark(4, 1))
    assert RECENT not in splits.tests
    assert len(splits.train) == 8
    assert len(splits.validation) == 1


def test_a_recipe_says_how_rows_of_traffic_may_vary_in_training(base: Splits) -> None:
    class Brighter(type(RECIPE)):
        def varied(self, row, hyper, rng):
            return {"image": row["image"] + 1}

    train = mixed(Brighter(), RECIPE.hyper, base, TRAFFIC, 0.0, 1).train
    (trained, _), (judged, _) = (
        next(train.batches(40, rng)) for rng in (np.random.default_rng(0), None)
    )
    assert trained["image"].min() >= 1
    assert judged["image"].min() == 0


def test_a_profiles_rows_are_traffic_with_a_few_base_rows(base: Splits) -> None:
    rows = profiled(RECIPE, mix(base, 0.75), jobs.dark(350, 2))
    assert rows is not None
    assert len(rows.held_out) == 350 + 10 + 40
    assert rows.folds == []
    assert rows.source == "360 rows of recent traffic, and 40 held-out rows"


def test_few_rows_are_joined_by_those_that_were_trained_on_without_an_answer(base: Splits) -> None:
    splits = mix(base, 0.75)
    rows = profiled(RECIPE, splits, jobs.dark(260, 2))
    assert rows is not None
    assert len(rows.held_out) == 260 + 10 + 34
    assert all(batch.outputs == {} and batch.labels is None for batch in rows.folds)
    joined = [one for batch in rows.folds for one in prints(batch.inputs["image"])]
    kept = prints(next(splits.tests[RECENT].batches(16))[0]["image"])
    assert sorted(joined + kept) == sorted(prints([row["image"] for row in TRAFFIC.rows]))
    assert "the version learnt from 40 of them" in rows.source


def test_too_little_traffic_makes_no_profile(base: Splits) -> None:
    assert profiled(RECIPE, mix(base, 0.75), jobs.dark(249, 2)) is None


def test_labels_that_nobody_told_are_for_the_profile_alone(base: Splits) -> None:
    unknown = traffic.Traffic(TRAFFIC.rows * 6, np.full(300, -1))
    rows = profiled(RECIPE, base, unknown)
    assert rows is not None
    assert len(rows.held_out) == 333
    with pytest.raises(DataError, match=r"lie in -1\.\.-1, the model's in 0\.\.2"):
        mix(base, 0.5, unknown)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"other": np.zeros((1, 16, 16), np.float32)}, "'image' of the traffic is missing"),
        ({"image": np.zeros((1, 16, 16))}, "float64"),
        ({"image": np.zeros((16, 16), np.float32)}, r"float32 \[16, 16\]"),
    ],
)
def test_rows_that_the_model_does_not_take_are_refused(base: Splits, row: dict, told: str) -> None:
    with pytest.raises(DataError, match=told):
        mix(base, 0.5, traffic.Traffic([row], np.zeros(1, np.int64)))
