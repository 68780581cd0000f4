"""Names and versions that nobody has. Each is refused in a sentence, and the service lives on within its memory."""

import json

import httpx
import live
import pytest
from hostile import INFER, JSON, SERIES, Service, asked, refused
from raw import message

pytestmark = pytest.mark.system


NAMES = {
    "up": "..",
    "far up": "../../../../etc/passwd",
    "up, in code": "%2e%2e",
    "up, in code twice": "%252e%252e%252f",
    "far up, in code": "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "up with a backslash": "..%5c..%5cetc",
    "absolute": "%2Fetc%2Fpasswd",
    "NUL": "%00",
    "NUL behind a name": "bare%00.png",
    "a line feed": "bare%0A",
    "a header": "bare%0d%0aX-Injected:%20yes",
    "very long": "a" * 5000,
    "long in code": "%61" * 5000,
    "a dot": "%2e",
    "hidden": ".fetched.json",
    "no UTF-8": "%FF%FE",
    "half a surrogate": "%ED%A0%80",
    "an emoji": "%F0%9F%92%A9",
    "full-width dots": "%EF%BC%8E%EF%BC%8E",
    "a space": "%20",
    "a folder of the registry": "aliases",
    "another root": "~root",
    "a percent sign alone": "%",
    "a link to a version": "linked-version",
    "a link to a file": "linked-file",
    "a link to a model": "linked-model",
    "a model outside": "secret",
}
BY_NAME = (
    ("GET", "/v1/models/{}"),
    ("POST", "/v1/models/{}/predict"),
    ("POST", "/v1/models/{}/promotions"),
    ("POST", "/v1/models/{}/rollback"),
    ("PUT", "/v1/models/{}/traffic"),
    ("GET", "/v2/models/{}"),
    ("GET", "/v2/models/{}/ready"),
    ("GET", "/v2/models/{}/config"),
    ("GET", "/v2/models/{}/stats"),
    ("POST", "/v2/models/{}/infer"),
    ("POST", "/v2/models/{}/versions/1/infer"),
    ("GET", "/v2/models/{}/versions/1"),
    ("POST", "/v2/repository/models/{}/load"),
    ("POST", "/v2/repository/models/{}/unload"),
)
LINKS = ("linked-version", "linked-file", "linked-model")
HARMLESS_FOR_LINKS = (
    "/v1/models/{}",
    "/v1/models/{}/traffic",
    "/v2/repository/models/{}/unload",
)
"""They are models whose versions cannot be had: that may be told, and nothing of them is there to be taken away."""


@pytest.mark.parametrize("case", NAMES)
async def test_no_name_leads_anywhere(service: Service, case: str):
    name = NAMES[case]
    for method, path in BY_NAME:
        body = json.dumps({"version": 1} if "promotions" in path else {}).encode()
        if name in LINKS and path in HARMLESS_FOR_LINKS:
            continue
        headers = JSON | {"Content-Length": str(len(body))}
        if method == "POST":
            del headers["Content-Length"]
        sent = message(path.format(name), body, headers, method=method)
        reply = await refused(service, sent)
        assert b"root:" not in reply.body
        assert "x-injected" not in reply.headers
    listed = httpx.get(f"{service.url}/v2/models", timeout=live.PATIENCE).json()["models"]
    assert "secret" not in listed


VERSIONS = ("..", "%2e%2e", "-1", "0", "1e3", "1.0", "9" * 40, "%D9%A1", "1%00", "+1", "1_0", "%20")


@pytest.mark.parametrize("version", VERSIONS)
async def test_no_version_is_anything_but_a_number(service: Service, version: str):
    for method, end in (("GET", ""), ("GET", "/ready"), ("GET", "/config"), ("POST", "/infer")):
        path = f"/v2/models/bare/versions/{version}{end}"
        body = json.dumps(asked([1, 2, 3])).encode() if method == "POST" else b""
        await refused(service, message(path, body, method=method))


@pytest.mark.parametrize("version", [-1, 0, 2**63, 2**200, 1.5, "1", "../1", True, None, [1], {}])
async def test_no_body_names_a_version_that_cannot_be(service: Service, version: object):
    promotion = json.dumps({"version": version}).encode()
    await refused(service, message("/v1/models/bare/promotions", promotion, JSON))
    if version is not None:  # the champion is meant
        load = json.dumps({"parameters": {"version": version}}).encode()
        if not isinstance(version, str) or version != "1":
            await refused(service, message("/v2/repository/models/bare/load", load, JSON))


@pytest.mark.parametrize("number", [b"9" * 4000, b"9" * 100_000, b"1e400", b"-" + b"9" * 5000])
async def test_no_number_is_too_long_to_be_refused(service: Service, number: bytes):
    for path, start in (
        ("/v1/models/bare/promotions", b'{"version":'),
        ("/v2/repository/models/bare/load", b'{"parameters":{"version":'),
        (INFER, b'{"parameters":{"timeout":'),
        (SERIES, b'{"series":{"a":'),
    ):
        await refused(service, message(path, start + number + b"}" * start.count(b"{"), JSON))
