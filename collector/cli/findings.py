"""`overcurrent findings`: what the detectors found."""

from pathlib import Path

import click
import orjson
from rich.console import Console

from collector.cli.client import connect, service_options
from collector.cli.main import EXIT_NO, format_option
from collector.cli.tables import clean, print_findings, second


@click.command(name="findings")
@click.option("--session", "session_id", metavar="ID", help="Only this session's.")
@click.option("--detector", help="Only this detector's.")
@click.option("--severity", type=click.Choice(["info", "warning", "critical"]), help="Only of this severity.")
@click.option("--open", "open_only", is_flag=True, help="Only those whose pattern still holds.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many at most.")
@service_options
@format_option
def command(
    session_id: str | None,
    detector: str | None,
    severity: str | None,
    open_only: bool,
    limit: int,
    url: str | None,
    token_file: Path | None,
    data_dir: Path,
    format_: str,
) -> int:
    """Lists findings, newest first. Exit status 1 where one of them is critical."""
    client = connect(url, token_file, data_dir)
    answer = client.get("findings", session=session_id, detector=detector, severity=severity, open=open_only or None, limit=limit)
    if format_ == "json":
        print(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
    else:
        console = Console()
        for finding in answer["findings"]:
            console.print(f"{second(finding['at'])} session {clean(finding['session_id'], 80)}", markup=False, highlight=False)
            print_findings(console, [finding])
    return EXIT_NO if any(finding["severity"] == "critical" for finding in answer["findings"]) else 0
