"""The sections of `overcurrent.yaml`: names, defaults and meaning of every key. The reference is generated from here."""

import base64
import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from collector.config.units import NO_EFFECT_YET, Address, Count, Duration, Kind, Listen, Processes, Size, Usd, format_size, parse_size

Mode = Literal["shadow", "alert", "compact", "pause", "halt"]
BudgetsMode = Literal["shadow", "alert", "halt"]
Scope = Literal["ingest", "read", "operate", "gate", "review"]

SECRET_BYTES = 64 * 1024
"""A secret file above this is not a secret."""


class Section(BaseModel):
    """Base of all sections: strict keys, immutable, input never shown by pydantic since it may be a secret."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class AtKey(ValueError):
    """A mistake found by a check over a whole section that belongs to one key of it."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key


def _read_secret(path: Path) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(SECRET_BYTES + 1).decode()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None
    secret = text.rstrip("\r\n")
    if not secret or len(text) > SECRET_BYTES:
        raise ValueError(f"{path} must hold the secret and nothing else")
    return secret


def _with_secret(data: Any, key: str) -> Any:
    """Reads `<key>_file` into `<key>`. Both, or neither, is an error."""
    if not isinstance(data, dict):
        return data
    file = data.get(f"{key}_file")
    if file is None:
        if data.get(key) is None:
            raise ValueError(f"needs {key} or {key}_file")
        return data
    if data.get(key) is not None:
        raise ValueError(f"at most one of {key} and {key}_file may be given")
    try:
        return {**data, key: _read_secret(Path(str(file)))}
    except ValueError as error:
        raise AtKey(f"{key}_file", str(error)) from None


def _http_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise ValueError("must be an http or https URL") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an http or https URL")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not carry a user name or password")
    return value


HttpUrl = Annotated[str, AfterValidator(_http_url), Kind("http or https URL")]


class Receivers(Section):
    """Where telemetry arrives."""

    otlp_grpc: Listen = Field(default=Address("127.0.0.1", 4317), description="Address of OTLP/gRPC.")
    otlp_http: Listen = Field(default=Address("127.0.0.1", 4318), description="Address of OTLP/HTTP.")
    max_request_bytes: Size = Field(
        default=parse_size("16MiB"), description="Largest request taken, compressed and decompressed. Above it: 413, not retried."
    )
    queue_bytes: Size = Field(
        default=parse_size("256MiB"),
        description="Bytes that may wait for their commit. Above it senders are told to retry. Memory use follows it.",
    )
    translate_processes: Processes | None = Field(
        default=None,
        description="Processes that read large requests beside the ingest thread; each takes about 100 MB. 0: none. "
        "Without a value one less than there are processors, at most 4.",
    )
    insecure: bool = Field(
        default=False, description="Allows listening beyond loopback without tokens or without TLS. Anyone who reaches the port may send."
    )

    @model_validator(mode="after")
    def _queue_holds_a_request(self) -> "Receivers":
        if self.queue_bytes < self.max_request_bytes:
            raise AtKey(
                "queue_bytes",
                f"must not be smaller than max_request_bytes ({format_size(self.max_request_bytes)}), got {format_size(self.queue_bytes)}",
            )
        return self


class Web(Section):
    """The API, the console and the metrics."""

    listen: Listen = Field(default=Address("127.0.0.1", 4319), description="Address of the API, the console and /metrics.")
    insecure: bool = Field(
        default=False,
        description="Allows listening beyond loopback without tokens or without TLS. Anyone who reaches the port may halt agents.",
    )


class Storage(Section):
    """Where things are kept and for how long."""

    data_dir: Path = Field(default=Path("overcurrent-data"), description="Folder of both stores, relative to the working directory.")
    retention_days: Count = Field(default=30, description="Days that spans, log records and steps are kept, give or take a day.")
    max_bytes: Size = Field(default=parse_size("50GiB"), description="Size of the telemetry store above which the oldest goes early.")


class Sessions(Section):
    """When a session counts as over, and how many are followed at once."""

    idle_timeout: Duration = Field(default=1800.0, description="Silence after which a session is idle.")
    max_live: Count = Field(
        default=50_000,
        description="Sessions followed at once. Above it those whose root ended, then the longest silent, are set aside until they speak.",
    )
    max_bytes: Size = Field(
        default=parse_size("128MiB"), description="Memory that they may take, roughly, beside their latest steps. Above it likewise."
    )


class UnknownModelPrice(Section):
    """What enforcement assumes of a model without a known price. What is shown stays unknown."""

    input_per_million: Annotated[Usd, NO_EFFECT_YET] = Field(default=Decimal(15), description="Upper bound for a million input tokens.")
    output_per_million: Annotated[Usd, NO_EFFECT_YET] = Field(default=Decimal(75), description="Upper bound for a million output tokens.")


class ModelPrice(Section):
    """The price of one model where it differs from the published one."""

    input_per_million: Usd = Field(description="A million input tokens.")
    output_per_million: Usd = Field(description="A million output tokens.")
    cached_input_per_million: Usd | None = Field(
        default=None, description="A million input tokens read from the provider's cache; as input when absent."
    )
    cache_write_per_million: Usd | None = Field(
        default=None, description="A million input tokens written to the provider's cache; as input when absent."
    )
    cache_write_1h_per_million: Usd | None = Field(
        default=None, description="The same for tokens kept there for an hour; as cache_write_per_million when absent."
    )
    input_audio_per_million: Usd | None = Field(default=None, description="A million input tokens of audio; as input when absent.")
    output_audio_per_million: Usd | None = Field(default=None, description="A million output tokens of audio; as output when absent.")


class Prices(Section):
    """Money and window sizes where the published ones do not do."""

    unknown_model: UnknownModelPrice = Field(
        default_factory=UnknownModelPrice, description="What budgets charge for a model without a known price."
    )
    overrides: dict[str, ModelPrice] = Field(default_factory=dict, description="Prices by model name; they win over the published ones.")
    context_windows: dict[str, Count] = Field(default_factory=dict, description="Context window in tokens, by model name.")


class Match(Section):
    """Which sessions are of this agent type. Given both, both must match."""

    agent_name: str | None = Field(default=None, min_length=1, description="Shell pattern for gen_ai.agent.name (or the dialect's).")
    service_name: str | None = Field(default=None, min_length=1, description="Shell pattern for service.name.")


class Budgets(Section):
    """Caps, nested: a task or turn inside its session inside its workflow inside the fleet of the agent type. Absent: no cap."""

    task_usd: Annotated[Usd | None, NO_EFFECT_YET] = Field(default=None, description="US dollars a task.")
    turn_usd: Annotated[Usd | None, NO_EFFECT_YET] = Field(default=None, description="US dollars a turn of a conversation.")
    session_usd: Usd | None = Field(default=None, description="US dollars a session: forecast against.")
    workflow_usd: Usd | None = Field(default=None, description="US dollars a workflow: all sessions it connects.")
    fleet_usd_per_hour: Annotated[Usd | None, NO_EFFECT_YET] = Field(
        default=None, description="US dollars an hour, all sessions of the agent type."
    )
    fleet_usd_per_day: Annotated[Usd | None, NO_EFFECT_YET] = Field(
        default=None, description="US dollars a day, all sessions of the agent type."
    )
    session_tokens: Annotated[Count | None, NO_EFFECT_YET] = Field(default=None, description="Input and output tokens a session.")
    session_steps: Annotated[Count | None, NO_EFFECT_YET] = Field(default=None, description="Steps a session.")

    @model_validator(mode="after")
    def _nested(self) -> "Budgets":
        for inner, outer in (
            ("task_usd", "session_usd"),
            ("turn_usd", "session_usd"),
            ("session_usd", "workflow_usd"),
            ("fleet_usd_per_hour", "fleet_usd_per_day"),
        ):
            small, large = getattr(self, inner), getattr(self, outer)
            if small is not None and large is not None and small > large:
                raise AtKey(inner, f"must not be greater than {outer} ({large}), got {small}")
        return self


class Tools(Section):
    """What the operator knows of the tools of an agent type."""

    irreversible: Annotated[tuple[str, ...], NO_EFFECT_YET] = Field(
        default=(), description="Shell patterns of tools that need an approval before each call."
    )
    polling: tuple[str, ...] = Field(default=(), description="Exact names of tools whose job is to be repeated unchanged.")

    @model_validator(mode="after")
    def _exact(self) -> "Tools":
        for name in self.polling:
            if any(mark in name for mark in "*?["):
                raise AtKey("polling", f"takes exact tool names, got the pattern {name}")
        return self


class AgentType(Section):
    """One agent type: who belongs to it and what it may spend and do. An absent part is taken from `default`."""

    match: Match | None = Field(default=None, description="Which sessions belong to it; without it, those whose agent has its name.")
    budgets: Budgets | None = Field(default=None, description="Hard caps; `default`'s when absent.")
    tools: Tools | None = Field(default=None, description="Irreversible and polling tools; `default`'s when absent.")


class Runtime(Section):
    """A runtime that stops agents when told."""

    agent_types: tuple[str, ...] = Field(default=("*",), min_length=1, description="Agent types it runs; shell patterns.")
    url: HttpUrl = Field(description="Where halts are posted.")
    secret: SecretStr | None = Field(default=None, description="Standard Webhooks secret that signs them.")
    secret_file: Path | None = Field(default=None, description="File that holds the secret.")

    @model_validator(mode="before")
    @classmethod
    def _secret_of_file(cls, data: Any) -> Any:
        return _with_secret(data, "secret")

    @model_validator(mode="after")
    def _can_sign(self) -> "Runtime":
        text = self.secret.get_secret_value() if self.secret else ""
        key = "secret" if self.secret_file is None else "secret_file"
        if not text:
            raise AtKey(key, "is empty; generate one, for example with `openssl rand -base64 32`")
        if text.startswith("whsec_"):
            try:
                base64.b64decode(text.removeprefix("whsec_"), validate=True)
            except ValueError:
                raise AtKey(key, "begins with whsec_ and so must continue in base64") from None
        return self


class Actions(Section):
    """Whom to tell."""

    runtimes: tuple[Runtime, ...] = Field(default=(), description="Runtimes that are told to stop sessions: each that matches.")
    alertmanager_url: Annotated[HttpUrl | None, NO_EFFECT_YET] = Field(
        default=None, description="Alertmanager to push per-session alerts to."
    )


class Gate(Section):
    """The check before each call."""

    fail: Annotated[Literal["open", "closed"], NO_EFFECT_YET] = Field(
        default="open", description="The answer when there is no time or no ledger to ask."
    )
    timeout: Annotated[Duration, NO_EFFECT_YET] = Field(default=0.25, description="Time after which a check fails open or closed.")


class Token(Section):
    """One bearer token."""

    name: str = Field(min_length=1, max_length=100, description="Who it is; the actor in the audit trail.")
    token: SecretStr | None = Field(default=None, description="The token itself.")
    token_file: Path | None = Field(default=None, description="File that holds the token.")
    scopes: frozenset[Scope] = Field(min_length=1, description="What it may do.")
    tenant: str = Field(default="default", min_length=1, max_length=100, description="Tenant of everything sent with it.")

    @model_validator(mode="before")
    @classmethod
    def _token_of_file(cls, data: Any) -> Any:
        return _with_secret(data, "token")

    @model_validator(mode="after")
    def _fits_a_header(self) -> "Token":
        text = self.token.get_secret_value() if self.token else ""
        if not re.fullmatch(r"[!-~]+", text):
            raise AtKey(
                "token" if self.token_file is None else "token_file", "must be printable ASCII without spaces, since it travels in a header"
            )
        return self


class Tls(Section):
    """The certificate all three servers show."""

    cert_file: Path | None = Field(default=None, description="Certificate chain, PEM.")
    key_file: Path | None = Field(default=None, description="Private key, PEM.")

    @model_validator(mode="after")
    def _pair(self) -> "Tls":
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("needs both cert_file and key_file")
        for key, path in (("cert_file", self.cert_file), ("key_file", self.key_file)):
            if path is not None and not path.is_file():
                raise AtKey(key, f"cannot read {path}: no such file")
        return self

    def __bool__(self) -> bool:
        return self.cert_file is not None


def _regex(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error.msg}") from None
    return value


class Security(Section):
    """Who may do what."""

    tokens: tuple[Token, ...] = Field(
        default=(), max_length=1000, description="Bearer tokens. Without any, everyone who reaches a port may do everything."
    )
    tls: Tls = Field(default_factory=Tls, description="Certificate of all three servers.")
    allowed_hosts: tuple[str, ...] = Field(
        default=(), max_length=1000, description="Names this service is reached by, beside loopback and the bound address. `*` allows any."
    )
    redact: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_regex), Kind("regular expression")], ...], NO_EFFECT_YET
    ] = Field(default=(), max_length=100, description="Text that is replaced before anything is stored.")

    @model_validator(mode="after")
    def _tokens_differ(self) -> "Security":
        names = [token.name for token in self.tokens]
        for name in names:
            if names.count(name) > 1:
                raise AtKey("tokens", f"two tokens are named {name}")
        secrets = [token.token.get_secret_value() for token in self.tokens if token.token]
        if len(set(secrets)) < len(secrets):
            raise AtKey("tokens", "two tokens are the same; each must be its own")
        return self
