"""Which spans are forgotten first, and that what is remembered is counted."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from collector.traces import Limits, Traces
from collector.workflows import Workflows, workflow_of
from detectors.model import SessionKey


def test_spans_of_traces_that_ended_are_forgotten_before_those_of_traces_that_did_not() -> None:
    traces = Traces(Limits(spans=100))
    for number in range(10):
        trace = traces.of("t", f"open {number}" if number % 2 else f"ended {number}")
        trace.ended = not number % 2
        for span in range(10):
            traces.span(trace, f"{number} {span}", None)
    for span in range(40):
        traces.span(traces.of("t", "new"), f"new {span}", None)
    names = [f"{kind} {number}" for number in range(10) for kind in ("open", "ended")]
    forgotten = {name for name in names if (trace := traces.known("t", name)) is not None and not trace.spans}
    assert forgotten == {"ended 0", "ended 2", "ended 4", "ended 6"}
    assert traces.spans == 100


def test_a_trace_that_never_ends_is_forgotten_too() -> None:
    traces = Traces(Limits(spans=100))
    for number in range(1_000):
        traces.span(traces.of("t", f"{number // 7}"), f"{number}", None)
    assert 93 <= traces.spans <= 100


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 30), st.booleans()), max_size=300))
def test_every_span_held_is_counted(heard: list[tuple[int, int, bool]]) -> None:
    traces = Traces(Limits(traces=8, spans=25, spans_per_trace=9))
    for number, span, ended in heard:
        trace = traces.of("t", str(number))
        trace.ended = trace.ended or ended
        assert traces.span(trace, str(span), None) is trace.spans[str(span)]
        assert len(traces) <= 8
    held = [trace for number in range(13) if (trace := traces.known("t", str(number))) is not None]
    assert sum(len(trace.spans) for trace in held) == traces.spans <= 25


# Workflows

Told = list[tuple[SessionKey, str]]


class Plain:
    """The same by looking at every session each time."""

    def __init__(self, joined: Callable[[SessionKey, str], None]) -> None:
        self.of: dict[SessionKey, str] = {}
        self.joined = joined

    def connect(self, first: SessionKey, second: SessionKey) -> None:
        one, two = self.of.get(first), self.of.get(second)
        if first == second or (one is not None and one == two):
            return
        target = one or two or workflow_of(first)
        self.move(two, target)
        for key in (first, second):
            if self.of.get(key) != target:
                self.put(key, target)

    def merge(self, survivor: SessionKey, absorbed: SessionKey) -> None:
        lost = self.of.pop(absorbed, None)
        if lost is not None and survivor not in self.of:
            self.put(survivor, lost)
        elif lost is not None:
            self.move(lost, self.of[survivor])

    def move(self, workflow: str | None, target: str) -> None:
        for key in [key for key, one in self.of.items() if one == workflow != target]:
            self.put(key, target)

    def put(self, key: SessionKey, workflow: str) -> None:
        self.of.pop(key, None)
        self.of[key] = workflow
        self.joined(key, workflow)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 15), st.integers(0, 15)), max_size=60))
def test_workflows_connect_as_if_every_session_were_looked_at(story: list[tuple[bool, int, int]]) -> None:
    told: Told = []
    expected: Told = []
    workflows = Workflows(1_000, lambda key, workflow: told.append((key, workflow)))
    plain = Plain(lambda key, workflow: expected.append((key, workflow)))
    for merges, one, other in story:
        keys = SessionKey("t", "", str(one)), SessionKey("t", "", str(other))
        for each in (workflows, plain):
            if merges and one != other:
                each.merge(*keys)
            else:
                each.connect(*keys)
    assert told == expected
