"""Long texts are stored once, by content: message histories grow with every call and would otherwise be stored with each.

A JSON array is taken apart into its members, so that a history that grew by one message adds one content.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import msgspec

LONG_CHARACTERS: Final = 1_024
"""Texts from this length on are stored by content."""
LOOK_BYTES: Final = 2_048
"""Only attributes and events that take so many bytes are searched for long texts."""
LOOK_BACK: Final = 65_536
"""How many contents of a partition are known again; those seen longest ago are stored once more."""
_SHORT_PART: Final = 128
"""Members of an array below this length cost less than a reference."""
_SEPARATORS: Final = (", ", ",")

_EXTENSION: Final = 1
"""Code of the MessagePack extension that stands for a text."""


class Reference(msgspec.Struct, array_like=True):
    """A text as its parts: strings, or `(block, place)` of a content. `separator` is None where one part is all of it."""

    separator: str | None
    parts: list[str | tuple[int, int]]


Lookup = Callable[[int, int], str]
"""The content at a place of a block."""

_pack = msgspec.msgpack.Encoder().encode
_decode_reference = msgspec.msgpack.Decoder(Reference).decode


class Contents:
    """The contents that one partition holds, as far as they are remembered. Belongs to the writing thread."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, tuple[int, int]] = OrderedDict()
        self._fresh: dict[bytes, tuple[int, int]] = {}

    def keep(self) -> None:
        """What was referred to since the last call is stored: it may be referred to from now on."""
        for digest, place in self._fresh.items():
            self._known[digest] = place
            self._known.move_to_end(digest)
        while len(self._known) > LOOK_BACK:
            self._known.popitem(last=False)
        self._fresh.clear()

    def forget(self) -> None:
        """What was referred to since the last `keep` was not stored."""
        self._fresh.clear()

    def reference(self, text: str, block: int, added: list[str]) -> Reference:
        """The text as a reference; contents that are not stored yet are appended to `added`, the contents of `block`."""
        separator, parts = _members(text)
        return Reference(separator, [part if len(part) < _SHORT_PART else self._place(part, block, added) for part in parts])

    def without_long(self, value: Any, block: int, added: list[str]) -> Any:
        """Plain values with MessagePack extensions in place of long texts, wherever they are."""
        if isinstance(value, str):
            if len(value) < LONG_CHARACTERS:
                return value
            return msgspec.msgpack.Ext(_EXTENSION, _pack(self.reference(value, block, added)))
        if isinstance(value, dict):
            return {key: self.without_long(each, block, added) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.without_long(each, block, added) for each in value]
        return value

    def _place(self, text: str, block: int, added: list[str]) -> tuple[int, int]:
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        place = self._fresh.get(digest) or self._known.get(digest)
        if place is None:
            place = (block, len(added))
            added.append(text)
        self._fresh[digest] = place
        return place


def whole(reference: Reference, lookup: Lookup) -> str:
    """The text that a reference stands for."""
    parts = [part if isinstance(part, str) else lookup(*part) for part in reference.parts]
    return parts[0] if reference.separator is None else "[" + reference.separator.join(parts) + "]"


def decode_extension(lookup: Lookup) -> Callable[[int, memoryview], str]:
    """Reads the extensions that `Contents.without_long` wrote."""

    def decode(code: int, data: memoryview) -> str:
        if code != _EXTENSION:
            raise ValueError(f"a block holds the unknown extension {code}: a newer version wrote it")
        return whole(_decode_reference(data), lookup)

    return decode


def _members(text: str) -> tuple[str | None, list[str]]:
    """A JSON array as its members and what separates them; anything else, or one written in an odd way, as one whole."""
    if text.startswith("["):
        try:
            members = [bytes(each).decode() for each in msgspec.json.decode(text, type=list[msgspec.Raw])]
        except (msgspec.DecodeError, RecursionError):
            return None, [text]
        for separator in _SEPARATORS:
            if len(members) > 1 and "[" + separator.join(members) + "]" == text:
                return separator, members
    return None, [text]
