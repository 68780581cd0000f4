"""Bodies of /v2 that nobody wrote: refused in a sentence, or read as Python's own JSON reads them. `loadtests/torture/fuzzing.py` goes on for longer."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings, target
from hypothesis import strategies as st

from loadtests.torture.fuzzing import EDGES, keeps, seeds, taken
from service.api import values

SEEDS = sorted(seeds())
NUMBERS = st.one_of(st.integers(), st.floats(), st.booleans(), st.text(max_size=3), st.none())
TENSOR = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["x", "y", "é", ""]),
        "shape": st.lists(st.integers(-1, 5), max_size=3),
        "datatype": st.sampled_from([*values.DATATYPES, "FP8"]),
    },
    optional={
        "data": st.recursive(NUMBERS, lambda inner: st.lists(inner, max_size=6), max_leaves=12),
        "parameters": st.dictionaries(
            st.sampled_from(["binary_data_size", "other"]), st.integers(-9, 99), max_size=2
        ),
    },
)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_seed_is_taken(seed: bytes):
    length, _, body = seed.partition(b"\n")
    assert taken(body, length.decode() or None) or body == EDGES[-1]


@given(st.lists(TENSOR, max_size=3), st.binary(max_size=40), st.integers(-2, 2))
@settings(max_examples=200, deadline=None)
def test_whatever_has_the_form_of_a_request_is_refused_or_read_rightly(
    inputs: list, tail: bytes, off: int
):
    head = json.dumps({"inputs": inputs}).encode()
    length = str(len(head) + off) if tail or off else None
    target(float(taken(head + tail, length)))


@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 3), st.binary(min_size=1, max_size=4))),
)
@example(SEEDS[0], [(0, 1, b"\xff")])
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_damage_to_a_good_request_is_refused_or_read_rightly(
    seed: bytes, damage: list[tuple[int, int, bytes]]
):
    data = bytearray(seed)
    for at, gone, new in damage:
        place = at % (len(data) + 1)
        data[place : place + gone] = new
    keeps(bytes(data))


def test_a_body_that_is_read_wrongly_would_be_noticed(monkeypatch: pytest.MonkeyPatch):
    from service.api import tensors

    parse = tensors.parse

    def shifted(body: bytes, header_length: str | None):
        asked, found = parse(body, header_length)
        return asked, {name: np.roll(array, 1) for name, array in found.items()}

    monkeypatch.setattr(tensors, "parse", shifted)
    floats = next(seed for seed in SEEDS if seed.startswith(b"\n") and b"FP32" in seed)
    with pytest.raises(AssertionError, match="x: "):
        keeps(floats)
