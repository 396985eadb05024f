"""What keeps the code one piece: arrows that point one way, surfaces that iterate, a core without clock or dice."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from collector.cli.main import cli
from collector.dialects import DIALECTS
from detectors import DETECTORS

ROOT = Path(__file__).parent.parent
CODE = sorted([*ROOT.glob("collector/**/*.py"), *ROOT.glob("detectors/**/*.py")])
AROUND_IT = sorted([*ROOT.glob("tests/**/*.py"), *ROOT.glob("benchmarks/**/*.py")])
SURFACES = [path for path in CODE if path.relative_to(ROOT).parts[:2] in {("collector", part) for part in ("web", "cli", "telemetry")}]
PURE = [
    # The conformance checks feed detectors random steps, from a seed.
    *(path for path in CODE if path.relative_to(ROOT).parts[0] == "detectors" and path.stem != "checks"),
    *(path for path in CODE if path.relative_to(ROOT).parts[1] == "dialects"),
    *(
        ROOT / "collector" / f"{name}.py"
        for name in (
            "assembly",
            "bounded",
            "counting",
            "decode",
            "decode_json",
            "duplicates",
            "event_time",
            "folding",
            "ownership",
            "pipeline",
            "policy",
            "pricing",
            "session_sums",
            "sessions",
            "tool_calls",
            "tool_matching",
            "tool_schemas",
            "traces",
            "twins",
            "workflows",
        )
    ),
]
MAX_LINES = 400
IMPURE = {"time", "uuid", "random", "secrets", "threading", "asyncio", "socket", "duckdb", "sqlite3", "grpc", "fastapi", "httpx2"}
READS_A_CLOCK = {"now", "utcnow", "today", "urandom"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf8"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def words(path: Path) -> Iterator[str]:
    """Every name that stands alone and every string of a module but its documentation. `asyncio.timeout` names no detector."""
    tree = parsed(path)
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value
        elif isinstance(node, ast.Name):
            yield node.id


def test_a_module_fits_a_head() -> None:
    lines = {name_of(path): len(path.read_text(encoding="utf8").splitlines()) for path in (*CODE, *AROUND_IT)}
    assert not {name: count for name, count in lines.items() if count > MAX_LINES}


@pytest.mark.parametrize("path", [path for path in CODE if path.relative_to(ROOT).parts[0] == "detectors"], ids=name_of)
def test_detectors_know_nothing_of_the_collector(path: Path) -> None:
    assert not [name for name in imports(path) if name.split(".")[0] == "collector"]


@pytest.mark.parametrize("path", PURE, ids=name_of)
def test_the_core_reads_no_clock_and_rolls_no_dice(path: Path) -> None:
    assert not IMPURE & {name.split(".")[0] for name in imports(path)}
    called = {node.func.attr for node in ast.walk(parsed(path)) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)}
    assert not READS_A_CLOCK & called


@pytest.mark.parametrize("path", SURFACES, ids=name_of)
def test_no_surface_names_a_detector(path: Path) -> None:
    names = {detector.name for detector in DETECTORS} | {detector.__name__ for detector in DETECTORS}
    assert not names & set(words(path))


@pytest.mark.parametrize("path", SURFACES, ids=name_of)
def test_no_surface_names_a_dialect(path: Path) -> None:
    names = {dialect.name for dialect in DIALECTS} | {type(dialect).__name__ for dialect in DIALECTS}
    assert not (names - {"unknown", "Unknown"}) & set(words(path))


def test_names_are_given_once() -> None:
    for registry in (DETECTORS, DIALECTS):
        names = [entry.name for entry in registry]
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", cli.list_commands(click.Context(cli)))
def test_every_command_and_every_option_has_help(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.name == name
    assert command.help
    undocumented = [p.name for p in command.params if isinstance(p, click.Option) and not p.help]
    assert not undocumented


def test_nothing_is_public_that_the_entry_point_does_not_list() -> None:
    modules = {path.stem.replace("_", "-") for path in (ROOT / "collector" / "cli").glob("*.py")}
    assert set(cli.list_commands(click.Context(cli))) <= modules
