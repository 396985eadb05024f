"""What people write for sizes, durations, money and addresses, and how it reads back."""

import ipaddress
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, PlainSerializer

_SIZES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.IGNORECASE)
_DURATIONS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


@dataclass(frozen=True)
class Kind:
    """Names the kind of a value in the reference and in error messages. Rides in `Annotated` metadata."""

    text: str


@dataclass(frozen=True)
class NoEffectYet:
    """Marks a key that is checked and kept, and that nothing reads in this version. Rides in `Annotated` metadata."""


NO_EFFECT_YET: Final = NoEffectYet()


def parse_size(value: object) -> int:
    """Reads `16MiB`, `50GB` or a number of bytes. Raises ValueError.

    >>> parse_size("16MiB")
    16777216
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or match[2].lower() not in _SIZES:
        raise ValueError("must be a size such as 16MiB")
    return int(Decimal(match[1]) * _SIZES[match[2].lower()])


def format_size(size: int) -> str:
    """Reverses `parse_size` with the largest binary unit that divides exactly.

    >>> format_size(268435456)
    '256MiB'
    """
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        factor = _SIZES[unit.lower()]
        if size >= factor and size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)


def parse_duration(value: object) -> float:
    """Reads `30m`, `250ms`, `1h30m` as seconds; a float is taken to be seconds already. Raises ValueError.

    >>> parse_duration("1h30m")
    5400.0
    """
    if isinstance(value, float):
        return value
    text = value.replace(" ", "") if isinstance(value, str) else ""
    if not _DURATION.fullmatch(text):
        raise ValueError("must be a duration with its unit, such as 30m or 250ms")
    return sum(float(number) * _DURATIONS[unit] for number, unit in _DURATION_PART.findall(text))


def format_duration(seconds: float) -> str:
    """Reverses `parse_duration` with the largest unit that divides exactly.

    >>> format_duration(1800.0), format_duration(0.25)
    ('30m', '250ms')
    """
    milliseconds = round(seconds * 1000)
    for unit, factor in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds and milliseconds % factor == 0:
            return f"{milliseconds // factor}{unit}"
    return f"{milliseconds}ms"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens. Port 0 lets the system choose one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Reads `127.0.0.1:4317` or `[::1]:4317`. Raises ValueError.

        >>> Address.parse("[::1]:4317")
        Address(host='::1', port=4317)
        """
        host, colon, port = text.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise ValueError("must be host:port with an IPv6 host in brackets, such as [::1]:4317")
        if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise ValueError("must be host:port, such as 127.0.0.1:4317")
        if not host:
            raise ValueError(f"must name a host: 127.0.0.1:{port}, or 0.0.0.0:{port} for every interface")
        return cls(host, int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it. A name other than localhost counts as reachable."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _address(value: object) -> Address:
    if isinstance(value, Address):
        return value
    if isinstance(value, str):
        return Address.parse(value)
    raise ValueError('must be host:port in quotes, such as "127.0.0.1:4317"')


def _number(value: Any) -> Any:
    # bool is an int to Python, and `yes` is a bool to YAML: a budget of `yes` must not become one dollar
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004 — pydantic turns only ValueError into a message
    return value


Size = Annotated[int, BeforeValidator(parse_size), PlainSerializer(format_size, when_used="json"), Field(gt=0), Kind("size, such as 16MiB")]
Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, when_used="json"),
    Field(gt=0),
    Kind("duration, such as 30m or 250ms"),
]
"""Seconds."""
Usd = Annotated[Decimal, BeforeValidator(_number), Field(ge=0, allow_inf_nan=False), Kind("US dollars")]
Count = Annotated[int, BeforeValidator(_number), Field(gt=0), Kind("whole number")]
Processes = Annotated[int, BeforeValidator(_number), Field(ge=0, le=64), Kind("whole number")]
Listen = Annotated[Address, BeforeValidator(_address), PlainSerializer(str, return_type=str), Kind("host:port")]
