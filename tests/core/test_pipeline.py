"""Commits: all of a group or nothing of it, and nothing forgotten where one failed."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pyarrow as pa
import pytest

import collector.pipeline
import collector.translate
from collector.assembly import Assembler
from collector.errors import Internal, Malformed, StoreUnavailable
from collector.model import Outcome, Request
from collector.pipeline import Pipeline
from collector.session_sums import steps_of
from collector.store.base import Commit
from collector.store.columns import span_columns
from collector.store.history import RecordedHistory
from collector.store.memory import MemoryStore
from collector.telemetry_data import Span
from collector.translate import Translation, encode, lay_out, translate
from detectors.model import Event, Finding, Halted, SessionKey, Step, Tick

from .agents import START_NS, Run, agent, content_log, llm, loop, request, span_id, tool, trace_id

BAD = Request(signal="traces", encoding="protobuf", body=b"\xff\xff")


class Failing(MemoryStore):
    """A disk that refuses as often as it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.refuse: list[Callable[[], None] | None] = []

    def append(self, commit: Commit) -> None:
        if self.refuse:
            trouble = self.refuse.pop(0)
            if trouble is not None:
                trouble()
        super().append(commit)


def full() -> None:
    raise StoreUnavailable("the disk is full")


class Watching:
    def __init__(self) -> None:
        self.duplicates: list[dict[str, int]] = []
        self.events: list[Event] = []

    def committed(self, duplicates: dict[str, int]) -> None:
        self.duplicates.append(duplicates)

    def found(self, events: Sequence[Event], findings: Sequence[Finding], arrival_ns: int | None) -> None:  # noqa: ARG002 — the contract
        self.events += events


def pipeline(run: Run, store: Failing) -> tuple[Pipeline, Watching]:
    """The pipeline of `run`, over a disk that fails."""
    watching = Watching()

    def recover() -> Assembler:
        assembler = Assembler(price=run.assembler._price, first_seq=store.last_seq() + 1)
        assembler.restore(store.tail(100_000), store.parents(100_000))
        return assembler

    return Pipeline(store=store, assembler=run.assembler, sessions=run.sessions, observer=watching, recover=recover), watching


def test_every_request_of_a_group_gets_its_own_answer_in_order() -> None:
    made, _ = pipeline(Run(), Failing())
    outcomes = made.process([request(llm("a")), BAD, request(llm("b"), tool("c"))])
    assert [type(outcome) for outcome in outcomes] == [Outcome, Malformed, Outcome]
    assert [outcome.accepted for outcome in outcomes if isinstance(outcome, Outcome)] == [1, 2]


def test_repetitions_are_answered_like_the_first_and_counted_as_such() -> None:
    made, watching = pipeline(Run(), Failing())
    sent = request(llm("a"), tool("b"))
    assert made.process([sent]) == made.process([sent])
    assert watching.duplicates == [{"traces": 0, "logs": 0}, {"traces": 2, "logs": 0}]


def test_a_failed_commit_refuses_all_but_what_no_retry_can_help() -> None:
    store = Failing()
    made, watching = pipeline(Run(), store)
    store.refuse = [full]
    outcomes = made.process([request(llm("a")), BAD])
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable, Malformed]
    assert watching.duplicates == watching.events == []


def test_what_was_refused_counts_once_when_it_is_sent_again() -> None:
    store, run = Failing(), Run()
    made, _ = pipeline(run, store)
    requests = [request(made) for made in loop("t", session="s", rounds=4)]
    for sent in requests:
        store.refuse = [full, full]
        while isinstance(made.process([sent])[0], StoreUnavailable):
            pass
    assert run.sums()["s"][:3] == (8, 4, 4)
    assert len({event.seq for event in store.tail(999)}) == len(store.tail(999))
    steps = [event.seq for event in store.tail(999) if isinstance(event, Step)]
    assert steps == sorted(steps)
    assert len(steps) == 8


def test_sessions_and_findings_survive_a_failed_commit() -> None:
    store, run = Failing(), Run()
    made, _ = pipeline(run, store)
    calls = [request(one) for one in loop("t", session="s", rounds=12)]
    for number, sent in enumerate(calls):
        store.refuse = [full] if number % 5 == 0 else []
        while isinstance(made.process([sent])[0], StoreUnavailable):
            pass
    expected = Run().send_each(*calls)
    assert [(f.id, f.severity, f.halt_eligible) for f in store.emitted] == [(f.id, f.severity, f.halt_eligible) for f in expected.findings]
    assert run.sums() == expected.sums()


def test_an_unforeseen_failure_loses_nothing_either() -> None:
    store, run = Failing(), Run()
    made, _ = pipeline(run, store)

    def broken() -> None:
        raise RuntimeError("never seen before")

    store.refuse = [broken]
    with pytest.raises(RuntimeError):
        made.process([request(llm("a", session="s"))])
    assert made.process([request(llm("a", session="s"))]) == [Outcome(accepted=1)]
    assert run.sums()["s"].llm_calls == 1


def test_a_commit_reported_as_failed_that_is_there_after_all_counts_once() -> None:
    class Lying(Failing):
        def append(self, commit: Commit) -> None:
            lies, self.refuse = bool(self.refuse), []
            MemoryStore.append(self, commit)
            if lies:
                raise StoreUnavailable("the answer got lost")

    store, run = Lying(), Run()
    made, _ = pipeline(run, store)
    made.process([request(llm("a", session="s"))])
    store.refuse = [full]
    assert isinstance(made.process([request(llm("b", session="s"))])[0], StoreUnavailable)
    assert made.process([request(llm("b", session="s"))]) == [Outcome(accepted=1)]
    made.process([request(llm("c", session="s"))])
    assert run.sums()["s"].llm_calls == 3


def test_a_store_that_cannot_be_read_back_yet_refuses_until_it_can() -> None:
    store, run = Failing(), Run()
    made, _ = pipeline(run, store)
    recover, broken = made._recover, [True]
    assert recover is not None

    def unreadable() -> Assembler:
        if broken:
            full()
        return recover()

    made._recover = unreadable
    store.refuse = [full]
    for _ in range(3):
        assert isinstance(made.process([request(llm("a", session="s"))])[0], StoreUnavailable)
    with pytest.raises(StoreUnavailable):
        made.record(lambda seq: [Tick(seq=seq, at_ns=1)])
    broken.clear()
    assert made.process([request(llm("a", session="s"))]) == [Outcome(accepted=1)]
    assert run.sums()["s"].llm_calls == 1


def test_events_from_inside_take_the_next_number() -> None:
    store, run = Failing(), Run()
    made, _ = pipeline(run, store)
    made.process([request(llm("a", session="s"))])
    key = SessionKey("default", "", "s")
    made.record(lambda seq: [Halted(seq=seq, session=key, generation=1, verb="halt", at_ns=1)])
    made.process([request(tool("b", session="s"))])
    seqs = [event.seq for event in store.tail(99)]
    assert seqs == sorted(set(seqs))
    assert [type(event) for event in store.events([key])][-2:] == [Halted, Step]


def test_things_are_taken_in_the_order_in_which_they_ended() -> None:
    run = Run().send(agent("root", session="s", at=0, lasts=9), tool("b", at=4, parent="root"), llm("a", at=1, parent="root"))
    assert [step.kind.value for step in run.steps()] == ["llm", "tool", "agent"]


def test_time_passes_where_nothing_arrives() -> None:
    run = Run(idle_timeout_ns=60 * 10**9)
    run.send(request(llm("a", session="s"), arrival_ns=START_NS))
    for seconds in range(0, 600, 1):
        run.pipeline.idle(START_NS + seconds * 10**9)
    assert not run.sessions.live
    ticks = [event for event in run.events if isinstance(event, Tick)]
    assert 5 < len(ticks) < 50
    assert [tick.at_ns for tick in ticks] == sorted(tick.at_ns for tick in ticks)


def test_a_request_over_which_translation_fails_is_refused_and_the_others_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def fragile(sent: Request) -> Translation:
        if b"poison" in sent.body:
            raise ValueError("a bug")
        return translate(sent)

    monkeypatch.setattr(collector.pipeline, "translate", fragile)
    run = Run()
    made, _ = pipeline(run, Failing())
    outcomes = made.process([request(llm("a", session="s")), request(llm("poison", session="s")), request(llm("b", session="s"))])
    assert [type(outcome) for outcome in outcomes] == [Outcome, Internal, Outcome]
    assert run.sums()["s"].llm_calls == 2


def test_a_request_that_cannot_be_laid_out_is_refused_and_those_beside_it_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def fragile(tenant: str, spans: Sequence[Span]) -> pa.RecordBatch:
        if any(span.name == "poison" for span in spans):
            raise pa.ArrowInvalid("a bug")
        return span_columns(tenant, spans)

    monkeypatch.setattr(collector.translate, "span_columns", fragile)
    store, run = Failing(), Run()
    made, watching = pipeline(run, store)
    sent = [request(llm("a", session="s")), request(llm("poison", session="s")), BAD, request(llm("b", session="s"))]
    expected = [Outcome, Internal, Malformed, Outcome]
    assert [type(outcome) for outcome in made.process(sent)] == expected
    assert [type(outcome) for outcome in made.process(sent)] == expected
    assert [span for _, _, span in store.span_keys(9)] == [span_id("a"), span_id("b")]
    assert watching.duplicates == [{"traces": 0, "logs": 0}, {"traces": 2, "logs": 0}]
    assert run.sums()["s"].llm_calls == 2


@pytest.mark.parametrize("apart", [1, 2**20])
def test_requests_of_one_commit_are_kept_in_their_order_and_each_once(apart: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(one: Request) -> Request:
        translation = translate(one)
        lay_out([translation])
        return msgspec.structs.replace(one, body=b"", translated=encode(translation))

    monkeypatch.setattr(collector.pipeline, "_LAID_OUT_BYTES", apart)
    a, b, c, d = (request(llm(name, session="s"), tenant="other" if name == "c" else "default") for name in "abcd")
    logs = [content_log(name, says=f"{name} says") for name in "ab"]
    store, run = Failing(), Run()
    made, watching = pipeline(run, store)
    outcomes = made.process([logs[0], a, elsewhere(b), c, logs[1], a, d, elsewhere(logs[1])])
    assert outcomes == [Outcome(accepted=1)] * 8
    assert watching.duplicates == [{"traces": 1, "logs": 1}]
    assert [key for key in store.span_keys(9) if key[0] == "default"] == [("default", trace_id("t"), span_id(name)) for name in "abd"]
    assert sorted(store.log_keys(9)) == sorted(key for log in logs for key in translate(log).logs.keys)
    kept = {tenant: steps_of(store.events([SessionKey(tenant, "", "s")])) for tenant in ("default", "other")}
    assert [(step.span_id, step.output_text) for step in kept["default"]] == [
        (span_id("a"), "a says"),
        (span_id("b"), "b says"),
        (span_id("d"), None),
    ]
    assert [(step.span_id, step.output_text) for step in kept["other"]] == [(span_id("c"), None)]


@pytest.mark.parametrize("error", [ValueError, StoreUnavailable])
def test_sessions_catch_up_with_a_commit_that_they_failed_to_take_in(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    store, run = Failing(), Run()
    made, _ = pipeline(run, store)
    run.sessions._history = RecordedHistory(store, known=lambda key: bool(store.events([key], limit=1)))
    calls = [request(one) for one in loop("t", session="s", rounds=12)]
    apply, trouble = run.sessions.apply, [False, True, False, False] * 50

    def failing(events: Sequence[Event]) -> list[Finding]:
        if trouble.pop():
            raise error("the sessions cannot be read")
        return apply(events)

    monkeypatch.setattr(run.sessions, "apply", failing)
    for sent in calls:
        assert made.process([sent]) == [Outcome(accepted=1)]
    expected = Run().send_each(*calls)
    assert run.sums() == expected.sums()
    assert [(f.id, f.severity, f.halt_eligible) for f in store.emitted] == [(f.id, f.severity, f.halt_eligible) for f in expected.findings]


def test_a_commit_that_fails_while_the_one_before_is_looked_at_is_made_good() -> None:
    store, run = Failing(), Run()
    made, _ = pipeline(run, store)
    calls = [request(one) for one in loop("t", session="s", rounds=12)]
    with ThreadPoolExecutor(1) as writer:
        made._writer, made.answers_first = writer, True
        for number, sent in enumerate(calls):
            store.refuse = [full] if number % 3 == 0 else []
            while isinstance(made.process([sent])[0], StoreUnavailable):
                pass
        made.settle()
    expected = Run().send_each(*calls)
    assert [(f.id, f.severity, f.halt_eligible) for f in store.emitted] == [(f.id, f.severity, f.halt_eligible) for f in expected.findings]
    assert run.sums() == expected.sums()
