"""Makes a golden payload of a recorded one: `python -m tests.dialects.trim RECORDED GOLDEN` (folders of one scenario each).

Cut are long texts, inside JSON too, the middle of long histories, and all but a few of the spans and records that say nothing
of a step. What the dialects make of the payload stays the same but for those texts, else it is told.
"""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any, Final

from benchmarks.otlp import JSON_LEVELS, LEVELS, MESSAGES
from collector.decode import decode
from collector.dialects import fragment_of, fragment_of_log
from collector.model import Request
from tests.core.agents import Run
from tests.dialects.captures import outcome, requests

_KEPT: Final = 100
_REPR: Final = re.compile(r"^\w*Chat\w+\(|^\{'|^\[\{'")
"""Python's reprs are left whole: cut ones are none."""
_HISTORY: Final = 6
_INDEXED: Final = re.compile(r"(llm\.input_messages|gen_ai\.prompt|llm\.tools|llm\.request\.functions)\.(\d+)\.")
_NOISE: Final = 2
"""Of the items of one name that say nothing so many stay, as the tests should see such too."""


def cut(text: str) -> str:
    """A text that is short enough to read; JSON stays JSON of the same structure."""
    if len(text) <= _KEPT or _REPR.match(text):
        return text
    if text[0] in "{[":
        try:
            return json.dumps(cut_all(json.loads(text)), ensure_ascii=False)
        except ValueError:
            pass
    return text[:_KEPT] + "…"


def cut_all(value: Any) -> Any:
    """A tree with all its texts cut."""
    if isinstance(value, str):
        return cut(value)
    if isinstance(value, dict):
        return {key: cut_all(inner) for key, inner in value.items()}
    if not isinstance(value, list):
        return value
    long = len(value) > _HISTORY and all(isinstance(inner, dict) for inner in value)
    return [cut_all(inner) for inner in ([value[0], *value[2 - _HISTORY :]] if long else value)]


def _old(keys: list[str]) -> set[str]:
    """Of flattened histories the keys of messages in the middle."""
    found: dict[str, set[int]] = {}
    for key in keys:
        if (match := _INDEXED.match(key)) is not None:
            found.setdefault(match[1], set()).add(int(match[2]))
    gone = {(prefix, number) for prefix, numbers in found.items() for number in sorted(numbers)[1 : 2 - _HISTORY]}
    return {key for key in keys if (match := _INDEXED.match(key)) is not None and (match[1], int(match[2])) in gone}


def _cut_any(value: Any) -> None:
    """The same for an OTLP AnyValue, in place."""
    kind = value.WhichOneof("value")
    if kind == "string_value":
        value.string_value = cut(value.string_value)
    elif kind == "array_value":
        for inner in value.array_value.values:
            _cut_any(inner)
    elif kind == "kvlist_value":
        for pair in value.kvlist_value.values:
            _cut_any(pair.value)


def _said_nothing(request: Request) -> list[bool]:
    """For each item in order, whether no dialect makes anything of it."""
    decoded = decode(request)
    return [fragment_of(item) is None for item in decoded.spans] or [fragment_of_log(item) is None for item in decoded.logs]


def trimmed(request: Request, seen: dict[str, int]) -> bytes | None:
    """The body of the request, trimmed; None where nothing of it is left."""
    if request.encoding == "json":
        return _trimmed_json(request, seen)
    message = MESSAGES[request.signal].FromString(request.body)
    resources, scopes, items = LEVELS[request.signal]
    silent = iter(_said_nothing(request))
    kept = 0
    for resource in getattr(message, resources):
        for scope in getattr(resource, scopes):
            found = getattr(scope, items)
            stay = []
            for item in found:
                name = getattr(item, "name", "") or item.__class__.__name__
                if next(silent, False):
                    seen[name] = seen.get(name, 0) + 1
                    if seen[name] > _NOISE or len(seen) > 40:
                        continue
                for event in getattr(item, "events", ()):
                    for pair in event.attributes:
                        if pair.key != "exception.message":  # what kind of error it is stands anywhere in it
                            _cut_any(pair.value)
                old = _old([pair.key for pair in item.attributes])
                for place in reversed(range(len(item.attributes))):
                    if item.attributes[place].key in old:
                        del item.attributes[place]
                for pair in item.attributes:
                    _cut_any(pair.value)
                if request.signal == "logs":
                    _cut_any(item.body)
                elif len(item.status.message) > 4 * _KEPT:
                    item.status.message = item.status.message[: 4 * _KEPT]
                stay.append(item)
            copies = [type(item).FromString(item.SerializeToString()) for item in stay]
            del found[:]
            found.extend(copies)
            kept += len(copies)
    return message.SerializeToString() if kept else None


def _trimmed_json(request: Request, seen: dict[str, int]) -> bytes | None:
    tree = json.loads(request.body)
    resources, scopes, items = JSON_LEVELS[request.signal]
    silent = iter(_said_nothing(request))
    kept = 0
    for resource in tree.get(resources, []):
        for scope in resource.get(scopes, []):
            stay = []
            for item in scope.get(items, []):
                if next(silent, False):
                    name = str(item.get("name", "record"))
                    seen[name] = seen.get(name, 0) + 1
                    if seen[name] > _NOISE or len(seen) > 40:
                        continue
                old = _old([pair["key"] for pair in item.get("attributes", [])])
                attributes = [cut_all(pair) for pair in item.pop("attributes", []) if pair["key"] not in old]
                stay.append({**{key: cut_all(value) for key, value in item.items()}, "attributes": attributes})
            scope[items] = stay
            kept += len(stay)
    return json.dumps(tree, ensure_ascii=False).encode() if kept else None


def exact(folder: Path) -> list[dict[str, Any]]:
    """The steps without the texts that may be cut."""
    found = outcome(Run().send_each(*requests(folder)))
    return [{field: value for field, value in step.items() if field not in {"arguments", "result"}} for step in found]


def main(source: Path, target: Path) -> None:
    """Trims one scenario."""
    before = exact(source)
    if source != target:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
    seen: dict[str, int] = {}
    bodies = [(path, trimmed(request, seen)) for path, request in zip(_files(source), requests(source), strict=True)]
    for path, body in bodies:
        if body is not None:
            (target / path.name).write_bytes(body)
        elif source == target:
            path.unlink()
    facts = json.loads((source / "facts.json").read_text())
    for key in ("environment", "note", "arrival_ms", "content_switch"):
        facts.pop(key, None)
    (target / "facts.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    after = exact(target)
    if before != after:
        sys.exit(f"{target}: the steps have changed\n{before}\n{after}")


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if len(path.name.split(".")) == 3 and path.name.split(".")[1] in LEVELS]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
