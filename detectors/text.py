"""Text as sets of words, with what changes by itself masked. Pure functions, shared by the features."""

import re
from functools import lru_cache
from typing import Any, Final

import msgspec

BETWEEN: Final = "\x1f"
"""Parts the members of a list: the unit separator of ASCII, which texts do not hold."""
_NAMES: Final = 4096
"""Names of tools whose reading is remembered, over all sessions."""
_TEXTS: Final = 4096
"""Beginnings of results, of up to 240 characters, whose reading is remembered over all sessions: what is stuck repeats itself."""

_WORD_BYTES: Final = bytes(
    byte + 32 if 65 <= byte <= 90 else byte if 48 <= byte <= 57 or 97 <= byte <= 122 or byte == 95 else 32 for byte in range(256)
)
_WORDS_ANY_SCRIPT: Final = re.compile(r"[a-z0-9_]+|[^\x00-\x7f]{1,2}")

_PUNCTUATION: Final = frozenset(" \t\r\n[](){}\"'.,:;")
"""Signs that say nothing where there is nothing else."""

_MOMENTS: Final = r"""
      \b\d{4}-\d\d-\d\d[t ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:z|[+-]\d\d:?\d\d)?     # time stamp, RFC 3339
    | \b\d\d:\d\d:\d\d(?:[.,]\d+)?                                                  # clock time
    | \b\d+(?:\.\d+)?\s?(?:ms|s|secs?|seconds?|us|ns)\b                             # duration
"""
_IDS: Final = r"""
    | \b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b              # UUID, RFC 9562
    | \b0x[0-9a-f]{6,}                                                              # address in memory
    | \b(?=[a-f]*\d)[0-9a-f]{12,}\b                                                 # hash, trace id, nonce
    | \b\d{10,}\b                                                                   # seconds or more since the epoch
"""
_MOMENT: Final = re.compile(_MOMENTS, re.VERBOSE)
_VOLATILE: Final = re.compile(_MOMENTS + _IDS, re.VERBOSE)
_ID_CHARS: Final = 80
"""Characters up to which a text may be an id and nothing else."""
_AN_ID: Final = re.compile(r"\W*(?:" + _IDS.strip().removeprefix("|") + "\n)" + r"\W*", re.VERBOSE)
_CLOCK_READING: Final = re.compile(r":\d\d[.,]\d*[1-9]")
"""A time to the fraction of a second: read off a clock, not chosen."""
_NONCE: Final = re.compile(
    r"(?:^|[^a-z])(?:req(?:uest)?_?id|idempotency|trace|span|correlation|nonce|time_?stamp|ts|now|salt|cache)(?:[^a-z]|$)"
)
"""In the name of an argument: what it holds is made up anew for each call."""
_FITS: Final = re.compile(r"(\b\w*(?:score|distance)\\*[\"']?\s*[:=]\s*)-?\d+\.\d+")
"""How well a hit fits, with what names it."""
_HEX_ALIKE: Final = bytes(ord("h") if chr(byte) in "0123456789abcdef" else ord(" ") for byte in range(256))
_EIGHT_HEX: Final = b"h" * 8
"""With `_HEX_ALIKE`: what a UUID, a hash or seconds since the epoch cannot do without."""
_DIGITS_ALIKE: Final = bytes(ord("0") if 48 <= byte <= 57 else ord(" ") if chr(byte).isspace() else byte for byte in range(256))
_SIGNS: Final = (b"0:00", b"0x", *(b"0" + space + unit for space in (b"", b" ") for unit in (b"m", b"s", b"u", b"n")))
"""With `_DIGITS_ALIKE`: what a time, an address or a duration cannot do without."""
_FAILURE: Final = re.compile(
    r"(?<!\b0 )(?<!\bno )(?<!\bwithout )(?<!\bwithout any )\b(?:errors?|exception|traceback|failed|failure|fatal|invalid|"
    r"denied|refused|forbidden|unauthorized|timeout|timed[ _]out|unable|unknown|unrecognized|unexpected|illegal|not allowed|"
    r"cannot|can't|could not|couldn't|no such|command not found|does(?:n't| not) exist|\w+(?:error|exception))\b"
    r"(?!\\*[\"']?\s*[:=]\s*(?:false|null|none|0|\\*[\"']{2}|\[\]|\{\})|\s+0\b)"  # but not `"isError": false`, `"error": null`
)
_FAILURE_FIRST: Final = re.compile(
    r"\W*(?:\w+\W+)?(?:errors?|exception|traceback|failed|failure|fatal|invalid|denied|forbidden|unauthorized|cannot|unable|"
    r"no such|not found|\w+(?:error|exception))\b"
)
"""Within the first two words."""
_NOTHING_FOUND: Final = re.compile(
    r"\b(?:no|zero|0) (?:\w+ )?(?:results?|matches|match|records?|rows?|entries|items?|hits|documents|data|files?|information)\b|"
    r"\bnot found\b|\bnothing (?:was )?found\b|\b(?:not|n't) find\b|\bno such\b|"
    r"^[\s\[\](){}\"'.,;:]*(?:([^\w\s\[\](){}\"'.,;:])\1*)?[\s\[\](){}\"'.,;:]*$|^(?:none|null|false)$"
)
_LEFT_OUT: Final = re.compile(
    r"\W*(?:(?:the|an?|this|tool|file|inline|base64|png|jpe?g|result|output|content|text|data) ?){0,3}"
    r"(?:image|images|screenshot|screen shot|picture|photo|audio|video|binary|binary data|blob|attachment|redacted|omitted|masked|hidden|"
    r"filtered|scrubbed|truncated|not captured|not recorded)(?: (?:data|content|bytes|file|output|omitted|redacted|attached|here))*\W*$"
)
"""All that a result says is that it was no text, or was left out."""
_LEFT_OUT_CHARS: Final = 60
_POLL: Final = re.compile(
    r"(?:^|[^a-z])(?:poll|status|wait|sleep|watch|ping|health(?:z|_?check)?|heartbeat|progress|is_?(?:ready|done))(?:[^a-z]|$)"
)
_PENDING: Final = re.compile(
    r"(?:\b|_)(?:running|pending|queued|in[ _-](?:progress|queue)|waiting|not (?:ready|yet|available yet)|still \w+ing|"
    r"up_for_retry|scheduled|"
    r"(?:re|de|un)?(?:processing|starting|creating|building|deploying|provisioning|initiali[sz]ing|installing|updating|upgrading|modifying|"
    r"deleting|removing|terminating|stopping|booting|restoring|validating|verifying|finali[sz]ing|compiling|encoding|rendering|training|"
    r"indexing|importing|exporting|uploading|downloading|migrating|replicating|propagating|draining|scaling|pulling|syncing|rotating)(?:_\w+)?|"
    r"backing[ _-]up|\w+creating)\b"
)
"""In an answer: what is asked for is under way. As services, clusters and pipelines name such states."""
_PENDING_ALONE: Final = re.compile(
    r"(?:\b|_)(?:pending\w*|queued|in[ _-](?:progress|queue)|waiting for|not ready|not yet|\w+creating)\b|"
    r"\b(?:status|state|phase)\\*[\"']?\s*[:=]\s*\\*[\"']?\w*ing(?:_\w+)?\b"
)
"""The same where it stands among more words: what hardly means anything else, or is said to be a state."""
_STATE_WORDS: Final = 40
"""Words up to which a result may tell the state of something."""
_MEASURE: Final = re.compile(
    r"(?:^|[^a-z])(?:pages?|cursor|offset|start|skip|after|before|limit|size|count|top|top_?k|k|n|num|max|min|per_?page|depth|attempts?|"
    r"retry|retries|timeout|wait|delay|seconds|temperature|seed|verbose)(?:[^a-z]|$)"
)
"""In the name of an argument: it says where in a list, how much or how long, not what."""
_DURATION: Final = re.compile(r"(?:^|[^a-z])(?:seconds?|secs?|minutes?|ms|millis(?:econds)?|duration|delay|wait|sleep)(?:[^a-z]|$)")
_ASK: Final = re.compile(r"(?:^|[^a-z])(?:search|find|query|lookup|look|get|fetch|list|read|browse|retrieve|check|ask|sql)(?:[^a-z]|$)")
_PERSON: Final = re.compile(
    r"(?:^|[^a-z])(?:ask|tell|prompt|question|confirm|notify|reply|talk|message)_?(?:with|to|the)?_?(?:end_?)?"
    r"(?:user|human|person|customer|client)s?(?:[^a-z]|$)"
)
"""In the name of a tool: it turns to somebody who answers when they like, and who can end it."""
_HANDS_OVER: Final = re.compile(
    r"(?:^|[^a-z])(?:transfer|hand_?off|hand_?over|delegate|route|escalate|forward|ask)_?(?:back_?)?(?:to)?(?:[^a-z]|$)"
)
_WRITE: Final = re.compile(
    r"(?:^|[^a-z])(?:write|create|insert|update|add|append|edit|replace|patch|set|save|put|post|send|upload|delete|remove|move|"
    r"rename|copy|resize|convert|import|generate|render|draw|place|buy|pay|invite|deploy|assign|schedule|register|commit|submit|publish|mkdir|"
    r"touch|modify|store|record|log|book|cancel|return|exchange)(?:[^a-z]|$)"
)


def words(text: str) -> frozenset[str]:
    """Lists the distinct words of `text` in lower case; digits are words, punctuation is not.

    Scripts that do not part words with spaces are cut into pairs of characters.

    >>> sorted(words('{"Query": "Q3 revenue", "limit": 10}'))
    ['10', 'limit', 'q3', 'query', 'revenue']
    """
    if text.isascii():
        return frozenset(text.encode().translate(_WORD_BYTES).decode("ascii").split())
    return frozenset(_WORDS_ANY_SCRIPT.findall(text.lower()))


def tokens(text: str) -> frozenset[bytes]:
    """The same words as UTF-8: quicker to make and smaller to keep, for those who only count and compare them.

    >>> sorted(tokens("Q3 revenue")) == sorted(word.encode() for word in words("Q3 revenue"))
    True
    """
    if text.isascii():
        return frozenset(text.encode().translate(_WORD_BYTES).split())
    return frozenset(word.encode(errors="surrogatepass") for word in _WORDS_ANY_SCRIPT.findall(text.lower()))


def signs(text: str) -> frozenset[bytes]:
    """A text without words as one word, if it holds different signs: a board or a bar says what it says as a whole.

    >>> signs("#..@"), signs("[]"), signs("=====")
    (frozenset({b'#..@'}), frozenset(), frozenset())
    """
    return frozenset((text.strip().encode(errors="surrogatepass"),)) if len(set(text) - _PUNCTUATION) > 1 else frozenset()


def mask(text: str) -> str:
    """Replaces what changes from call to call by itself: ids, time stamps, durations. Other digits stay: they are progress.

    >>> mask("job 7 took 31 ms at 2026-03-02T00:54:04.628Z")
    'job 7 took ~ at ~'

    How well each of several hits fits a question changes with the question; a single score may be what somebody works on.

    >>> mask('[{"doc": "a", "score": 0.81}, {"doc": "b", "score": 0.4}]'), mask('{"score": 0.81}')
    ('[{"doc": "a", "score": ~}, {"doc": "b", "score": ~}]', '{"score": 0.81}')
    """
    lowered = text.lower()
    if lowered.count("score") > 1 or lowered.count("distance") > 1:
        lowered = _mask_fits(lowered)
    return _VOLATILE.sub("~", lowered) if _may_be_volatile(lowered) else lowered


def is_an_id(text: str) -> bool:
    """Whether a text is an id and nothing else: then it is the answer, and another each time.

    >>> is_an_id("4bf92f3577b34da6a3ce929d0e0e4736"), is_an_id("created 4bf92f3577b34da6a3ce929d0e0e4736")
    (True, False)
    """
    return len(text) <= _ID_CHARS and _AN_ID.fullmatch(text.lower()) is not None


def _mask_fits(text: str) -> str:
    masked, hits = _FITS.subn(r"\1~", text)
    return masked if hits > 1 else text


def _may_be_volatile(text: str) -> bool:
    """Whether `text`, in lower case, may hold something to mask. Most texts do not, and the search itself takes twenty times as long."""
    if not text.isascii():
        return True
    raw = text.encode()
    if _EIGHT_HEX in raw.translate(_HEX_ALIKE):
        return True
    alike = raw.translate(_DIGITS_ALIKE)
    return any(map(alike.__contains__, _SIGNS))


def reads_as_failure(text: str, *, at_once: bool = False) -> bool:
    """Whether the first 240 characters use the words of an error, `at_once` the first or the second word.

    Only a hint: many tools report failure in plain text.

    >>> reads_as_failure("Error: no such file"), reads_as_failure("0 errors"), reads_as_failure("Taken in. An error is told by mail.")
    (True, False, True)
    >>> reads_as_failure("Error: no such file", at_once=True), reads_as_failure("Taken in. An error is told by mail.", at_once=True)
    (True, False)
    """
    return _fails(text[:240]) and (not at_once or _FAILURE_FIRST.match(text[:240].lower()) is not None)


def reads_as_nothing_found(text: str) -> bool:
    """Whether the first 240 characters say that there is nothing there."""
    return _finds_nothing(text[:240])


def reads_as_left_out(text: str) -> bool:
    """Whether a text only stands for what is no text, or was left out of the telemetry: each time it may be something else.

    >>> reads_as_left_out("[image]"), reads_as_left_out("<redacted>"), reads_as_left_out("The image was redacted as told.")
    (True, True, False)
    """
    return len(text) <= _LEFT_OUT_CHARS and _LEFT_OUT.match(text.lower()) is not None


def reads_as_polling(tool: str, result: str, result_words: int) -> bool:
    """Whether the tool's name, or its result of at most 40 words, says that something is being waited for."""
    return _polls(tool) or (result_words <= _STATE_WORDS and _is_under_way(result[:240], alone=result_words > 12))


@lru_cache(maxsize=_NAMES)
def reads_as_write(tool: str) -> bool:
    """Whether the tool's name says that it changes something: a short acknowledgement is then all one can expect."""
    return _WRITE.search(snake(tool)) is not None


@lru_cache(maxsize=_NAMES)
def reads_as_question(tool: str) -> bool:
    """Whether the tool's name says that it looks something up: more than an acknowledgement is then to be expected."""
    return _ASK.search(snake(tool)) is not None and not turns_to_a_person(tool)


@lru_cache(maxsize=_NAMES)
def turns_to_a_person(tool: str) -> bool:
    """Whether the tool's name says that it asks or tells a person: yes or no is then an answer, and the person can end it.

    >>> turns_to_a_person("ask_user"), turns_to_a_person("ask_expert_agent"), turns_to_a_person("get_user")
    (True, False, False)
    """
    return _PERSON.search(snake(tool)) is not None


@lru_cache(maxsize=_NAMES)
def hands_over(tool: str) -> bool:
    """Whether the tool's name says that it passes work to another agent."""
    return _HANDS_OVER.search(tool.lower()) is not None and not turns_to_a_person(tool)


@lru_cache(maxsize=_NAMES)
def reads_as_measure(argument: str) -> bool:
    """Whether the argument's name says where in a list, how much or how long."""
    return _MEASURE.search(snake(argument)) is not None


@lru_cache(maxsize=_NAMES)
def reads_as_duration(argument: str) -> bool:
    """Whether the argument's name says how long to wait."""
    return _DURATION.search(snake(argument)) is not None


@lru_cache(maxsize=_TEXTS)
def _fails(text: str) -> bool:
    return _FAILURE.search(text.lower()) is not None


@lru_cache(maxsize=_TEXTS)
def _finds_nothing(text: str) -> bool:
    return _NOTHING_FOUND.search(text.lower()) is not None


@lru_cache(maxsize=_TEXTS)
def _is_under_way(text: str, *, alone: bool) -> bool:
    return (_PENDING_ALONE if alone else _PENDING).search(text.lower()) is not None


@lru_cache(maxsize=_NAMES)
def _polls(tool: str) -> bool:
    return _POLL.search(snake(tool)) is not None


def snake(name: str) -> str:
    """Parts the words of a name with underscores, in lower case."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def quote(text: str, limit: int) -> str:
    """Cuts `text` to `limit` characters for evidence, and replaces what cannot be written as UTF-8.

    >>> quote("a long result", 6)
    'a lon…'
    """
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return cut if cut.isascii() else cut.encode(errors="replace").decode()


def leaves(text: str) -> dict[str, str] | None:
    r"""Flattens a JSON object to path → value as text, two levels deep. None where `text` is no JSON object.

    The members of a list stand one after the other, parted by `BETWEEN`; of an object deeper down only the values.

    >>> leaves('{"row": {"id": 7}, "tags": ["a", "b"]}')
    {'row.id': '7', 'tags': 'a\x1fb'}
    """
    try:
        document = msgspec.json.decode(text)
        return _flat(document) if isinstance(document, dict) else None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _flat(document: dict[str, Any]) -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in document.items():
        if isinstance(value, dict):
            flat.update({f"{key}.{inner}": _text(item) for inner, item in value.items()})
        else:
            flat[key] = _text(value)
    return flat


def canonical(text: str, flat: dict[str, str] | None) -> str:
    """Masks times and nonces and sorts the keys of a JSON object, so that the same call looks the same however it was written.

    `flat` is what `leaves(text)` returns. An argument that is nothing but a nonce, and says so by its name, or but a reading of a
    clock is dropped. Any other id tells which thing is meant, and a value that is nothing but a time which time.

    >>> one, other = '{"limit": 1, "q": "x", "request_id": "7abec539007d1034"}', '{"q":"x","limit":1}'
    >>> canonical(one, leaves(one)) == canonical(other, leaves(other))
    True
    """
    if flat is None:
        return " ".join(_mask_moments(text).split())
    kept = []
    for key, value in flat.items():
        masked = mask(value) if _is_nonce(key) else _mask_moments(value)
        if masked != "~":
            kept.append((key, masked))
        elif not _is_nonce(key) and _CLOCK_READING.search(value) is None:
            kept.append((key, value))
    return repr(sorted(kept))


@lru_cache(maxsize=_NAMES)
def _is_nonce(key: str) -> bool:
    return _NONCE.search(snake(key)) is not None


def _mask_moments(text: str) -> str:
    lowered = text.lower()
    return _MOMENT.sub("~", lowered) if _may_be_volatile(lowered) else lowered


def _text(value: Any) -> str:
    if isinstance(value, list):
        return BETWEEN.join(map(_text, value))
    if isinstance(value, dict):
        return " ".join(map(_text, value.values()))
    return value if isinstance(value, str) else str(value)
