"""How much of the figures is owed to having seen the sources? `python -m benchmarks.detection.left_out FOLDER` asks.

FOLDER holds labelled sessions of several sources (see external.py). Each source is left out in turn: thresholds are fitted anew on
the others, one detector and parameter after the other, and judged on the one left out; the verdicts are pooled. Beside it stand the
defaults on the same sessions, and the worst of the refitted figures, on all sources but one at a time. What it cannot show: the rules
themselves were written by people who had read some of these sessions.
"""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.detection import external, running
from benchmarks.detection.labelled import LOOPS, Labelled
from benchmarks.detection.report import shown, table
from benchmarks.detection.running import LEVELS, Fire, Level, Run
from benchmarks.detection.scoring import Figures, overall
from detectors import DETECTORS

KNOBS: Final[dict[Level, dict[str, str]]] = {
    "warning": {
        "soft_loop": "warn_stale_calls",
        "exact_loop": "warn_calls",
        "no_progress": "warn_steps",
        "ping_pong": "warn_idle_moves",
        "retry_storm": "warn_failures",
    },
    "critical": {
        "soft_loop": "critical_stale_calls",
        "exact_loop": "critical_calls",
        "no_progress": "critical_steps",
        "ping_pong": "critical_idle_moves",
        "retry_storm": "critical_failures",
    },
    "halt": {
        "soft_loop": "halt_stale_calls",
        "exact_loop": "halt_calls",
        "ping_pong": "halt_idle_moves",
        "retry_storm": "halt_failures",
    },
}
"""Detector → the parameter that decides at this level."""
FACTORS: Final = (0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 3.0)
"""Times its default that a parameter is tried at."""
ALLOWED: Final[dict[Level, float]] = {"warning": 25.0, "critical": 5.0, "halt": 0.0}
"""False alarms per 1,000 steps that a fit may have where any stays below."""
_PASSES: Final = 3

Choice = tuple[tuple[str, float], ...]
"""(detector, factor) for each knob of a level."""
Fires = Mapping[tuple[str, float], Mapping[str, tuple[Fire, ...]]]
"""(detector, factor) → session → what that detector says in it with that parameter."""


def _configured(detector: str, parameter: str, factor: float) -> msgspec.Struct:
    kind = next(one for one in DETECTORS if one.name == detector)
    usual = kind.Config()
    value = getattr(usual, parameter) * factor
    if isinstance(getattr(usual, parameter), int):
        value = max(2, round(value))
    return msgspec.structs.replace(usual, **{parameter: value})


def _tried(sessions: Sequence[Labelled], level: Level) -> Fires:
    """What each detector says at each of its settings."""
    found: dict[tuple[str, float], dict[str, tuple[Fire, ...]]] = {}
    for detector, parameter in KNOBS[level].items():
        kind = next(one for one in DETECTORS if one.name == detector)
        for factor in FACTORS:
            configs = {detector: _configured(detector, parameter, factor)}
            found[detector, factor] = {
                session.id: tuple(fire for fire in running.watch(session, detectors=(kind,), configs=configs).fires if fire.reaches(level))
                for session in sessions
            }
    return found


def _runs(sessions: Iterable[Labelled], fires: Fires, choice: Choice) -> list[Run]:
    return [Run(session, tuple(fire for knob in choice for fire in fires[knob][session.id])) for session in sessions]


def _worth(figures: Figures, level: Level) -> tuple[bool, float, float]:
    """Few false alarms first, then what the level is for: recall, but F1 at critical."""
    false = figures.false_per_1000 or 0.0
    return false <= ALLOWED[level], (figures.f1 if level == "critical" else figures.recall) or 0.0, -false


def fit(sessions: Sequence[Labelled], fires: Fires, level: Level) -> Choice:
    """The best setting of one parameter after the other, a few times round, from the defaults on."""
    chosen = dict.fromkeys(KNOBS[level], 1.0)
    best = _worth(overall(_runs(sessions, fires, tuple(chosen.items())), level), level)
    for _ in range(_PASSES):
        before = dict(chosen)
        for detector in chosen:
            for factor in FACTORS:
                tried = tuple((chosen | {detector: factor}).items())
                worth = _worth(overall(_runs(sessions, fires, tried), level), level)
                if worth > best:
                    best, chosen[detector] = worth, factor
        if chosen == before:
            break
    return tuple(chosen.items())


def left_out(sessions: Sequence[Labelled], level: Level) -> tuple[list[Run], list[Run], dict[str, Choice]]:
    """The defaults on every session; every source with thresholds fitted on the others; and those."""
    fires = _tried(sessions, level)
    usual: Choice = tuple(dict.fromkeys(KNOBS[level], 1.0).items())
    refitted, choices = [], {}
    for source in sorted({session.source for session in sessions}):
        choices[source] = fit([one for one in sessions if one.source != source], fires, level)
        refitted += _runs([one for one in sessions if one.source == source], fires, choices[source])
    return _runs(sessions, fires, usual), refitted, choices


def _cells(figures: Figures) -> list[str]:
    return [
        *(shown(value) for value in (figures.precision, figures.recall, figures.f1)),
        shown(figures.median_delay, 1),
        shown(figures.false_per_1000, 1),
    ]


def report(sessions: Sequence[Labelled], apart: Sequence[str]) -> str:
    body, moved = [], []
    for level in LEVELS:
        usual, refitted, choices = left_out(sessions, level)
        for name, sources in (("all sources", ()), *((f"without {one}", (one,)) for one in apart)):
            for what, runs in (("defaults", usual), ("source left out, refitted", refitted)):
                inside = [run for run in runs if run.session.source not in sources]
                body.append([level, name, what, *_cells(overall(inside, level))])
        others = [overall([run for run in refitted if run.session.source != source], level) for source in choices]
        body.append(
            [level, "all sources but one, the worst", "source left out, refitted", *_cells(min(others, key=lambda one: one.f1 or 0.0))]
        )
        moved += [
            [level, source, ", ".join(f"`{knob}` × {factor:g}" for knob, factor in choice if factor != 1.0) or "–"]
            for source, choice in choices.items()
        ]
    head = ("level", "sessions", "thresholds", "precision", "recall", "F1", "median delay, steps", "false alarms per 1,000 steps")
    return f"{table(head, body)}\n{table(('level', 'source left out', 'what the others moved'), moved)}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection.left_out", description=__doc__)
    parser.add_argument("folder", type=Path, help="labelled sessions as JSON lines, see external.py")
    parser.add_argument("--leave-out", action="append", default=[], metavar="SOURCE", help="source that is not to be counted at all")
    parser.add_argument("--apart", action="append", default=[], metavar="SOURCE", help="also show the figures without this source")
    options = parser.parse_args()
    found: list[Any] = [one for one in external.load(options.folder) if one.source not in options.leave_out and one.scored and one.steps]
    if len({one.source for one in found}) < 2:
        print(f"{options.folder}: sessions of two sources at least are needed", file=sys.stderr)
        return 2
    print(f"{len(found)} sessions of {len({one.source for one in found})} sources. Loop detectors: {', '.join(sorted(LOOPS))}.\n")
    print(report(found, options.apart))
    return 0


if __name__ == "__main__":
    sys.exit(main())
