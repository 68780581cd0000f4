"""A whole service behind TLS, tokens and quotas, HTTP and gRPC alike: what changes on the disk counts while it runs."""

import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import certificates
import grpc
import httpx
import live
import pytest
from certificates import Files
from cryptography import x509
from tritonclient.grpc import service_pb2, service_pb2_grpc

pytestmark = pytest.mark.system

TOKENS = """shop predict the-shop-token
labs feedback the-labs-token
prometheus read the-prometheus-token
boss admin the-boss-token
"""
INFER = "/v2/models/toy-image/infer"
LOAD = "/v2/repository/models/toy-image/load"
FEEDBACK = "/v1/models/toy-image/feedback"
ASKED = {
    "inputs": [{"name": "image", "shape": [1, 1, 4, 4], "datatype": "FP32", "data": [1.0] * 16}]
}
BURST = 40
PATIENCE = 5.0


class Service(NamedTuple):
    """Where it is, and the files that it looks at."""

    url: str
    address: str
    tokens: Path
    files: Files
    trusted: Path
    program: live.Program

    def client(self, token: str | None = None) -> httpx.Client:
        """A client on a connection of its own."""
        context = ssl.create_default_context(cafile=str(self.trusted))
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.url, verify=context, headers=headers, timeout=60)

    def stub(
        self, token: str | None = None
    ) -> tuple[grpc.Channel, service_pb2_grpc.GRPCInferenceServiceStub]:
        """gRPC, likewise. A token travels as the credentials of a call."""
        secret = grpc.ssl_channel_credentials(self.trusted.read_bytes())
        if token is not None:
            secret = grpc.composite_channel_credentials(
                secret, grpc.access_token_call_credentials(token)
            )
        channel = grpc.secure_channel(self.address, secret)
        return channel, service_pb2_grpc.GRPCInferenceServiceStub(channel)


@pytest.fixture(scope="module")
def service(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("entrance")
    files, tokens = certificates.made(folder / "tls"), folder / "tokens"
    trusted = folder / "trusted.pem"
    trusted.write_bytes(files.certificate.read_bytes())
    tokens.write_text(TOKENS)
    (folder / "evergreen.toml").write_text(
        f"""
        token_file = "{tokens}"
        protect = "all"
        front_ends = 2
        grpc_port = 0
        trusted_proxies = ["127.0.0.1"]
        limits = {{ header_timeout_s = {PATIENCE} }}
        tls = {{ certificate = "{files.certificate}", key = "{files.key}" }}
        quota = {{ per_s = 1000, clients = {{ shop = {{ per_s = 0.001, burst = {BURST} }} }} }}
        """
    )
    with live.serving(repository, folder) as program:
        address = live.grpc_address(program)
        yield Service(program.said, address, tokens, files, trusted, program)


def statuses(service: Service, token: str | None) -> list[int]:
    """What reading, predicting, labelling and changing answer."""
    with service.client(token) as client:
        return [
            client.get("/v1/models").status_code,
            client.post(INFER, json=ASKED).status_code,
            client.post(FEEDBACK, json={"labels": []}).status_code,
            client.post(LOAD).status_code,
            client.get("/v2/health/ready").status_code,
        ]


def test_a_token_may_what_its_scopes_say_over_http(service: Service):
    assert service.url.startswith("https://")
    assert statuses(service, None) == [401, 401, 401, 401, 200]
    assert statuses(service, "a-guess") == [401, 401, 401, 401, 200]
    assert statuses(service, "the-shop-token") == [200, 200, 403, 403, 200]
    assert statuses(service, "the-labs-token") == [200, 403, 200, 403, 200]
    assert statuses(service, "the-prometheus-token") == [200, 403, 403, 403, 200]
    assert statuses(service, "the-boss-token") == [200, 200, 200, 200, 200]


def codes(service: Service, token: str | None) -> list[str]:
    """What reading, predicting and changing answer over gRPC."""
    channel, stub = service.stub(token)
    with channel:
        found = []
        for call, request in (
            (stub.ModelMetadata, service_pb2.ModelMetadataRequest(name="toy-image")),
            (stub.ModelInfer, service_pb2.ModelInferRequest(model_name="toy-image")),
            (
                stub.RepositoryModelLoad,
                service_pb2.RepositoryModelLoadRequest(model_name="toy-image"),
            ),
            (stub.ServerReady, service_pb2.ServerReadyRequest()),
        ):
            try:
                call(request, timeout=60)
            except grpc.RpcError as error:
                found.append(error.code().name)
            else:
                found.append("OK")
        return found


def test_a_token_may_what_its_scopes_say_over_grpc(service: Service):
    missing, forbidden, empty = "UNAUTHENTICATED", "PERMISSION_DENIED", "INVALID_ARGUMENT"
    assert codes(service, None) == [missing] * 3 + ["OK"]
    assert codes(service, "the-labs-token") == ["OK", forbidden, forbidden, "OK"]
    assert codes(service, "the-boss-token") == ["OK", empty, "OK", "OK"]


def test_both_front_ends_and_grpc_count_towards_one_quota(service: Service):
    found = []
    for _ in range(BURST + 10):
        with service.client("the-shop-token") as client:
            found.append(client.get("/v1/models"))
    good = [answer.status_code for answer in found].count(200)
    # Two that write one place at once may count one less; the tests before have asked, too.
    assert BURST - 10 <= good <= BURST + 2
    refused = found[-1]
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 60
    assert "quota of 40 requests" in refused.json()["detail"]
    assert codes(service, "the-shop-token")[0] == "RESOURCE_EXHAUSTED"
    assert statuses(service, "the-labs-token")[0] == 200
    with service.client("the-prometheus-token") as client:
        page = client.get("/metrics").text
    assert 'inference_denied_requests_total{reason="quota",token="shop"} ' in page
    assert 'inference_token_requests_total{token="shop"} ' in page
    assert "the-shop-token" not in page


def shown(service: Service) -> int:
    """The serial number of the certificate that HTTP shows."""
    host, port = service.url.removeprefix("https://").split(":")
    pem = ssl.get_server_certificate((host, int(port)))
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


def test_new_tokens_and_a_new_certificate_count_without_a_restart(service: Service, tmp_path: Path):
    service.tokens.write_text("nobody predict short")

    def told(line: str) -> bool:
        with service.client("the-prometheus-token") as client:
            return line in client.get("/metrics").text

    live.until(lambda: told('inference_outdated_secrets{file="token_file"} 2.0'), "the warning")
    assert statuses(service, "the-boss-token")[3] == 200
    log = service.program.output.read_text()
    assert "token_file cannot be used, what it held before goes on" in log
    assert "a token has 5 characters" in log
    service.tokens.write_text(
        TOKENS.replace("the-boss-token", "another-boss-token") + "boss admin the-third-boss-token\n"
    )
    live.until(lambda: told('inference_outdated_secrets{file="token_file"} 0.0'), "the change")
    assert statuses(service, "the-boss-token")[0] == 401
    for token in ("another-boss-token", "the-third-boss-token"):
        assert statuses(service, token)[3] == 200

    other = certificates.made(tmp_path)
    both = other.certificate.read_bytes() + service.files.certificate.read_bytes()
    service.trusted.write_bytes(both)
    service.files.put(other)
    live.until(lambda: {shown(service) for _ in range(30)} == {other.serial()}, "the certificate")
    service.trusted.write_bytes(other.certificate.read_bytes())
    live.until(lambda: codes(service, "another-boss-token")[3] == "OK", "gRPC's certificate")


def test_who_speaks_no_tls_is_answered_nothing(service: Service):
    plain = service.url.replace("https://", "http://")
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{plain}/v2/health/live")
    with (
        httpx.Client(base_url=service.url, verify=ssl.create_default_context()) as stranger,
        pytest.raises(httpx.ConnectError, match="certificate"),
    ):
        stranger.get("/v2/health/live")


def test_who_begins_no_handshake_or_no_request_is_closed(service: Service):
    host, port = service.url.removeprefix("https://").split(":")
    context = ssl.create_default_context(cafile=str(service.trusted))
    silent = socket.create_connection((host, int(port)))
    shaken = context.wrap_socket(socket.create_connection((host, int(port))), server_hostname=host)
    with silent, shaken:
        for one in (silent, shaken):
            one.settimeout(6 * PATIENCE)
            assert one.recv(1) == b""


def test_documentation_takes_scripts_from_one_place_and_answers_no_other_page(service: Service):
    with service.client("the-labs-token") as client:
        page = client.get("/docs", headers={"Origin": "https://evil.example"})
        assert page.status_code == 200
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["x-frame-options"] == "DENY"
        scripts = re.findall(r'(?:src|href)="(https?://[^"]+)"', page.text)
        allowed = page.headers["content-security-policy"]
        assert scripts
        assert all(script.rpartition("/")[0] + "/" in allowed for script in scripts)
        asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        for answer in (
            page,
            client.options(INFER, headers=asked),
            client.post(INFER, json=ASKED, headers=asked),
        ):
            assert not [name for name in answer.headers if name.startswith("access-control")]


def test_no_secret_stands_in_a_command_line_or_in_the_log(service: Service):
    lines = live.command_lines()
    for token in re.findall(r"the-\w+-token", TOKENS):
        assert not any(token.encode() in line for line in lines)
        assert token not in service.program.output.read_text()
