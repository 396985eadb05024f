"""What a model call costs: the `genai-prices` table as it was shipped, and what the operator says instead.

No network. How a cost is computed from a price list: `collector.tariffs`.
"""

import hashlib
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from importlib.metadata import version as installed_version
from typing import Any, Final, NamedTuple, Protocol

import orjson
from genai_prices import data_snapshot
from genai_prices.types import ConditionalPrice, ModelInfo, Provider, StartDateConstraint, TimeOfDateConstraint

from collector.errors import ConfigError
from collector.tariffs import Cost, Rates, Tariff, Tokens, cost, possible, tariff, times
from detectors.model import CostBasis, Step

_PROVIDER: Final = CostBasis.PROVIDER
_UNMETERED: Final = CostBasis.UNMETERED
_COMPUTED: Final = CostBasis.COMPUTED
_ESTIMATED: Final = CostBasis.ESTIMATED
_ROUNDED: Final = Decimal("0.0000005")
"""By how much a stated cost may be off: some senders round to the micro-dollar."""
_CACHED_MODELS: Final = 4096
_MAX_NAME: Final = 256
_REQUIRED: Final = ("input_per_million", "output_per_million")
_OPTIONAL: Final = (
    "cached_input_per_million",
    "cache_write_per_million",
    "cache_write_1h_per_million",
    "input_audio_per_million",
    "output_audio_per_million",
)

_HOSTED: Final = re.compile(
    r"^(?:(?:us|eu|apac|ap|jp|au|ca|global|us-gov)\.)?(?:anthropic|amazon|meta|mistral|cohere|ai21|deepseek|openai)\.(?=\w)"
)
_REVISION: Final = re.compile(r"(?:-v\d+)?(?::\d+)$")
_DATE: Final = re.compile(r"(?:[-@](?:20\d\d-?[01]\d-?[0-3]\d)|-latest|@latest|@default)$")


_Constraint = StartDateConstraint | TimeOfDateConstraint | None


class _Found(NamedTuple):
    """What is known about one model name. Of `rates` the last whose constraint holds is in force, else the first."""

    rates: tuple[tuple[_Constraint, Tariff], ...] = ()
    context_window: int | None = None


Charge = tuple[Decimal | None, CostBasis, int | None]
"""Cost of a call in US dollars, where the figure comes from, and how many tokens fit the model."""


class OwnPrice(Protocol):
    """A price in the configuration."""

    def model_dump(self) -> dict[str, Any]: ...


class Prices:
    """Price table with overrides. Look-ups by model name are remembered; not safe for several threads at once.

    `overrides`: model → `input_per_million`, `output_per_million` and optionally prices of parts of them, which have the
    price of their whole where left out. `context_windows`: model → tokens. An entry also serves names that only add a
    provider, a revision or a date to it.
    """

    def __init__(
        self, overrides: Mapping[str, OwnPrice | Mapping[str, Any]] | None = None, context_windows: Mapping[str, int] | None = None
    ) -> None:
        self._overrides = {model.lower(): _override(model, prices) for model, prices in (overrides or {}).items()}
        self._windows = {model.lower(): _window(model, tokens) for model, tokens in (context_windows or {}).items()}
        self._snapshot = data_snapshot.get_snapshot()
        self._providers: dict[str, Provider] = {provider.id: provider for provider in self._snapshot.providers}
        self._cache: OrderedDict[tuple[str, str | None], _Found] = OrderedDict()

    @property
    def version(self) -> str:
        """Names the table and the overrides: the same for the same prices."""
        own = {model: [str(price) for price in prices] for model, prices in self._overrides.items()}
        text = orjson.dumps([own, self._windows], option=orjson.OPT_SORT_KEYS)
        return f"genai-prices {installed_version('genai-prices')}+{hashlib.blake2b(text, digest_size=6).hexdigest()}"

    def price(
        self,
        provider: str | None,
        model: str | None,
        *,
        input_tokens: int | None,
        output_tokens: int | None,
        cached_input_tokens: int | None = None,
        cache_write_tokens: int | None = None,
        cache_write_1h_tokens: int | None = None,
        reasoning_tokens: int | None = None,
        input_audio_tokens: int | None = None,
        output_audio_tokens: int | None = None,
        at_ns: int,
    ) -> tuple[Decimal | None, CostBasis]:
        """Cost in US dollars of one call at `at_ns`; None and `unmetered` where the model, a count or a price is unknown.

        `input_tokens` holds everything cached, `output_tokens` all reasoning; a part that is None is one nobody tells. Where
        that matters the cost is `estimated`, as `collector.tariffs.cost` says. The name of the model is trusted over the
        provider, which is often that of a framework or gateway.

        >>> Prices().price("openai", "gpt-4o", input_tokens=412, cached_input_tokens=0, output_tokens=28, at_ns=0)
        (Decimal('0.00131'), <CostBasis.COMPUTED: 'computed'>)
        """
        if input_tokens is None or output_tokens is None or not model:
            return None, _UNMETERED
        rates = self._find(provider, model).rates
        tokens = Tokens(
            input_tokens,
            output_tokens,
            cached_input_tokens,
            cache_write_tokens,
            cache_write_1h_tokens,
            reasoning_tokens,
            input_audio_tokens,
            output_audio_tokens,
        )
        return _based(cost(_in_force(rates, at_ns), tokens)) if rates else (None, _UNMETERED)

    def context_window(self, provider: str | None, model: str | None) -> int | None:
        """Tokens that fit the model; None where nobody says."""
        return self._find(provider, model).context_window if model else None

    def charge(self, step: Step) -> Charge:
        """What the model call costs, and the context window of its model.

        What the provider says it charges is the cost. Else it is computed from the table, which has list prices only. What the
        sender reckons is believed where the table knows no price, or has to assume something and the sender's figure is possible:
        it saw the response.
        """
        model, input_tokens, output_tokens = step.model, step.input_tokens, step.output_tokens
        if not model:
            return (*_told(step), None)
        found = self._cache.get((model, step.provider)) or self._find(step.provider, model)
        window = None if step.of_several else found.context_window
        if step.billed_usd is not None or input_tokens is None or output_tokens is None or not found.rates or step.service_tier is not None:
            return (*_told(step), window)
        by = found.rates[0][1] if len(found.rates) == 1 else _in_force(found.rates, step.started_ns)
        tokens = Tokens(
            input_tokens,
            output_tokens,
            step.cached_input_tokens,
            step.cache_write_tokens,
            step.cache_write_1h_tokens,
            step.reasoning_tokens,
            step.input_audio_tokens,
            step.output_audio_tokens,
        )
        if step.zeros_left_out:
            tokens = tokens.without_gaps()
        if step.of_several and by.starts:
            # Calls may have been below a size from which on all is dearer, their sum not.
            by = Tariff((), by.flats[:1])
            total, known = cost(by, tokens)[0], False
        else:
            total, known = cost(by, tokens)
        if known and total is not None:
            return total, _COMPUTED, window
        if step.stated_usd is not None and (total is None or _may_be(step.stated_usd, by, tokens)):
            total = step.stated_usd
        return total, _UNMETERED if total is None else _ESTIMATED, window

    def _find(self, provider: str | None, model: str) -> _Found:
        if len(model) > _MAX_NAME:
            return _Found()
        key = (model, provider if provider is None or len(provider) <= _MAX_NAME else None)
        found = self._cache.get(key)
        if found is None:
            found = self._cache[key] = self._look_up(key[1], model)
            if len(self._cache) > _CACHED_MODELS:
                self._cache.popitem(last=False)
        return found

    def _look_up(self, provider: str | None, model: str) -> _Found:
        names = list(_names(model))
        override = next((self._overrides[name] for name in names if name in self._overrides), None)
        window = next((self._windows[name] for name in names if name in self._windows), None)
        entry = next((entry for name in names for entry in self._candidates(provider, name)), None)
        if window is None and entry is not None:
            window = entry[1].context_window or self._window_elsewhere(entry[0], names)
        if override is not None:
            return _Found(((None, tariff(override)),), window)
        return _Found(_rates(entry[1]) if entry is not None else (), window)

    def _candidates(self, provider: str | None, name: str) -> Iterator[tuple[Provider, ModelInfo]]:
        """Entries that may be meant by `name`, the surest first."""
        prefix, _, rest = name.partition("/")
        hints: list[tuple[str | None, str]] = [(prefix, rest)] if rest else []
        if _HOSTED.match(name):
            # As Amazon names models of others; in most of its regions they are dearer than at their own vendor's.
            hints.append(("aws", name))
        hints += [(None, name), (provider or None, name)]
        for hint, ref in hints:
            owner = self._owner(ref) if hint is None else data_snapshot.find_provider_by_id(self._snapshot.providers, hint)
            info = owner.find_model(ref, all_providers=self._snapshot.providers) if owner is not None else None
            if owner is not None and info is not None:
                yield owner, info

    def _owner(self, ref: str) -> Provider | None:
        try:
            return self._snapshot.find_provider(ref, None, None)
        except LookupError:
            return None

    def _window_elsewhere(self, owner: Provider, names: list[str]) -> int | None:
        """The vendor's own entry may lack the window that a gateway's entry for the same model has."""
        gateway = self._providers.get("openrouter")
        for name in names if gateway is not None and gateway is not owner else ():
            info = gateway.find_model(f"{owner.id}/{name}") if gateway is not None else None
            if info is not None and info.context_window:
                return info.context_window
        return None


def _names(model: str) -> Iterator[str]:
    """`model` in lower case, then without what gateways and clouds put around a model's name, outermost first.

    >>> list(_names("us.anthropic.claude-sonnet-4-5-20250929-v1:0"))[-1]
    'claude-sonnet-4-5'
    """
    name = model.strip().lower()
    seen = {name}
    yield name
    while True:
        shorter = name
        for pattern in (_REVISION, _HOSTED):
            shorter = pattern.sub("", shorter)
            if shorter != name:
                break
        if shorter == name and "/" in name:
            shorter = name.partition("/")[2]
        if shorter == name:
            shorter = _DATE.sub("", name)
        if not shorter or shorter in seen:
            return
        seen.add(shorter)
        yield shorter
        name = shorter


def _told(step: Step) -> tuple[Decimal | None, CostBasis]:
    """The cost of a call that the table has no price for."""
    if step.billed_usd is not None:
        return step.billed_usd, _PROVIDER
    return step.stated_usd, _UNMETERED if step.stated_usd is None else _ESTIMATED


def _may_be(stated: Decimal, by: Tariff, tokens: Tokens) -> bool:
    """Whether the call may have cost that, as far as its counts are known."""
    found = possible(by, tokens)
    return found is not None and found[0] - _ROUNDED <= stated <= found[1] + _ROUNDED


def _based(found: Cost) -> tuple[Decimal | None, CostBasis]:
    total, known = found
    return total, _UNMETERED if total is None else _COMPUTED if known else _ESTIMATED


def _rates(model: ModelInfo) -> tuple[tuple[_Constraint, Tariff], ...]:
    prices = model.prices if isinstance(model.prices, list) else [ConditionalPrice(prices=model.prices)]
    # Anthropic's price list: an hour in the cache costs twice the input. The table lacks it for some clouds and gateways.
    doubles = "claude" in model.id
    return tuple(
        (
            item.constraint,
            tariff(
                Rates(
                    input=item.prices.input_mtok,
                    output=item.prices.output_mtok,
                    read=item.prices.cache_read_mtok,
                    write=item.prices.cache_write_mtok,
                    write_1h=item.prices.cache_write_1h_mtok or (times(item.prices.input_mtok, 2) if doubles else None),
                    reasoning=item.prices.output_reasoning_mtok,
                    input_audio=item.prices.input_audio_mtok,
                    output_audio=item.prices.output_audio_mtok,
                    thousand_requests=item.prices.requests_kcount,
                )
            ),
        )
        for item in prices
    )


def _in_force(rates: tuple[tuple[_Constraint, Tariff], ...], at_ns: int) -> Tariff:
    if len(rates) > 1:
        at = datetime.fromtimestamp(max(0, at_ns) // 1_000_000_000, UTC)
        for constraint, found in reversed(rates):
            if constraint is None or constraint.active(at):
                return found
    return rates[0][1]


def _override(model: str, own: OwnPrice | Mapping[str, Any]) -> Rates:
    prices = own if isinstance(own, Mapping) else own.model_dump()
    where = f"prices.overrides.{model}"
    unknown = sorted(set(prices) - {*_REQUIRED, *_OPTIONAL})
    if unknown:
        msg = f"{where}.{unknown[0]} is not a price; known are {', '.join((*_REQUIRED, *_OPTIONAL))}"
        raise ConfigError(msg)
    read = {key: _decimal(f"{where}.{key}", prices[key]) for key in (*_REQUIRED, *_OPTIONAL) if prices.get(key) is not None}
    for key in _REQUIRED:
        if key not in read:
            msg = f"{where}.{key} is missing: say the price of a million tokens in US dollars"
            raise ConfigError(msg)
    price_in, price_out = read["input_per_million"], read["output_per_million"]
    price_write = read.get("cache_write_per_million", price_in)
    return Rates(
        input=price_in,
        output=price_out,
        read=read.get("cached_input_per_million", price_in),
        write=price_write,
        write_1h=read.get("cache_write_1h_per_million", price_write),
        input_audio=read.get("input_audio_per_million", price_in),
        output_audio=read.get("output_audio_per_million", price_out),
    )


def _decimal(where: str, value: Any) -> Decimal:
    try:
        # Through text: a float's digits as somebody wrote them, not its binary value.
        amount = Decimal(str(value))
    except InvalidOperation:
        amount = Decimal(-1)
    if isinstance(value, bool) or not amount.is_finite() or amount < 0:
        msg = f"{where} is {value!r}, expected a price of 0 or more in US dollars"
        raise ConfigError(msg)
    return amount


def _window(model: str, tokens: Any) -> int:
    if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens <= 0:
        msg = f"prices.context_windows.{model} is {tokens!r}, expected a number of tokens above 0"
        raise ConfigError(msg)
    return tokens
