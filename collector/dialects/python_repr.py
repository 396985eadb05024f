"""Objects that a framework wrote down as Python's repr: `ChatMessage(role='user', content=[…])`, read without running anything."""

import ast
import re
from typing import Any, Final

KIND: Final = ""
"""Key under which a read object has the name of its class; attribute names are never empty."""
_CHARS: Final = 262_144
_MEMBER: Final = re.compile(r"(?<=role=)<\w+\.\w+: ('[\w-]+')>")
"""The repr of an enumeration's member, which is no Python, where the two frameworks that write it have one."""


def constructed(text: Any) -> Any:
    """What the repr stands for: plain values as such, an object as a dict of its fields. None where it is no repr.

    >>> constructed("Call(name='search', arguments={'q': -1}, tags=(1, None))")
    {'': 'Call', 'name': 'search', 'arguments': {'q': -1}, 'tags': [1, None]}
    """
    if not isinstance(text, str) or len(text) > _CHARS:
        return None
    try:
        return _value(ast.parse(_MEMBER.sub(r"\1", text), mode="eval").body)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


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
