"""A champion that has not seen certain people, trained for a demonstration. It must not know what is shown with it."""

import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

from loadtests.demo.service import Failed


def trained_without(people: Collection[int], repository: Path) -> Path:
    """activity-lstm, trained into `repository` as its recipe says, but without `people`; progress is shown."""
    command = [sys.executable, "-m", "models.train", "activity-lstm", "--no-folds"]
    command += ["--unseen", ",".join(map(str, people)), "--out", str(repository)]
    command += ["--runs", str(repository.parent / "runs")]
    # On two cores one thread is quicker: the threads of two would wait for one another.
    environ = {"OMP_NUM_THREADS": "1"} | os.environ
    done = subprocess.run(command, env=environ, check=False)
    if done.returncode != 0:
        raise Failed(f"the champion could not be trained: exit status {done.returncode}")
    return repository
