"""The repository and life-cycle routes: what is asked of control, and how its answers and errors come back."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fronted import FrontEnd, front_end

from models.errors import BundleError, Conflict, InputError, RegistryUnavailable
from service.errors import NotFound, Refused, Unavailable
from service.settings import Settings

STATE = {"name": "m", "champion": 2, "previous": 1, "aliases": {"champion": 2}, "versions": []}
INDEX = [
    {"name": "m", "version": 1, "state": "ready", "reason": None},
    {"name": "m", "version": 2, "state": "failed", "reason": "damaged"},
    {"name": "n", "version": 7, "state": "available", "reason": None},
    {"name": "o", "version": 1, "state": "starting", "reason": None},
]


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[FrontEnd]:
    answers = dict.fromkeys(("load", "unload", "promote", "rollback", "traffic"), STATE)
    async with front_end(tmp_path, Settings(), index=INDEX, statistics=[], **answers) as one:
        yield one


async def test_the_index_speaks_the_protocols_words(front: FrontEnd):
    for body in (b"", b"{}", b'{"ready":false}', b" "):
        answer = await front.client.post("/v2/repository/index", content=body)
        assert answer.json() == [
            {"name": "m", "version": "1", "state": "READY"},
            {"name": "m", "version": "2", "state": "UNAVAILABLE", "reason": "damaged"},
            {"name": "n", "version": "7", "state": "UNAVAILABLE"},
            {"name": "o", "version": "1", "state": "LOADING"},
        ]
    answer = await front.client.post("/v2/repository/index", json={"ready": True})
    assert [one["name"] for one in answer.json()] == ["m"]


LOADS = {
    "nothing": (b"", None, None),
    "an empty object": (b"{}", None, None),
    "a version": (b'{"parameters":{"version":2}}', 2, None),
    "a version as text": (b'{"parameters":{"version":"2"}}', 2, None),
    "a configuration": (
        b'{"parameters":{"config":"{\\"max_batch_size\\":4}"}}',
        None,
        {"max_batch_size": 4},
    ),
    "an empty configuration": (b'{"parameters":{"config":""}}', None, None),
}


@pytest.mark.parametrize("case", LOADS)
async def test_a_load_asks_control_for_it(front: FrontEnd, case: str):
    body, version, config = LOADS[case]
    answer = await front.client.post("/v2/repository/models/m/load", content=body)
    assert (answer.status_code, answer.content) == (200, b"")
    assert front.asked == [("load", {"model": "m", "version": version, "config": config})]


async def test_an_unload_asks_control_for_it(front: FrontEnd):
    for parameters in ({}, {"unload_dependents": True}, {"version": 3}):
        answer = await front.client.post(
            "/v2/repository/models/m/unload", json={"parameters": parameters}
        )
        assert (answer.status_code, answer.content) == (200, b"")
    versions = [body["version"] for _, body in front.asked]
    assert versions == [None, None, 3]


BAD_LOADS = {
    "files": ({"config": "{}", "file:1/model.onnx": base64.b64encode(b"x").decode()}, "publish"),
    "a path that leaves": ({"file:../../etc/passwd": "eA=="}, "files cannot be sent"),
    "a configuration that is no JSON": ({"config": "{"}, "parameter 'config'"),
    "a configuration that is no object": ({"config": "[]"}, "parameter 'config'"),
    "a configuration that is no text": ({"config": {}}, "must be a string"),
    "a deep configuration": ({"config": "[" * 100_000}, "parameter 'config'"),
    "a version that is none": ({"version": "new"}, "an integer was expected"),
    "a negative version": ({"version": -1}, "an integer was expected"),
    "a true version": ({"version": True}, "an integer was expected"),
}


@pytest.mark.parametrize("case", BAD_LOADS)
async def test_a_bad_load_is_refused_before_control_is_asked(front: FrontEnd, case: str):
    parameters, says = BAD_LOADS[case]
    answer = await front.client.post(
        "/v2/repository/models/m/load", json={"parameters": parameters}
    )
    assert answer.status_code == 400, answer.text
    assert says in answer.json()["error"]
    assert front.asked == []


@pytest.mark.parametrize(
    "body", [b"[" * 250_000, b"nonsense", b"[]", b'{"parameters":[]}', b"\xff"]
)
@pytest.mark.parametrize("path", ["index", "models/m/load", "models/m/unload"])
async def test_any_body_gets_an_answer(front: FrontEnd, path: str, body: bytes):
    answer = await front.client.post(f"/v2/repository/{path}", content=body)
    if path == "index" and body == b'{"parameters":[]}':
        assert answer.status_code == 200  # a field that nobody knows
    else:
        assert (answer.status_code, list(answer.json())) == (400, ["error"])


@pytest.mark.parametrize(
    "name", ["..", ".hidden", "a%20b", "a%2Fb", "%2e%2e%2fetc", "a%00b", "-", "%C3%A4", "x" * 200]
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v2/repository/models/{}/load"),
        ("POST", "/v2/repository/models/{}/unload"),
        ("POST", "/v1/models/{}/promotions"),
        ("POST", "/v1/models/{}/rollback"),
        ("PUT", "/v1/models/{}/traffic"),
    ],
)
async def test_no_name_leaves_the_repository(front: FrontEnd, name: str, method: str, path: str):
    # As it stands: httpx would take the dots away.
    target = path.format(name).encode()
    url = front.client.base_url.copy_with(raw_path=target)
    answer = await front.client.request(method, url, json={"version": 1})
    assert answer.status_code in (404, 405), answer.text
    assert front.asked == []


ERRORS = [
    (NotFound("s"), 404, 404),
    (Conflict("s"), 412, 412),
    (InputError("s"), 422, 400),
    (BundleError("s"), 409, 409),
    (Refused("s"), 409, 409),
    (Unavailable("s", 3), 503, 503),
    (RegistryUnavailable("s"), 503, 503),
]


@pytest.mark.parametrize(("error", "people", "programs"), ERRORS)
async def test_controls_errors_arrive_as_what_they_are(
    front: FrontEnd, error: Exception, people: int, programs: int
):
    front.answers |= {"promote": error, "load": error}
    answer = await front.client.post("/v1/models/m/promotions", json={"version": 2})
    assert (answer.status_code, answer.json()["detail"]) == (people, "s")
    answer = await front.client.post("/v2/repository/models/m/load")
    assert (answer.status_code, answer.json()) == (programs, {"error": "s"})


async def test_a_promotion_says_who_asked_and_why(front: FrontEnd):
    asked = {"version": 2, "if_champion": 1, "reason": "better", "who": "ann"}
    answer = await front.client.post("/v1/models/m/promotions", json=asked)
    assert (answer.status_code, answer.json()) == (200, STATE)
    assert front.asked == [("promote", {"model": "m", "force": False} | asked)]
    await front.client.post("/v1/models/m/promotions", json={"version": 2, "force": True})
    assert front.asked[1][1] == {
        "model": "m",
        "version": 2,
        "if_champion": None,
        "force": True,
        "reason": "",
        "who": "127.0.0.1",
    }


async def test_a_rollback_needs_no_body(front: FrontEnd):
    assert (await front.client.post("/v1/models/m/rollback")).json() == STATE
    await front.client.post("/v1/models/m/rollback", json={"reason": "worse", "who": "ann"})
    assert front.asked == [
        ("rollback", {"model": "m", "reason": "", "who": "127.0.0.1"}),
        ("rollback", {"model": "m", "reason": "worse", "who": "ann"}),
    ]


async def test_traffic_is_canary_and_shadow(front: FrontEnd):
    share = {"version": 2, "percent": 12.5}
    for body in ({"canary": share}, {"shadow": share, "canary": None}, {}):
        answer = await front.client.put("/v1/models/m/traffic", json=body)
        assert answer.json() == STATE
    assert [body for _, body in front.asked] == [
        {"model": "m", "canary": share, "shadow": None},
        {"model": "m", "canary": None, "shadow": share},
        {"model": "m", "canary": None, "shadow": None},
    ]


BAD_CHANGES = {
    "no version": ("POST", "promotions", {}),
    "a version of nothing": ("POST", "promotions", {"version": 0}),
    "a version as text": ("POST", "promotions", {"version": "2"}),
    "an unknown field": ("POST", "promotions", {"version": 2, "if_champoin": 1}),
    "a long reason": ("POST", "rollback", {"reason": "x" * 501}),
    "more than all": ("PUT", "traffic", {"canary": {"version": 2, "percent": 101}}),
    "less than nothing": ("PUT", "traffic", {"shadow": {"version": 2, "percent": -1}}),
    "no share": ("PUT", "traffic", {"canary": {"version": 2}}),
}


@pytest.mark.parametrize("case", BAD_CHANGES)
async def test_a_bad_change_names_its_field(front: FrontEnd, case: str):
    method, what, body = BAD_CHANGES[case]
    answer = await front.client.request(method, f"/v1/models/m/{what}", json=body)
    assert answer.status_code == 422
    named = "field" if case in ("no version", "no share", "an unknown field") else "$."
    assert named in answer.json()["detail"], answer.text
    assert front.asked == []


TOKEN = "a-token-of-some-length"
CHANGES = [
    ("POST", "/v2/repository/models/m/load"),
    ("POST", "/v2/repository/models/m/unload"),
    ("POST", "/v1/models/m/promotions"),
    ("POST", "/v1/models/m/rollback"),
    ("PUT", "/v1/models/m/traffic"),
    ("POST", "/v2/logging"),
    ("POST", "/v2/trace/setting"),
    ("POST", "/v2/models/m/trace/setting"),
]
READS = [
    ("GET", "/v2"),
    ("GET", "/v1/models"),
    ("GET", "/v2/models/m"),
    ("GET", "/v2/models/m/ready"),
    ("GET", "/v2/models/stats"),
    ("GET", "/docs/openapi.json"),
    ("POST", "/v2/repository/index"),
    ("POST", "/v1/models/m/predict"),
    ("POST", "/v2/models/m/infer"),
]
PROBES = [("GET", "/v2/health/live"), ("GET", "/v2/health/ready")]


async def statuses(front: FrontEnd, calls: list, **headers: str) -> set[int]:
    asked = [
        await front.client.request(method, path, json={"version": 2}, headers=headers)
        for method, path in calls
    ]
    return {answer.status_code for answer in asked}


async def test_what_changes_state_needs_the_token_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("EVERGREEN_TOKEN", TOKEN)
    async with front_end(tmp_path, Settings(), load=STATE, index=INDEX, statistics=[]) as front:
        assert await statuses(front, CHANGES) == {401}
        assert await statuses(front, CHANGES, Authorization="Bearer another-token") == {401}
        assert front.asked == []
        answer = await front.client.post("/v2/repository/models/m/load")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert list(answer.json()) == ["error"]
        good = await front.client.post(
            "/v2/repository/models/m/load", headers={"Authorization": f"Bearer {TOKEN}"}
        )
        assert good.status_code == 200
        assert not await statuses(front, READS) & {401, 403}
        assert await statuses(front, PROBES) == {200}


async def test_everything_but_the_probes_can_need_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("EVERGREEN_TOKEN", TOKEN)
    settings = Settings(protect="all")
    async with front_end(tmp_path, settings, index=INDEX, statistics=[]) as front:
        assert await statuses(front, READS + CHANGES) == {401}
        assert await statuses(front, PROBES) == {200}
        assert front.asked == []
        let = await statuses(front, READS, Authorization=f"Bearer {TOKEN}")
        assert not let & {401, 403}


async def test_without_a_token_and_off_the_loopback_nothing_can_be_changed(tmp_path: Path):
    async with front_end(tmp_path, Settings(host="0.0.0.0"), index=INDEX, statistics=[]) as front:
        assert await statuses(front, CHANGES) == {403}
        answer = await front.client.post("/v1/models/m/rollback")
        assert "EVERGREEN_TOKEN" in answer.json()["detail"]
        assert not await statuses(front, READS + PROBES) & {401, 403}


async def test_statistics_of_what_nobody_asked_are_zero_and_a_model_may_be_called_stats(
    front: FrontEnd,
):
    both = (await front.client.get("/v2/models/stats")).json()["model_stats"]
    assert [one["name"] for one in both] == ["m", "stats"]
    for path in ("m/stats", "m/versions/1/stats", "stats/stats", "stats/versions/1/stats"):
        (one,) = (await front.client.get(f"/v2/models/{path}")).json()["model_stats"]
        assert (one["name"], one["inference_count"]) == (path.partition("/")[0], 0)
    for path in ("nobody/stats", "m/versions/2/stats", "m/versions/x/stats"):
        answer = await front.client.get(f"/v2/models/{path}")
        assert (answer.status_code, list(answer.json())) == (404, ["error"])


async def test_statistics_are_controls(front: FrontEnd):
    counted = {"name": "m", "version": "1", "inference_count": 7}
    front.answers["statistics"] = [counted, counted | {"version": "99"}]
    answer = await front.client.get("/v2/models/m/stats")
    assert answer.json() == {"model_stats": [counted]}


async def test_trace_settings_are_off_and_stay_so(front: FrontEnd):
    off = {"trace_level": ["OFF"]}
    for path in ("/v2/trace/setting", "/v2/models/m/trace/setting"):
        assert (await front.client.get(path)).json() == off
        for same in ({}, {"trace_level": ["OFF"]}, {"trace_level": None, "trace_rate": None}):
            answer = await front.client.post(path, json=same)
            assert (answer.status_code, answer.json()) == (200, off)
        answer = await front.client.post(path, json={"trace_level": ["TIMESTAMPS"]})
        assert (answer.status_code, "cannot be switched on" in answer.text) == (501, True)
        assert (await front.client.post(path, json={"trace_levle": []})).status_code == 400
    assert (await front.client.get("/v2/models/nobody/trace/setting")).status_code == 404


async def test_log_settings_tell_what_is_logged_and_stay_so(front: FrontEnd):
    now = (await front.client.get("/v2/logging")).json()
    assert (now["log_error"], now["log_warning"], now["log_info"]) == (True, True, False)
    for same in ({}, now, {"log_info": None}):
        answer = await front.client.post("/v2/logging", json=same)
        assert (answer.status_code, answer.json()) == (200, now)
    for other in ({"log_info": True}, {"log_verbose_level": 1}, {"log_verbose_level": False}):
        answer = await front.client.post("/v2/logging", json=other)
        assert (answer.status_code, "log_level" in answer.text) == (501, True)
    answer = await front.client.post("/v2/logging", content=json.dumps({"log": 1}))
    assert answer.status_code == 400
