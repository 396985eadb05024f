"""The scorecard as Markdown: tables from runs."""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from benchmarks.detection import together as many
from benchmarks.detection.labelled import LOOPS
from benchmarks.detection.running import LEVELS, Level, Run
from benchmarks.detection.scoring import Figures, Judged, calibrate, interval, measure, overall, upper_bound
from benchmarks.detection.together import TOGETHER, Story
from detectors import DETECTORS
from detectors.model import Finding

Row = Sequence[str]


class Healthy(msgspec.Struct, frozen=True, kw_only=True):
    """What fired in sessions in which nothing is wrong."""

    seed: str
    sessions: int
    steps: int
    longest: int
    fired: dict[Level, int]
    halted_kinds: dict[str, int]
    """Halts by scenario, for sessions of one scenario only."""


def shown(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def table(head: Row, body: Iterable[Row]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join(["---"] + ["--:"] * (len(head) - 1)) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in body]) + "\n"


_HEAD = ("precision", "recall", "F1", "steps to detect, median", "p90", "false alarms per 1,000 steps", "found", "missed", "false", "early")


def row(figures: Figures) -> list[str]:
    return [
        shown(figures.precision),
        shown(figures.recall),
        shown(figures.f1),
        shown(figures.median_delay, 1),
        shown(figures.p90_delay, 1),
        shown(figures.false_per_1000),
        *(str(count) for count in (figures.found, figures.missed, figures.false, figures.early)),
    ]


def working_points(named: Sequence[tuple[str, Sequence[Run]]], group: Callable[[Run], str]) -> str:
    """All loop detectors together, at each level, with an interval of F1 that draws whole groups."""
    body = []
    for name, runs in named:
        for level in LEVELS:
            low, high = interval(runs, level, group)
            cells = row(overall(runs, level))
            body.append([name, level, *cells[:3], f"{low:.2f}–{high:.2f}", *cells[3:]])
    return table(("sessions", "level", *_HEAD[:3], "F1, 95 %", *_HEAD[3:]), body)


def by_detector(runs: Sequence[Run]) -> str:
    """Each detector on the sessions that are its own: it must fire itself, others do not count for it."""
    body = []
    for kind in DETECTORS:
        names = frozenset({kind.name} | ({kind.halt_reason} if kind.halt_reason else set()))
        own = [run for run in runs if not names.intersection(run.session.expects[1:])]
        body += [[f"`{kind.name}`", level, *row(measure(own, names, level))] for level in LEVELS]
    return table(("detector", "level", *_HEAD), body)


def together(told: Sequence[tuple[Story, list[tuple[int, Finding]]]]) -> str:
    """Each detector of the fleet and of workflows on its own stories, both halves apart."""
    body = []
    for half in dict.fromkeys(story.half for story, _ in told):
        of_half = [(story, found) for story, found in told if story.half == half]
        for name in TOGETHER:
            for level in LEVELS:
                figures, once = many.measure(of_half, name, level)
                if level == "warning" or figures.found or figures.false or figures.early:
                    cells = row(figures)
                    body.append([f"`{name}`", half, level, *cells[:5], *cells[6:], f"{once} of {figures.found}"])
    return table(("detector", "half", "level", *_HEAD[:5], *_HEAD[6:], "one finding for the cause"), body)


def together_scenarios(told: Sequence[tuple[Story, list[tuple[int, Finding]]]]) -> str:
    """In how many stories of each scenario the right detector fired; where nothing is wrong, any."""
    body = []
    for name in dict.fromkeys(story.scenario for story, _ in told):
        inside = [(story, found) for story, found in told if story.scenario == name]
        expects = inside[0][0].expects
        cells = []
        for level in LEVELS:
            fired = [any(one.detector == (expects or one.detector) and many.reaches(one, level) for _, one in found) for _, found in inside]
            cells.append(f"{sum(fired)} of {len(fired)}")
        body.append([name, f"`{expects}`" if expects else "nothing", *cells])
    return table(("scenario", "expects", *LEVELS), body)


def by_scenario(runs: Sequence[Run]) -> str:
    """Share of sessions in which the right thing (or, where nothing is wrong, anything) fired."""
    body = []
    for name in sorted({run.session.scenario for run in runs}, key=lambda each: (not _of(runs, each)[0].session.positive, each)):
        inside = _of(runs, name)
        session = inside[0].session
        cells = [shown(fired_share(inside, level)) for level in LEVELS]
        body.append([f"`{name}`", ", ".join(session.expects) if session.positive else "nothing", *cells])
    return table(("scenario", "should fire", *LEVELS), body)


def fired_share(runs: Sequence[Run], level: Level) -> float:
    """The share of sessions of one scenario in which what should fire did; where nothing should, in which anything did."""
    expects = frozenset(runs[0].session.expects)
    if not expects:
        return sum(any(fire.reaches(level) for fire in run.fires) for run in runs) / len(runs)
    return measure(runs, expects | (LOOPS if runs[0].session.expects[0] in LOOPS else frozenset()), level).recall or 0.0


def _of(runs: Sequence[Run], scenario: str) -> list[Run]:
    return [run for run in runs if run.session.scenario == scenario]


def by_source(runs: Sequence[Run], level: Level) -> str:
    """Each source alone, and all others without it."""
    body = []
    for source in sorted({run.session.source for run in runs}):
        alone = overall([run for run in runs if run.session.source == source], level)
        rest = overall([run for run in runs if run.session.source != source], level)
        body.append(
            [
                source,
                str(alone.found + alone.missed),
                str(alone.false + alone.quiet),
                shown(alone.precision),
                shown(alone.recall),
                shown(alone.f1),
                shown(alone.false_per_1000),
                shown(rest.f1, 3),
                shown(rest.false_per_1000),
            ]
        )
    return table(
        ("source", "loops", "healthy", "precision", "recall", "F1", "per 1,000", "F1 of the others", "per 1,000 of the others"), body
    )


def calibration(named: Sequence[tuple[str, Sequence[Judged]]]) -> str:
    """How far off strength and score are, taken as probabilities."""
    body = []
    for name, findings in named:
        before = calibrate([(each.fire.strength, each.right) for each in findings])
        after = calibrate([(each.fire.score, each.right) for each in findings])
        if before is not None and after is not None:
            share = sum(each.right for each in findings) / len(findings)
            figures = [shown(figure, 3) for figure in (share * (1 - share), before.brier, after.brier, before.ece, after.ece)]
            body.append([name, str(len(findings)), shown(share), *figures])
    return table(
        (
            "sessions",
            "findings",
            "share right",
            "Brier, that share for all",
            "Brier, strength",
            "Brier, score",
            "ECE, strength",
            "ECE, score",
        ),
        body,
    )


def by_kind(named: Sequence[tuple[str, Sequence[Judged]]]) -> str:
    """The score of every kind of finding beside the share that was right."""
    kinds: dict[tuple[str, str, str], tuple[float, dict[str, list[bool]]]] = {}
    for name, findings in named:
        for each in findings:
            kinds.setdefault(each.fire.kind, (each.fire.score, {}))[1].setdefault(name, []).append(each.right)
    body = []
    for (detector, level, evidence), (score, rights) in sorted(kinds.items()):
        cells = [f"{sum(rights[name])} of {len(rights[name])}" if name in rights else "–" for name, _ in named]
        body.append([f"`{detector}`", level, evidence, shown(score), *cells])
    return table(("detector", "level", "evidence", "score", *(f"right, {name}" for name, _ in named)), body)


def bound(drawn: Sequence[Healthy]) -> str:
    """What the healthy sessions show about false alarms."""
    body, halted = [], ""
    for healthy in drawn:
        for level in LEVELS:
            count = healthy.fired[level]
            share, most = 100 * count / healthy.sessions, 100 * upper_bound(count, healthy.sessions)
            body.append([f"`{healthy.seed}`", level, str(count), f"{share:.2f} %", f"{most:.2f} %", shown(1000 * count / healthy.steps, 3)])
        if healthy.fired["halt"]:
            kinds = ", ".join(f"`{name}` {count}" for name, count in sorted(healthy.halted_kinds.items(), key=lambda item: -item[1]))
            halted += f"\n**{healthy.fired['halt']} healthy sessions would have been halted.** Of one scenario only: {kinds or 'none'}.\n"
    return table(("seed", "level", "sessions that fired", "share", "at most (95 %)", "per 1,000 steps"), body) + halted
