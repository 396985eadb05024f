"""Counts in which scenarios of the tune half findings are right and writes the counts into `detectors/calibration.py`.

`python -m benchmarks.detection.calibrate` after any change of detectors or scenarios; `--check` only says whether the counts are
still those. Sessions are watched whole, without results of tools, and without content; a finding that comes out the same each time
counts once.
"""

import argparse
import re
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from math import log
from pathlib import Path
from typing import Final

from benchmarks.detection import corpus, running
from benchmarks.detection.labelled import Labelled
from benchmarks.detection.running import Fire, Run
from benchmarks.detection.scoring import Judged, calibrate, judged
from detectors import calibration

Key = tuple[str, str, str]
Watch = Callable[..., list[Run]]

_FILE: Final = Path(calibration.__file__)
_TABLE: Final = re.compile(r"(?<=\]\] = \{\n).*?(?=^\}$)", re.DOTALL | re.MULTILINE)


def count(findings: Iterable[Judged]) -> dict[Key, tuple[float, int]]:
    """For each kind of finding, in how many scenarios there were such, and in how many of these, by their shares, they were right."""
    rights: dict[Key, dict[str, list[bool]]] = {}
    for each in findings:
        rights.setdefault(each.fire.kind, {}).setdefault(each.scenario, []).append(each.right)
    return {kind: (round(sum(map(statistics.fmean, scenarios.values())), 2), len(scenarios)) for kind, scenarios in sorted(rights.items())}


def unforeseen(findings: Sequence[Judged], prior: float) -> float:
    """How well scores foresee scenarios that were not counted: mean log loss, each scenario left out in turn, each as heavy as another."""
    scenarios = sorted({each.scenario for each in findings})
    losses = []
    for left_out in scenarios:
        share = calibration.shares(count(each for each in findings if each.scenario != left_out), prior)
        asked = [each for each in findings if each.scenario == left_out]
        losses.append(statistics.fmean(-log(share(each.fire.kind) if each.right else 1 - share(each.fire.kind)) for each in asked))
    return statistics.fmean(losses)


def together(*ways: Iterable[Run]) -> list[Judged]:
    """Findings in the same sessions told in several ways, with and without content; those that are the same each time once."""
    known: set[tuple[str, Fire]] = set()
    runs = []
    for way in ways:
        fresh = [Run(run.session, tuple(fire for fire in run.fires if (run.session.id, fire) not in known)) for run in way]
        known |= {(run.session.id, fire) for run in fresh for fire in run.fires}
        runs += fresh
    return judged(runs)


def watched(sessions: Sequence[Labelled], watch: Watch = running.watch_all) -> tuple[list[Run], list[Run], list[Run]]:
    """Runs sessions whole, without results of tools, and without content."""
    return watch(sessions), watch([running.without_results(session) for session in sessions]), watch(sessions, strip=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection.calibrate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the counts changed")
    options = parser.parse_args()
    made = corpus.sessions()
    halves = []
    for half in ("tune", "test"):
        sessions = [session for session in made if session.half == half]
        halves.append(together(*watched(sessions)))
    counts = count(halves[0])
    text = _FILE.read_text(encoding="utf8")
    lines = [f'    ("{detector}", "{level}", "{evidence}"): {pair},\n' for (detector, level, evidence), pair in counts.items()]
    new = _TABLE.sub("".join(lines), text, count=1)
    if options.check:
        print("the counts are current" if new == text else "the counts changed: run without --check", file=sys.stderr)
        return int(new != text)
    _FILE.write_text(new, encoding="utf8")
    for (detector, level, evidence), (right, total) in counts.items():
        print(f"{detector:20} {level:9} {evidence:10} {right:5} of {total:3} scenarios")
    for prior in (0.5, 1, 2, 3, 6):
        print(f"a prior of {prior:3} scenarios: log loss {unforeseen(halves[0], prior):.3f} on tune scenarios not counted")
    for half, findings in zip(("tune", "test"), halves, strict=True):
        before = calibrate([(each.fire.strength, each.right) for each in findings])
        after = calibrate([(each.fire.score, each.right) for each in findings])
        if before is not None and after is not None and new == text:
            print(f"{half}: Brier {before.brier:.3f} -> {after.brier:.3f}, ECE {before.ece:.3f} -> {after.ece:.3f}")
    if new != text:
        print("written; run it again to see how the new scores do")
    return 0


if __name__ == "__main__":
    sys.exit(main())
