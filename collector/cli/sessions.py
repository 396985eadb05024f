"""`overcurrent sessions`: what agents are doing."""

from pathlib import Path

import click
import orjson
from rich.console import Console

from collector.cli.client import connect, service_options
from collector.cli.main import format_option
from collector.cli.tables import print_sessions
from collector.model import SessionState


@click.command(name="sessions")
@click.option("--state", type=click.Choice([state.value for state in SessionState]), help="Only sessions in this state.")
@click.option("--agent-type", help="Only sessions of this agent type.")
@click.option("--finding", metavar="DETECTOR", help="Only sessions with a finding of this detector.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many at most.")
@service_options
@format_option
def command(
    state: str | None,
    agent_type: str | None,
    finding: str | None,
    limit: int,
    url: str | None,
    token_file: Path | None,
    data_dir: Path,
    format_: str,
) -> None:
    """Lists sessions, newest activity first."""
    client = connect(url, token_file, data_dir)
    answer = client.get("sessions", state=state, agent_type=agent_type, finding=finding, limit=limit)
    if format_ == "json":
        print(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
    else:
        print_sessions(Console(), answer["sessions"])
