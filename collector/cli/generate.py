"""`overcurrent generate`: rules, routes, runbooks and dashboards from the taxonomy."""

from pathlib import Path

import click
import orjson

from collector.cli.main import format_option
from collector.generate import Places, generate

_DEFAULT = Places()


@click.command(name="generate")
@click.argument("out_dir", type=click.Path(path_type=Path, file_okay=False))
@click.option("--listen", default=_DEFAULT.listen, show_default=True, help="The service, as Prometheus and Alertmanager reach it.")
@click.option("--alertmanager", default=_DEFAULT.alertmanager, show_default=True, help="Alertmanager, as Prometheus reaches it.")
@click.option("--prometheus", default=_DEFAULT.prometheus, show_default=True, help="Prometheus, as Grafana reaches it.")
@click.option("--runbooks", default=_DEFAULT.runbooks, show_default=True, help="What runbook links begin with.")
@click.option("--grafana", default=_DEFAULT.grafana, show_default=True, help="Grafana, for links to dashboards.")
@click.option("--team", default=_DEFAULT.team, show_default=True, help="The label team of every alert.")
@format_option
def command(out_dir: Path, listen: str, alertmanager: str, prometheus: str, runbooks: str, grafana: str, team: str, format_: str) -> None:
    """Writes Prometheus rules, Alertmanager routes, runbooks and Grafana dashboards below OUT_DIR."""
    places = Places(listen=listen, alertmanager=alertmanager, prometheus=prometheus, runbooks=runbooks, grafana=grafana, team=team)
    written = generate(out_dir, places)
    if format_ == "json":
        print(orjson.dumps([str(path) for path in written]).decode())
    else:
        for path in written:
            print(path)
