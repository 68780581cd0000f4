"""Coverage-guided fuzzing of the parser of /v2's bodies, in short. The whole: `make fuzz`."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUNS = 30_000


@pytest.mark.system
def test_bodies_that_reach_ever_more_of_the_parser_are_refused_or_read_rightly(tmp_path: Path):
    pytest.importorskip("atheris", reason="atheris has no wheel for this machine")
    corpus = tmp_path / "corpus"
    command = [sys.executable, "-m", "loadtests.torture.fuzzing", f"-runs={RUNS}", "-seed=7"]
    done = subprocess.run(
        [*command, str(corpus)], check=False, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    assert f"Done {RUNS} runs" in done.stderr
    found = [file for file in corpus.iterdir() if not file.name.startswith("seed-")]
    assert found, "nothing new was reached: the parser is not watched"
