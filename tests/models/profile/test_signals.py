from pathlib import Path

import made
import msgspec
import numpy as np
import pytest
import toys

from models import bundle
from models.errors import BundleError
from models.profile import Profile, panel


@pytest.mark.parametrize("toy", [toys.image, toys.series, toys.text])
def test_every_task_has_signals_of_its_own(toy: object, tmp_path: Path) -> None:
    directory = toy(tmp_path)
    manifest = bundle.read(directory)
    signals = panel(manifest, directory, None)
    values = signals.values(*bundle.read_samples(directory))
    assert values.shape == (16, len(signals.names))
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    assert len(set(signals.names)) == len(signals.names) == len(signals.kinds)
    assert {"input", "output"} == set(signals.kinds)


def test_a_bare_version_has_signals_of_its_tensors(tmp_path: Path) -> None:
    file = tmp_path / "thing" / "1" / bundle.BARE
    file.parent.mkdir(parents=True)
    file.write_bytes(b"")
    manifest = bundle.bare(
        file,
        (bundle.Tensor("x", "float32", ("batch", 3)),),
        (bundle.Tensor("y", "float32", ("batch",)),),
    )
    signals = panel(manifest, file.parent, None)
    values = signals.values({"x": np.ones((2, 3), np.float32)}, {"y": np.zeros(2, np.float32)})
    assert {"x.mean", "y.mean"} <= set(signals.names)
    assert np.isfinite(values).all()


def test_a_profile_decides_which_signals_there_are_and_their_order(reference: Profile) -> None:
    fewer = msgspec.structs.replace(
        reference, signals=(reference.signals[5], reference.signals[0]), nulls=()
    )
    signals = panel(made.manifest(), Path(), fewer)
    whole = panel(made.manifest(), Path(), reference)
    rows = made.batch(4)
    assert signals.names == fewer.names
    np.testing.assert_array_equal(
        signals.values(rows.inputs, rows.outputs),
        whole.values(rows.inputs, rows.outputs)[:, [5, 0]],
    )


def test_a_signal_that_nobody_knows_here_is_named(reference: Profile) -> None:
    strange = msgspec.structs.replace(reference.signals[0], name="aura")
    other = msgspec.structs.replace(reference, signals=(strange,), nulls=())
    with pytest.raises(BundleError, match="the signal 'aura' is not known"):
        panel(made.manifest(), Path(), other)


@pytest.mark.filterwarnings("error")
def test_wild_values_have_a_bin_each_and_warn_nobody(reference: Profile) -> None:
    signals = panel(made.manifest(), Path(), reference)
    rows = made.batch(4)
    rows.inputs["image"][:] = np.array([np.nan, np.inf, -np.inf, 3e38])[:, None, None, None]
    rows.outputs["logits"][:] = np.nan
    bins = reference.bins(signals.values(rows.inputs, rows.outputs))
    assert reference.counts(bins).sum() == 4 * len(reference.names)
