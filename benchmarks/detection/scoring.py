"""Figures from runs. Pure functions.

A detector, or all loop detectors together, is judged by sessions: a session with the trouble it should name is found when it
fires no more than two steps before the onset or later; a session is a false alarm when it fires where nothing is wrong, or
earlier than that. A loop detector that fires inside another kind of loop is neither right nor wrong.
"""

import random
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec
from scipy.special import betaincinv  # type: ignore[import-untyped]

from benchmarks.detection.labelled import LOOPS
from benchmarks.detection.running import Fire, Level, Run

SLACK: Final = 2
"""Steps before the onset at which a fire still counts as being about the trouble."""
BINS: Final = 10


class Figures(msgspec.Struct, kw_only=True):
    """Counts of sessions, and what follows from them."""

    found: int = 0
    missed: int = 0
    false: int = 0
    early: int = 0
    quiet: int = 0
    quiet_steps: int = 0
    delays: list[int] = msgspec.field(default_factory=list)

    def add(self, other: "Figures") -> None:
        """Adds the counts of other sessions."""
        self.found += other.found
        self.missed += other.missed
        self.false += other.false
        self.early += other.early

    @property
    def precision(self) -> float | None:
        alarms = self.found + self.false + self.early
        return self.found / alarms if alarms else None

    @property
    def recall(self) -> float | None:
        positives = self.found + self.missed
        return self.found / positives if positives else None

    @property
    def f1(self) -> float | None:
        denominator = 2 * self.found + self.missed + self.false + self.early
        return 2 * self.found / denominator if denominator else None

    @property
    def false_per_1000(self) -> float | None:
        return 1000 * (self.false + self.early) / self.quiet_steps if self.quiet_steps else None

    @property
    def median_delay(self) -> float | None:
        return statistics.median(self.delays) if self.delays else None

    @property
    def p90_delay(self) -> float | None:
        if len(self.delays) < 2:
            return float(self.delays[0]) if self.delays else None
        return statistics.quantiles(self.delays, n=10, method="inclusive")[8]


def measure(runs: Iterable[Run], causes: frozenset[str], level: Level) -> Figures:
    """Judges the detectors of `causes`, by name or by halt reason, on the sessions that expect one of them."""
    figures = Figures()
    for run in runs:
        session = run.session
        if not session.scored:
            continue
        fired = [fire.at for fire in run.fires if fire.names(causes) and fire.reaches(level)]
        if causes.intersection(session.expects):
            _judge_positive(figures, fired, session.onset)
            figures.quiet_steps += session.onset or 0
        elif session.positive:
            # other trouble: whatever fires before it begins is an alarm about nothing, what fires within is not judged
            figures.early += session.onset is not None and any(at < session.onset - SLACK for at in fired)
            figures.quiet_steps += session.onset or 0
        else:
            figures.false += bool(fired)
            figures.quiet += not fired
            figures.quiet_steps += len(session.steps)
    return figures


def _judge_positive(figures: Figures, fired: Sequence[int], onset: int | None) -> None:
    inside = [at for at in fired if onset is None or at >= onset - SLACK]
    figures.early += len(inside) < len(fired)
    if not inside:
        figures.missed += 1
        return
    figures.found += 1
    if onset is not None:
        figures.delays.append(inside[0] - onset)


def overall(runs: Iterable[Run], level: Level) -> Figures:
    """Judges all loop detectors together on sessions whose trouble is a loop, or none."""
    return measure([run for run in runs if not run.session.positive or run.session.expects[0] in LOOPS], LOOPS, level)


def interval(runs: Sequence[Run], level: Level, group: Callable[[Run], str], draws: int = 200) -> tuple[float, float]:
    """A 95 % bootstrap interval of F1, whole groups drawn: sessions of one scenario or source are not independent of each other."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(group(run), []).append(run)
    dice, names, found = random.Random(1), sorted(groups), []  # noqa: S311 — not for secrets
    parts = {name: overall(groups[name], level) for name in names}
    for _ in range(draws):
        total = Figures()
        for name in dice.choices(names, k=len(names)):
            total.add(parts[name])
        found.append(total.f1 or 0.0)
    found.sort()
    return found[int(0.025 * draws)], found[int(0.975 * draws)]


class Bin(msgspec.Struct, frozen=True):
    """Findings whose scores lie together."""

    low: float
    high: float
    count: int
    mean_score: float
    share_right: float


class Calibration(msgspec.Struct, frozen=True):
    """How far the score of a finding can be read as the probability that it is right."""

    bins: tuple[Bin, ...]
    brier: float
    ece: float
    """Mean distance between score and share that is right, weighted by findings."""
    findings: int


class Judged(msgspec.Struct, frozen=True):
    """A finding, whether it was right, and the scenario it came in."""

    fire: Fire
    right: bool
    scenario: str


def judged(runs: Iterable[Run]) -> list[Judged]:
    """Every finding, right if it came in trouble of its kind, not before it began; left out what came in trouble of another kind."""
    found = []
    for run in runs:
        if not run.session.scored:
            continue
        for fire in run.fires:
            causes = LOOPS if fire.names(LOOPS) else frozenset({fire.detector, fire.cause})
            right = _inside(fire, run)
            if not right or causes.intersection(run.session.expects):
                found.append(Judged(fire, right, run.session.scenario))
    return found


def _inside(fire: Fire, run: Run) -> bool:
    session = run.session
    return session.positive and (session.onset is None or fire.at >= session.onset - SLACK)


def calibrate(pairs: Sequence[tuple[float, bool]]) -> Calibration | None:
    if not pairs:
        return None
    bins = []
    for number in range(BINS):
        low, high = number / BINS, (number + 1) / BINS
        inside = [(score, right) for score, right in pairs if low <= score < high or (number == BINS - 1 and score == 1)]
        if inside:
            share = sum(right for _, right in inside) / len(inside)
            bins.append(Bin(low, high, len(inside), statistics.fmean(score for score, _ in inside), share))
    brier = statistics.fmean((score - right) ** 2 for score, right in pairs)
    ece = sum(each.count * abs(each.mean_score - each.share_right) for each in bins) / len(pairs)
    return Calibration(tuple(bins), brier, ece, len(pairs))


def upper_bound(failures: int, trials: int, confidence: float = 0.95) -> float:
    """The one-sided upper Clopper–Pearson bound of a share (C. Clopper, E. Pearson, Biometrika 26, 1934).

    >>> round(upper_bound(0, 3000) * 1000, 3)
    0.998
    """
    if failures >= trials:
        return 1.0
    return float(betaincinv(failures + 1, trials - failures, confidence))
