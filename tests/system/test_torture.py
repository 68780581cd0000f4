"""Every fault once, in short, on a service of its own under verified load. The whole: `make torture`."""

from pathlib import Path

import msgspec
import pytest
import uvloop

from loadtests.torture import probes
from loadtests.torture.errors import Skipped
from loadtests.torture.found import Found, violations
from loadtests.torture.scenarios import FAULTS, ending, soak
from loadtests.torture.trial import Options

pytestmark = pytest.mark.system

SHORT = Options(rounds=1, rest_s=0.7, callers=4, connections=1_000, hours=24, within_s=6)
TRUTH_S = 5.0
"""Readiness is given longer than `make torture` gives it: here other tests may run beside it."""


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a busy machine takes for a probe, or to hear a signal, decides nothing here."""
    monkeypatch.setattr(probes, "WITHIN_S", 30.0)
    monkeypatch.setattr(ending, "TRUTH_S", TRUTH_S)


def held(found: Found) -> None:
    """Nothing is wrong, lost or dead, and there was something to judge."""
    found.truth_s = max(found.truth_s, TRUTH_S)
    assert list(violations(found)) == []
    assert found.total.right > 50
    assert found.probes.live > 3


@pytest.mark.parametrize("name", FAULTS)
def test_no_answer_is_wrong_or_lost(name: str, tmp_path: Path):
    try:
        found = uvloop.run(FAULTS[name](SHORT, tmp_path))
    except Skipped as reason:
        pytest.skip(str(reason))
    held(found)
    assert found.faults


def test_a_day_passes_in_seconds(tmp_path: Path):
    found = uvloop.run(soak.day(SHORT, tmp_path))
    grown = [one for one in found.missed if one.startswith("resident memory")]
    held(msgspec.structs.replace(found, missed=[m for m in found.missed if m not in grown]))
    assert "the service's clock ran 1.44e+04 times as fast" in found.notes
    assert len(found.memory) == soak.WEIGHINGS
