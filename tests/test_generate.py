import json
from pathlib import Path

import yaml

from collector import assets
from collector.generate import Places, generate, render
from collector.taxonomy import HALT_REASONS, taxonomy
from tests.rules.dashboard import panel_queries, panels

ROOT = assets.rules().parent
FLEET = json.loads((assets.grafana() / "dashboards" / "fleet.json").read_text())


def test_committed_files_are_what_the_generator_writes() -> None:
    stale = [name for name, text in render().items() if not (ROOT / name).is_file() or (ROOT / name).read_text() != text]
    assert stale == [], "run: python -m collector.generate"


def test_no_file_of_an_earlier_taxonomy_is_left_behind() -> None:
    made = {Path(name).name for name in render() if name.startswith("rules/runbooks/")}
    assert {path.name for path in (ROOT / "rules" / "runbooks").iterdir()} == made


def test_writes_everything_below_a_folder_and_leaves_alone_what_is_right(tmp_path: Path) -> None:
    written = generate(tmp_path)
    assert {path.relative_to(tmp_path).as_posix() for path in written} == set(render())
    before = {path: path.stat().st_mtime_ns for path in written}
    (tmp_path / "rules" / "alerts.yml").write_text("changed")
    generate(tmp_path)
    changed = [path.name for path in written if path.stat().st_mtime_ns != before[path]]
    assert changed == ["alerts.yml"]


def test_addresses_are_those_asked_for() -> None:
    places = Places(
        listen="overcurrent:4319", alertmanager="am:9093", prometheus="p:9090", runbooks="https://wiki/oc", grafana="https://g", team="core"
    )
    files = render(places)
    assert "url: http://p:9090" in files["grafana/provisioning/datasources/prometheus.yml"]
    assert "overcurrent:4319" in files["rules/prometheus.yml"]
    assert "am:9093" in files["rules/prometheus.yml"]
    assert "http://overcurrent:4319/api/v1/alertmanager" in files["rules/alertmanager.yml"]
    assert "http://overcurrent:4319/api/v1/findings" in files["rules/runbooks/exact_loop.md"]
    rule = yaml.safe_load(files["rules/alerts.yml"])["groups"][0]["rules"][0]
    assert rule["labels"]["team"] == "core"
    assert rule["annotations"]["runbook_url"] == "https://wiki/oc/watchdog"
    assert rule["annotations"]["dashboard"].startswith("https://g/d/overcurrent-fleet?")
    assert not [name for name, text in files.items() if "127.0.0.1" in text]


def test_every_reason_has_a_runbook_that_claims_no_more_than_there_is() -> None:
    files = render()
    for name in HALT_REASONS:
        text = files[f"rules/runbooks/{name}.md"]
        for heading in ("## Symptom", "## Diagnosis", "## Remediation", "## Escalation"):
            assert heading in text, name
        assert ("does not raise" in text) == (taxonomy().reasons[name].raised == "planned"), name
        assert "{{" not in text, name


def test_every_panel_says_what_it_shows_in_which_unit_and_names_its_series() -> None:
    for panel in panels(FLEET):
        assert panel["description"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert all(target["legendFormat"] for target in panel["targets"]), panel["title"]


def test_the_dashboard_asks_for_nothing_when_it_is_imported() -> None:
    assert "__inputs" not in FLEET
    assert FLEET.get("id") is None
    variables = {variable["name"]: variable for variable in FLEET["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    sources = [target["datasource"] for panel in panels(FLEET) for target in panel["targets"]]
    sources += [panel["datasource"] for panel in panels(FLEET)] + [variables["agent_type"]["datasource"]]
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    ids = [panel["id"] for panel in FLEET["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in FLEET["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells


def test_queries_hold_no_variable_that_grafana_would_not_fill() -> None:
    assert not [query for query in panel_queries(FLEET) if "$" in query.expr]


def test_provisioning_points_where_the_dashboards_look() -> None:
    (source,) = yaml.safe_load((assets.grafana() / "provisioning" / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert source["type"] == "prometheus"
    (provider,) = yaml.safe_load((assets.grafana() / "provisioning" / "dashboards" / "overcurrent.yml").read_text())["providers"]
    assert provider["type"] == "file"
