"""`overcurrent halt`: stops a session, now."""

from pathlib import Path
from urllib.parse import quote

import click
import orjson
from rich.console import Console

from collector.cli.client import connect, service_options
from collector.cli.main import format_option
from collector.cli.tables import print_halts


@click.command(name="halt")
@click.argument("session_id")
@click.option("--note", default="", help="Why; the runtime and the audit trail get it.")
@service_options
@format_option
def command(session_id: str, note: str, url: str | None, token_file: Path | None, data_dir: Path, format_: str) -> None:
    """Halts a session. It stays halted until somebody releases it; one that was not seen yet is halted as soon as it is."""
    client = connect(url, token_file, data_dir)
    halt = client.post(f"sessions/{quote(session_id, safe='')}/halt", {"note": note} if note else {})
    if format_ == "json":
        print(orjson.dumps(halt, option=orjson.OPT_INDENT_2).decode())
    else:
        print_halts(Console(), [halt])
