"""What every registered detector must pass. `tests/detectors/test_checks.py` runs all of it over `DETECTORS`.

Each check takes a detector class and raises AssertionError with a sentence that says which promise of `detectors.base` is
broken. Workloads are made from a seed, so that a failure repeats.
"""

import inspect
import pickle
import random
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Final

import msgspec

from detectors.base import Answer, Context, Detector, Signal
from detectors.features import FeatureState
from detectors.host import DetectorHost
from detectors.model import ErrorClass, Step, StepKind, Tick
from detectors.step_features import NOTHING
from detectors.testing import KEY, agent, count, llm, session, tool

AnyDetector = type[Detector[Any]]

_SECTIONS: Final = ("**Why it costs.**", "**When it is wrong.**", "**Parameters**", "**Examples.**", "**References.**")
_MAX_GROWTH_BYTES: Final = 65_536
"""How much a detector's pickled state may grow between 1,000 and 5,000 steps."""


def _require(condition: object, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def workload(seed: int, length: int) -> list[Step]:
    """Makes a session of everything at once: work, loops, failures, hand-offs, climbing cost, filling contexts, odd values."""
    dice = random.Random(seed)  # noqa: S311 — not for secrets

    def text(words: int) -> str:
        return " ".join(f"w{dice.randrange(5000)}" for _ in range(words))

    def ordinary(number: int) -> Step:
        return tool(dice.choice(("read", "search", "run")), {"q": text(5)}, text(30), error=dice.random() < 0.1 or None, input_bytes=number)

    def stuck(_: int) -> Step:
        return tool("search", {"q": "the same question"}, "No results found.")

    def speaking(number: int) -> Step:
        tokens = 1000 + 700 * (number % 200)
        return llm(
            text=text(20),
            agent=dice.choice(("a", "b", None)),
            input_tokens=tokens,
            output_tokens=50,
            context_window=128_000,
            cost_usd=tokens / 1e6,
        )

    def handing(number: int) -> Step:
        return agent(("writer", "reviewer")[number % 2], "please go on", "please go on, thanks")

    makers: tuple[Callable[[int], Step], ...] = (ordinary, speaking, stuck, handing, lambda _: dice.choice(odd_steps()))
    steps: list[Step] = []
    while len(steps) < length:
        maker = dice.choice(makers)
        steps += [maker(len(steps) + n) for n in range(dice.randint(1, 12))]
    return session(*steps[:length])


def odd_steps() -> list[Step]:
    """Makes steps with as little as possible in them, and with strange things."""
    bare = [Step(seq=0, session=KEY, kind=kind, started_ns=0, ended_ns=0) for kind in StepKind]
    strange = [
        tool("", "", ""),
        tool("t", "null", "{"),
        tool("t", "[1, 2", "\ud800 \x00 \u202e"),
        tool("t", "密" * 3000, "ö" * 5000),
        tool("t", '{"a": {"b": {"c": []}}}', None),
        tool("t", None, "only a result"),
        tool("t", {"q": "x"}, "", error=True, error_class=ErrorClass.TIMEOUT, error_message="timed out"),
        llm("", ""),
        llm(text="", input_tokens=0, context_window=0, output_tokens=0, cost_usd=0),
        llm(text="x", input_tokens=10**9, context_window=1, cost_usd="0.000000001"),
        llm(text="x", input_tokens=5, context_window=None, cost_usd=10**6),
        agent("", "", ""),
    ]
    return bare + strange


def _drive(kind: AnyDetector, steps: list[Step], *, repickle_every: int = 0) -> Iterator[Answer]:
    detector, state = kind(kind.Config()), FeatureState()
    context = Context(ceiling_usd=Decimal(5))
    for number, step in enumerate(steps):
        if repickle_every and number % repickle_every == 0:
            detector, state = pickle.loads(pickle.dumps((detector, state)))  # noqa: S301 — our own bytes
        count(context, step)
        features = state.observe(step)
        yield detector.observe(step, features, context) if step.kind in detector.kinds else None


def check_named_after_its_file(kind: AnyDetector) -> None:
    """The name, the file and the configuration key are one word."""
    module = kind.__module__.rpartition(".")[2]
    _require(kind.name == module, f"{kind.__name__}.name is {kind.name!r} but its file is {module}.py")
    _require(kind.scope in {"session", "workflow", "fleet"}, f"{kind.name}: unknown scope {kind.scope!r}")


def check_documented(kind: AnyDetector) -> None:
    """The docstring has its sections in order, names every parameter, and shows one firing and one quiet example."""
    text = inspect.getdoc(kind) or ""
    places = [text.find(section) for section in _SECTIONS]
    _require(min(places) > 0, f"{kind.name}: docstring lacks {[s for s, at in zip(_SECTIONS, places, strict=True) if at < 0]}")
    _require(places == sorted(places), f"{kind.name}: docstring sections are out of order")
    _require(text.count(">>>") >= 2, f"{kind.name}: needs an example that fires and one that stays quiet")
    _require("\n[]" in text, f"{kind.name}: no example stays quiet")
    parameters = text[places[2] : places[3]]
    missing = [field.name for field in msgspec.structs.fields(kind.Config) if f"`{field.name}`" not in parameters]
    _require(not missing, f"{kind.name}: parameters not documented: {missing}")


def check_config_has_defaults(kind: AnyDetector) -> None:
    """The config needs nothing, is frozen, refuses unknown keys, and survives being written as JSON."""
    config = kind.Config()
    again = msgspec.json.decode(msgspec.json.encode(config), type=kind.Config)
    _require(again == config, f"{kind.name}: config does not survive JSON")
    _require(kind.Config.__struct_config__.frozen, f"{kind.name}: config is not frozen")
    try:
        msgspec.json.decode(b'{"no_such_key": 1}', type=kind.Config)
    except msgspec.ValidationError:
        return
    _require(condition=False, message=f"{kind.name}: config accepts unknown keys")


def check_deterministic(kind: AnyDetector) -> None:
    """The same steps give the same answers."""
    steps = workload(1, 400)
    _require(list(_drive(kind, steps)) == list(_drive(kind, steps)), f"{kind.name}: two runs over the same steps differ")


def check_survives_pickling(kind: AnyDetector) -> None:
    """State can be pickled between any two steps without changing an answer."""
    steps = workload(2, 300)
    _require(list(_drive(kind, steps)) == list(_drive(kind, steps, repickle_every=1)), f"{kind.name}: pickling changes its answers")


def check_never_changes_a_step(kind: AnyDetector) -> None:
    """Steps come out as they went in."""
    steps = workload(3, 200)
    before = msgspec.msgpack.encode(steps)
    list(_drive(kind, steps))
    _require(msgspec.msgpack.encode(steps) == before, f"{kind.name}: changed a step")


def check_tolerates_the_unknown(kind: AnyDetector) -> None:
    """Steps with nothing in them neither raise nor fire; strange values do not raise."""
    bare = session(*(Step(seq=0, session=KEY, kind=each, started_ns=0, ended_ns=0) for each in list(StepKind) * 30))
    answers = [answer for answer in _drive(kind, bare) if isinstance(answer, Signal)]
    _require(not answers, f"{kind.name}: fired on steps about which nothing is known: {answers[:1]}")
    list(_drive(kind, session(*odd_steps() * 5)))
    detector = kind(kind.Config())
    detector.tick(Tick(seq=1, at_ns=1), Context())


def check_bounded_memory(kind: AnyDetector) -> None:
    """State does not grow with the length of the session. Raises if it is more than 64 KiB larger after 5,000 steps than after 1,000."""
    detector, state, context = kind(kind.Config()), FeatureState(), Context(ceiling_usd=Decimal(10**6))
    sizes = []
    for number, step in enumerate(workload(4, 5000), 1):
        count(context, step)
        features = state.observe(step)
        if step.kind in detector.kinds:
            detector.observe(step, features, context)
        if number in {1000, 5000}:
            sizes.append(len(pickle.dumps(detector)))
    growth = sizes[1] - sizes[0]
    _require(growth <= _MAX_GROWTH_BYTES, f"{kind.name}: state grew by {growth:,} bytes between 1,000 and 5,000 steps")


def check_sleeps_without_what_it_needs(kind: AnyDetector) -> None:
    """Before what it `needs` is known it is not shown any step: shown them all the same, it would neither answer nor learn."""
    if kind.needs is None:
        return
    answers = [answer for answer in _drive(kind, workload(8, 300)) if answer is not None]
    _require(not answers, f"{kind.name}: needs {kind.needs} and answered without: {answers[:1]}")
    woken, fresh, context = kind(kind.Config()), kind(kind.Config()), Context()
    for step in workload(9, 100):
        woken.observe(step, NOTHING, context)
    _require(pickle.dumps(woken) == pickle.dumps(fresh), f"{kind.name}: needs {kind.needs} and remembers steps without")


def check_has_slots(kind: AnyDetector) -> None:
    """There is one of it to every live session: no instance has a `__dict__`."""
    _require(not hasattr(kind(kind.Config()), "__dict__"), f"{kind.name}: has no __slots__")


def check_says_it_once(kind: AnyDetector) -> None:
    """Through the host an episode is reported when it opens and when it gets worse, never twice the same."""
    host = DetectorHost(KEY, detectors=(kind,), ceiling_usd=Decimal(5))
    seen: dict[int, tuple[int, bool]] = {}
    for step in workload(5, 600):
        for finding in host.observe(step)[1]:
            level = (finding.severity.rank, finding.halt_eligible)
            before = seen.get(finding.episode)
            better = before is None or level[0] > before[0] or (level[1] and not before[1])
            _require(better, f"{kind.name}: episode {finding.episode} reported again at the same level")
            seen[finding.episode] = level
    _require(sorted(seen) == list(range(1, len(seen) + 1)), f"{kind.name}: episodes are not numbered one after the other: {sorted(seen)}")


def check_answers_are_sound(kind: AnyDetector) -> None:
    """Scores lie in 0–1, evidence and thresholds are there and can be written as JSON, summaries are one sentence."""
    for answer in _drive(kind, workload(6, 600)):
        if not isinstance(answer, Signal):
            continue
        _require(0 <= answer.score <= 1, f"{kind.name}: score {answer.score}")
        _require(answer.evidence and answer.threshold, f"{kind.name}: no evidence or no threshold")
        _require(len(msgspec.json.encode(answer.evidence)) <= 8192, f"{kind.name}: evidence above 8 KiB")
        _require(answer.summary.endswith(".") and "\n" not in answer.summary, f"{kind.name}: not one sentence: {answer.summary!r}")
        _require(len(answer.summary) <= 240, f"{kind.name}: summary too long: {answer.summary!r}")


CHECKS: Final[tuple[Callable[[AnyDetector], None], ...]] = tuple(
    check for name, check in sorted(vars(sys.modules[__name__]).items()) if name.startswith("check_")
)
