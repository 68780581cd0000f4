"""A running service that speaks gRPC, for all files here."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import live
import pytest


class Service(NamedTuple):
    """Where it is: the URL of HTTP, the address of gRPC, and its control process."""

    url: str
    address: str
    program: live.Program


@pytest.fixture(scope="session")
def service(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("grpc")
    settings = {"grpc_port": "0", "front_ends": "2", "max_body_bytes": "300000"}
    with live.serving(repository, directory, **settings) as program:
        yield Service(program.said, live.grpc_address(program), program)
