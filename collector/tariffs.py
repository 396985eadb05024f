"""What a call costs by one price list, exactly.

Prices come as decimals per million tokens and counts are whole numbers, so a cost is computed in whole numbers of the
smallest unit that any of the prices has, and becomes a `Decimal` at the end.
"""

from bisect import bisect_left
from decimal import Decimal
from fractions import Fraction
from typing import Final, NamedTuple

from genai_prices.types import Tier, TieredPrices

_PER_TOKENS: Final = 6
"""Prices are per 10⁶ tokens."""

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
    """Tokens of one call. `input` and `output` are the wholes, everything else is a part of one of them."""

    input: int
    output: int
    read: int = 0
    write: int = 0
    write_1h: int | None = None
    """Of `write` those kept for an hour; None where nobody says."""
    reasoning: int = 0
    input_audio: int = 0
    output_audio: int = 0


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
    known = True
    if read or write:
        read = min(read, told)
        write = min(write, told - read)
        total += (price_read - price_in) * read + (price_write - price_in) * write
        known = not write or hour is not None or price_hour in {None, price_write}
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
        total += ((price_heard or 0) - price_in) * min(heard, told)
        total += ((price_spoken or 0) - price_out) * min(spoken, said - min(reasoning, said))
    return _dollars(total, digits + _PER_TOKENS), known


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
