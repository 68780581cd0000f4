from pathlib import Path

import made
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import profile
from models.errors import InputError
from models.profile.build import class_edges, quantile_edges, signal
from models.profile.profile import Layout


def test_a_profile_says_where_it_comes_from(reference: profile.Profile) -> None:
    assert (reference.model, reference.version, reference.rows) == ("made", 1, 900)
    assert (reference.source, reference.data_sha256) == ("drawn", "0" * 64)
    assert reference.sizes == (100, 200)
    assert reference.resamples == 1000
    for one in reference.signals:
        assert sum(one.counts) == 900


def test_ordinary_signals_fill_their_bins_evenly_and_have_thin_ends(
    reference: profile.Profile,
) -> None:
    counts = next(one.counts for one in reference.signals if one.name == "brightness")
    assert len(counts) == 16 + 2 + 1
    assert counts[-1] == 0
    assert 1 <= counts[0] <= 9
    assert 1 <= counts[-2] <= 9
    assert all(40 <= count <= 60 for count in counts[1:-2])


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(InputError, match="a reference of 120 rows is too small"):
        profile.build(made.manifest(), Path(), [made.batch(120)], made.ABOUT)
    with pytest.raises(InputError, match="a reference of 0 rows is too small"):
        profile.build(made.manifest(), Path(), [], made.ABOUT)


def test_rows_may_come_in_any_batches(reference: profile.Profile) -> None:
    whole = made.batch(900)
    parts = [
        profile.Batch(
            {name: array[i : i + 70] for name, array in whole.inputs.items()},
            {name: array[i : i + 70] for name, array in whole.outputs.items()},
            whole.labels[i : i + 70],
        )
        for i in range(0, 900, 70)
    ]
    found = profile.build(made.manifest(), Path(), iter(parts), made.ABOUT)
    assert found.names == reference.names
    np.testing.assert_array_equal(found.reference, reference.reference)


def test_embeddings_are_left_out_unless_every_batch_has_them() -> None:
    one, other = made.batch(300), made.batch(300, seed=1)
    del other.outputs["embedding"]
    found = profile.build(made.manifest(), Path(), [one, other], made.ABOUT)
    assert found.projection is None
    assert not any(one.kind == "embedding" for one in found.signals)
    assert profile.panel(made.manifest(), Path(), found).names == found.names


def test_rows_that_nobody_answered_tell_of_the_inputs_and_others_how_accurate_it_is() -> None:
    answered, other = made.batch(150), made.batch(200, seed=1)
    unanswered = profile.Batch(other.inputs, {})
    found = profile.build(made.manifest(), Path(), [answered, unanswered], made.ABOUT)
    assert found.rows == 350
    assert {one.kind for one in found.signals} == {"input"}
    assert found.estimate is not None
    assert found.estimate.n == 150


def test_without_labels_there_is_no_estimate_of_accuracy() -> None:
    found = profile.build(
        made.manifest(), Path(), [made.batch(400)._replace(labels=None)], made.ABOUT
    )
    assert found.estimate is None


def test_the_projection_is_of_the_directions_that_vary_most() -> None:
    rows = made.batch(600)
    rows.outputs["embedding"][:, 4] *= 10
    found = profile.build(made.manifest(), Path(), [rows], made.ABOUT)
    components = np.array(found.projection.components)
    assert components.shape == (8, made.WIDTH)
    assert abs(components[0]).argmax() == 4
    assert components[0, 4] > 0.9
    np.testing.assert_allclose(components @ components.T, np.eye(8), atol=1e-3)


def test_a_value_that_many_rows_share_has_a_bin_of_its_own() -> None:
    values = np.concatenate([np.zeros(400), np.random.default_rng(0).random(400)])
    edges = quantile_edges(values)
    zero = edges.index(0.0)
    assert edges[zero + 1] == np.nextafter(np.float32(0), np.float32(1))


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=300))
def test_edges_rise_and_survive_the_file(values: list[float]) -> None:
    edges = quantile_edges(np.array(values, np.float32))
    assert 1 <= len(edges) < 250
    assert (np.diff(np.array(edges, np.float32)) > 0).all()
    assert all(float(f"{edge:.9g}") == edge for edge in edges)


def test_signals_that_the_rows_do_not_tell_are_left_out() -> None:
    rows = [made.batch(300), made.batch(300, seed=1)]
    del rows[1].outputs["logits"]
    found = profile.build(made.manifest(), Path(), rows, made.ABOUT)
    assert "energy" not in found.names
    assert "confidence" in found.names


def test_classes_have_a_bin_each_and_very_many_share() -> None:
    assert class_edges(np.array([0, 2, 2])) == (-0.5, 0.5, 1.5, 2.5)
    many = class_edges(np.random.default_rng(0).integers(0, 1000, 5000).astype(float))
    assert 40 <= len(many) <= 51
    assert all(edge % 1 == 0.5 for edge in many)


def test_a_class_that_the_reference_lacks_has_a_bin_of_its_own() -> None:
    known = signal("class", "output", np.array([0.0, 2.0]))
    bins = Layout((known,)).bins(np.array([[0.0], [1.0], [2.0], [3.0]]))
    assert bins.ravel().tolist() == [1, 2, 3, 4]
