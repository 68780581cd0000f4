"""Several processes take the steps of one."""

import json
import subprocess
import sys
from pathlib import Path

import jobs
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from models import bundle, distributed, job

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


def test_alone_a_process_leads_and_takes_every_row() -> None:
    inputs, labels = {"x": np.arange(6)}, np.arange(6)
    assert distributed.leads()
    assert (distributed.rank(), distributed.size()) == (0, 1)
    (found, told), weight = distributed.part(inputs, labels)
    assert found is inputs
    assert told is labels
    assert weight == 1.0
    assert distributed.agreed((1, 2)) == (1, 2)


@given(st.integers(1, 40), st.integers(2, 5))
def test_the_weighted_mean_over_processes_is_the_mean_over_rows(rows: int, size: int) -> None:
    values = np.random.default_rng(rows).normal(size=rows)
    means = []
    for rank in range(size):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(distributed, "rank", lambda rank=rank: rank)
            patch.setattr(distributed, "size", lambda: size)
            (inputs, labels), weight = distributed.part({"x": values}, np.arange(rows))
        assert len(labels) > 0
        np.testing.assert_array_equal(inputs["x"], values[labels])
        means.append(weight * inputs["x"].mean())
    assert np.mean(means) == pytest.approx(values.mean())


@pytest.mark.system
def test_two_processes_come_to_the_weights_of_one(tmp_path: Path) -> None:
    program = Path(__file__).with_name("trained.py")
    for name, start in (("one", (sys.executable,)), ("two", TORCHRUN)):
        (tmp_path / name / "run").mkdir(parents=True)
        done = jobs.done(started((*start, str(program), str(tmp_path / name / "weights"))))
        assert done.returncode == 0, done.stderr
    one, two = (load_file(tmp_path / name / "weights") for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-5, rtol=1e-4)
    figures = [json.loads((tmp_path / n / "weights.json").read_text()) for n in ("one", "two")]
    np.testing.assert_allclose(figures[1], figures[0], atol=1e-4)


@pytest.mark.system
def test_a_job_on_two_processes_leaves_one_bundle_and_one_result(tmp_path: Path) -> None:
    jobs.asked(tmp_path, tmp_path, weights=None, parent=None, parameters={"epochs": 2})
    done = jobs.done(jobs.program("--job", tmp_path, launcher=(*TORCHRUN, "-m")))
    assert done.returncode == 0, done.stderr
    assert job.read_result(tmp_path).ok
    bundle.verify_files(tmp_path / job.BUNDLE, bundle.read(tmp_path / job.BUNDLE))
    fit = [line.done for line in job.read_progress(tmp_path)[0] if line.stage == "fit"]
    assert fit == sorted(fit)


def started(command: tuple[str, ...]) -> subprocess.Popen[str]:
    environment = jobs.environment() | {
        "PYTHONPATH": f"{jobs.ROOT}:{jobs.ROOT / 'tests' / 'models'}"
    }
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
