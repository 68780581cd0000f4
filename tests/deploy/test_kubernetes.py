"""The example for Kubernetes is what its schemas allow, and gives the service the rights that launching asks for, and no others."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

FILE = Path(__file__).parents[2] / "deploy" / "kubernetes" / "retraining.yml"


def documents() -> dict[str, dict[str, Any]]:
    return {one["kind"]: one for one in yaml.safe_load_all(FILE.read_text())}


def test_kubernetes_takes_it():
    for one in documents().values():
        kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)


def test_the_service_may_do_what_it_asks_for_and_nothing_else():
    allowed = {
        (resource, verb)
        for rule in documents()["Role"]["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    jobs = {("jobs", verb) for verb in ("create", "get", "delete")}
    assert allowed == jobs | {("pods", "list"), ("pods/log", "get")}


def test_the_rights_are_those_of_the_services_account():
    found = documents()
    assert found["RoleBinding"]["roleRef"]["name"] == found["Role"]["metadata"]["name"]
    (subject,) = found["RoleBinding"]["subjects"]
    assert subject["name"] == found["ServiceAccount"]["metadata"]["name"]
