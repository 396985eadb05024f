"""Results that only say that something was done. Pure functions over text."""

import re
from typing import Final

RECEIPT_WORDS: Final = 4
"""Words up to which a result only acknowledges, whatever was called: more words may tell why nothing came of it."""
RECEIPT_AT_MOST: Final = 32
"""Words up to which a result that holds no figure may be a receipt: what is longer, or counts something, reports."""

_FIGURE: Final = re.compile(r"\d")


def is_receipt(result: str, words: int) -> bool:
    """Whether a result of so many distinct words may say no more than that something was done.

    >>> is_receipt("updated 1 row", 3), is_receipt("Now the letter is queued.", 5), is_receipt("Written, but 2 tests fail", 5)
    (True, True, False)
    """
    return words <= RECEIPT_WORDS or (words <= RECEIPT_AT_MOST and _FIGURE.search(result) is None)
