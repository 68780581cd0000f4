"""Nothing that runs a model tells anybody of it: ONNX Runtime's wheels would."""

import subprocess
import sys

import live

from service.engine.supervisor import ENVIRONMENT

TOLD = "import os, {}; print(os.environ['ORT_DISABLE_TELEMETRY'])"


def test_an_engine_is_told_so_before_it_starts():
    assert ENVIRONMENT["ORT_DISABLE_TELEMETRY"] == "1"


def test_so_is_whatever_else_loads_a_model(tmp_path):
    environ = {k: v for k, v in live.environment(tmp_path).items() if k != "ORT_DISABLE_TELEMETRY"}
    for given, expected in (({}, "1"), ({"ORT_DISABLE_TELEMETRY": "0"}, "0")):
        command = [sys.executable, "-c", TOLD.format("models.bundle")]
        done = subprocess.run(command, check=True, env=environ | given, capture_output=True)
        assert done.stdout.decode().strip() == expected
