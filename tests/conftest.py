"""What several test files share: the toy models, and one service that serves them."""

import inspect
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import live
import pytest
import s3
import toys
from hypothesis import settings

from service import context

# Hypothesis' own profile for CI, for everybody: no example has a deadline, and every run tries the same ones.
settings.load_profile("ci")

# A request may take what anything may, also where a test names no time of its own.
patience = inspect.signature(httpx.get).parameters["timeout"].default
patience.connect = patience.read = patience.write = patience.pool = live.PATIENCE

# gRPC's clients are in this process, too: after a fork its threads would begin again in the child, whose files are being closed for
# the program that it is about to become, and now and then end it.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"


@pytest.fixture(autouse=True)
def no_request() -> Iterator[None]:
    """No test is part of the request that another one has worked on."""
    token = context.current.set(None)
    yield
    context.current.reset(token)


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy models as a repository, never written to."""
    return toys.repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="session")
def url(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running service with the toy models: control, a front end and three engines."""
    with live.serving(
        repository, tmp_path_factory.mktemp("service"), max_body_bytes="300000"
    ) as service:
        yield service.said


@pytest.fixture(scope="session")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a bucket, with what a client needs to reach it in the environment.

    One for all: the S3 library keeps its connections, and would look for the next server where the first one was.
    """
    with (
        pytest.MonkeyPatch.context() as patch,
        s3.serving(tmp_path_factory.mktemp("s3")) as server,
    ):
        for name, value in {**s3.CREDENTIALS, "AWS_ENDPOINT_URL": server.said}.items():
            patch.setenv(name, value)
        yield f"s3://{s3.BUCKET}"
