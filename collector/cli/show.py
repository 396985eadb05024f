"""`overcurrent show`: one session, with what was found and done."""

from pathlib import Path
from urllib.parse import quote

import click
import orjson
from rich.console import Console

from collector.cli.client import connect, service_options
from collector.cli.main import format_option
from collector.cli.tables import print_findings, print_halts, print_session, print_steps


@click.command(name="show")
@click.argument("session_id")
@click.option("--steps", "limit", type=click.IntRange(0, 10_000), default=50, show_default=True, help="How many of its newest steps.")
@service_options
@format_option
def command(session_id: str, limit: int, url: str | None, token_file: Path | None, data_dir: Path, format_: str) -> None:
    """Shows one session: its steps in event order, its findings, its halts."""
    client = connect(url, token_file, data_dir)
    path = f"sessions/{quote(session_id, safe='')}"
    session = client.get(path)
    steps: list[dict[str, object]] = []
    after = 0
    while limit and (page := client.get(f"{path}/steps", after=after, limit=1000)["steps"]):
        steps += page
        after = page[-1]["seq"]
    steps = sorted(steps, key=lambda step: step["step"])[-limit:] if limit else []  # type: ignore[arg-type,return-value]
    if format_ == "json":
        print(orjson.dumps({**session, "steps": steps}, option=orjson.OPT_INDENT_2).decode())
        return
    console = Console()
    print_session(console, session)
    print_steps(console, steps)
    print_findings(console, session["findings"])
    print_halts(console, session["halts"])
