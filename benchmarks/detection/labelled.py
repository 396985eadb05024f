"""Labelled sessions: what a detector is judged on."""

import hashlib
import json
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

import msgspec

from benchmarks.detection.writer import Writer
from collector.error_classes import classify
from detectors import testing
from detectors.baseline import Baseline, Quantiles
from detectors.model import SessionKey, Step, ToolAsk

LOOPS: Final = frozenset({"exact_loop", "soft_loop", "ping_pong", "retry_storm", "no_progress"})
"""Causes of one family: whichever of them fires on a loop, the loop is found."""
MODEL: Final = "gpt-4o"
WINDOW: Final = 128_000
INPUT_USD: Final = Decimal("2.5") / 1_000_000
OUTPUT_USD: Final = Decimal(10) / 1_000_000
CEILING_USD: Final = Decimal(2)
"""The budget of sessions that have one."""


class Labelled(msgspec.Struct, frozen=True, kw_only=True):
    """One session with the truth about it."""

    id: str
    half: str
    source: str
    scenario: str
    expects: tuple[str, ...] = ()
    """Causes that should be named, the most precise first, any of them will do; empty for a healthy session."""
    onset: int | None = None
    """Index of the step with which the trouble begins."""
    steps: tuple[Step, ...]
    polling_tools: frozenset[str] = frozenset()
    """Tools that the operator declared as polling."""
    ceiling_usd: Decimal | None = None
    baseline: Baseline | None = None
    """What is usual for its agent type, where that is known."""
    halted_after: int | None = None
    """Index of the step after which it was halted."""
    silence_s: int = 0
    """Seconds that pass after the last step."""
    scored: bool = True
    """False where those who labelled it could not agree."""

    @property
    def circumstances(self) -> bool:
        """Whether it needs more than its telemetry to be judged: history, a halt, the passing of time."""
        return self.baseline is not None or self.halted_after is not None or self.silence_s > 0

    @property
    def positive(self) -> bool:
        return bool(self.expects)

    @property
    def quiet_steps(self) -> int:
        """Steps during which nothing may fire."""
        return len(self.steps) if self.onset is None else self.onset


class Draft:
    """A session being written. Scenarios call it; it adds what models say between calls, with tokens and prices."""

    def __init__(self, writer: Writer) -> None:
        dice = writer.dice
        self.writer = writer
        self.dice = dice
        self.subject = writer.subject()
        self.aspect = writer.aspect()
        self.agent: str = writer.agents(1)[0]
        manner = dice.random()
        self.speaking: bool = manner < 0.5
        self.models: bool = manner < 0.75
        """Whether the model's calls are told at all: some senders report tools only."""
        self.tokens = dice.randint(900, 4000)
        self.growth = 1.0
        self.steps: list[Step] = []
        self.onset: int | None = None
        self.polling: set[str] = set()
        self.ceiling: Decimal | None = None
        self.baseline: Baseline | None = None
        self.halted_after: int | None = None
        self.silence_s = 0

    def trouble(self) -> None:
        """From the next step on it goes wrong."""
        self.onset = len(self.steps)

    def say(
        self,
        text: str | None = None,
        *,
        asked: str | None = None,
        agent: str | None = None,
        spoken: int | None = None,
        fresh: int | None = None,
    ) -> None:
        """A model call of `spoken` tokens after `fresh` new ones came in: as long as the texts are unless given."""
        came = fresh if fresh is not None else tokens_of(asked)
        self.tokens = int(self.tokens * self.growth) + came
        said = spoken if spoken is not None else tokens_of(text)
        self.steps.append(
            testing.llm(
                MODEL,
                text,
                agent=agent or self.agent,
                input_text=asked,
                input_tokens=self.tokens,
                output_tokens=said,
                context_window=WINDOW,
                cost_usd=self.tokens * INPUT_USD + said * OUTPUT_USD,
            )
        )
        self.tokens += said

    def call(self, tool: str, arguments: Any, result: Any, *, failed: bool = False, agent: str | None = None, silent: bool = False) -> None:
        """A tool call, and before it the model call that asked for it, with a thought where this agent thinks aloud."""
        if self.models and not silent:
            thought = self.writer.thought(tool, self.subject, self.writer.aspect()) if self.speaking else None
            self.say(thought, agent=agent, spoken=tokens_of(thought) + tokens_of(arguments) + 8)
        error = {"error": True, "error_type": "tool_error", "error_message": str(result)} if failed else {}
        self.steps.append(testing.tool(tool, arguments, result, agent=agent or self.agent, **error))
        if self.models:
            self.tokens += tokens_of(result)

    def ask(self, tool: str) -> None:
        """A model call that asks for a tool whose result is not there yet."""
        self.say(self.writer.thought(tool, self.subject, self.aspect))
        self.steps[-1] = msgspec.structs.replace(self.steps[-1], asks=(ToolAsk(call_id=f"call-{len(self.steps)}", name=tool),))

    def usual(self, **p99: float) -> None:
        """What sessions of this agent type usually need, by measure."""
        spread = {name: Quantiles(p50=top / 2, p95=top * 0.9, p99=top) for name, top in p99.items()}
        self.baseline = Baseline(sessions=200, measures=spread)

    def hand(self, to: str, asked: str, answered: str) -> None:
        """One agent asked, and what it answered."""
        self.steps.append(testing.agent(to, asked, answered))

    def work(self, calls: int) -> None:
        """Ordinary work: different things looked up, read and written, each with something new to say."""
        writer, dice = self.writer, self.dice
        for _ in range(calls):
            slot = dice.choice(("search", "read", "read", "write", "run", "ask"))
            tool = writer.tool(slot)
            if slot == "search":
                subject, aspect = writer.subject(), writer.aspect()
                self.call(tool, {writer.argument: next(writer.wordings(subject, aspect))}, writer.text(dice.randint(2, 6), subject))
            elif slot == "read":
                self.call(tool, {writer.unit: writer.item()}, writer.text(dice.randint(3, 9)))
            elif slot == "write":
                self.call(tool, {writer.unit: writer.item(), "content": writer.text(1)}, writer.pick(writer.all["acks"]))
            elif slot == "run":
                self.call(tool, {"target": writer.item()}, f"{writer.number(60)} checks, {writer.text(2)}")
            else:
                self.call(tool, {"message": writer.text(1)}, writer.text(2))

    def done(self, *, id_: str, scenario: str, expects: Iterable[str]) -> Labelled:
        return finish(
            self.steps,
            id_=id_,
            half=self.writer.half,
            source=self.writer.domain,
            scenario=scenario,
            expects=expects,
            onset=self.onset,
            polling_tools=frozenset(self.polling),
            ceiling_usd=self.ceiling,
            baseline=self.baseline,
            halted_after=self.halted_after,
            silence_s=self.silence_s,
        )


def tokens_of(value: Any) -> int:
    """About how many tokens a text, or a value written as JSON, comes to."""
    if value is None:
        return 0
    return len(value if isinstance(value, str) else json.dumps(value)) // 4 + 4


def finish(steps: Iterable[Step], *, id_: str, expects: Iterable[str], **fields: Any) -> Labelled:
    """Numbers the steps of a session and gives them times, two seconds a step, and ids of their own."""
    key = SessionKey("default", "default", id_)
    trace = hashlib.blake2b(id_.encode(), digest_size=16).hexdigest()
    numbered = [
        msgspec.structs.replace(step, trace_id=trace, span_id=f"{trace[:8]}{step.seq:08x}") for step in testing.session(*steps, key=key)
    ]
    numbered = [_classified(step) if step.error else step for step in numbered]
    return Labelled(id=id_, expects=tuple(expects), steps=tuple(numbered), **fields)


def _classified(step: Step) -> Step:
    """As the receiver would read it."""
    return msgspec.structs.replace(step, error_class=classify(step.error_type, step.error_message))
