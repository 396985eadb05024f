"""What a call costs by one price list, exactly.

Prices come as decimals per million tokens and counts are whole numbers, so a cost is computed in whole numbers of the
smallest unit that any of the prices has, and becomes a `Decimal` at the end.
"""

from bisect import bisect_left
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from itertools import product
from typing import Final, NamedTuple

from genai_prices.types import Tier, TieredPrices

_PER_TOKENS: Final = 6
"""Prices are per 10⁶ tokens."""
LEAST_CACHED: Final = 64
"""Input of fewer tokens is never read from a cache: the smallest minimum that a vendor documents, DeepSeek's ("content less than 64
tokens will not be cached", 2024). Others begin at 512 (Anthropic, where caching is asked for), at 1,024 (OpenAI, Google)."""

Price = Decimal | TieredPrices | None


class Rates(NamedTuple):
    """Prices per million tokens; None where a class of tokens has no price of its own."""

    input: Price
    output: Price
    read: Price = None
    write: Price = None
    write_1h: Price = None
    reasoning: Price = None
    input_audio: Price = None
    output_audio: Price = None
    thousand_requests: Price = None


class Tokens(NamedTuple):
    """Tokens of one call. `input` and `output` are the wholes, everything else is a part of one of them; None where nobody says."""

    input: int
    output: int
    read: int | None = None
    write: int | None = None
    write_1h: int | None = None
    """Of `write` those kept for an hour."""
    reasoning: int | None = None
    input_audio: int | None = None
    output_audio: int | None = None

    def without_gaps(self) -> "Tokens":
        """The same where no count means none. For how long something was written to a cache is another question."""
        told, said, read, write, hour, reasoning, heard, spoken = self
        return Tokens(told, said, read or 0, write or 0, hour, reasoning or 0, heard or 0, spoken or 0)


class _Flat(NamedTuple):
    """Rates of one tier in whole numbers: 10^`-digits` US dollars per million tokens.

    Cached and reasoning tokens without a price of their own have that of their whole. None: no price is known.
    `requests` is what a call costs beside its tokens.
    """

    input: int | None
    output: int | None
    read: int
    write: int
    write_1h: int | None
    reasoning: int
    input_audio: int | None
    output_audio: int | None
    requests: int
    digits: int


class Tariff(NamedTuple):
    """Rates by the size of the input: `flats[n]` holds for more than `starts[n - 1]` input tokens, up to `starts[n]`."""

    starts: tuple[int, ...]
    flats: tuple[_Flat, ...]


Cost = tuple[Decimal | None, bool]
"""US dollars, and whether every token's price was known, none assumed."""


def tariff(rates: Rates) -> Tariff:
    """`rates` made ready for computing."""
    starts = tuple(sorted({tier.start for price in rates if isinstance(price, TieredPrices) for tier in price.tiers}))
    return Tariff(starts, tuple(_flat(rates, above) for above in (0, *(start + 1 for start in starts))))


def times(price: Price, factor: int) -> Price:
    """A price that is so many times another."""
    if isinstance(price, TieredPrices):
        return TieredPrices(base=price.base * factor, tiers=[Tier(start=tier.start, price=tier.price * factor) for tier in price.tiers])
    return None if price is None else price * factor


def cost(by: Tariff, tokens: Tokens) -> Cost:
    """Cost of a call; None where tokens were used that nobody has a price for.

    What is written to a cache, nobody knows for how long, is taken for the shorter time, which vendors have as their default.
    Input of which nobody knows whether it was read from a cache is taken for fresh, and what is not said to be audio or
    reasoning for neither: an assumption where the price is another and the vendor may have done it. Whether a model that only
    hears was made to listen is not asked: callers send it audio on purpose.
    """
    starts, flats = by
    told, said, read, write, hour, reasoning, heard, spoken = tokens
    price_in, price_out, price_read, price_write, price_hour, price_thought, price_heard, price_spoken, requests, digits = flats[
        bisect_left(starts, told) if starts else 0
    ]
    if (told and price_in is None) or (said and price_out is None):
        return None, True
    price_in, price_out = price_in or 0, price_out or 0
    total = price_in * told + price_out * said + requests
    known = (
        (read is not None or price_read == price_in or told < LEAST_CACHED)
        and (write is not None or price_write == price_in == (price_hour or price_in) or told < LEAST_CACHED)
        and (reasoning is not None or price_thought == price_out)
        and (price_spoken is None or price_spoken == price_out or (heard is not None and spoken is not None))
    )
    if read or write:
        read = min(read or 0, told)
        write = min(write or 0, told - read)
        total += (price_read - price_in) * read + (price_write - price_in) * write
        known = known and (not write or hour is not None or price_hour in {None, price_write})
        if hour and write:
            if price_hour is None:
                return None, True
            total += (price_hour - price_write) * min(hour, write)
    if reasoning:
        total += (price_thought - price_out) * min(reasoning, said)
    if heard or spoken:
        # How much of what is cached was audio, which has another price then too, nobody says.
        if (heard and (price_heard is None or read or write)) or (spoken and price_spoken is None):
            return None, True
        total += ((price_heard or 0) - price_in) * min(heard or 0, told)
        total += ((price_spoken or 0) - price_out) * min(spoken or 0, said - min(reasoning or 0, said))
    return _dollars(total, digits + _PER_TOKENS), known


def possible(by: Tariff, tokens: Tokens) -> tuple[Decimal, Decimal] | None:
    """The least and the most that a call can cost, whatever the counts are that nobody says; None where no price is known.

    A cost is linear in its counts, so that the extremes are where each part is nothing or all that is left of its whole.
    """
    found = [total for one in _extremes(by, tokens) if (total := cost(by, one)[0]) is not None]
    return (min(found), max(found)) if found else None


def _extremes(by: Tariff, tokens: Tokens) -> Iterator[Tokens]:
    told, said, read, write, hour, thought, heard, spoken = tokens
    flat = by.flats[bisect_left(by.starts, told)]
    price_in, price_out = flat.input or 0, flat.output or 0
    outputs = list(
        product(
            _ends(thought, said, flat.reasoning != price_out),
            _ends(heard, told, flat.input_audio not in {None, price_in}),
            _ends(spoken, said, flat.output_audio not in {None, price_out}),
        )
    )
    differs_by_time = flat.write_1h not in {None, flat.write}
    for some_read in _ends(read, told - min(write or 0, told), flat.read != price_in):
        for some_write in _ends(write, max(told - some_read, 0), differs_by_time or flat.write != price_in):
            for some_hour in _ends(hour, some_write, differs_by_time):
                for parts in outputs:
                    yield Tokens(told, said, some_read, some_write, some_hour, *parts)


def _ends(part: int | None, whole: int, differs: bool) -> tuple[int, ...]:
    """The least and the most of a part that nobody tells; one is enough where its price does not differ."""
    if part is not None:
        return (part,)
    return (0, whole) if differs and whole else (0,)


def _flat(rates: Rates, input_tokens: int) -> _Flat:
    prices = Rates(*(_rate(price, input_tokens) for price in rates))
    digits = max([0, *(-int(price.as_tuple().exponent) for price in prices if isinstance(price, Decimal))])

    def whole(price: Price) -> int | None:
        return int(Fraction(price) * 10**digits) if isinstance(price, Decimal) else None

    price_in, price_out, read, write, write_1h, reasoning, heard, spoken, requests = map(whole, prices)
    return _Flat(
        price_in,
        price_out,
        (price_in or 0) if read is None else read,
        (price_in or 0) if write is None else write,
        write_1h,
        (price_out or 0) if reasoning is None else reasoning,
        heard,
        spoken,
        # As if a thousand calls were a million tokens.
        (requests or 0) * 1_000,
        digits,
    )


def _rate(price: Price, input_tokens: int) -> Decimal | None:
    """Price per million. Past a tier's start the whole call costs that tier's price."""
    if isinstance(price, TieredPrices):
        return next((tier.price for tier in reversed(price.tiers) if input_tokens > tier.start), price.base)
    return price


def _dollars(total: int, digits: int) -> Decimal:
    """`total` × 10^`-digits` without trailing zeros and without an exponent above zero.

    >>> _dollars(1_310_000, 9), _dollars(3_000, 2)
    (Decimal('0.00131'), Decimal('30'))
    """
    text = str(total)
    short = text.rstrip("0")
    behind = digits - len(text) + len(short)
    return Decimal(f"{short}E-{behind}") if short and behind > 0 else Decimal(total // 10**digits)
