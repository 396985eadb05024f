"""Results as tables for people and JSON for programs, with the machine they were measured on."""

import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import psutil

Cell = str | int | float | bool | None


@dataclass(frozen=True)
class Table:
    """Rows with the same columns, and what a reader must know about them."""

    name: str
    title: str
    rows: Sequence[dict[str, Cell]]
    notes: Sequence[str] = field(default=())


def machine() -> dict[str, Cell]:
    """What figures depend on. `load_average_before` tells whether others used the machine."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "duckdb": version("duckdb"),
        "grpcio": version("grpcio"),
        "load_average_before": round(os.getloadavg()[0], 2),
    }


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf8") as file:  # noqa: PTH123 — not a file of ours
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def progress(text: str) -> None:
    """Says what is going on, beside the results."""
    print(f"… {text}", file=sys.stderr, flush=True)


def show(tables: Sequence[Table], facts: dict[str, Cell], *, as_json: bool) -> None:
    if as_json:
        made: dict[str, Any] = {"machine": facts}
        for table in tables:
            made[table.name] = {"title": table.title, "rows": list(table.rows), "notes": list(table.notes)}
        print(json.dumps(made, indent=1))
        return
    print(", ".join(f"{key} {value}" for key, value in facts.items()))
    for table in tables:
        print(f"\n{table.title}")
        _print_rows(table.rows)
        for note in table.notes:
            print(f"  {note}")


def _print_rows(rows: Sequence[dict[str, Cell]]) -> None:
    if not rows:
        print("  nothing measured")
        return
    columns = list(dict.fromkeys(column for row in rows for column in row))
    texts = [columns, *([_text(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[place]) for line in texts) for place in range(len(columns))]
    is_text = [any(isinstance(row.get(column), str) for row in rows) for column in columns]
    for line in texts:
        cells = [cell.ljust(width) if left else cell.rjust(width) for cell, width, left in zip(line, widths, is_text, strict=True)]
        print("  " + "  ".join(cells).rstrip())


def _text(value: Cell) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.1f}" if abs(value) >= 10 else f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else value
