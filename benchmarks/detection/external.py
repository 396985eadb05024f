"""Labelled sessions that somebody else collected: a folder of JSON lines, one session a line.

A line holds `session_id`, `source`, `label` (`loop`: true, false or null; `onset`: index of a step, or null; a second opinion may
stand under `second`) and `steps` (`i`, `kind`: tool, llm or agent, `name`, `agent`, `args`, `result`, `error`, `error_text`,
`in_tokens`, `out_tokens`). Nothing of it is kept here.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.detection.labelled import LOOPS, MODEL, WINDOW, Labelled, finish
from detectors import testing
from detectors.model import Step


def load(folder: Path, half: str = "external") -> Iterator[Labelled]:
    """Reads every session of every `*.jsonl` in `folder`."""
    for path in sorted(folder.glob("*.jsonl")):
        with path.open("rb") as lines:
            for line in lines:
                if line.strip():
                    yield _session(msgspec.json.decode(line), half)


def _session(raw: dict[str, Any], half: str) -> Labelled:
    label = raw["label"]
    onsets = [label.get("onset"), (label.get("second") or {}).get("onset")]
    numbers = [step["i"] for step in raw["steps"]]
    known = [_index(numbers, onset) for onset in onsets if onset is not None]
    kind = re.sub(r"\W+", "_", str(label.get("kind") or "loop"))
    return finish(
        [_step(step) for step in raw["steps"]],
        id_=raw["session_id"],
        half=half,
        source=raw["source"],
        scenario=kind,
        expects=sorted(LOOPS) if label["loop"] else (),
        onset=min(known) if known and label["loop"] else None,
        scored=label["loop"] is not None,
    )


def _index(numbers: list[int], onset: int) -> int:
    return next((index for index, number in enumerate(numbers) if number >= onset), len(numbers))


def _step(raw: dict[str, Any]) -> Step:
    asked, answered = raw.get("args") or None, raw.get("result") or None
    fields: dict[str, Any] = {}
    if raw.get("error"):
        fields = {"error": True, "error_type": "tool_error", "error_message": (raw.get("error_text") or "")[:500] or None}
    if raw["kind"] == "tool":
        return testing.tool(raw["name"] or "tool", asked, answered, agent=raw.get("agent"), **fields)
    if raw["kind"] == "llm":
        tokens = {"input_tokens": raw.get("in_tokens"), "output_tokens": raw.get("out_tokens")}
        return testing.llm(MODEL, answered, agent=raw.get("agent"), input_text=asked, context_window=WINDOW, **tokens, **fields)
    return testing.agent(raw.get("name") or raw.get("agent") or "agent", asked, answered, **fields)
