"""A real Prometheus with the committed configuration, where the distribution has one."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from live import running

CONFIG = Path(__file__).parents[1] / "deploy" / "prometheus" / "prometheus.yml"
SCRAPE = "500ms"


def program(name: str) -> str:
    """The program's path. A person may lack it; CI may not."""
    path = shutil.which(name)
    if path is None and os.environ.get("CI") == "true":
        pytest.fail(f"{name} is not installed, and CI must run this test")
    if path is None:
        pytest.skip(f"{name} is not installed (package prometheus)")
    return path


@contextmanager
def scraping(url: str, directory: Path) -> Iterator[str]:
    """The URL of a Prometheus that runs the committed configuration on the service at `url`."""
    config = yaml.safe_load(CONFIG.read_text())
    times = ("scrape_interval", "scrape_timeout", "evaluation_interval")
    config["global"] |= dict.fromkeys(times, SCRAPE)
    config["rule_files"] = [str(CONFIG.with_name(name)) for name in config["rule_files"]]
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [url.removeprefix("http://")]
    path = directory / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    command = [
        program("prometheus"),
        f"--config.file={path}",
        f"--storage.tsdb.path={directory / 'tsdb'}",
        "--web.listen-address=127.0.0.1:0",
    ]
    with running(command, r'"Listening on" address=(\S+)', directory) as started:
        yield f"http://{started.said}"
