"""`overcurrent serve`: the service."""

import logging
import os
from pathlib import Path
from typing import Any

import click

from collector.config import Config, without_effect

log = logging.getLogger(__name__)


def load_config(config_file: Path | None, overrides: dict[str, Any]) -> Config:
    """The configuration from file, environment and command line. Raises ConfigError."""
    config = Config.load(config_file, os.environ, overrides)
    if unread := without_effect(config):
        log.warning("the configuration sets what has no effect yet: %s", ", ".join(unread))
    return config


@click.command(name="serve")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="Configuration file (YAML). Without one: the defaults.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of both stores.")
@click.option("--otlp-grpc", metavar="HOST:PORT", help="Address of OTLP/gRPC.")
@click.option("--otlp-http", metavar="HOST:PORT", help="Address of OTLP/HTTP.")
@click.option("--listen", metavar="HOST:PORT", help="Address of the API and /metrics.")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True, help="What is worth a line."
)
def command(
    config_file: Path | None, data_dir: Path | None, otlp_grpc: str | None, otlp_http: str | None, listen: str | None, log_level: str
) -> None:
    """Runs the service until it is told to stop (SIGINT, SIGTERM).

    SIGHUP reads the configuration again; an invalid one is refused and the running one stays.

    With no configuration it listens on loopback only and keeps its data in ./overcurrent-data.
    """
    from collector.app import App, serve  # noqa: PLC0415 — `--help` needs neither DuckDB nor gRPC
    from collector.loop import run  # noqa: PLC0415

    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("httpx", "httpx2", "httpcore", "httpcore2"):
        logging.getLogger(chatty).setLevel(logging.WARNING)  # they log whole URLs, which may hold secrets
    overrides = {
        "storage.data_dir": None if data_dir is None else str(data_dir),
        "receivers.otlp_grpc": otlp_grpc,
        "receivers.otlp_http": otlp_http,
        "web.listen": listen,
    }

    def started(app: App) -> None:
        config = app.config
        armed = [name for name, settings in config.detectors.items() if settings.mode not in {"shadow", "alert"}]
        print(f"OTLP/gRPC   {app.addresses['receivers.otlp_grpc']}")
        print(f"OTLP/HTTP   http://{app.addresses['receivers.otlp_http']}/v1/traces")
        print(f"API         http://{app.addresses['web.listen']}/api/v1/sessions")
        print(f"metrics     http://{app.addresses['web.listen']}/metrics")
        print(f"data        {config.storage.data_dir}")
        print(f"armed       {', '.join(armed) or 'nothing: every detector is in shadow mode'}", flush=True)

    run(serve(lambda: load_config(config_file, overrides), started=started))
