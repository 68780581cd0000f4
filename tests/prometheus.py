"""A real Prometheus and a real Alertmanager with the committed configuration, where the distribution has them."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml
from live import PATIENCE, running, until

CONFIG = Path(__file__).parents[1] / "deploy" / "prometheus" / "prometheus.yml"
ALERTING = CONFIG.with_name("alertmanager.yml")
SCRAPE = "500ms"
LISTENING = r'"Listening on" address=(\S+)'


def program(name: str, package: str = "prometheus") -> str:
    """The program's path. A person may lack it; CI may not."""
    path = shutil.which(name)
    if path is None and os.environ.get("CI") == "true":
        pytest.fail(f"{name} is not installed, and CI must run this test")
    if path is None:
        pytest.skip(f"{name} is not installed (package {package})")
    return path


@contextmanager
def scraping(
    url: str, directory: Path, alertmanager: str | None = None, flags: tuple[str, ...] = ()
) -> Iterator[str]:
    """The URL of a Prometheus that runs the committed configuration on the service at `url`, and tells `alertmanager` of alerts."""
    config = yaml.safe_load(CONFIG.read_text())
    times = ("scrape_interval", "scrape_timeout", "evaluation_interval")
    config["global"] |= dict.fromkeys(times, SCRAPE)
    config["rule_files"] = [str(CONFIG.with_name(name)) for name in config["rule_files"]]
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [url.removeprefix("http://")]
    managers = [] if alertmanager is None else [alertmanager.removeprefix("http://")]
    config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = managers
    path = directory / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    command = [
        program("prometheus"),
        f"--config.file={path}",
        f"--storage.tsdb.path={directory / 'tsdb'}",
        "--web.listen-address=127.0.0.1:0",
        *flags,
    ]
    with running(command, LISTENING, directory) as started:
        address = f"http://{started.said}"
        until(lambda: ready(address), "Prometheus")
        yield address


def ready(address: str) -> bool:
    """Whether it answers queries: it listens before it has opened its data."""
    return httpx.get(f"{address}/-/ready", timeout=PATIENCE).is_success


@contextmanager
def alerting(url: str, directory: Path, token: str) -> Iterator[str]:
    """The URL of an Alertmanager that runs the committed configuration on the service at `url`, and repeats itself every second."""
    config = yaml.safe_load(ALERTING.read_text())
    config["route"] |= {"group_wait": "0s", "group_interval": "1s", "repeat_interval": "1s"}
    (webhook,) = config["receivers"][1]["webhook_configs"]
    webhook["url"] = webhook["url"].replace("http://localhost:8000", url)
    path = directory / "alertmanager.yml"
    path.write_text(yaml.safe_dump(config))
    path.with_name(webhook["http_config"]["authorization"]["credentials_file"]).write_text(token)
    command = [
        program("prometheus-alertmanager", "prometheus-alertmanager"),
        f"--config.file={path}",
        f"--storage.path={directory / 'alerts'}",
        "--web.listen-address=127.0.0.1:0",
        "--cluster.listen-address=",
    ]
    with running(command, LISTENING, directory) as started:
        address = f"http://{started.said}"
        until(lambda: ready(address), "Alertmanager")
        yield address
