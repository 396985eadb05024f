"""Prints and writes the detection scorecard: `python -m benchmarks.detection`."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.detection import corpus, external, front_door, report, running, svg, together
from benchmarks.detection.calibrate import Watch, watched
from benchmarks.detection.calibrate import together as judged_together
from benchmarks.detection.labelled import Labelled
from benchmarks.detection.report import Healthy
from benchmarks.detection.running import LEVELS, Level, Run
from benchmarks.detection.scoring import Judged, calibrate, overall
from benchmarks.detection.together import Story
from benchmarks.detection.writer import HALVES
from detectors import DETECTORS

_HERE = Path(__file__).parent
_SHOWN_DELAY = 30
_NAMES = {"test": "test half", "others": "sessions of others"}
_HEALTHY_SEEDS = (corpus.SEED, "overcurrent-2", "overcurrent-3", "overcurrent-5", "overcurrent-7")

_INTRODUCTION = """\
# Detection scorecard

Written by `python -m benchmarks.detection`; do not edit. Detectors at their defaults: {names}.

Own corpus: {sessions} constructed sessions of {scenarios} scenarios, {positives} with trouble and {negatives} healthy ones that look
like it; {steps} steps; digest `{digest}`. The tune and the test half have no tool, agent, topic or template in common, but their
scenarios are the same: good figures here say that a known pattern is recognised in other words, not that unknown patterns are.

A session counts once. Found: what should fire did, two steps before the onset or later. Early: it fired before that, a false
alarm. `halt` counts findings that may stop an agent without asking. Without results: what tools were asked is known, what they
returned is not. Without content: neither, nor what models and agents say. Intervals are bootstrap intervals that draw whole scenarios
(below: whole sources), since sessions made by one scenario are not independent.

## Three working points, all loop detectors together
"""
_HEALTHY = """\
## Healthy sessions

{sessions} seeded healthy sessions of each seed, {steps} steps, the longest of {longest}: one to six healthy scenarios after each
other. All detectors count. The bound is the one-sided upper Clopper–Pearson bound of the share of sessions; it holds for sessions like
these, not for yours. What the first four seeds showed was used to improve the detectors, what the fifth showed was not.
"""
_CALIBRATION = """\
## Calibration

The score of a finding is the share of scenarios in which findings like it were right, counted on the tune half
(`detectors/calibration.py`, written by `python -m benchmarks.detection.calibrate`): the rows of the other sessions show how far it
holds. A scenario has one vote, since its sessions are one story in other words; so the score is not the share of findings of the
same half. Strength is what the
detector itself says of its pattern, as far as it goes beyond its thresholds; it stays in the evidence and was never meant as a
probability. All detectors, sessions whole, without results and without content; findings inside trouble of another kind are not judged.
"""
_KINDS = """\
Where trouble is rarer than in the corpus, or unlike it, more findings are false than the score says. A detector's share on the
corpus also depends on how many scenarios there were made to mislead it.
"""
_OTHERS = """\
## Sessions collected by others

{sessions} labelled sessions of {sources} sources, {steps} steps, from a folder given at run time; not part of this repository.
"""
_BY_SOURCE = """\
Each source alone, and the others without it. The detectors are not fitted anew, so this shows how far one source carries the
total, not what would be lost without having seen it.
"""

_TOGETHER = """\
## The fleet and workflows

{stories} stories of many sessions at once, of {scenarios} scenarios, {events} events; digest `{digest}`. False alarms are counted on the
healthy stories, whichever detector they were made to mislead. Delays are in events of all sessions.
"""


def run_healthy(count: int, seed: str) -> Healthy:
    sessions = steps = longest = 0
    fired: dict[Level, int] = dict.fromkeys(LEVELS, 0)
    kinds: Counter[str] = Counter()
    for session in corpus.healthy(count, seed):
        run = running.watch(session)
        sessions += 1
        steps += len(session.steps)
        longest = max(longest, len(session.steps))
        for level in LEVELS:
            fired[level] += any(fire.reaches(level) for fire in run.fires)
        if "+" not in session.scenario and any(fire.halt_eligible for fire in run.fires):
            kinds[session.scenario] += 1
    return Healthy(seed=seed, sessions=sessions, steps=steps, longest=longest, fired=fired, halted_kinds=dict(kinds))


def draw(folder: Path, runs: Sequence[Run], others: Sequence[Run], findings: Sequence[tuple[str, Sequence[Judged]]]) -> list[str]:
    """Writes the plots. Returns their names."""
    test = [run for run in runs if run.session.half == "test"]
    judged_on: list[tuple[str, Sequence[Run]]] = [("tune", [run for run in runs if run.session.half == "tune"]), ("test", test)]
    judged_on += [("others", others)] if others else []
    groups = []
    for name, those in judged_on:
        for level in LEVELS:
            figures = overall(those, level)
            groups.append((f"{name}, {level}", (figures.precision, figures.recall, figures.f1)))
    pictures = {
        "working-points": svg.bars(
            "All loop detectors together: precision, recall and F1, from 0 to 1, by sessions and level",
            groups,
            ("precision", "recall", "F1"),
        )
    }
    lines = []
    for level in LEVELS:
        figures = overall(test, level)
        total = figures.found + figures.missed
        points = [(float(at), sum(delay <= at for delay in figures.delays) / total) for at in range(_SHOWN_DELAY + 1)]
        lines.append((level, points))
    pictures["steps-to-detect"] = svg.curves(
        "How soon a loop is found (test half)", lines, _SHOWN_DELAY, "steps since the loop began", "share of loops found"
    )
    for name, judged in findings:
        before = calibrate([(each.fire.strength, each.right) for each in judged])
        after = calibrate([(each.fire.score, each.right) for each in judged])
        if before is not None and after is not None:
            notes = [f"{what}: Brier {found.brier:.3f}, ECE {found.ece:.3f}" for what, found in (("strength", before), ("score", after))]
            dots = [[(each.mean_score, each.share_right, each.count) for each in found.bins] for found in (before, after)]
            title = f"Reliability, {_NAMES.get(name, name)}: {len(judged)} findings"
            pictures[f"reliability-{name.partition(' ')[0]}"] = svg.reliability(title, dots, notes)
    for positive, name, title in (
        (True, "found", "Share of sessions found"),
        (False, "false-alarms", "Share of healthy sessions with an alarm"),
    ):
        scenarios = sorted({run.session.scenario for run in runs if run.session.positive is positive})
        values = []
        for scenario in scenarios:
            inside = [run for run in runs if run.session.scenario == scenario]
            values.append((scenario, report.fired_share(inside, "critical"), report.fired_share(inside, "halt")))
        values.sort(key=lambda each: (-each[1], -each[2], each[0]))
        shown = [each for each in values if positive or each[1] or each[2]]
        note = "" if positive else f"No critical alarm in the {len(values) - len(shown)} other healthy scenarios."
        pictures[name] = svg.rows(f"{title}, by scenario (both halves)", shown, ("critical", "halt-eligible"), note)
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures.items():
        (folder / f"{name}.svg").write_text(picture, encoding="utf8")
    return list(pictures)


def scorecard(  # noqa: PLR0917 — all of it stands in the scorecard
    sessions: list[Labelled], many: list[Story], others: list[Labelled], healthy: Sequence[Healthy], watch: Watch, folder: Path
) -> str:
    every = watched(sessions, watch)
    runs, unanswered, stripped = every
    halves, silent, bare = (
        [(f"{half}{what}", [run for run in those if run.session.half == half]) for half in HALVES]
        for those, what in ((runs, ""), (unanswered, ", without results"), (stripped, ", without content"))
    )
    foreign, foreign_unanswered, foreign_stripped = watched(others, watch) if others else ([], [], [])
    findings = [(half, judged_together(*([run for run in way if run.session.half == half] for way in every))) for half in HALVES]
    findings += [("others", judged_together(foreign, foreign_unanswered, foreign_stripped))] if others else []
    steps = sum(len(session.steps) for session in sessions)
    positives = sum(session.positive for session in sessions)
    pictures = draw(folder / "plots", runs, foreign, findings[1:])
    names = ", ".join(f"`{kind.name}`" for kind in DETECTORS)
    parts = [
        _INTRODUCTION.format(
            names=names,
            sessions=len(sessions),
            scenarios=len({session.scenario for session in sessions}),
            positives=positives,
            negatives=len(sessions) - positives,
            steps=f"{steps:,}",
            digest=corpus.digest(sessions),
        ),
        report.working_points([*halves, *silent, *bare], lambda run: run.session.scenario),
        "![working points](plots/working-points.svg)\n\n![steps to detect](plots/steps-to-detect.svg)\n",
        _HEALTHY.format(
            sessions=f"{healthy[0].sessions:,}",
            steps=f"{sum(each.steps for each in healthy):,}",
            longest=max(each.longest for each in healthy),
        ),
        report.bound(healthy),
        "## Each detector on its own sessions\n\nA loop that another detector names is a miss here, and none above.\n",
    ]
    for name, those in (*halves, *bare):
        parts += [f"### {name}\n", report.by_detector(those)]
    told = [(story, together.watch(story)) for story in many]
    parts += [
        _TOGETHER.format(
            stories=len(many),
            scenarios=len({story.scenario for story in many}),
            events=f"{sum(len(story.events) for story in many):,}",
            digest=corpus.digest(many),
        ),
        report.together(told),
        report.together_scenarios(told),
    ]
    parts += [_CALIBRATION, report.calibration(findings), _KINDS, report.by_kind(findings)]
    parts += [f"![{name}](plots/{name}.svg)\n" for name in pictures if name.startswith("reliability")]
    parts += ["## Scenarios\n", report.by_scenario(runs), "![found](plots/found.svg) ![false alarms](plots/false-alarms.svg)\n"]
    if foreign:
        scored = [run.session for run in foreign if run.session.scored]
        sources, number = len({session.source for session in scored}), sum(len(session.steps) for session in scored)
        parts += [
            _OTHERS.format(sessions=len(scored), sources=sources, steps=f"{number:,}"),
            report.working_points(
                [("with content", foreign), ("without results", foreign_unanswered), ("without content", foreign_stripped)],
                lambda run: run.session.source,
            ),
            _BY_SOURCE,
        ]
        for level in LEVELS[:2]:
            parts += [f"### {level}, by source\n", report.by_source(foreign, level)]
    return "\n".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection", description=__doc__)
    parser.add_argument("--external", type=Path, help="folder of labelled sessions as JSON lines, see external.py")
    parser.add_argument("--leave-out", action="append", default=[], metavar="SOURCE", help="external source that is not to be counted")
    parser.add_argument("--front-door", action="store_true", help="through OTLP and `overcurrent replay` instead of the detectors directly")
    parser.add_argument("--healthy", type=int, default=3000, help="healthy sessions for the bound")
    parser.add_argument("--each", type=int, default=corpus.EACH, help="sessions of each scenario in each half")
    parser.add_argument("--output", type=Path, default=_HERE, help="folder for SCORECARD.md and plots/")
    options = parser.parse_args()
    others = [session for session in external.load(options.external) if session.source not in options.leave_out] if options.external else []
    if options.external and not others:
        print(f"no sessions in {options.external}", file=sys.stderr)
        return 2
    watch: Watch = front_door.watch_all if options.front_door else running.watch_all
    healthy = [run_healthy(options.healthy, seed) for seed in _HEALTHY_SEEDS]
    many = corpus.together(each=options.each)
    text = scorecard(corpus.sessions(each=options.each), many, others, healthy, watch, options.output)
    (options.output / "SCORECARD.md").write_text(text, encoding="utf8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
