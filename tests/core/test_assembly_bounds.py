"""What assembly remembers is bounded in number and in bytes, and what it forgets changes nothing that stands."""

from collector.assembly import Assembler
from collector.decode import decode
from collector.dialects import fragment_of
from collector.traces import Limits
from detectors.model import CostBasis

from .agents import Run, agent, content_log, llm, request, span, tool, trace_id


def test_what_is_remembered_is_bounded() -> None:
    small = Limits(traces=10, spans=50, spans_per_trace=10, recent_steps=10, ids=10, sessions=10, waiting=10)
    assembler = Assembler(price=lambda _: (None, CostBasis.UNMETERED, None), limits=small)
    spans = [
        llm(f"a{n}", trace=f"t{n % 50}", parent=f"b{n}", response=f"r{n}", asks=[(f"c{n}", "x", {})], links=((f"t{n - 1}", "x"),))
        for n in range(500)
    ]
    spans += [span(f"z{n}", {"gen_ai.operation.name": "chat"}, trace="one", parent=f"p{n}", session=f"s{n}") for n in range(500)]
    for decoded in decode(request(*spans)).spans:
        fragment = fragment_of(decoded)
        assert fragment is not None
        assembler.add("default", fragment)
    assembler.take()
    kept = [assembler._steps, assembler._supplements, assembler._traces, assembler._calls]
    assert max(map(len, kept)) <= 10
    # Two generations of ten.
    assert max(map(len, [assembler._aliases, assembler._joins, assembler._twins])) <= 20
    held = [*assembler._traces._recent.values(), *assembler._traces._quiet.values()]
    assert all(len(trace.spans) <= 10 for trace in held)
    assert sum(len(trace.spans) for trace in held) == assembler._traces.spans <= 50


def test_a_trace_whose_spans_were_forgotten_is_still_its_session_s() -> None:
    run = Run(limits=Limits(spans=20))
    run.send(llm("a", trace="t", session="s"), agent("root", trace="t", session="s"))
    for number in range(10):
        run.send(*(llm(f"{number} {call}", trace=f"u{number}", session=f"u{number}") for call in range(5)))
    trace = run.assembler._traces.known("default", trace_id("t"))
    assert trace is not None
    assert not trace.spans
    run.send(llm("late", trace="t"))
    assert run.sums()["s"].llm_calls == 2


def test_late_facts_change_a_step_as_long_as_its_texts_fit() -> None:
    def told(limits: Limits) -> str | None:
        run = Run(limits=limits).send(llm("a", session="s"))
        for number in range(40):
            run.send(tool(f"t{number}", "search", {"q": "x" * 5_000}, trace=f"u{number}", session="u"))
        run.send(content_log("a", says="I looked."))
        return run.steps()[0].output_text

    assert told(Limits()) == "I looked."
    assert told(Limits(recent_steps_bytes=2**20)) == "I looked."
    assert told(Limits(recent_steps_bytes=2**16)) is None


def test_what_waits_for_a_span_is_bounded_in_bytes() -> None:
    run = Run(limits=Limits(waiting_bytes=2**20))
    for number in range(50):
        run.send(content_log(f"a{number}", says="x" * 50_000))
    assert 0 < len(run.assembler._supplements) < 25
    assert run.assembler._supplements.size < 2**20 + 8 * 60_000
