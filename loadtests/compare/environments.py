"""Each peer's own virtual environment, built once from the package registry. It must not know how a peer is run.

.evergreen/compare/venvs/<peer>/: made again when its requirements or the pinned versions change.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from loadtests.compare.contenders import ROOT, Contender
from loadtests.compare.errors import NotMeasured

SCRATCH = ROOT / ".evergreen" / "compare"
CONSTRAINTS = Path(__file__).with_name("constraints.txt")
INSTALL_S = 900
EVERYBODY = ("onnxruntime",)
"""What every peer gets beside itself."""
DESCRIBE = """
import importlib.metadata as m, json, platform, sys
print(json.dumps({"python": platform.python_version()} | {name: m.version(name) for name in sys.argv[1:]}))
"""


def programs(contender: Contender) -> Path:
    """The folder of the environment's programs."""
    if not contender.requirements:
        return Path(sys.executable).parent
    return SCRATCH / "venvs" / contender.name / "bin"


def ensure(contender: Contender) -> None:
    """Build the peer's environment unless it is there as it should be. NotMeasured says why it cannot be built."""
    folder = programs(contender).parent
    wanted = recipe(contender, CONSTRAINTS.read_text())
    stamp = folder / "compare.stamp"
    if not contender.requirements or (stamp.is_file() and stamp.read_text() == wanted):
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    run([python_for(contender), "-m", "venv", str(folder)])
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install"]
    quiet = ["--quiet", "--progress-bar", "off", "--constraint", str(CONSTRAINTS)]
    run([*pip, *quiet, *contender.requirements, *EVERYBODY])
    stamp.write_text(wanted)


def recipe(contender: Contender, constraints: str) -> str:
    """What an environment was made from, in one line: it is made again when this changes."""
    parts = [*contender.requirements, *EVERYBODY, str(contender.system_python), constraints]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def python_for(contender: Contender) -> str:
    """The Python to make the environment with."""
    if not contender.system_python:
        return sys.executable
    found = shutil.which("python3", path=os.defpath)
    if found is None:
        raise NotMeasured("the distribution's own python3 is not installed")
    return found


def run(command: list[str]) -> None:
    """A step of building."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise NotMeasured(f"installing it took more than {INSTALL_S} s") from error
    if done.returncode:
        raise NotMeasured(f"it could not be installed: {complaint(done.stdout + done.stderr)}")


def complaint(output: str) -> str:
    """The first line of pip's output that is an error, or else the last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines[-1:] or ["no reason given"])[0]


def versions(contender: Contender) -> dict[str, str]:
    """Python, the peer and ONNX Runtime in its environment."""
    names = [contender.requirements[0].partition("[")[0], *EVERYBODY]
    command = [str(programs(contender) / "python"), "-c", DESCRIBE, *names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        return {}
    found: dict[str, str] = json.loads(done.stdout)
    return found
