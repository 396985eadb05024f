"""Asks the running service over HTTP; where none runs, the same API answers from its files."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import httpx2

from collector.errors import NotFound, OvercurrentError, Refused, StoreUnavailable, Unauthorised

DEFAULT_URL: Final = "http://127.0.0.1:4319"
_TIMEOUT_S: Final = 15.0

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
Send = Callable[..., httpx2.Response]


class Client:
    """The HTTP API for commands. Every refusal becomes one of our errors, with a line that says what to do."""

    def __init__(self, send: Send, *, changes: bool = True) -> None:
        self._send = send
        self._changes = changes

    def get(self, path: str, **query: Any) -> Any:
        """The JSON at `path` below /api/v1/; parameters that are None are left out."""
        return self._answer("GET", path, params={key: value for key, value in query.items() if value is not None})

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """What the service answers to `body`. Raises Refused where no service runs: files are only read."""
        if not self._changes:
            raise StoreUnavailable("no service is running, so nothing can be changed; start it with: overcurrent serve")
        return self._answer("POST", path, json=body)

    def _answer(self, method: str, path: str, **arguments: Any) -> Any:
        response = self._send(method, f"/api/v1/{path}", **arguments)
        if response.is_success:
            return response.json()
        try:
            problem = response.json()
            detail = str(problem.get("detail") or problem.get("title"))
        except (ValueError, AttributeError):
            detail = f"{response.status_code} {response.reason_phrase}"
        if response.status_code in {401, 403}:
            raise Unauthorised(f"{detail} (give a token with --token-file or OVERCURRENT_TOKEN)", forbidden=response.status_code == 403)
        if response.status_code == 404:
            raise NotFound(detail)
        raise Refused(detail)


def connect(url: str | None, token_file: Path | None, data_dir: Path) -> Client:
    """A client of the service at `url`; where none listens there and no URL was given, one of the files in `data_dir`."""
    token = token_file.read_text(encoding="utf8").strip() if token_file else os.environ.get("OVERCURRENT_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    base = url or os.environ.get("OVERCURRENT_URL")
    # A proxy from the environment has no business with a service on loopback.
    http = httpx2.Client(base_url=base or DEFAULT_URL, headers=headers, timeout=_TIMEOUT_S, trust_env=False)
    click.get_current_context().call_on_close(http.close)
    try:
        http.get("/healthz")
    except httpx2.TransportError as error:
        if base is None and (data_dir / "telemetry.duckdb").exists():
            return Client(_files(data_dir), changes=False)
        raise StoreUnavailable(
            f"no service answers at {base or DEFAULT_URL} ({error or type(error).__name__}); start it with: overcurrent serve"
        ) from None
    return Client(http.request)


def _files(data_dir: Path) -> Send:
    from prometheus_client import CollectorRegistry  # noqa: PLC0415 — none of this is needed when a service runs

    from collector import __version__  # noqa: PLC0415
    from collector.config import Config  # noqa: PLC0415
    from collector.core import Core  # noqa: PLC0415
    from collector.facade import RunningService  # noqa: PLC0415
    from collector.security import Authority  # noqa: PLC0415
    from collector.telemetry import Telemetry  # noqa: PLC0415
    from collector.web.api import create_app  # noqa: PLC0415

    telemetry = Telemetry(CollectorRegistry())
    core = Core(Config.load(None, {}), data_dir, telemetry, only_read=True)
    click.get_current_context().call_on_close(core.close)
    app = create_app(
        RunningService(core, _Inline()),
        authority=Authority(),
        audit=core.control,
        metrics=telemetry.render,
        version=__version__,
        bound=[core.config.web.listen],
    )

    def send(method: str, path: str, **arguments: Any) -> httpx2.Response:
        async def ask() -> httpx2.Response:
            async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=DEFAULT_URL) as http:
                return await http.request(method, path, **arguments)

        return asyncio.run(ask())

    return send


class _Inline:
    """Stands where the ingest thread would: there is none, so its work is done here."""

    @staticmethod
    def call(function: Callable[[], T]) -> "Future[T]":
        future: Future[T] = Future()
        try:
            future.set_result(function())
        except OvercurrentError as error:
            future.set_exception(error)
        return future


def service_options(function: F) -> F:
    """The options of every command that asks a service."""
    for option in (
        click.option("--url", metavar="URL", help=f"The service's API.  [default: {DEFAULT_URL}, or OVERCURRENT_URL]"),
        click.option("--token-file", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="File with the API token."),
        click.option(
            "--data-dir", type=click.Path(path_type=Path), default=Path("overcurrent-data"), help="Files to read where no service runs."
        ),
    ):
        function = option(function)
    return function
