"""`overcurrent check-config`: says whether a file is right, and what it arms."""

import os
from pathlib import Path

import click
import orjson

from collector.cli.main import format_option
from collector.config import Config, without_effect


@click.command(name="check-config")
@click.argument("file", type=click.Path(path_type=Path))
@format_option
def command(file: Path, format_: str) -> None:
    """Validates a configuration file, with the environment laid over it. Exit status 2 and a line for each mistake."""
    config = Config.load(file, os.environ)
    modes = {name: settings.mode for name, settings in config.detectors.items()}
    armed = sorted(name for name, mode in modes.items() if mode in {"compact", "pause", "halt"})
    if format_ == "json":
        answer = {"file": str(file), "valid": True, "policy": config.fingerprint, "modes": modes, "without_effect": without_effect(config)}
        print(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
        return
    print(f"{file}: valid, policy {config.fingerprint}")
    print(f"armed: {', '.join(armed) or 'nothing, every detector is in shadow or alert mode'}")
    if armed and not config.actions.runtimes:
        print("note: detectors are armed but actions.runtimes is empty: halts will be recorded and delivered to nobody")
    if unread := without_effect(config):
        print(f"note: no effect yet: {', '.join(unread)}")
