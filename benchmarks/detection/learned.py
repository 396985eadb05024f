"""Does a learned combination of the signals beat the rules? `python -m benchmarks.detection.learned` asks, and says so either way.

A logistic regression over what the features say of the last calls and over the detectors' own scores is fitted on all groups
but one and judged on the one left out: domains and scenarios of the own corpus, and with `--external` the sources of sessions
that others labelled. Its threshold is chosen on the sessions it was fitted on. The rules stay as they are: they have seen none
of the groups at run time, though whoever wrote them may have.
"""

import argparse
import sys
import zlib
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]
from sklearn.pipeline import make_pipeline  # type: ignore[import-untyped]
from sklearn.preprocessing import StandardScaler  # type: ignore[import-untyped]

from benchmarks.detection import corpus, external, running
from benchmarks.detection.labelled import LOOPS, Labelled
from benchmarks.detection.report import row, table
from benchmarks.detection.running import Fire, Run
from benchmarks.detection.scoring import Figures, overall
from detectors import DETECTORS
from detectors.base import Context, Signal
from detectors.features import FeatureState
from detectors.model import Severity, Step
from detectors.step_features import StepFeatures
from detectors.testing import count

WINDOW: Final = 8
"""Calls over which what the features say is summed."""
_CLEAR_F1: Final = 0.02
"""Gain in F1 below which nothing was gained: less than half a standard error on a few hundred sessions."""

Rows = NDArray[np.float64]
Group = Callable[[Labelled], str]


class Table(msgspec.Struct, frozen=True):
    """The calls of one session as numbers."""

    session: Labelled
    rows: Rows
    indexes: tuple[int, ...]
    """Which steps the rows are."""
    looping: NDArray[np.bool_]
    rules: Run


def _signals(features: StepFeatures) -> list[float]:
    similarity = features.argument_similarity or 0.0
    novelty = features.result_novelty
    return [
        float(features.same_call_as is not None),
        float(features.same_result_as is not None),
        float(features.same_outcome),
        similarity,
        1.0 - (novelty if novelty is not None else 1.0),
        float(features.failed),
        float(features.found_nothing),
        float(features.polls),
        float(features.writes),
        float(features.asks),
        float(features.enumerates),
        min(features.argument_news, 5) / 5,
        min(features.result_words, 40) / 40,
        similarity * float(features.same_result_as is not None),
    ]


SIGNALS: Final = (
    "same call",
    "same result",
    "same outcome",
    "likeness of arguments",
    "staleness of result",
    "failed",
    "found nothing",
    "polls",
    "writes",
    "asks",
    "enumerates",
    "new words in arguments",
    "words in result",
    "like arguments, same result",
)


def tabulate(session: Labelled) -> Table:
    kinds = [kind for kind in DETECTORS if kind.halt_reason in LOOPS]
    detectors = [kind(kind.Config()) for kind in kinds]
    state, context = FeatureState(), Context(ceiling_usd=session.ceiling_usd, polling_tools=session.polling_tools)
    window: deque[list[float]] = deque(maxlen=WINDOW)
    scores: deque[list[float]] = deque(maxlen=4)
    rows, indexes = [], []
    for index, step in enumerate(session.steps):
        count(context, step)
        features = state.observe(step)
        scores.append([_score(detector, step, features, context) for detector in detectors])
        if features.key is None:
            continue
        window.append(_signals(features))
        recent = np.asarray(window)
        rows.append(np.concatenate([recent.sum(axis=0), recent[-1], np.asarray(scores).max(axis=0)]))
        indexes.append(index)
    onset = session.onset if session.onset is not None else (0 if session.positive else len(session.steps))
    looping = np.asarray([session.positive and index >= onset + 2 for index in indexes], dtype=bool)
    width = 2 * len(SIGNALS) + len(kinds)
    return Table(session, np.asarray(rows).reshape(-1, width), tuple(indexes), looping, running.watch(session))


def _score(detector: Any, step: Step, features: StepFeatures, context: Context) -> float:
    answer = detector.observe(step, features, context) if step.kind in detector.kinds else None
    return answer.score if isinstance(answer, Signal) else 0.0


def _fit(tables: Sequence[Table]) -> Any:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, class_weight="balanced", max_iter=400))
    rows, looping = np.concatenate([each.rows for each in tables]), np.concatenate([each.looping for each in tables])
    step = max(1, len(rows) // 20_000)
    return model.fit(rows[::step], looping[::step])


def _runs(tables: Iterable[Table], chances: Sequence[NDArray[np.float64]], threshold: float) -> list[Run]:
    made = []
    for each, chance in zip(tables, chances, strict=True):
        at = [index for index, value in zip(each.indexes, chance, strict=True) if value >= threshold]
        fires = [
            Fire(
                detector="learned",
                cause="soft_loop",
                at=index,
                severity=Severity.CRITICAL,
                halt_eligible=False,
                evidence="content",
                score=1.0,
                strength=1.0,
            )
            for index in at
        ]
        made.append(Run(each.session, tuple(fires)))
    return made


def _chances(model: Any, tables: Sequence[Table]) -> list[NDArray[np.float64]]:
    return [model.predict_proba(each.rows)[:, 1] if len(each.rows) else np.zeros(0) for each in tables]


def _threshold(tables: Sequence[Table], chances: Sequence[NDArray[np.float64]], allowed: float) -> float:
    """The threshold with the best F1 on the sessions fitted on, at no more than `allowed` false alarms per 1,000 steps if any is."""
    tried = []
    for threshold in (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.98, 0.99, 0.995):
        figures = overall(_runs(tables, chances, threshold), "critical")
        tried.append(((figures.false_per_1000 or 0.0) <= allowed, figures.f1 or 0.0, threshold))
    return max(tried)[2]


def compare(tables: Sequence[Table], group: Group) -> tuple[Figures, Figures, dict[str, tuple[Figures, Figures]]]:
    """Rules and model on every group left out in turn: pooled, and by group."""
    groups: dict[str, list[Table]] = defaultdict(list)
    for each in tables:
        groups[group(each.session)].append(each)
    pooled: list[Run] = []
    by_group = {}
    for name, inside in sorted(groups.items()):
        rest = [each for other, those in groups.items() if other != name for each in those]
        model = _fit(rest)
        allowed = overall([each.rules for each in rest], "critical").false_per_1000 or 0.0
        runs = _runs(inside, _chances(model, inside), _threshold(rest, _chances(model, rest), allowed))
        pooled += runs
        by_group[name] = (overall([each.rules for each in inside], "critical"), overall(runs, "critical"))
    return overall([each.rules for each in tables], "critical"), overall(pooled, "critical"), by_group


def transfer(fitted_on: Sequence[Table], judged_on: Sequence[Table]) -> tuple[Figures, Figures]:
    model = _fit(fitted_on)
    allowed = overall([each.rules for each in fitted_on], "critical").false_per_1000 or 0.0
    threshold = _threshold(fitted_on, _chances(model, fitted_on), allowed)
    runs = _runs(judged_on, _chances(model, judged_on), threshold)
    return overall([each.rules for each in judged_on], "critical"), overall(runs, "critical")


def _say(title: str, rules: Figures, learned: Figures) -> bool:
    head = ("", "precision", "recall", "F1", "steps, median", "p90", "per 1,000", "found", "missed", "false", "early")
    print(f"## {title}\n\n{table(head, [['rules', *row(rules)], ['learned', *row(learned)]])}")
    gain = (learned.f1 or 0.0) - (rules.f1 or 0.0)
    fewer = (learned.false_per_1000 or 0.0) <= (rules.false_per_1000 or 0.0)
    better = gain >= _CLEAR_F1 and fewer
    verdict = "beats" if better else "does not beat"
    print(f"Gain in F1 {gain:+.3f}, {'no more' if fewer else 'more'} false alarms: the model {verdict} the rules.\n")
    return better


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection.learned", description=__doc__)
    parser.add_argument("--external", type=Path, help="folder of labelled sessions as JSON lines, see external.py")
    parser.add_argument("--leave-out", action="append", default=[], metavar="SOURCE", help="external source that is not to be counted")
    parser.add_argument("--each", type=int, default=corpus.EACH, help="sessions of each scenario in each half")
    options = parser.parse_args()
    loops = [session for session in corpus.sessions(each=options.each) if not session.positive or session.expects[0] in LOOPS]
    own = [tabulate(session) for session in loops if not session.circumstances]
    verdicts = []
    for title, group in (
        ("own corpus, one domain left out", lambda session: session.source),
        ("own corpus, one half left out", lambda session: session.half),
        ("own corpus, an eighth of the scenarios left out", lambda session: f"{zlib.crc32(session.scenario.encode()) % 8}"),
    ):
        rules, learned, _ = compare(own, group)
        verdicts.append(_say(title, rules, learned))
    if options.external:
        sessions = [s for s in external.load(options.external) if s.source not in options.leave_out and s.scored and s.steps]
        others = [tabulate(session) for session in sessions]
        rules, learned, by_source = compare(others, lambda session: session.source)
        verdicts.append(_say("sessions of others, one source left out", rules, learned))
        body = [
            [name, f"{a.f1 or 0:.2f}", f"{b.f1 or 0:.2f}", f"{a.false_per_1000 or 0:.1f}", f"{b.false_per_1000 or 0:.1f}"]
            for name, (a, b) in by_source.items()
        ]
        print(table(("source left out", "F1 rules", "F1 learned", "per 1,000 rules", "per 1,000 learned"), body))
        verdicts.append(_say("fitted on the own corpus, judged on sessions of others", *transfer(own, others)))
    if all(verdicts):
        print("The model beats the rules on everything it was not fitted to.")
    else:
        print(f"The model beats the rules in {sum(verdicts)} of {len(verdicts)} comparisons: none is shipped.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
