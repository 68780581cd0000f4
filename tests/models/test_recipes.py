"""The recipes: networks whose answers no padding reaches, batches that hold every row, augmentation that keeps its bounds."""

import msgspec
import numpy as np
import pytest
import small
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models import tasks, traffic
from models.datasets import fashion, watch
from models.recipes import activity_lstm, fashion_cnn, recipes, sentiment_transformer


def test_recipes_are_known_by_their_models_names() -> None:
    known = recipes()
    assert set(known) == {"fashion-cnn", "activity-lstm", "sentiment-transformer"}
    for name, recipe in known.items():
        assert recipe.name == name
        assert recipe.data
        assert recipe.licence
        assert recipe.limits


@pytest.mark.parametrize("recipe", recipes().values(), ids=recipes())
def test_a_recipes_padding_names_its_own_inputs_and_covers_its_task(recipe: object) -> None:
    if recipe.padding is None:
        assert isinstance(recipe.task, tasks.ImageTask)
        return
    assert list(recipe.padding.buckets) == sorted(set(recipe.padding.buckets))
    assert recipe.padding.maximum == recipe.task.maximum
    padded = {tensor.name for tensor in recipe.inputs if recipe.padding.axis in tensor.shape}
    assert set(recipe.padding.values) == padded


@torch.no_grad()
def test_what_stands_behind_a_series_never_reaches_the_answer() -> None:
    torch.manual_seed(1)
    recipe = small.Activity()
    network = recipe.network(recipe.hyper).eval()
    series = torch.randn(3, 300, 6)
    lengths = torch.tensor([100, 173, 250], dtype=torch.int32)
    together, _ = network(series, lengths)  # noise behind the ends, not even zeros
    for row, length, answer in zip(series, lengths, together, strict=True):
        alone, _ = network(row[None, :length], length[None])
        torch.testing.assert_close(alone[0], answer, atol=1e-5, rtol=0)


@torch.no_grad()
def test_what_stands_behind_a_text_never_reaches_the_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small.shrink(monkeypatch)
    torch.manual_seed(1)
    network = sentiment_transformer.Network(0.1, 2).eval()
    ids = torch.randint(0, 60, (3, 30))
    lengths = [4, 17, 30]
    mask = (torch.arange(30)[None] < torch.tensor(lengths)[:, None]).long()
    together, _ = network(ids, mask)
    for row, length, answer in zip(ids, lengths, together, strict=True):
        alone, _ = network(row[None, :length], torch.ones(1, length, dtype=torch.long))
        torch.testing.assert_close(alone[0], answer, atol=1e-5, rtol=0)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=80), st.integers(1, 9), st.booleans())
@settings(deadline=None)
def test_batches_of_like_lengths_hold_every_row_once(
    lengths: list[int], size: int, shuffled: bool
) -> None:
    rng = np.random.default_rng(0) if shuffled else None
    batches = sentiment_transformer.by_length(np.array(lengths), size, rng)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert max(map(len, batches)) <= size


@given(st.lists(st.integers(1, 12), min_size=1, max_size=8))
def test_padded_rows_keep_their_numbers_and_are_zero_behind(lengths: list[int]) -> None:
    series = [np.full((n, 6), n, dtype=np.float32) for n in lengths]
    joined = activity_lstm.padded(series)
    np.testing.assert_array_equal(joined["lengths"], lengths)
    for row, one in zip(joined["series"], series, strict=True):
        np.testing.assert_array_equal(row[: len(one)], one)
        assert not row[len(one) :].any()


def test_drawn_windows_last_2_to_6_seconds_and_a_seed_repeats_them() -> None:
    parts = [watch.Recording(np.random.default_rng(i).normal(size=(400, 6)), i, 1) for i in (0, 1)]
    rows = activity_lstm.RandomWindows(parts, small.hyper_of(small.Activity(), windows=20))
    first, again = (list(rows.batches(8, np.random.default_rng(5))) for _ in range(2))
    assert sum(len(labels) for _, labels in first) == len(rows) == 40
    for (inputs, _), (other, _) in zip(first, again, strict=True):
        np.testing.assert_array_equal(inputs["series"], other["series"])
        assert watch.SHORTEST <= inputs["lengths"].min() <= inputs["lengths"].max() <= watch.LONGEST


def test_augmented_pictures_keep_their_shape_and_add_no_light() -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 28, 28), dtype=np.uint8)
    varied = fashion_cnn.augmented(images, np.random.default_rng(1))
    assert (varied.shape, varied.dtype) == (images.shape, np.uint8)
    assert (varied.sum((1, 2)) <= images.sum((1, 2), dtype=np.int64)).all()
    assert (varied != images).any((1, 2)).mean() > 0.9


def test_pictures_judged_come_whole_and_in_order() -> None:
    images = np.random.default_rng(0).integers(0, 256, (21, 28, 28), dtype=np.uint8)
    rows = fashion_cnn.Pictures(fashion.Pictures(images, np.arange(21)))
    batches = list(rows.batches(8))
    assert np.concatenate([labels for _, labels in batches]).tolist() == list(range(21))
    given = np.concatenate([inputs["image"] for inputs, _ in batches])
    processor = tasks.ImageProcessor(fashion_cnn.FashionCnn().task)
    served = tasks.stack([processor.row(image) for image in images])["image"]
    np.testing.assert_array_equal(given, served)


def test_each_fold_holds_out_a_part_of_what_the_model_trains_on_and_trains_on_the_rest() -> None:
    def recording(start: int, size: int) -> watch.Recording:
        times = np.arange(start, start + size, dtype=np.float32)
        return watch.Recording(np.repeat(times[:, None], 6, axis=1), 0, 1)

    training, later = [recording(0, 700)], [recording(700, 300)]
    held: list[float] = []
    for number in range(activity_lstm.FOLDS):
        left, out = activity_lstm.fold(training, later, number)
        known = {time for part in left for time in part.samples[:, 0].tolist()}
        new = out[0].samples[:, 0].tolist()
        assert known | set(new) == set(range(1000))
        assert not known & set(new)
        # No part holds both sides of a gap: a window drawn from it would straddle what is held out.
        assert all((np.diff(part.samples[:, 0]) == 1).all() for part in left)
        held += new
    assert held == list(range(700))


def test_other_cameras_take_some_training_pictures_where_that_is_asked() -> None:
    images = np.full((400, 28, 28), 100, np.uint8)
    hyper = fashion_cnn.FashionCnn().hyper
    rng = np.random.default_rng(0)
    assert fashion_cnn.seen_otherwise(images, hyper, rng) is images
    assert rng.random() == np.random.default_rng(0).random()  # the committed model drew no more
    dark = msgspec.structs.replace(hyper, light=0.3)
    found = fashion_cnn.seen_otherwise(images, dark, rng)
    other = (found != 100).any((1, 2))
    assert 0.2 < other.mean() < 0.4
    assert 30 <= found.min() < 40
    assert 100 < found.max() <= 120


@pytest.mark.parametrize("recipe", [small.Fashion(), small.Activity()], ids=["image", "series"])
def test_a_varied_row_of_traffic_is_one_that_the_model_takes(recipe: object) -> None:
    rng = np.random.default_rng(0)
    rows = traffic.some(recipe.samples(), recipe, 16).rows
    for row in rows:
        varied = recipe.varied(row, recipe.hyper, rng)
        for tensor in recipe.inputs:
            assert varied[tensor.name].dtype == tensor.dtype
            assert varied[tensor.name].ndim == len(tensor.shape) - 1
    if "lengths" in varied:
        lengths = [(len(r["series"]), recipe.varied(r, recipe.hyper, rng)) for r in rows]
        assert all(v["lengths"] == len(v["series"]) for _, v in lengths)
        assert all(max(100, int(0.7 * n)) <= len(v["series"]) <= n for n, v in lengths)


@pytest.mark.parametrize("recipe", recipes().values(), ids=recipes())
def test_a_fine_tunings_hyper_parameters_are_the_recipes_own(recipe: object) -> None:
    changed = msgspec.structs.asdict(recipe.hyper) | recipe.fine_tuning
    assert msgspec.convert(changed, type(recipe.hyper))
    assert 0 <= recipe.base_share < 1


def test_people_are_named_by_their_numbers() -> None:
    hyper = activity_lstm.ActivityHyper(epochs=1, batch_size=8, learning_rate=0.1, unseen="1,2,10")
    assert hyper.people == {1, 2, 10}
    with pytest.raises(msgspec.ValidationError, match="unseen"):
        msgspec.convert(msgspec.structs.asdict(hyper) | {"unseen": "1,"}, type(hyper))


def test_a_watch_that_sits_otherwise_turns_both_sensors_alike() -> None:
    rng = np.random.default_rng(0)
    matrix = activity_lstm.rotation(0.3, rng.normal(size=3))
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.trace(matrix) == pytest.approx(1 + 2 * np.cos(0.3))
    series = np.tile(rng.normal(size=(100, 3)), 2).astype(np.float32)
    moved = []
    for seed in range(40):
        turned = activity_lstm.augmented(series, np.random.default_rng(seed), turn=40)
        assert turned.dtype == np.float32
        moved.append(np.abs(turned[:, :3] - series[:, :3]).mean() > 0.25)
    assert 10 < sum(moved) < 30
