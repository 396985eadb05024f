"""How many words of a result no earlier result of the same tool had brought."""

from typing import Final

from detectors.calls import Tool
from detectors.text import mask, tokens

ECHO_WORDS: Final = 24
"""Words up to which a result is searched for echoes of the arguments, however new it looks."""
_NO_WORDS: Final[frozenset[bytes]] = frozenset()


def count_new(tool: Tool, brought: frozenset[bytes], shown: str, arguments: str) -> tuple[int, int]:
    """Counts the new words among those that a result `brought`, and all of them.

    Where few are new, what changes by itself in the text `shown` does not count, nor do the words of the arguments.
    """
    total = len(brought)
    young, old = tool.words(), tool.old
    known = brought & young if young else _NO_WORDS
    if old:
        known |= brought & old
    count = total - len(known)
    if count and (count * 2 < total or total <= ECHO_WORDS):
        new = brought - known
        if arguments:
            new -= tokens(arguments)
        if new and tool.results and len(new) * 2 < total:
            unmasked = tokens(mask(shown))
            new &= unmasked
            total = len(unmasked)
        count = len(new)
    return count, total
