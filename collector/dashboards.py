"""Makes Grafana dashboards from their short description: `grafana/fleet.yml` says what, this says how.

The result imports into Grafana 11 and later by hand or by provisioning; its data source is a variable, so that it asks
for nothing on the way.
"""

from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import yaml

from collector.errors import ConfigError

_DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_COLUMNS: Final = 24
_SCHEMA_VERSION: Final = 39
"""What Grafana 11 writes; later ones migrate it when they open it."""

_Json = dict[str, Any]


class Query(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One expression and how its series are named."""

    expr: str
    legend: str


class Panel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One panel. `name` is what alerts link to; `thresholds` maps a colour to the value it begins at."""

    name: str
    title: str
    type: Literal["stat", "timeseries", "bargauge", "heatmap", "table"]
    description: str
    width: int
    unit: str
    queries: list[Query]
    max: float | None = None
    stack: bool = False
    bars: bool = False
    instant: bool = False
    exemplars: bool = False
    thresholds: dict[str, float] = {}
    columns: dict[str, str] = {}


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Panels under one heading, all of the same height."""

    title: str
    height: int
    panels: list[Panel]


class Description(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole dashboard."""

    uid: str
    title: str
    description: str
    rows: list[Row]

    def panel_ids(self) -> dict[str, int]:
        """Panel name → the id that a link needs. Ids follow the order of the description."""
        names = [panel.name for row in self.rows for panel in row.panels]
        return {name: number for number, name in enumerate(names, start=1)}


def load(path: Path) -> Description:
    """Reads a description. Raises ConfigError that names the file and the key."""
    try:
        return msgspec.convert(yaml.safe_load(path.read_bytes()), Description)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise ConfigError(f"{path.name}: {' '.join(str(error).split())}") from error


def dashboard(description: Description) -> _Json:
    """The dashboard as Grafana stores it."""
    ids = description.panel_ids()
    panels: list[_Json] = []
    top = 0
    for number, row in enumerate(description.rows):
        heading = {"id": 1000 + number, "type": "row", "title": row.title, "collapsed": False, "panels": []}
        panels.append(heading | {"gridPos": {"h": 1, "w": _COLUMNS, "x": 0, "y": top}})
        top += 1
        left = 0
        for panel in row.panels:
            if left + panel.width > _COLUMNS:
                left, top = 0, top + row.height
            at = {"h": row.height, "w": panel.width, "x": left, "y": top}
            panels.append(_panel(panel, ids[panel.name]) | {"gridPos": at})
            left += panel.width
        top += row.height
    return {
        "uid": description.uid,
        "title": description.title,
        "description": description.description,
        "tags": ["overcurrent", "agents"],
        "schemaVersion": _SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "time": {"from": "now-3h", "to": "now"},
        "refresh": "30s",
        "timezone": "browser",
        "templating": {"list": [_datasource_variable(), _agent_type_variable()]},
        "annotations": {"list": [_alerts_annotation()]},
        "links": [],
        "panels": panels,
    }


def _datasource_variable() -> _Json:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1, "hide": 0}


def _agent_type_variable() -> _Json:
    query = "label_values(overcurrent_sessions, agent_type)"
    everything = {"selected": True, "text": ["All"], "value": ["$__all"]}
    variable = {"name": "agent_type", "label": "Agent type", "type": "query", "definition": query, "refresh": 2, "sort": 1, "hide": 0}
    variable |= {"datasource": _DATASOURCE, "query": {"query": query, "refId": "agent_type"}, "current": everything}
    return variable | {"multi": True, "includeAll": True, "allValue": ".*", "options": [], "regex": ""}


def _alerts_annotation() -> _Json:
    return {
        "name": "Alerts",
        "enable": True,
        "datasource": _DATASOURCE,
        "expr": 'ALERTS{alertname=~"Overcurrent.+", alertname!="OvercurrentWatchdog", alertstate="firing", agent_type=~"$agent_type|"}',
        "iconColor": "red",
        "titleFormat": "{{alertname}}",
        "textFormat": "{{agent_type}} {{detector}}",
        "step": "60s",
    }


def _panel(panel: Panel, number: int) -> _Json:
    content: _Json = {
        "id": number,
        "type": panel.type,
        "title": panel.title,
        "description": panel.description,
        "datasource": _DATASOURCE,
        "targets": [_target(panel, query, chr(ord("A") + index)) for index, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
    }
    if panel.type == "table":
        hidden = {"Time": True}
        order = {name: index for index, name in enumerate(panel.columns)}
        options = {"excludeByName": hidden, "renameByName": panel.columns, "indexByName": order}
        content["transformations"] = [{"id": "organize", "options": options}]
    return content


def _target(panel: Panel, query: Query, letter: str) -> _Json:
    instant = panel.instant or panel.type == "stat"
    shape = {"table": "table", "heatmap": "heatmap"}.get(panel.type, "time_series")
    target: _Json = {"refId": letter, "datasource": _DATASOURCE, "expr": query.expr, "legendFormat": query.legend, "format": shape}
    return target | {"instant": instant, "range": not instant, "exemplar": panel.exemplars, "editorMode": "code"}


def _defaults(panel: Panel) -> _Json:
    steps = [{"color": "green", "value": None}, *({"color": color, "value": at} for color, at in panel.thresholds.items())]
    defaults: _Json = {"unit": panel.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.max is not None:
        defaults["max"] = panel.max
    if panel.type == "timeseries":
        defaults["color"] = {"mode": "palette-classic"}
        defaults["custom"] = {
            "drawStyle": "bars" if panel.bars else "line",
            "lineWidth": 1,
            "fillOpacity": 60 if panel.bars else 20 if panel.stack else 0,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": {"mode": "normal" if panel.stack or panel.bars else "none", "group": "A"},
            "thresholdsStyle": {"mode": "line" if panel.thresholds else "off"},
        }
    elif panel.type in {"stat", "bargauge"}:
        defaults["color"] = {"mode": "thresholds" if panel.thresholds else "continuous-BlPu" if panel.type == "bargauge" else "fixed"}
    return defaults


def _options(panel: Panel) -> _Json:
    if panel.type == "timeseries":
        legend = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
        return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    last = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    if panel.type == "stat":
        return {"reduceOptions": last, "colorMode": "value", "graphMode": "none", "textMode": "value", "justifyMode": "auto"}
    if panel.type == "bargauge":
        return {"reduceOptions": last, "displayMode": "gradient", "orientation": "horizontal", "showUnfilled": True}
    if panel.type == "heatmap":
        # The buckets come ready-made from Prometheus, hence no calculation here.
        return {
            "calculate": False,
            "yAxis": {"axisPlacement": "left", "unit": panel.unit},
            "rowsFrame": {"layout": "auto"},
            "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5},
            "cellGap": 1,
            "legend": {"show": True},
            "tooltip": {"mode": "single", "yHistogram": True},
        }
    return {"showHeader": True, "cellHeight": "sm", "footer": {"show": False}, "sortBy": [{"displayName": "Severity", "desc": False}]}
