"""Labels, wanted labels, erasure and the account of drift, against real services: what is acknowledged stays, what is erased is gone."""

import concurrent.futures
import contextlib
import re
import sqlite3
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import live
import pytest
import toys
from prometheus_client.parser import text_string_to_metric_families

MODEL = "toy-text"
TOKEN = "a-token-of-some-length"
TURNED = "toy-turned"


class Client(httpx.Client):
    """A caller of one model, who may change things."""

    def __init__(self, url: str) -> None:
        super().__init__(base_url=url, timeout=60, headers={"Authorization": f"Bearer {TOKEN}"})

    def predict(self, *texts: str, model: str = MODEL) -> str:
        answer = self.post(f"/v1/models/{model}/predict", json={"texts": list(texts)})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["prediction_id"])

    def label(self, *labels: dict[str, Any], model: str = MODEL) -> httpx.Response:
        return self.post(f"/v1/models/{model}/feedback", json={"labels": list(labels)})

    def drift(self, model: str = MODEL, **parameters: Any) -> dict[str, Any]:
        answer = self.get(f"/v1/models/{model}/drift", params=parameters)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def labelled(self) -> tuple[int, int]:
        """How many rows are labelled, and how many of them were answered rightly."""
        overall = self.drift()["accuracy"]["overall"]
        return (0, 0) if overall is None else (overall["n"], round(overall["n"] * overall["value"]))

    def outcomes(self) -> Counter[str]:
        return Counter(
            {
                f"{sample.labels['version']}:{sample.labels['outcome']}": int(sample.value)
                for family in text_string_to_metric_families(self.get("/metrics").text)
                for sample in family.samples
                if sample.name == "inference_feedback_labels_total"
                and sample.labels["model"] == MODEL
            }
        )


class Service(NamedTuple):
    """One that runs: where it answers, its first process, its state, and what a version said that is being unloaded since."""

    url: str
    process: int
    state: Path
    former: str


def of(prediction: str, label: str = "positive", **more: Any) -> dict[str, Any]:
    return {"prediction_id": prediction, "label": label, **more}


def counts(answer: httpx.Response) -> tuple[int, int, int, int]:
    assert answer.status_code == 200, answer.text
    told = answer.json()
    return told["accepted"], told["duplicate"], told["unknown"], told["late"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two front ends, and beside the toys a model whose second version was promoted: the first takes seconds to end."""
    directory = tmp_path_factory.mktemp("evidence")
    models = directory / "models"
    toys.text(models)
    toys.series(models)
    for version in (1, 2):
        toys.text(models, TURNED, version)
    settings = {"front_ends": "2", "token": TOKEN, "keep_previous_s": "0"}
    with live.serving(models, directory, models__toy_turned__version="1", **settings) as program:
        with Client(program.said) as client:
            former = client.predict("good", model=TURNED)
            order = {"version": 2, "force": True}
            answer = client.post(f"/v1/models/{TURNED}/promotions", json=order)
            assert answer.status_code == 200, answer.text
        yield Service(program.said, program.process.pid, directory / "state", former)


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with Client(service.url) as client:
        yield client


def test_a_label_may_come_as_soon_as_the_prediction_is_there(client: Client):
    for _ in range(5):
        assert counts(client.label(of(client.predict("good")))) == (1, 0, 0, 0)


def test_sending_a_batch_again_changes_nothing(client: Client):
    prediction = client.predict("good", "bad", "good")
    batch = [of(prediction, row=row) for row in range(3)]
    assert counts(client.label(*batch)) == (3, 0, 0, 0)
    before = client.drift()["accuracy"]["overall"]
    assert counts(client.label(*batch)) == (0, 3, 0, 0)
    assert client.drift()["accuracy"]["overall"] == before


def test_the_same_label_twice_in_a_batch_counts_once(client: Client):
    label = of(client.predict("good"))
    assert counts(client.label(label, label)) == (1, 1, 0, 0)


def test_another_label_of_the_same_row_corrects_the_first(client: Client):
    rows, right = client.labelled()
    prediction = client.predict("good")
    assert counts(client.label(of(prediction, "negative"))) == (1, 0, 0, 0)
    assert client.labelled() == (rows + 1, right)
    assert counts(client.label(of(prediction, "positive"))) == (1, 0, 0, 0)
    assert client.labelled() == (rows + 1, right + 1)
    late = of(prediction, "negative", observed_at="2020-01-01T00:00:00Z", source="a file")
    assert counts(client.label(late)) == (1, 0, 0, 0)
    assert client.labelled() == (rows + 1, right + 1)


def test_predictions_that_nobody_kept_and_old_ones_are_named(client: Client):
    old = (int((time.time() - 400 * 86_400) * 1000) << 80) | (7 << 76) | (2 << 62)
    answer = client.label(
        of(client.predict("good")), of(str(uuid.uuid4())), of(str(uuid.UUID(int=old)))
    )
    assert counts(answer) == (1, 0, 1, 1)
    assert answer.json()["unstored"] == [
        {"item": 1, "outcome": "unknown"},
        {"item": 2, "outcome": "late"},
    ]


NEVER = str(uuid.UUID(int=7 << 76 | 2 << 62))

REFUSED = {
    "no class": ({"label": "fish"}, 422, "labels[1]: 'fish' is no class of toy-text/1, only"),
    "no such row": ({"row": 2}, 422, "labels[1]: row 2, but the request had 1 rows"),
    "negative row": ({"row": -1}, 422, "labels[1].row"),
    "no id": ({"prediction_id": "x"}, 422, "labels[1].prediction_id"),
    "number as label": ({"label": 1}, 422, "labels[1].label"),
    "no time zone": ({"observed_at": "2026-01-01T00:00:00"}, 422, "labels[1].observed_at"),
    "the future": ({"observed_at": "2999-01-01T00:00:00Z"}, 422, "ahead of this clock"),
    "unknown field": ({"weight": 2}, 422, "weight"),
    "long source": ({"source": "x" * 101}, 422, "labels[1].source"),
    "a source with a NUL": ({"source": "a\0b"}, 422, "labels[1].source"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_one_bad_label_refuses_the_batch_and_nothing_of_it_is_stored(client: Client, name: str):
    changed, status, says = REFUSED[name]
    good, other = of(client.predict("good")), of(client.predict("bad"))
    answer = client.label(good, {**other, **changed})
    assert answer.status_code == status
    assert says in answer.json()["detail"]
    assert counts(client.label(good)) == (1, 0, 0, 0)


def test_two_labels_of_one_batch_must_not_contradict_each_other(client: Client):
    prediction = client.predict("good")
    answer = client.label(of(prediction, "positive"), of(prediction, "negative"))
    assert answer.status_code == 422
    assert "labels[1]: says 'negative', labels[0] says 'positive'" in answer.json()["detail"]
    with_times = [
        of(prediction, "positive", observed_at="2026-01-02T00:00:00Z"),
        of(prediction, "negative", observed_at="2026-01-01T00:00:00Z"),
    ]
    assert counts(client.label(*with_times)) == (2, 0, 0, 0)


def test_a_prediction_of_another_model_is_refused(client: Client):
    series = client.post("/v1/models/toy-series/predict", json={"series": [[1.0, 1.0]] * 5})
    answer = client.label(of(series.json()["prediction_id"], "up"))
    assert answer.status_code == 422
    assert "is of model 'toy-series', not of 'toy-text'" in answer.json()["detail"]


def test_bodies_that_are_no_batches(client: Client):
    many = [of(NEVER)] * 1001
    answer = client.label(*many)
    assert (answer.status_code, "1,001" in answer.text, "1,000" in answer.text) == (413, True, True)
    assert counts(client.label()) == (0, 0, 0, 0)
    assert client.post(f"/v1/models/{MODEL}/feedback", content=b"{").status_code == 400
    assert client.label(of(NEVER), model="nobody").status_code == 404


@pytest.mark.parametrize("parameters", [{"limit": 0}, {"limit": 1001}, {"limit": "x"}])
def test_a_limit_that_cannot_be_is_refused(client: Client, parameters: dict[str, Any]):
    answer = client.get(f"/v1/models/{MODEL}/labels/wanted", params=parameters)
    assert answer.status_code in (400, 422), answer.text


@pytest.mark.parametrize("path", ["drift", "labels/wanted"])
def test_what_is_not_there_is_404(client: Client, path: str):
    assert client.get(f"/v1/models/nobody/{path}").status_code == 404
    answer = client.get(f"/v1/models/{MODEL}/{path}", params={"version": 99})
    assert (answer.status_code, "version 99" in answer.text) == (404, True)


def test_without_a_profile_there_is_no_verdict_and_the_reason_says_so(client: Client):
    told = client.drift()
    assert told["verdict"] == "insufficient"
    assert "has no profile.json" in told["reason"]
    assert told["calibrated_for"] == "independent requests"


def test_the_page_of_a_model_tells_of_drift_in_brief(client: Client):
    client.label(of(client.predict("good")))
    client.drift()
    brief = client.get(f"/v1/models/{MODEL}").json()["drift"]
    assert brief["verdict"] == "insufficient"
    assert brief["accuracy"]["n"] >= 1


def test_labels_are_counted_by_what_they_say(client: Client):
    before = client.outcomes()
    prediction = client.predict("good", "good")
    client.label(of(prediction, "positive"), of(prediction, "negative", row=1))
    client.label(of(prediction, "positive"), of(NEVER))
    told = {"1:correct": 1, "1:incorrect": 1, "1:duplicate": 1, ":late": 1}
    assert client.outcomes() - before == told


def test_wanted_rows_are_those_without_a_label(client: Client):
    prediction = client.predict("good", "good bad", "bad bad bad", "good good")

    def wanted() -> list[dict[str, Any]]:
        path = f"/v1/models/{MODEL}/labels/wanted"
        told = client.get(path, params={"limit": 1000}).json()["wanted"]
        return [one for one in told if one["prediction_id"] == prediction]

    live.until(lambda: len(wanted()) == 4, "four rows in the ledger")
    assert {one["row"] for one in wanted()} == {0, 1, 2, 3}
    why = {one["row"]: one["why"] for one in wanted()}
    assert why[1] in ("uncertain", "sample")  # unless the lot took it first
    client.label(of(prediction, row=2), of(prediction, row=0))
    assert {one["row"] for one in wanted()} == {1, 3}


def test_an_erased_prediction_is_gone_with_all_that_was_said_of_it(client: Client):
    rows, right = client.labelled()
    prediction = client.predict("good good good good")
    client.label(of(prediction, "negative"))
    assert client.labelled() == (rows + 1, right)
    assert client.delete(f"/v1/predictions/{prediction}").status_code == 204
    assert client.labelled() == (rows, right)
    assert client.delete(f"/v1/predictions/{prediction}").status_code == 404
    assert counts(client.label(of(prediction))) == (0, 0, 1, 0)
    assert client.delete("/v1/predictions/none").status_code == 404


def test_what_is_on_its_way_is_erased_too(client: Client, service: Service):
    gone = [client.predict("good") for _ in range(10)]
    for prediction in gone:  # nothing has been told to control yet, or little
        assert client.delete(f"/v1/predictions/{prediction}").status_code == 204
    kept = client.predict("bad")
    client.label(of(kept, "negative"))
    ledger = sqlite3.connect(service.state / "ledger.sqlite")
    for table in ("predictions", "payloads"):
        known = {str(uuid.UUID(bytes=one)) for (one,) in ledger.execute(f"select id from {table}")}
        assert known & {*gone, kept} == {kept}
    ledger.close()


def test_acknowledged_labels_survive_kill_9(tmp_path: Path):
    models = toys.text(tmp_path / "models").parents[1]
    command = [live.evergreen(), "serve", "--repository", str(models), "--port", "0"]
    log = tmp_path / "log"
    with log.open("w") as file:
        control = subprocess.Popen(
            command, cwd=tmp_path, stdout=file, stderr=file, env=live.environment(tmp_path)
        )
    try:
        said = live.until(lambda: re.search(r"answers on (\S+),", log.read_text()), "the service")
        url = said[1]
        with Client(url) as client:
            predictions = [client.predict("good") for _ in range(40)]
            acknowledged = 0
            for prediction in predictions:
                acknowledged += counts(client.label(of(prediction)))[0]
    finally:
        control.kill()
        control.wait()
    assert acknowledged == 40
    with live.serving(models, tmp_path) as again, Client(again.said) as client:
        assert client.labelled() == (40, 40)
        assert counts(client.label(*map(of, predictions))) == (0, 40, 0, 0)


def test_labels_of_a_version_that_is_not_loaded_any_more_still_count(
    client: Client, service: Service
):
    def unloaded() -> bool:
        versions = client.get(f"/v1/models/{TURNED}").json()["versions"]
        return next(one for one in versions if one["version"] == 1)["state"] == "available"

    live.until(unloaded, "version 1 to end")
    assert counts(client.label(of(service.former), model=TURNED)) == (1, 0, 0, 0)
    assert client.drift(TURNED, version=1)["accuracy"]["overall"]["n"] == 1
    live.until(lambda: "not loaded" in client.drift(TURNED, version=1)["reason"], "its end")
    assert client.drift(TURNED)["accuracy"]["overall"] is None
    series = client.get("/metrics").text
    assert 'model="toy-turned",version="2"' in series
    assert 'model="toy-turned",version="1"' not in series


def test_labels_reach_the_predictions_of_every_front_end(service: Service):
    def both(_: int) -> tuple[int, int, int, int]:
        with Client(service.url) as one:
            prediction = one.predict("good")
        with Client(service.url) as other:
            return counts(other.label(of(prediction)))

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(both, range(24))) == [(1, 0, 0, 0)] * 24


def test_changes_need_a_token_and_reading_does_not(client: Client):
    prediction = client.predict("good")
    token = client.headers.pop("Authorization")
    assert client.label(of(prediction)).status_code == 401
    assert client.delete(f"/v1/predictions/{prediction}").status_code == 401
    assert client.drift()["verdict"] == "insufficient"
    assert client.get(f"/v1/models/{MODEL}/labels/wanted").status_code == 200
    client.headers["Authorization"] = token
    assert counts(client.label(of(prediction))) == (1, 0, 0, 0)
    assert client.delete(f"/v1/predictions/{prediction}").status_code == 204


def serving_pid(client: Client, control: int) -> int:
    """The front end that has accepted the one connection of `client`."""
    answer = client.get("/v2/health/live")
    here = answer.extensions["network_stream"].get_extra_info("client_addr")[1]
    port = int(str(client.base_url).rstrip("/").rpartition(":")[2])
    rows = live.connections(port)
    accepted = {row[9] for row in rows if row[2].endswith(f":{here:04X}")}
    all_of_them = live.children(control, "service.frontend")
    (pid,) = [pid for pid in all_of_them if accepted & live.sockets(pid)]
    return pid


def test_while_a_front_end_is_silent_labels_are_taken_and_nothing_is_called_erased(
    client: Client, service: Service
):
    prediction = client.predict("good")
    client.label(of(prediction))
    path = f"/v1/predictions/{prediction}"
    answering = serving_pid(client, service.process)
    (other,) = {*live.children(service.process, "service.frontend")} - {answering}
    with (
        contextlib.closing(another(service, answering)) as second,
        concurrent.futures.ThreadPoolExecutor(1) as pool,
        live.stopped(other),
    ):
        erased = pool.submit(second.delete, path)  # both wait for the silent one
        assert counts(client.label(of(client.predict("good")), of(NEVER)))[2:] == (0, 1)
        answer = erased.result()
        assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
    assert client.delete(path).status_code == 204


def another(service: Service, front_end: int) -> Client:
    """A caller whose connection this front end has accepted."""
    for _ in range(100):
        if serving_pid(one := Client(service.url), service.process) == front_end:
            return one
        one.close()
    raise AssertionError("the other front end accepts every connection")


def test_the_routes_are_documented(client: Client):
    paths = client.get("/docs/openapi.json").json()["paths"]
    assert "post" in paths["/v1/models/{name}/feedback"]
    assert "delete" in paths["/v1/predictions/{prediction_id}"]
    answer = paths["/v1/models/{name}/drift"]["get"]["responses"]["200"]
    assert "Account" in str(answer)
    assert "get" in paths["/v1/models/{name}/labels/wanted"]
