"""The image's recipe: read as text here, and its serving stage replayed step by step in a folder of its own."""

import fnmatch
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
import toys
from live import environment, running

from service import settings

ROOT = Path(__file__).parents[2]


class Step(NamedTuple):
    """One instruction: its word, and everything after it on its lines."""

    word: str
    rest: str


class Stage(NamedTuple):
    """`FROM base AS name` and what follows."""

    name: str
    base: str
    steps: list[Step]

    def last(self, word: str) -> str | None:
        return next((step.rest for step in reversed(self.steps) if step.word == word), None)


def read_stages() -> dict[str, Stage]:
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if line[:1] != "#"]
    stages: dict[str, Stage] = {}
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            base, name = re.fullmatch(r"(\S+) AS (\S+)", rest).groups()  # type: ignore[union-attr]
            stages[name] = Stage(name, base, [])
        elif word:
            stages[name].steps.append(Step(word, rest.strip()))
    return stages


STAGES = read_stages()
TARGETS = ("serve", "train")


def line_of(name: str) -> list[Stage]:
    """A stage with the stages that it stands on, the first one first."""
    stage = STAGES[name]
    return [*(line_of(stage.base) if stage.base in STAGES else []), stage]


def steps_of(name: str) -> list[Step]:
    return [step for stage in line_of(name) for step in stage.steps]


def arguments(name: str) -> dict[str, str]:
    """What a stage may be built with, as it is without a word."""
    given = (step.rest.partition("=") for step in steps_of(name) if step.word == "ARG")
    return {key: value for key, _, value in given}


def environment_of(name: str) -> dict[str, str]:
    """The variables that a stage sets."""
    texts = (step.rest for step in steps_of(name) if step.word == "ENV")
    return dict(pair.split("=", 1) for text in texts for pair in text.split())


def copied(rest: str) -> tuple[str | None, list[str], str]:
    """(stage, sources, destination) of a COPY."""
    words = rest.split()
    stage = words.pop(0).removeprefix("--from=") if words[0].startswith("--from=") else None
    return stage, words[:-1], words[-1]


@functools.cache
def sent() -> frozenset[str]:
    """The files of the repository that .dockerignore lets into the build, in its own order: the last rule that fits wins."""
    rules = [r for r in (ROOT / ".dockerignore").read_text().splitlines() if r and r[0] != "#"]
    files = {
        path.relative_to(ROOT).as_posix()
        for top in ROOT.iterdir()
        if top.name not in (".venv", ".git", ".evergreen")
        for path in ([top] if top.is_file() else top.rglob("*"))
        if path.is_file()
    }
    return frozenset(file for file in files if kept(file, rules))


def kept(file: str, rules: list[str]) -> bool:
    verdict = True
    places = [file, *(parent.as_posix() for parent in Path(file).parents)]
    for rule in rules:
        pattern = rule.removeprefix("!").removeprefix("**/")
        candidates = [p.rpartition("/")[2] for p in places] if "**/" in rule else places
        if any(fnmatch.fnmatchcase(place, pattern) for place in candidates):
            verdict = rule[0] == "!"
    return verdict


def lay(rest: str, app: Path, files: frozenset[str]) -> None:
    """What a COPY into `app` does; what other stages made lies beside it, under their names."""
    stage, sources, destination = copied(rest)
    for source in sources:
        if stage is not None:
            made = app.with_name(stage) / Path(source).relative_to("/app")
            shutil.copytree(made, app / destination, symlinks=True)
            continue
        for file in (f for f in files if f == source or f.startswith(f"{source}/")):
            inside = file.removeprefix(source).lstrip("/")
            into = Path(source).name if destination.endswith("/") else ""
            target = app / destination / (inside or into)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / file, target)


def replay(name: str, app: Path, environ: dict[str, str]) -> None:
    """The steps of a stage in an empty `app`. Adding a user would change this machine, so that one is left out."""
    app.mkdir()
    files, environ = sent(), environ | arguments(name)
    for step in steps_of(name):
        if step.word == "COPY":
            lay(step.rest, app, files)
        elif step.word == "RUN" and "useradd" not in step.rest:
            done = subprocess.run(
                step.rest,
                shell=True,
                check=False,
                cwd=app,
                env=environ,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("target", TARGETS)
def test_target_stands_on_the_slim_image(target: str) -> None:
    assert line_of(target)[0].base == "python:3.11-slim"


def test_build_without_a_target_serves() -> None:
    assert list(STAGES)[-1] == "serve"


@pytest.mark.parametrize("target", TARGETS)
def test_target_runs_as_a_numbered_user_that_is_not_root(target: str) -> None:
    user = STAGES[target].last("USER")
    assert user is not None
    assert user.isdecimal()  # Kubernetes' runAsNonRoot does not trust names
    assert int(user) > 0
    assert any(f"--uid {user} " in step.rest for step in steps_of(target) if step.word == "RUN")


def test_no_stage_installs_a_compiler_or_anything_of_the_distribution() -> None:
    runs = " ".join(
        step.rest for stage in STAGES.values() for step in stage.steps if step.word == "RUN"
    )
    assert not re.search(r"\bapt(-get)?\b|\bgcc\b|build-essential", runs)


def test_commands_are_in_exec_form_so_that_signals_arrive() -> None:
    serve, train = STAGES["serve"], STAGES["train"]
    assert json.loads(serve.last("CMD") or "") == ["evergreen", "serve"]
    assert json.loads(train.last("ENTRYPOINT") or "")[-1] == "models.train"


def test_health_is_asked_of_the_readiness_probe() -> None:
    check = STAGES["serve"].last("HEALTHCHECK") or ""
    command = json.loads(check.partition("CMD ")[2])
    assert "/v2/health/ready" in command[-1]
    compile(command[-1], "HEALTHCHECK", "exec")


def test_port_host_and_state_are_declared() -> None:
    steps, environ = steps_of("serve"), environment_of("serve")
    assert environ["EVERGREEN_HOST"] == "0.0.0.0"
    assert Step("EXPOSE", environ["EVERGREEN_PORT"]) in steps
    assert Step("VOLUME", environ["EVERGREEN_STATE"]) in steps


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_written_but_below_the_volume_and_tmp(target: str) -> None:
    environ = environment_of(target)
    places = [environ[name] for name in ("EVERGREEN_STATE", "EVERGREEN_DATA", "MPLCONFIGDIR")]
    assert all(Path(place).is_relative_to("/var/lib/evergreen") for place in places[:2])
    assert Path(places[2]).is_relative_to("/tmp")
    assert environ["PYTHONDONTWRITEBYTECODE"] == "1"


@pytest.mark.parametrize("target", TARGETS)
def test_nobody_is_told_what_runs(target: str) -> None:
    assert environment_of(target)["ORT_DISABLE_TELEMETRY"] == "1"


def test_the_settings_that_it_makes_exist(tmp_path: Path) -> None:
    chosen = settings.load(environ=environment_of("serve"), directory=tmp_path)
    assert (chosen.host, chosen.port) == ("0.0.0.0", 8000)


def test_every_extra_that_can_be_asked_for_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = set(arguments("install")["EXTRAS"].split(","))
    assert asked <= project["optional-dependencies"].keys()
    assert {"postgres", "s3"} <= asked  # what replicas share


def test_every_installation_is_constrained() -> None:
    steps = [s.rest for stage in STAGES.values() for s in stage.steps if s.word == "RUN"]
    installations = [
        command for rest in steps for command in rest.split("&&") if "pip install" in command
    ]
    assert installations
    assert [c for c in installations if "-c constraints.txt" not in c] == []


def test_every_copied_file_is_in_the_repository_and_reaches_the_build() -> None:
    files = sent()
    for stage in STAGES.values():
        for step in stage.steps:
            origin, sources, _ = copied(step.rest) if step.word == "COPY" else (None, [], "")
            for source in sources:
                if origin is not None:
                    assert origin in STAGES
                else:
                    assert any(f == source or f.startswith(f"{source}/") for f in files), source


def test_build_is_sent_code_and_models_and_nothing_else() -> None:
    tops = {file.partition("/")[0] for file in sent()}
    assert tops == {
        "pyproject.toml",
        "constraints.txt",
        "README.md",
        "LICENSE",
        "service",
        "models",
    }
    assert [file for file in sent() if "__pycache__" in file] == []


@pytest.mark.system
def test_service_starts_from_what_the_image_holds(tmp_path: Path) -> None:
    app = tmp_path / "app"
    toys_only = environment(tmp_path, port="0", serve="toy-image,toy-series,toy-text")
    path = f"{app}/.venv/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environ = {k: v for k, v in toys_only.items() if k != "PYTHONPATH"} | {"PATH": path}
    replay("install", app, environ)
    app.rename(app.with_name("install"))
    replay("serve", app, environ)
    toys.repository(app / "models" / "repository")

    program, *arguments = json.loads(STAGES["serve"].last("CMD") or "")
    command = [str(shutil.which(program, path=path)), *arguments]
    assert command[0].startswith(str(app))
    health = json.loads((STAGES["serve"].last("HEALTHCHECK") or "").partition("CMD ")[2])
    with running(command, r"answers on (http://\S+),", tmp_path, environ) as service:
        asked = environ | {"EVERGREEN_PORT": service.said.rpartition(":")[2]}
        subprocess.run(health, check=True, env=asked)
    assert subprocess.run(health, check=False, env=asked, stderr=subprocess.DEVNULL).returncode == 1
