"""Python's repr, read without running anything: plain values, and objects such as `ChatMessage(role='user', content=[…])`."""

import ast
import re
from typing import Any, Final

import orjson

KIND: Final = ""
"""Key under which a read object has the name of its class; attribute names are never empty."""
_CHARS: Final = 262_144
_MEMBER: Final = re.compile(r"role=<\w+\.\w+: ('[\w-]+')>")
"""The repr of an enumeration's member, which is no Python, where the two frameworks that write it have one."""
_STRINGS: Final = re.compile(r"""('[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*")""", re.DOTALL)
_PAUSE: Final = "\x00"
"""Stands for a string where the rest of the text is looked at."""
_LONG_NUMBER: Final = re.compile("[0-9]{17}")
_MARKED: Final = re.compile(r"\b[A-Za-z_]\w*+(?:\(\)?|=)|[()]", re.ASCII)
"""A class's name and its bracket, the name of a field, or a bracket by itself."""


class _Unusual(Exception):
    """What JSON does not have: left to Python's own parser."""


def plain(text: str) -> Any:
    """What the repr of lists, dicts and plain values stands for. None where it is no such repr.

    >>> plain("{'a': [1, None], 'b': True}")
    {'a': [1, None], 'b': True}
    """
    # Python takes blanks on a line below for an indentation.
    text = text.strip()
    try:
        return _by_json(text, objects=False)
    except (_Unusual, ValueError, SyntaxError):
        pass  # what JSON has no equal for
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None


def constructed(text: Any) -> Any:
    """What the repr stands for: plain values as such, an object as a dict of its fields. None where it is no repr.

    >>> constructed("Call(name='search', arguments={'q': -1}, tags=(1, None))")
    {'': 'Call', 'name': 'search', 'arguments': {'q': -1}, 'tags': [1, None]}
    """
    if not isinstance(text, str) or len(text) > _CHARS:
        return None
    if "<" in text:
        text = _MEMBER.sub(r"role=\1", text)
    try:
        return _by_json(text, objects=True)
    except (_Unusual, ValueError, SyntaxError):
        pass  # what JSON has no equal for
    try:
        return _value(ast.parse(text, mode="eval").body)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _by_json(text: str, *, objects: bool) -> Any:
    """Rewrites the repr as JSON, which is read several times faster than Python is parsed.

    Raises _Unusual or ValueError for what has no equal in JSON, and for what is no repr.
    """
    pieces = _STRINGS.split(text)
    between = _PAUSE.join(pieces[::2])
    if "null" in between or "true" in between or "false" in between or _LONG_NUMBER.search(between) is not None:
        raise _Unusual
    if between.count(_PAUSE) * 2 + 1 != len(pieces):
        raise _Unusual
    between = between.replace("None", "null").replace("True", "true").replace("False", "false")
    if objects:
        between = _objects(between)
    elif "(" in between:
        raise _Unusual
    pieces[::2] = between.split(_PAUSE)
    pieces[1::2] = [
        f'"{string[1:-1]}"' if "\\" not in string and (string[0] == '"' or '"' not in string) else _string(string)
        for string in pieces[1::2]
    ]
    return orjson.loads("".join(pieces))


def _objects(between: str) -> str:
    """Rewrites objects and tuples."""
    closing: list[str] = []

    def rewritten(match: re.Match[str]) -> str:
        mark = match[0]
        last = mark[-1]
        if last == "=":
            return f'"{mark[:-1]}":'
        if mark == ")":
            if not closing:
                raise _Unusual
            return closing.pop()
        if last == ")":
            return f'{{"":"{mark[:-2]}"}}'
        closing.append("]" if mark == "(" else "}")
        return "[" if mark == "(" else f'{{"":"{mark[:-1]}",'

    return _MARKED.sub(rewritten, between)


def _string(quoted: str) -> str:
    return orjson.dumps(ast.literal_eval(quoted) if "\\" in quoted else quoted[1:-1]).decode()


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {key.value: _value(value) for key, value in pairs if isinstance(key, ast.Constant) and isinstance(key.value, str)}
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = _value(node.operand)
        return -number if isinstance(number, int | float) else None
    if isinstance(node, ast.Call):
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        return {KIND: name} | {field.arg: _value(field.value) for field in node.keywords if field.arg}
    return None
