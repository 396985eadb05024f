"""Writes docs/configuration.md and docs/detectors.md out of the code: `python -m collector.handbook`."""

import inspect
import re
import sys
from pathlib import Path
from typing import Any, Final

from collector.config import reference
from detectors import DETECTORS, WORKFLOW_DETECTORS
from detectors.fleet import FLEET_DETECTORS

_DOCS: Final = Path(__file__).parent.parent / "docs"
_MADE: Final = "<!-- Made by `python -m collector.handbook`. Do not edit. -->"
_PARAMETERS: Final = re.compile(r"\*\*Parameters\*\*.*?\n\n(?=.*\*\*Examples\.\*\*)", re.DOTALL)
_EXAMPLE: Final = re.compile(r"(?m)^(?:>>> |\.\.\. )(?:.*\n)+?(?=\n|\Z)")


def configuration() -> str:
    """The whole of docs/configuration.md."""
    lines = [
        "# Configuration",
        "",
        _MADE,
        "",
        "`overcurrent serve --config overcurrent.yaml`; `overcurrent check-config` says what is wrong with a file. Every key may also",
        "be set by its variable, which goes before the file; an unknown key is an error. `<name>` stands for a name of yours. What the",
        "detectors look for: [detectors.md](detectors.md).",
    ]
    section = ""
    for key in reference():
        head = key.name.split(".")[0]
        if head == "detectors":
            head = ".".join(key.name.split(".")[:2])
        if head != section:
            section = head
            lines += ["", f"## {section}", "", "| key | value | default | variable | meaning |", "| --- | --- | --- | --- | --- |"]
        default = "required" if key.default is None else f"`{key.default}`" if key.default else "–"
        lines.append(f"| `{key.name}` | {_cell(key.kind)} | {_cell(default)} | {f'`{key.env}`' if key.env else '–'} | {_cell(key.help)} |")
    return "\n".join(lines) + "\n"


def detectors() -> str:
    """The whole of docs/detectors.md."""
    lines = [
        "# Detectors",
        "",
        _MADE,
        "",
        "What each detector looks for, why it costs, and when it is wrong. Each starts in shadow mode: `detectors.<name>.mode` arms it.",
        "The examples run as tests. How well they do: [the scorecard](../benchmarks/detection/SCORECARD.md).",
    ]
    for scope, kinds in (
        ("One session", DETECTORS),
        ("All sessions of a workflow", WORKFLOW_DETECTORS),
        ("The fleet: all sessions of a tenant", FLEET_DETECTORS),
    ):
        lines += ["", f"## {scope}"]
        for kind in kinds:
            lines += ["", f"### {kind.name}", ""]
            if kind in DETECTORS and scope != "One session":
                lines.append("As above, over the steps of all sessions; it tells of what two or more of them take part in.")
                continue
            lines += _text(kind)
    return "\n".join(lines) + "\n"


def _text(kind: type[Any]) -> list[str]:
    text = _PARAMETERS.sub("", inspect.cleandoc(kind.__doc__ or ""))
    text = _EXAMPLE.sub(lambda found: f"```python\n{found[0].rstrip()}\n```\n", text)
    reason = f"Halt reason: `{kind.halt_reason}`." if kind.halt_reason else "No reason to halt."
    return [text, "", f"{reason} Parameters: [configuration.md](configuration.md#detectors{kind.name})."]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


PAGES: Final = {_DOCS / "configuration.md": configuration, _DOCS / "detectors.md": detectors}

if __name__ == "__main__":
    for path, page in PAGES.items():
        path.write_text(page(), encoding="utf-8")
        sys.stdout.write(f"{path} written\n")
