"""A service for each file, which is looked at after each test."""

import shutil
from collections.abc import Iterator

import httpx
import live
import oddities
import pytest
from hostile import (
    COMMITTED,
    GROWTH_MB,
    INFER,
    LIMIT,
    PNG,
    PREDICT,
    SERIES,
    Service,
    asked,
    picture,
    resident,
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two committed models and a bare one; beside them names that lead out of the repository."""
    folder = tmp_path_factory.mktemp("hostile")
    root = folder / "repository"
    for name in ("fashion-cnn", "activity-lstm"):
        shutil.copytree(COMMITTED / name, root / name)
    oddities.save(root, oddities.linear(), "bare")
    outside = oddities.save(folder / "outside", oddities.linear(), "secret")
    (root / "linked-version").mkdir()
    (root / "linked-version" / "1").symlink_to(outside)
    (root / "linked-file" / "1").mkdir(parents=True)
    (root / "linked-file" / "1" / "model.onnx").symlink_to(outside / "model.onnx")
    (root / "linked-model").symlink_to(outside.parent)
    with live.serving(
        root,
        folder,
        max_body_bytes=str(LIMIT),
        serve="fashion-cnn,activity-lstm,bare",
    ) as program:
        control = program.process.pid
        pids = [control, *live.children(control, "service.frontend")]
        pids += live.children(control, "service.engine.worker")
        yield Service(program.said, {pid: resident(pid) for pid in pids})


@pytest.fixture(autouse=True)
def unharmed(service: Service) -> Iterator[None]:
    """After each test every model answers, by the same processes, which have not grown."""
    yield
    with httpx.Client(base_url=service.url, timeout=live.PATIENCE) as client:
        assert client.get("/v2/health/live").json() == {"live": True}
        answer = client.post(INFER, json=asked([1.0, 2.0, 3.0]))
        assert answer.json()["outputs"][0]["data"] == [16.5, 21.5]
        assert client.post(PREDICT, content=picture(), headers=PNG).status_code == 200
        assert client.post(SERIES, json={"series": [[0.0] * 6] * 150}).status_code == 200
    for pid, before in service.held.items():
        assert resident(pid) < before + GROWTH_MB
