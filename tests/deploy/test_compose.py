"""compose.yaml: what its specification allows, what the service and its neighbours really read, and nothing that strangers could reach."""

import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import compose_spec
import pytest
import yaml
from prometheus import ALERTING, CONFIG, program

from service import settings
from service.api.tokens import ADMIN, HOOKS, Tokens
from service.ledger import database

DEPLOY = Path(__file__).parents[2] / "deploy"
FILE = DEPLOY / "compose.yaml"
SECRETS = "compose/secrets.sh"
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
ADDRESSES = {"localhost:8000": "evergreen:8000", "localhost:9093": "alertmanager:9093"}
"""What this machine's addresses are called between containers."""

Document = dict[str, Any]


def interpolated(text: str, given: dict[str, str]) -> str:
    """As docker compose does it; what has neither a value nor a default stays."""
    return VARIABLE.sub(lambda m: given.get(m[1], m[3] if m[2] == "-" else m[0]), text)


GIVEN = {"LEDGER_PASSWORD": "ledgers-password", "GRAFANA_PASSWORD": "grafanas-password"}
DOCUMENT: Document = yaml.safe_load(interpolated(FILE.read_text(), GIVEN))
SERVICES: dict[str, Document] = DOCUMENT["services"]
EVERGREEN = ("evergreen", "evergreen-gpu")
OTHERS = sorted(SERVICES.keys() - set(EVERGREEN))


def mounts(name: str) -> list[tuple[str, str]]:
    """(source, target) of what a container mounts."""
    return [tuple(one.split(":")[:2]) for one in SERVICES[name].get("volumes", ())]  # type: ignore[misc]


def test_the_specification_allows_it():
    compose_spec.PyCompose.from_yaml(yaml.safe_dump(DOCUMENT)).validate()


def test_every_image_is_pinned_to_a_version():
    assert {name: SERVICES[name]["image"] for name in OTHERS} == {
        name: SERVICES[name]["image"]
        for name in OTHERS
        if re.search(r":v?\d+\.\d+(\.\d+)?$", SERVICES[name]["image"])
    }


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_nothing_listens_beyond_the_loopback(name: str):
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", ()))
    assert SERVICES[name].get("network_mode") is None


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_file_that_is_mounted_is_there_and_cannot_be_written(name: str):
    for one in SERVICES[name].get("volumes", ()):
        source, _, rest = one.partition(":")
        if source.startswith("."):
            assert (DEPLOY / source).exists() or source.startswith("./secrets/"), source
            assert rest.endswith(":ro")


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - {"postgres"}))
def test_containers_have_no_rights_and_write_to_volumes_alone(name: str):
    one = SERVICES[name]
    assert one["read_only"] is True
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_nobody_takes_the_machines_memory_or_fills_its_disk_with_lines(name: str):
    one = SERVICES[name]
    assert re.fullmatch(r"\d+[gm]", one["mem_limit"])
    assert one["logging"] == {"driver": "local"}
    assert all("size=" in place for place in one.get("tmpfs", ()))


def test_the_database_counts_as_healthy_once_others_reach_it():
    """While it makes its tables for the first time, it answers on its own socket alone."""
    assert "--host=127.0.0.1" in SERVICES["postgres"]["healthcheck"]["test"]


@pytest.mark.parametrize("name", OTHERS)
def test_whoever_has_no_health_check_in_its_image_has_one_here(name: str):
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


def test_no_password_has_a_default():
    passwords = {m[1]: m[2] for m in VARIABLE.finditer(FILE.read_text()) if "PASSWORD" in m[1]}
    assert passwords == dict.fromkeys(GIVEN, "?")


def test_one_command_makes_what_is_missing_and_leaves_what_is_there(tmp_path: Path):
    folder = tmp_path / "deploy"
    (folder / "compose").mkdir(parents=True)
    for name in (SECRETS, ".env.example"):
        shutil.copy(DEPLOY / name, folder / name)
    subprocess.run([folder / SECRETS], check=True)
    secrets = folder / "secrets"
    paths = (folder / ".env", *secrets.rglob("*"))
    made = {path.name: path for path in paths if path.is_file()}
    texts = {name: path.read_text() for name, path in made.items()}
    subprocess.run([folder / SECRETS], check=True)
    assert {name: path.read_text() for name, path in made.items()} == texts

    given = dict(re.findall(r"^(\w+)=(.*)$", texts[".env"], re.MULTILINE))
    assert {m[1] for m in VARIABLE.finditer(FILE.read_text())} | {
        "COMPOSE_PROFILES"
    } == given.keys()
    words = [*(given[name] for name in GIVEN), texts["operator"], texts["alertmanager"]]
    assert all(re.fullmatch(r"[0-9a-f]{48}", one) for one in words)
    assert len(set(words)) == len(words)

    known = Tokens(made["tokens"], {})
    for name, scope in (("operator", ADMIN), ("alertmanager", HOOKS)):
        token = known.find(f"Bearer {texts[name]}".encode())
        assert token is not None
        assert (token.name, token.scopes) == (name, {scope})

    assert stat.S_IMODE(made[".env"].stat().st_mode) == 0o600
    # The containers' users read the files, and nobody else on this machine.
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    for name in ("tokens", "alertmanager"):
        assert stat.S_IMODE(made[name].stat().st_mode) == 0o644
    # As a container mounts it: a folder that its user may look into, and nothing else in it.
    assert stat.S_IMODE(made["tokens"].parent.stat().st_mode) == 0o755
    assert list(made["tokens"].parent.iterdir()) == [secrets / "service" / "tokens"]


def test_what_it_makes_stays_out_of_the_repository():
    ignored = (DEPLOY / ".gitignore").read_text().split()
    files = {Path(secret["file"]).parent for secret in DOCUMENT["secrets"].values()}
    assert files == {Path("secrets")}
    assert {".env", "secrets/"} <= set(ignored)


@pytest.mark.parametrize("name", EVERGREEN)
def test_the_service_takes_its_settings(name: str, tmp_path: Path):
    chosen = settings.load(environ=SERVICES[name]["environment"], directory=tmp_path)
    assert chosen.ledger_url is not None
    url = database.parse(chosen.ledger_url)
    assert url.password == GIVEN["LEDGER_PASSWORD"]
    assert url.host in SERVICES
    assert SERVICES[name]["ports"] == [f"127.0.0.1:{p}:{p}" for p in (8000, chosen.grpc_port)]
    assert chosen.token_file is not None
    assert dict(mounts(name))["./secrets/service"] == str(chosen.token_file.parent)
    assert chosen.token_file.name == "tokens"  # as secrets.sh calls it
    assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > chosen.drain_timeout_s


@pytest.mark.parametrize("name", EVERGREEN)
def test_whichever_profile_runs_answers_to_one_name(name: str):
    assert SERVICES[name]["networks"]["default"]["aliases"] == ["evergreen"]
    assert len(SERVICES[name]["profiles"]) == 1


@pytest.mark.parametrize("name", EVERGREEN)
def test_the_image_is_one_that_the_dockerfile_makes(name: str):
    build, text = SERVICES[name]["build"], (DEPLOY.parent / "Dockerfile").read_text()
    assert f"AS {build['target']}\n" in text
    assert [f"ARG {key}=" in text for key in build["args"]] == [True]
    assert (DEPLOY / build["context"]).resolve() == DEPLOY.parent


@pytest.mark.parametrize("original", [CONFIG, ALERTING], ids=lambda path: path.stem)
def test_prometheus_and_alertmanager_read_what_they_read_elsewhere(original: Path):
    text = original.read_text()
    for here, there in ADDRESSES.items():
        text = text.replace(here, there)
    copy = (DEPLOY / "compose" / original.name).read_text()
    assert yaml.safe_load(copy) == yaml.safe_load(text)


def test_prometheus_finds_its_rules(tmp_path: Path):
    for source, target in mounts("prometheus"):
        if source.startswith("."):
            shutil.copy(DEPLOY / source, tmp_path / Path(target).name)
    command = [program("promtool"), "check", "config", "prometheus.yml"]
    done = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rules found" in done.stdout


def test_alertmanager_shows_a_token_of_its_own():
    config = yaml.safe_load((DEPLOY / "compose" / "alertmanager.yml").read_text())
    (hook,) = config["receivers"][1]["webhook_configs"]
    (secret,) = SERVICES["alertmanager"]["secrets"]
    shown = Path("/etc/alertmanager") / hook["http_config"]["authorization"]["credentials_file"]
    assert (secret["source"], secret["target"]) == ("alertmanager", str(shown))


def test_grafana_finds_its_data_source_and_every_dashboard():
    provisioned = DEPLOY / "compose" / "grafana"
    (source,) = yaml.safe_load((provisioned / "datasources.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((provisioned / "dashboards.yml").read_text())["providers"]
    mounted = dict(mounts("grafana"))
    home = Path(SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert source["url"] == "http://prometheus:9090"
    assert source["isDefault"] is True
    assert mounted["./grafana"] == provider["options"]["path"] == str(home.parent)
    assert (DEPLOY / "grafana" / home.name).is_file()
