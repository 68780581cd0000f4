"""The whole Dockerfile, built by buildah on a fresh Debian, and what it makes, started as a cluster starts it: make image-proof.

Four minutes and two packages, so it runs when it is asked for. The steps alone are replayed in tests/deploy/test_dockerfile.py.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import contained
import httpx
import live
import pytest

ROOT = Path(__file__).parents[2]
BASE, IMAGE = "docker.io/library/python:3.11-slim", "evergreen:proof"
PACKAGES = "python3,python3-venv,python-is-python3,ca-certificates"
"""What the stand-in for python:3.11-slim holds beside a minimal Debian 12, whose Python is 3.11."""
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
SENTENCE = {"text": "A gripping, beautifully acted film."}

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif("PROVE_IMAGE" not in os.environ, reason="make image-proof asks for it"),
]


class Buildah:
    """buildah with a store of its own."""

    def __init__(self, folder: Path) -> None:
        places = {"--root": folder / "images", "--runroot": folder / "running"}
        self._options = [str(word) for pair in places.items() for word in pair]

    def __call__(self, *arguments: str) -> str:
        command = ["buildah", *self._options, "--storage-driver", "overlay", *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def base(self, tree: Path) -> None:
        """Put a Debian into the store, under the name that the Dockerfile begins with."""
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm"]
        subprocess.run([*command, str(tree)], check=True, capture_output=True)
        container = self("from", "scratch")
        self("add", "--quiet", container, str(tree), "/")
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        self("config", "--env", f"PATH={path}", container)
        self("commit", "--quiet", "--rm", container, BASE)

    def build(self) -> None:
        """The stage that serves, with this machine's network and the certificates that it trusts."""
        trust = [
            "--volume",
            f"{CERTIFICATES}:{CERTIFICATES}:ro",
            "--env",
            f"PIP_CERT={CERTIFICATES}",
        ]
        how = ["--isolation", "chroot", "--network", "host", "--pull-never", "--format", "docker"]
        self("build", *how, *trust, "--target", "serve", "--tag", IMAGE, str(ROOT))


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The image's tree, and how it says that it is to be run."""
    for name in ("buildah", "debootstrap"):
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed (apt-get install buildah debootstrap)")
    folder = tmp_path_factory.mktemp("image")
    buildah = Buildah(folder)
    buildah.base(folder / "debian")
    buildah.build()
    config = json.loads(buildah("inspect", "--type", "image", IMAGE))["Docker"]["config"]
    container = buildah("from", "--pull-never", f"localhost/{IMAGE}")
    try:
        yield Path(buildah("mount", container)), config
    finally:
        buildah("rm", "--all")
        shutil.rmtree(folder, ignore_errors=True)  # some gigabytes


def test_the_image_says_how_it_is_run(image: tuple[Path, dict[str, Any]]):
    _, config = image
    assert config["User"] == "10001"
    assert config["Cmd"] == ["evergreen", "serve"]
    assert config["ExposedPorts"] == {"8000/tcp": {}}
    assert "/v2/health/ready" in config["Healthcheck"]["Test"][-1]


def test_it_serves_as_a_user_without_rights_on_a_root_that_cannot_be_written(
    image: tuple[Path, dict[str, Any]], tmp_path: Path
):
    root, config = image
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, 10001, 10001)
    environ = dict(one.split("=", 1) for one in config["Env"])
    environ |= {"EVERGREEN_HOST": "127.0.0.1", "EVERGREEN_PORT": "0"}
    environ["PATH"] += ":/usr/sbin:/sbin"  # for what leads there
    tried = "touch /x /app/x 2>/dev/null && exit 1; exec " + " ".join(config["Cmd"])
    command = contained.command(
        root, state, config["User"], config["WorkingDir"], ["sh", "-c", tried]
    )
    with live.running(command, r"answers on (http://\S+),", tmp_path, environ) as program:
        with httpx.Client(base_url=program.said, timeout=60) as client:
            assert client.get("/v2/health/ready").status_code == 200
            answer = client.post("/v1/models/sentiment-transformer/predict", json=SENTENCE)
            assert answer.status_code == 200, answer.text
            assert answer.json()["predictions"][0]["label"] == "positive"
        (control,) = live.children(program.process.pid, "serve")
        status = Path(f"/proc/{control}/status").read_text()
        for line in ("Uid:\t10001\t10001", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"):
            assert line in status
        os.kill(control, 15)
        assert program.process.wait(live.PATIENCE) == 0
    assert "telemetry" not in program.output.read_text()
