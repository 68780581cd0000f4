from pathlib import Path

import made
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import profile
from models.errors import BundleError
from models.profile.profile import FILE, Layout, Signal, encoded

SIGNALS = (
    Signal("level", "input", (0.0, 1.0, 2.0), (1, 2, 2, 1, 0)),
    Signal("class", "output", (-0.5, 0.5), (0, 5, 0, 1), ordered=False),
)
floats = st.floats(width=32)


@given(st.lists(st.tuples(floats, floats), min_size=1, max_size=20))
def test_a_value_lies_between_the_edges_of_its_bin(values: list) -> None:
    layout = Layout(SIGNALS)
    found = layout.bins(np.array(values, np.float32))
    assert found.dtype == np.uint8
    for row, bins in zip(np.array(values, np.float32), found, strict=True):
        for value, place, signal in zip(row, bins, SIGNALS, strict=True):
            if np.isnan(value):
                assert place == len(signal.edges) + 1
            else:
                assert place == sum(value >= edge for edge in signal.edges)


@given(st.lists(st.tuples(floats, floats), min_size=2, max_size=40), st.data())
def test_counts_of_parts_add_up_to_those_of_the_whole(values: list, data: st.DataObject) -> None:
    layout = Layout(SIGNALS)
    bins = layout.bins(np.array(values, np.float32))
    cut = data.draw(st.integers(0, len(values)))
    order = np.array(data.draw(st.permutations(range(len(values)))))
    parts = layout.counts(bins[order[:cut]]) + layout.counts(bins[order[cut:]])
    np.testing.assert_array_equal(parts, layout.counts(bins))
    assert parts.dtype == np.int64
    assert parts.sum() == 2 * len(values)


def test_the_rectangle_holds_each_signals_counts_and_zeros() -> None:
    layout = Layout(SIGNALS)
    flat = np.concatenate([one.counts for one in SIGNALS])
    np.testing.assert_array_equal(layout.rectangle(flat), [[1, 2, 2, 1, 0], [0, 5, 0, 1, 0]])


def test_a_profile_is_read_as_it_was_written(reference: profile.Profile, tmp_path: Path) -> None:
    profile.write(tmp_path, reference)
    found = profile.read(tmp_path)
    assert found == reference
    assert found.sha256 == reference.sha256
    assert (tmp_path / FILE).read_bytes() == encoded(reference)
    np.testing.assert_array_equal(found.layout.edges, reference.layout.edges)


def test_the_hash_tells_one_reference_from_another(reference: profile.Profile) -> None:
    later = msgspec.structs.replace(reference, created_at="2026-01-02T00:00:00+00:00")
    assert later.sha256 != reference.sha256


def test_a_directory_may_have_none(tmp_path: Path) -> None:
    assert profile.read(tmp_path) is None
    assert profile.read(tmp_path, "int8") is None


def test_a_variant_has_its_own_where_there_is_one(
    reference: profile.Profile, tmp_path: Path
) -> None:
    own = msgspec.structs.replace(reference, variant="int8")
    profile.write(tmp_path, reference)
    profile.write(tmp_path, own, "int8")
    assert profile.read(tmp_path, "int8") == own
    assert profile.read(tmp_path, "fp16") == profile.read(tmp_path) == reference


def test_the_file_has_a_line_for_each_signal(reference: profile.Profile) -> None:
    lines = encoded(reference).decode().splitlines()
    for name in reference.names:
        assert sum(line.startswith(f'    {{"name":"{name}"') for line in lines) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda told: told.pop("rows"), "rows"),
        (lambda told: told["signals"][0]["counts"].pop(), "counts for"),
        (lambda told: told["signals"].pop(), "is not that of"),
        (lambda told: told.update(format=2), "format"),
    ],
)
def test_a_file_that_cannot_be_one_is_an_error_that_says_why(
    reference: profile.Profile, tmp_path: Path, change: object, said: str
) -> None:
    told = msgspec.json.decode(encoded(reference))
    change(told)
    (tmp_path / FILE).write_bytes(msgspec.json.encode(told))
    with pytest.raises(BundleError, match=rf"profile\.json: .*{said}"):
        profile.read(tmp_path)


def test_two_builds_of_the_same_rows_are_the_same_file() -> None:
    assert encoded(made.profile(400)) == encoded(made.profile(400))
