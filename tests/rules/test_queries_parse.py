import json
from pathlib import Path

import pytest

from collector import assets
from tests.rules.dashboard import panel_queries
from tests.rules.programs import run

DASHBOARDS = sorted((assets.grafana() / "dashboards").glob("*.json"))


@pytest.mark.slow
@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_query_of_a_dashboard_is_one_that_prometheus_understands(path: Path, tmp_path: Path) -> None:
    queries = panel_queries(json.loads(path.read_text()))
    assert queries
    rules = [{"record": f"test:query_{number}", "expr": query.expr} for number, query in enumerate(queries)]
    file = tmp_path / "queries.yml"
    file.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    assert f"{len(queries)} rules found" in run("promtool", "check", "rules", str(file))
