"""Writes what follows from the taxonomy: Prometheus rules, Alertmanager routes, runbooks, dashboards.

    python -m collector.generate [FOLDER]

writes `rules/` and `grafana/` below FOLDER (the repository's own without one). A test fails when the committed files differ.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from collector import assets, dashboards
from collector.taxonomy import Condition, Pattern, Raised, Reach, Reason, Taxonomy, taxonomy
from detectors.model import Severity

_RULES: Final = ("alerts.yml", "recording.yml", "alertmanager.yml", "prometheus.yml", "findings_test.yml")
_DASHBOARDS: Final = ("fleet",)
_COUNTED: Final = {
    Reach.SESSION: "in {{ $value }} session(s)",
    Reach.WORKFLOW: "in {{ $value }} workflow(s)",
    Reach.FLEET: "with {{ $value }} cause(s), across sessions",
}
"""How a finding's alert counts, in Prometheus' templates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where things are, as seen by those who use what is written."""

    listen: str = "127.0.0.1:4319"
    """The service, as Prometheus, Alertmanager and people at a terminal reach it."""
    alertmanager: str = "127.0.0.1:9093"
    prometheus: str = "127.0.0.1:9090"
    """As Grafana reaches it."""
    runbooks: str = "http://127.0.0.1:4319/runbooks"
    """What runbook links begin with; a runbook's name follows."""
    grafana: str = "http://127.0.0.1:3000"
    team: str = "agents"
    """The label `team` of every alert."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert rule as it is written."""

    name: str
    group: str
    expr: str
    runbook: str
    hold: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)


def alerts(content: Taxonomy | None = None, places: Places | None = None) -> list[Alert]:
    """Every alert there is: of the conditions, of the detectors, and those about alerts that nobody answers."""
    content = content or taxonomy()
    writer = _Alerts(content, places or Places())
    made = [writer.condition(condition) for condition in content.conditions]
    for found in content.found:
        made.append(writer.finding(found, Severity.WARNING))
        if found.respond_within is not None:
            made.append(writer.finding(found, Severity.CRITICAL))
        if isinstance(found, Reason) and found.reach is Reach.SESSION:
            made.append(writer.halt(found))
    return [*made, *writer.unattended()]


def render(places: Places | None = None) -> dict[str, str]:
    """Everything that is written: path below the folder → text. Depends on the shipped files and `places` alone."""
    places = places or Places()
    content = taxonomy()
    made = alerts(content, places)
    groups: dict[str, list[Alert]] = {}
    for alert in made:
        groups.setdefault(alert.group, []).append(alert)

    templates = _templates(places)
    values = {
        "groups": groups,
        "responses": content.responses,
        "found": content.found,
        "findings_panel": dashboards.load(assets.grafana() / "fleet.yml").panel_ids()["findings"],
        "config": places,
    }
    files = {f"rules/{name}": templates.get_template(f"{name}.j2").render(values).rstrip() + "\n" for name in _RULES}
    page = templates.get_template("runbook.md.j2")
    for name, about in _runbooks(content):
        text = page.render(name=name, alerts=[alert for alert in made if alert.runbook == name], **about)
        files[f"rules/runbooks/{name}.md"] = text.strip() + "\n"
    for name in _DASHBOARDS:
        described = dashboards.dashboard(dashboards.load(assets.grafana() / f"{name}.yml"))
        files[f"grafana/dashboards/{name}.json"] = json.dumps(described, indent=1, ensure_ascii=False) + "\n"
    # Here too, so that one command gives all that Grafana needs.
    for file in sorted((assets.grafana() / "provisioning").glob("*/*.yml")):
        text = file.read_text(encoding="utf-8").replace(Places().prometheus, places.prometheus)
        files[f"grafana/provisioning/{file.parent.name}/{file.name}"] = text
    return files


def generate(out_dir: Path, places: Places | None = None) -> list[Path]:
    """Writes everything below `out_dir` and returns the paths; files that are already as they should be are left alone."""
    written = []
    for name, text in render(places).items():
        path = out_dir / name
        written.append(path)
        if not (path.is_file() and path.read_text(encoding="utf-8") == text):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return written


class _Alerts:
    def __init__(self, content: Taxonomy, places: Places) -> None:
        self._content = content
        self._places = places
        description = dashboards.load(assets.grafana() / "fleet.yml")
        self._uid = description.uid
        self._panels = description.panel_ids()

    def condition(self, condition: Condition) -> Alert:
        labels = self._labels(condition.severity, condition.respond_within)
        if condition.condition:
            labels["condition"] = condition.condition
        return Alert(
            name=condition.alert,
            group=condition.group,
            expr=condition.expr,
            runbook=condition.runbook,
            hold=condition.hold,
            labels=labels,
            annotations=self._annotations(condition.summary, condition.description, condition.runbook, condition.panel),
        )

    def finding(self, reason: Reason | Pattern, severity: Severity) -> Alert:
        within = reason.respond_within if severity is Severity.CRITICAL else reason.warn_within
        runbook = reason.name if isinstance(reason, Reason) else reason.runbook
        says = "Critical" if severity is Severity.CRITICAL else "Warning"
        return Alert(
            name=f"Overcurrent{_camel(reason.name)}{says}",
            group="findings",
            expr=f'sum by (agent_type, detector) (overcurrent_open_findings{{detector="{reason.name}", severity="{severity}", '
            'mode!="shadow"}) > 0',
            runbook=runbook,
            labels=self._labels(severity, within),
            annotations=self._annotations(
                f"{reason.title} {_COUNTED[reason.reach]} of {{{{ $labels.agent_type }}}}.",
                reason.description,
                runbook,
                "findings",
            ),
        )

    def halt(self, reason: Reason) -> Alert:
        # No look at the mode: whether the detector is armed is decided where the halt is, and a refusal in shadow is recorded.
        return Alert(
            name=f"Overcurrent{_camel(reason.name)}Halt",
            group="findings",
            expr=f'sum by (agent_type, detector) (overcurrent_open_findings{{detector="{reason.name}", severity="critical", '
            'halt_eligible="true"}) > 0',
            runbook=reason.name,
            labels=self._labels(Severity.CRITICAL, None) | {"action": "halt"},
            annotations=self._annotations(
                f"{reason.title} in {{{{ $value }}}} session(s) of {{{{ $labels.agent_type }}}}: Overcurrent is asked to halt them.",
                f"{reason.description} Only sessions with an open, halt-eligible finding are halted, and only where the detector is armed.",
                reason.name,
                "findings",
            ),
        )

    def unattended(self) -> Iterator[Alert]:
        for name, response in self._content.responses.items():
            if response.escalate_after is None:
                continue
            firing = f'ALERTS{{alertname=~"Overcurrent.+", alertstate="firing", respond_within="{name}", escalation="", action=""}}'
            yield Alert(
                name=f"OvercurrentUnattended{name.capitalize()}",
                group="escalation",
                # Under its own name the first alert's would be overwritten, and two of them would become one series.
                expr=f'sum by (unattended, agent_type, detector) (label_replace({firing}, "unattended", "$1", "alertname", "(.+)")) > 0',
                runbook="unattended",
                hold=response.escalate_after,
                labels=self._labels(Severity.CRITICAL, "now") | {"escalation": "second-line"},
                annotations=self._annotations(
                    f"{{{{ $labels.unattended }}}} has been firing for {response.escalate_after} and more.",
                    f"It asks for an answer {'at once' if name == 'now' else f'within {name}'} and still fires.",
                    "unattended",
                    None,
                ),
            )

    def _labels(self, severity: Severity, within: str | None) -> dict[str, str]:
        answer = {} if within is None else {"respond_within": within}
        return {"severity": severity.value} | answer | {"team": self._places.team}

    def _annotations(self, summary: str, description: str, runbook: str, panel: str | None) -> dict[str, str]:
        query = f"viewPanel={self._panels[panel]}&" if panel else ""
        of_type = "var-agent_type={{ with $labels.agent_type }}{{ . | urlquery }}{{ else }}$__all{{ end }}"
        return {
            "summary": summary,
            "description": description,
            "runbook_url": f"{self._places.runbooks}/{runbook}",
            "dashboard": f"{self._places.grafana}/d/{self._uid}?{query}{of_type}",
        }


def _runbooks(content: Taxonomy) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, reason in content.reasons.items():
        yield (
            name,
            {
                "title": reason.title,
                "description": reason.description,
                "runbook": reason.runbook,
                "planned": reason.raised is Raised.PLANNED,
                "reason": reason,
            },
        )
    for name, runbook in content.runbooks.items():
        summaries = [condition.summary for condition in content.conditions if condition.runbook == name]
        about = summaries[0] if len(summaries) == 1 and "{{" not in summaries[0] else ""
        yield name, {"title": runbook.title, "description": about, "runbook": runbook, "planned": False, "reason": None}


def _templates(places: Places) -> Environment:
    # Nothing here is HTML; what goes into YAML passes through `quoted`.
    environment = Environment(
        loader=FileSystemLoader(assets.rules() / "templates"),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701
        keep_trailing_newline=False,
    )
    environment.filters["quoted"] = lambda text: json.dumps(text, ensure_ascii=False)
    environment.filters["camel"] = _camel
    environment.filters["addressed"] = lambda text: text.replace("{{ listen }}", places.listen)
    return environment


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def main() -> int:
    """Writes into the folder given, or the repository that the program runs from."""
    out_dir = Path(sys.argv[1]) if len(sys.argv) > 1 else assets.rules().parent
    for path in generate(out_dir):
        sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
