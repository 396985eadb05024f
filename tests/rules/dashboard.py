"""Reads what dashboards ask of Prometheus, for tests that ask it themselves."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

SUBSTITUTES = {"$agent_type": ".*", "$__rate_interval": "1m", "$__interval": "15s", "$__range": "1h"}
"""What Grafana would put in place of its variables."""

_VARIABLE = re.compile(r"\$\w+")
_LEGEND_LABEL = re.compile(r"\{\{\s*(\w+)\s*\}\}")


class PanelQuery(NamedTuple):
    """One query as Prometheus gets it. `labels` are those that the legend shows: the result must have them."""

    panel: str
    expr: str
    labels: tuple[str, ...]


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every panel, those inside collapsed rows included, the rows themselves left out."""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panel["panels"]
        else:
            yield panel


def panel_queries(dashboard: dict[str, Any]) -> list[PanelQuery]:
    """Every query of every panel, its variables substituted. A variable that is not known here is an error."""
    queries = []
    for panel in panels(dashboard):
        for target in panel["targets"]:
            expr = _VARIABLE.sub(lambda match: SUBSTITUTES[match.group()], target["expr"])
            queries.append(PanelQuery(panel["title"], expr, tuple(_LEGEND_LABEL.findall(target["legendFormat"]))))
    return queries
