"""What an operator can set, read once and checked together. It must not know how a setting is used.

defaults < evergreen.toml < EVERGREEN_... < the command line
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from service.edge import Limits, Quota, Tls
from service.errors import SettingsError
from service.retraining.launchers.settings import Training
from service.retraining.options import Retraining

PREFIX = "EVERGREEN_"
FILE = "evergreen.toml"
NO_SETTINGS = ("CONFIG", "DATA", "TOKEN")
"""Variables with the prefix that say something else."""
LISTS = ("serve", "trusted_keys", "trusted_proxies")
"""Settings that a variable holds with commas between their parts."""
LACKING = "Object missing required field"
"""How msgspec says that a table is not whole."""
SEED = Path(__file__).parent.parent / "models" / "repository"

Provider = Literal["auto", "tensorrt", "cuda", "cpu"]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]


class ModelSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How one model is run; what is not set follows the model's config.pbtxt, if it has one, then the service's own settings."""

    version: Positive | None = None
    variant: Literal["fp32", "fp16", "int8"] | None = None
    provider: Provider | None = None
    instances: Positive | None = None
    """Runs at a time. Not set: on the CPU as many as the model's share of the cores, on a GPU one."""
    threads: Positive | None = None
    """Threads of each run, 1 when not set; instances x threads must not exceed the cores."""
    spinning: bool = False
    """Let threads wait busily for work: about 2 ms less for a lone request, for a core that is never idle."""
    gpu_memory_mb: Positive | None = None
    """The most that ONNX Runtime's arena takes of the GPU's memory; cuDNN and cuBLAS take theirs beside it."""
    tf32: bool = True
    """float32 products on the GPU keep ten bits of the mantissa: faster, and answers differ in the third digit."""
    cuda_graphs: bool = True
    """Capture each batch size once and replay it, where the model allows it: small models spend their time on launches."""
    max_batch_rows: Positive | None = None
    """The most rows in a batch. Not set, it is measured when the version is first loaded on a machine."""
    max_batch_tokens: Positive = 16_384
    """The most rows x padded length in a batch: bounds memory where rows are long."""
    max_queue_rows: Positive | None = None
    """Rows that may wait, 1024 when not set; what comes beyond gets 503 with the time after which there should be room."""
    max_delay_ms: Annotated[float, msgspec.Meta(ge=0, le=60_000)] | None = None
    """How long an idle engine waits for company, counted from the first row: not at all when not set. A busy one batches without it."""
    hang_limit_s: Seconds = 30.0
    """A run that takes longer ends its engine, and another is started; its callers get 503."""
    canary_max_error_rate: Share = 0.05
    """A canary that fails more than this share of its requests, and more than the champion, gets no more of them."""
    canary_max_p99_ms: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """So does one whose 99th percentile is above this. Not set: above twice the champion's."""
    canary_window_s: Seconds = 60.0
    """Both are judged over this time, as soon as the canary has answered `canary_min_requests` in it."""
    canary_min_requests: Positive = 50
    monitor: bool = True
    """Observe this model's requests, where the service observes any."""
    drift_window: Positive | None = None
    """Over the service's own setting."""
    error_tolerance: Share = 0.02
    """How much more often than its held-out rows promise, at worst, the model may be wrong before labels call it harmful: 0.02 are two points."""
    retraining: Retraining = Retraining()
    """When and how it is trained again."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Every setting of the service."""

    host: str = "127.0.0.1"
    """The address to listen on. Other than the loopback means that others can reach the service."""
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8000
    """0 takes any free port; the address is printed."""
    grpc_port: Annotated[int, msgspec.Meta(ge=0, le=65535)] | None = None
    """Speak the Open Inference Protocol over gRPC, too, on this port; 0 takes any free one. Needs the extra `grpc`."""
    front_ends: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    """Processes that speak HTTP on the one port and share the engines. One fills a core; engines want the others."""
    repository: Path = SEED
    """Where models are read from: <model>/<version>/manifest.json. Never written to."""
    registry: str | None = None
    """Where published versions and who answers are kept: a directory or an s3:// URL, which several services may share. Not set: in `state`."""
    registry_poll_s: Seconds = 2.0
    """How often a change that another process made to the registry is looked for."""
    load_timeout_s: Seconds = 120.0
    """A version that takes longer to load beside others is given up."""
    keep_previous_s: Annotated[float, msgspec.Meta(ge=0, le=604_800)] = 600.0
    """How long the version that answered before a promotion stays loaded, so that going back takes no load."""
    state: Path = Path(".evergreen")
    """Everything that the running service writes."""
    serve: tuple[str, ...] = ()
    """The models to serve; empty means all in the repository."""
    provider: Provider = "auto"
    """auto takes CUDA where it really works, and says so where it does not; TensorRT only where it is named."""
    strict_provider: bool = False
    """Refuse to start a model on anything less than the provider that was named, whole or in part."""
    engine_memory_mb: Positive | None = None
    """The most memory that an engine may take; what would be more fails and is answered. Not set: 80 % of the machine's, or the container's."""
    max_model_mb: Positive = 2048
    """A larger ONNX file is not loaded. 2048 is protobuf's own limit."""
    max_body_bytes: Positive = 16 * 1024 * 1024
    """A larger body is refused with 413 before it is read to its end."""
    max_request_rows: Positive = 64
    """The most rows (images, texts, series) in one request."""
    request_timeout_s: Seconds = 30.0
    """A request without an answer by then gets 504."""
    drain_timeout_s: Seconds = 30.0
    """How long accepted requests may take after SIGTERM."""
    monitor: bool = True
    """Observe requests: what signals of the traffic look like beside the model's profile, and what was predicted, so that labels can join."""
    drift_window: Positive | None = None
    """The rows in a window of traffic that is compared with the profile: the largest that the profile admits up to this one. Not set: up to 500,
    and a tenth of the rows behind the profile."""
    observe_rows_per_s: Annotated[float, msgspec.Meta(gt=0)] = 100.0
    """Beyond so many rows of a model a second, over ten seconds, only a share of its requests is observed: half, a quarter, and so on."""
    monitor_cpu_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.01
    """So too where observing takes more of a core than this, in any front end."""
    ledger_url: str | None = None
    """Where predictions, labels and drift are kept: postgresql://USER:PASSWORD@HOST/DATABASE, which several services may share, or sqlite:///PATH.
    Not set: a file in `state`."""
    ledger_days: Positive = 90
    """Predictions, labels and drift older than this are taken away."""
    ledger_rows: Positive = 20_000_000
    """The most predictions that are kept, about 100 bytes each: the oldest without a label go first. 100 a second reach it in two days."""
    payload_share: Share = 1.0
    """The most that is kept of observed rows' inputs, for labelling and retraining; 0 keeps none. Above 10 rows of a model a second it is less."""
    payload_mb: Positive = 1024
    """The most that they take together; the oldest go first."""
    payload_days: Positive = 30
    """Inputs older than this are taken away."""
    train_python: Path | None = None
    """The Python that training runs in, where it is not this one: an environment with the extra `train`."""
    training: Training = Training()
    """Who runs trainings: [training] in the file."""
    token_file: Path | None = None
    """Bearer tokens, one a line: NAME SCOPES SECRET, or SECRET alone for one that may do everything. Read again when it changes.
    EVERGREEN_TOKEN holds more of the latter; neither is told to anybody else.
    """
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks of the proxies in front, whose X-Forwarded-For names the client. Nobody else's is believed."""
    tls: Tls = Tls()
    """[tls]: the service's own certificate."""
    limits: Limits = Limits()
    """[limits]: what a connection may take."""
    quota: Quota | None = None
    """[quota]: how often each client may ask. Not set: as often as it likes."""
    trusted_keys: tuple[Path, ...] = ()
    """Public keys, or certificates that signers' certificates lead to (PEM). A version that none of them vouches for is not loaded. Needs the
    extra `sign`; without any, signatures are not looked at.
    """
    protect: Literal["changes", "all"] = "changes"
    """What needs a token: what changes state, or reading and predicting as well. Probes never do."""
    log_level: Literal["debug", "info", "warning", "error"] = "warning"
    """Log lines are JSON on stderr; what is loading and ready is printed on stdout in any case."""
    access_log: bool = False
    """A log line for every request, whatever `log_level` says: who was asked, what came of it, how long it took. No bodies."""
    server_timing: bool = True
    """Predictions say in a Server-Timing header where their time went."""
    trace: bool = False
    """Tell of requests as OpenTelemetry traces, over OTLP/HTTP, to where OTEL_EXPORTER_OTLP_ENDPOINT says. Needs the extra `trace`."""
    trace_share: Share | None = None
    """The share of the requests that are traced; who sends a `traceparent` has decided for its own. Not set: what OTEL_TRACES_SAMPLER says, else all."""
    triton_metrics: bool = False
    """Show what is counted under Triton's names as well, nv_inference_..., for dashboards that are there already."""
    models: dict[str, ModelSettings] = {}
    """[models.NAME] in the file, EVERGREEN_MODELS__NAME__KEY in the environment."""

    def model(self, name: str) -> ModelSettings:
        """The settings of one model. An environment variable cannot hold '-' or '.': '_' stands for both."""
        return self.models.get(plain(name), ModelSettings())


def plain(name: str) -> str:
    """A model's name as a variable can hold it: without '-' and '.'."""
    return name.replace("-", "_").replace(".", "_").lower()


def load(
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] = os.environ,
    directory: Path = Path(),
) -> Settings:
    """Read all sources once. Raises SettingsError naming the setting, where it stands and what is wrong with it."""
    merged: dict[str, Any] = {}
    path = directory / environ.get(f"{PREFIX}CONFIG", FILE)
    if path.is_file():
        try:
            merged = tomllib.loads(path.read_text())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path}: {error}") from error
        if isinstance(models := merged.get("models"), dict):
            merged["models"] = {plain(name): table for name, table in models.items()}
        check(merged, f"{path}: ")
    elif f"{PREFIX}CONFIG" in environ:
        raise SettingsError(f"{PREFIX}CONFIG names {path}, which does not exist")
    for variable, value in sorted(environ.items()):
        if variable.startswith(PREFIX) and variable.removeprefix(PREFIX) not in NO_SETTINGS:
            one = nested(variable.removeprefix(PREFIX).lower().split("__"), value)
            check_part(one, f"{variable}: ")
            merge(merged, one)
    merge(merged, {key: value for key, value in (overrides or {}).items() if value is not None})
    return check(merged, "")


def check(raw: Mapping[str, Any], source: str) -> Settings:
    """Convert and validate; `source` begins the sentence."""
    try:
        return msgspec.convert(dict(raw), Settings, strict=False, dec_hook=to_path)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{source}{error}") from error


def check_part(raw: Mapping[str, Any], source: str) -> None:
    """`check` of one variable, which may lack what others say."""
    try:
        check(raw, source)
    except SettingsError as error:
        if LACKING not in str(error):
            raise


def to_path(kind: type, value: Any) -> Any:
    """msgspec's hook for the one type here that it does not know."""
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    raise msgspec.ValidationError(f"Expected a path, got {type(value).__name__}")


def nested(keys: list[str], value: str) -> dict[str, Any]:
    """("models", "x", "threads"), "2" -> {"models": {"x": {"threads": "2"}}}; lists are written with commas."""
    inner: Any = [one.strip() for one in value.split(",")] if keys[0] in LISTS else value
    for key in reversed(keys):
        inner = {key: inner}
    return dict(inner)


def merge(into: dict[str, Any], other: Mapping[str, Any]) -> None:
    """Lay `other` over `into`, table by table."""
    for key, value in other.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = dict(value) if isinstance(value, Mapping) else value
