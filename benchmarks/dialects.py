"""CPU microseconds to decode and translate a span or log record, for each dialect and per kilobyte: `python -m benchmarks.dialects`.

Takes the recorded payloads of tests/dialects/golden, or of folders given. Sizes are those of the items as sent, so that what an
item costs at least (ids, times, names) is set against what it weighs at least. What decoding a request costs is divided among its
items by their sizes. A second table shows histories that grow.
"""

import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson

from collector.decode import decode
from collector.dialects import DIALECTS, fragment_of, fragment_of_log
from collector.recordings import requests
from collector.telemetry_data import LogRecord, Span

CAPTURES: Final = Path(__file__).parent.parent / "tests" / "dialects" / "golden"
_ROUNDS: Final = 5
_LIMIT: Final = 3.0
"""Times the median per kilobyte that no dialect should exceed."""

Item = Span | LogRecord


def dialect_of(item: Item) -> str | None:
    """The dialect that claims the item; None where nothing comes of it."""
    if isinstance(item, Span):
        return next((one.name for one in DIALECTS if one.recognises(item)), None) if fragment_of(item) is not None else None
    return next((one.name for one in DIALECTS if one.recognises_log(item)), None) if fragment_of_log(item) is not None else None


def weight(item: Item) -> int:
    """Bytes of the item as it was sent, roughly: its values, keys, ids and times without the resource."""
    fields = {field: getattr(item, field) for field in item.__struct_fields__ if field != "resource"}
    return len(msgspec.json.encode({key: value for key, value in fields.items() if value}))


def best_us(work: Callable[[], object]) -> float:
    """CPU microseconds, the best of several rounds."""
    best = float("inf")
    for _ in range(_ROUNDS):
        started = time.process_time_ns()
        work()
        best = min(best, (time.process_time_ns() - started) / 1000)
    return best


def cost_us(items: Sequence[Item]) -> float:
    """CPU microseconds to translate one item."""

    def translate() -> None:
        for item in items:
            if isinstance(item, Span):
                fragment_of(item)
            else:
                fragment_of_log(item)

    return best_us(translate) / len(items)


def grown(messages: int) -> Span:
    """A model call whose prompt repeats a history of that many messages."""
    history: list[dict[str, Any]] = []
    for number in range(messages // 2):
        call = {"type": "tool_call", "id": f"call_{number:08}", "name": "search", "arguments": {"query": f"page {number}"}}
        outcome = {"type": "tool_call_response", "id": f"call_{number:08}", "response": "a result of some length " * 8}
        history += [{"role": "assistant", "parts": [call]}, {"role": "tool", "parts": [outcome]}]
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "m",
        "gen_ai.input.messages": orjson.dumps(history).decode(),
        "gen_ai.output.messages": '[{"role": "assistant", "parts": [{"type": "text", "content": "Done."}]}]',
    }
    return Span(trace_id="1" * 32, span_id="2" * 16, attributes=attributes)


def flattened(messages: int) -> Span:
    """The same where each field of a message is an attribute of its own, as OpenInference has them."""
    attributes: dict[str, Any] = {"openinference.span.kind": "LLM", "llm.model_name": "m"}
    for number in range(messages):
        path = f"llm.input_messages.{number}.message"
        if number % 2:
            attributes |= {
                f"{path}.role": "tool",
                f"{path}.content": "a result of some length " * 8,
                f"{path}.tool_call_id": f"call_{number:08}",
            }
        else:
            call = f"{path}.tool_calls.0.tool_call"
            attributes |= {f"{path}.role": "assistant", f"{call}.id": f"call_{number + 1:08}", f"{call}.function.name": "search"}
    attributes |= {"llm.output_messages.0.message.role": "assistant", "llm.output_messages.0.message.content": "Done."}
    return Span(trace_id="1" * 32, span_id="2" * 16, attributes=attributes)


def report(folders: Sequence[Path], write: Callable[[str], object]) -> bool:
    """Writes both tables; returns whether every dialect stays below the limit."""
    by_dialect: dict[str, list[Item]] = defaultdict(list)
    decoding: dict[str, float] = defaultdict(float)
    for folder in folders:
        for request in requests(folder):
            if request.signal == "metrics":
                continue
            decoded = decode(request)
            items: list[Item] = [*decoded.spans]
            items += decoded.logs
            if not items:
                continue
            us_per_byte = best_us(lambda: decode(request)) / sum(map(weight, items))  # noqa: B023 — called at once
            for item in items:
                name = dialect_of(item)
                if name is not None:
                    by_dialect[name].append(item)
                    decoding[name] += us_per_byte * weight(item)
    rows = []
    for name, claimed in by_dialect.items():
        kilobytes = sum(map(weight, claimed)) / 1024 / len(claimed)
        spent, read = cost_us(claimed), decoding[name] / len(claimed)
        rows.append(((read + spent) / kilobytes, name, len(claimed), read, spent, kilobytes))
    median = statistics.median(row[0] for row in rows)
    write("| dialect | items | decode, µs an item | translate, µs an item | KB an item | µs a KB | × median |\n")
    write("|---|---:|---:|---:|---:|---:|---:|\n")
    for per_kilobyte, name, count, read, spent, kilobytes in sorted(rows):
        write(f"| {name} | {count} | {read:.1f} | {spent:.1f} | {kilobytes:.2f} | {per_kilobyte:.1f} | {per_kilobyte / median:.2f} |\n")
    write("\n| history | messages | KB | µs a span | µs a KB |\n|---|---:|---:|---:|---:|\n")
    for shape, make, sizes in (("JSON", grown, (4, 16, 64, 256, 1024)), ("attributes", flattened, (4, 16, 64, 256))):
        for messages in sizes:
            span = make(messages)
            kilobytes, spent = weight(span) / 1024, cost_us([span] * 50)
            write(f"| {shape} | {messages} | {kilobytes:.1f} | {spent:.1f} | {spent / kilobytes:.2f} |\n")
    return all(row[0] <= _LIMIT * median for row in rows)


if __name__ == "__main__":
    given = [Path(name) for name in sys.argv[1:]]
    below = report(given or sorted(path.parent for path in CAPTURES.glob("*/*/facts.json")), sys.stdout.write)
    sys.exit(0 if below else 1)
