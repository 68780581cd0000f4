from pathlib import Path

import made
import numpy as np
import pytest

from models import bundle
from models.profile import panel
from models.profile.answers import EmbeddingSignals, Projection, classes, probabilities

SHARES = np.array([[0.7, 0.2, 0.1], [1 / 3, 1 / 3, 1 / 3]], dtype=np.float32)


def told(given: dict[str, np.ndarray], **fields: object) -> dict[str, np.ndarray]:
    manifest = made.manifest(**fields)
    signals = panel(manifest, Path(), None)
    values = signals.values({"image": np.zeros((2, 1, 6, 6), np.float32)}, given)
    return {
        name: column
        for name, kind, column in zip(signals.names, signals.kinds, values.T, strict=True)
        if kind == "output"
    }


def test_how_sure_an_answer_is() -> None:
    found = told({"probabilities": SHARES, "logits": np.log(SHARES)})
    np.testing.assert_allclose(found["confidence"], [0.7, 1 / 3], rtol=1e-6)
    np.testing.assert_allclose(found["margin"], [0.5, 0], atol=1e-6)
    np.testing.assert_allclose(found["entropy"][1], np.log(3), rtol=1e-5)
    np.testing.assert_allclose(found["energy"], 0, atol=1e-6)
    assert found["class"][0] == 0


def test_probabilities_come_from_logits_where_there_are_no_others() -> None:
    logits = bundle.Tensor("logits", "float32", ("batch", 3), "logits")
    found = told({"logits": np.log(SHARES) + 5}, outputs=(logits,))
    np.testing.assert_allclose(found["confidence"], [0.7, 1 / 3], rtol=1e-5)
    np.testing.assert_allclose(found["energy"], 5, rtol=1e-5)


def test_two_classes_have_one_figure_for_how_sure_an_answer_is() -> None:
    shares = bundle.Tensor("probabilities", "float32", ("batch", 2), "probabilities")
    found = told({"probabilities": SHARES[:, :2]}, outputs=(shares,))
    assert set(found) == {"confidence", "class"}


def test_an_output_that_is_missing_gives_nan_in_its_signals_alone() -> None:
    found = told({"probabilities": SHARES})
    assert np.isnan(found["energy"]).all()
    assert np.isfinite(found["confidence"]).all()
    assert all(np.isnan(value).all() for value in told({}).values())


@pytest.mark.parametrize("shape", [("batch", 1), ("batch", "classes"), ("batch", 3, 8, 8)])
def test_what_is_no_share_per_class_is_described_as_a_tensor(shape: tuple) -> None:
    output = bundle.Tensor("probabilities", "float32", shape, "probabilities")
    sizes = tuple(2 if isinstance(axis, str) else axis for axis in shape)
    found = told({"probabilities": np.ones(sizes, np.float32)}, outputs=(output,))
    np.testing.assert_array_equal(found["probabilities.mean"], 1)
    assert classes(made.manifest(outputs=(output,))) < 2


def test_embeddings_are_told_along_the_projection_around_its_centre() -> None:
    embedding = bundle.Tensor("embedding", "float32", ("batch", 2), "embedding")
    manifest = made.manifest(outputs=(embedding,))
    signals = EmbeddingSignals(manifest, Projection((1.0, 1.0), ((0.0, 2.0),)))
    found = signals.values({"embedding": np.array([[9, 4]], np.float32)}, 1)
    assert signals.names == ("embedding_1",)
    np.testing.assert_array_equal(found, [[6]])


def test_a_model_that_names_neither_gives_no_probabilities() -> None:
    assert probabilities(made.manifest(outputs=()), {"other": SHARES}) is None
