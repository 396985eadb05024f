"""The `detectors` section: checked against the registry, so that no key of a detector is named here."""

import difflib
import math
from collections.abc import Mapping
from typing import Any

import msgspec
from pydantic import ConfigDict, Field

from collector.config.problems import Location, Problem, shown, suggestion
from collector.config.sections import Mode, Section

MODES: tuple[Mode, ...] = ("shadow", "alert", "compact", "pause", "halt")
_MODE_HELP = "What a finding may do: shadow records, alert tells people, compact, pause and halt ask the runtime."


class DetectorSettings(Section):
    """One detector as configured: what its findings may do, and its parameters as the detector's own `Config`."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    mode: Mode = Field(default="shadow", description=_MODE_HELP)
    params: msgspec.Struct = Field(description="The detector's own parameters.")


def registry() -> Mapping[str, type[msgspec.Struct]]:
    """Name → `Config` of every registered detector."""
    # imported here because the detectors and their numeric libraries are slow to import and `--help` needs none of them
    from detectors import DETECTORS, WORKFLOW_DETECTORS  # noqa: PLC0415
    from detectors.fleet import FLEET_DETECTORS  # noqa: PLC0415

    of_sessions = {one.name: one.Config for one in (*DETECTORS, *WORKFLOW_DETECTORS)}
    return of_sessions | {one.name: one.Config for one in FLEET_DETECTORS}


def check(raw: object, known: Mapping[str, type[msgspec.Struct]]) -> tuple[dict[str, DetectorSettings], list[Problem]]:
    """Settings of every known detector, those not mentioned in `raw` at their defaults in shadow, and what is wrong with `raw`."""
    settings = {name: DetectorSettings(params=params()) for name, params in known.items()}
    if not isinstance(raw, Mapping):
        return settings, [] if raw is None else [Problem(("detectors",), f"must be a mapping of detector to settings, got {shown(raw)}")]
    problems: list[Problem] = []
    for name, section in raw.items():
        at: Location = ("detectors", str(name))
        if isinstance(section, DetectorSettings):
            settings[name] = section
        elif name not in known:
            problems.append(Problem(at, f"unknown detector{suggestion(str(name), known)}"))
        elif isinstance(section, Mapping):
            checked, wrong = _check_one(section, known[name], at)
            problems += wrong
            if checked is not None:
                settings[name] = checked
        elif section is not None:
            problems.append(Problem(at, f"must be a section such as {{mode: alert}}, got {shown(section)}"))
    return settings, problems


def _check_one(section: Mapping[str, Any], params: type[msgspec.Struct], at: Location) -> tuple[DetectorSettings | None, list[Problem]]:
    problems: list[Problem] = []
    given = dict(section)
    mode = given.pop("mode", "shadow")
    if mode not in MODES:
        close = difflib.get_close_matches(str(mode), MODES, n=1)
        hint = f", did you mean {close[0]}?" if close else ""
        problems.append(Problem((*at, "mode"), f"must be one of {', '.join(MODES)}, got {shown(mode)}{hint}"))
    fields = {field.encode_name: field for field in msgspec.structs.fields(params)}
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key not in fields:
            problems.append(Problem((*at, str(key)), f"unknown key{suggestion(str(key), ['mode', *fields])}"))
            continue
        try:
            # not strict: values from the environment are text
            values[fields[key].name] = _finite(msgspec.convert(value, fields[key].type, strict=False))
        except ValueError as error:  # msgspec's own is one
            problems.append(Problem((*at, key), f"{_plain(error)}, got {shown(value)}"))
    problems += [Problem((*at, key), "required key is missing") for key, field in fields.items() if field.required and key not in given]
    if problems:
        return None, problems
    try:
        return DetectorSettings(mode=mode, params=params(**values)), []
    except ValueError as error:  # a check of its own over several parameters
        return None, [Problem(at, str(error))]


_PLAIN = {"int": "a whole number", "float": "a number", "str": "text (put it in quotes)", "bool": "true or false"}


def _plain(error: ValueError) -> str:
    text = str(error).replace("`", "").split(" - at ")[0].split(", got ")[0]
    expected = text.removeprefix("Expected ")
    return f"must be {_PLAIN.get(expected, expected)}" if expected != text else text


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("Expected a finite number")
    return value
