"""The whole configuration: loading it, and the questions the rest of the service asks of it."""

import copy
import hashlib
import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import msgspec
from pydantic import Field, ValidationError, field_serializer, field_validator, model_validator

from collector.config import detectors as detector_sections
from collector.config.detectors import DetectorSettings
from collector.config.problems import dotted, problems_of
from collector.config.sections import (
    Actions,
    AgentType,
    AtKey,
    Budgets,
    BudgetsMode,
    Gate,
    Prices,
    Receivers,
    Section,
    Security,
    Sessions,
    Storage,
    Tools,
    Web,
)
from collector.config.source import Tree
from collector.errors import ConfigError

BUILT_IN_AGENT_TYPES: Final[Mapping[str, Any]] = {
    "research": {"match": {"agent_name": "research*"}, "budgets": {"session_usd": 5}},
    "operational": {"match": {"agent_name": "ops-*"}, "budgets": {"session_usd": "0.50"}},
    "conversational": {"match": {"service_name": "*chat*"}, "budgets": {"turn_usd": "0.10"}},
    "default": {"budgets": {"session_usd": 5}},
}
UNKNOWN_AGENT_TYPE = "unknown"
MAX_AGENT_TYPE_CHARS = 200
MAX_CACHED_AGENT_TYPES = 4096


class AgentTypePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What sessions of one agent type may spend and do, with everything absent filled in from `default`."""

    agent_type: str
    budgets: Budgets
    tools: Tools

    @property
    def polling_tools(self) -> frozenset[str]:
        """Exact names of tools whose job is to be repeated."""
        return frozenset(self.tools.polling)

    def is_irreversible(self, tool: str) -> bool:
        """Whether a call of `tool` needs an approval."""
        return any(fnmatchcase(tool, pattern) for pattern in self.tools.irreversible)


class Config(Section):
    """`overcurrent.yaml` with everything filled in. Immutable; a reload makes another."""

    receivers: Receivers = Field(default_factory=Receivers, description=Receivers.__doc__)
    web: Web = Field(default_factory=Web, description=Web.__doc__)
    storage: Storage = Field(default_factory=Storage, description=Storage.__doc__)
    sessions: Sessions = Field(default_factory=Sessions, description=Sessions.__doc__)
    prices: Prices = Field(default_factory=Prices, description=Prices.__doc__)
    agent_types: dict[str, AgentType] = Field(
        default_factory=dict,
        validate_default=True,
        description="Agent types, first match wins. Laid over the built-in ones; null removes a built-in one.",
    )
    budgets_mode: BudgetsMode = Field(
        default="shadow", description="What a spent budget does: shadow records, alert tells people, halt halts."
    )
    detectors: dict[str, DetectorSettings] = Field(
        default_factory=dict, validate_default=True, description="Detectors by name: mode and parameters."
    )
    actions: Actions = Field(default_factory=Actions, description=Actions.__doc__)
    gate: Gate = Field(default_factory=Gate, description=Gate.__doc__)
    security: Security = Field(default_factory=Security, description=Security.__doc__)

    @classmethod
    def load(cls, path: Path | None, env: Mapping[str, str], overrides: Mapping[str, Any] | None = None) -> "Config":
        """Reads the file (None: built-in defaults), then the environment over it, then the command line over both.

        `overrides` has dotted keys or nested mappings; None among its values means not given. Raises ConfigError with a
        line for every mistake: `file:line: key: what is wrong`.
        """
        tree = Tree()
        if path is not None:
            tree.add_file(path)
        tree.add_env(env, set(cls.model_fields))
        tree.add_overrides(overrides or {})
        values = dict(tree.values)
        # checked here and not in the validator below, so that each mistake keeps its place in the file
        settings, problems = detector_sections.check(values.pop("detectors", None), detector_sections.registry())
        try:
            config = cls.model_validate({**_without_empty(values), "detectors": settings})
        except ValidationError as error:
            problems = [*problems_of(error, cls), *problems]
        lines = tree.lines(problems)
        if lines:
            raise ConfigError("\n".join(lines))
        return config

    @field_validator("agent_types", mode="before")
    @classmethod
    def _over_built_in(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        merged: dict[str, Any] = {}
        for name, section in value.items():
            built_in = BUILT_IN_AGENT_TYPES.get(name, {})
            if section is None and built_in and name != "default":
                continue
            merged[name] = _laid_over(built_in, section) if isinstance(section, Mapping) else section
        return merged | {name: section for name, section in BUILT_IN_AGENT_TYPES.items() if name not in value}

    @field_validator("agent_types")
    @classmethod
    def _default_matches_nothing(cls, value: dict[str, AgentType]) -> dict[str, AgentType]:
        if value["default"].match is not None:
            raise AtKey("default", "must have no match: it takes what no other type does")
        return value

    @field_validator("detectors", mode="before")
    @classmethod
    def _by_registry(cls, value: Any) -> Any:
        settings, problems = detector_sections.check(value, detector_sections.registry())
        if problems:
            raise ValueError("; ".join(f"{dotted(problem.location)}: {problem.text}" for problem in problems))
        return settings

    @field_serializer("detectors")
    def _flat(self, value: dict[str, DetectorSettings]) -> dict[str, Any]:
        return {name: {"mode": one.mode, **msgspec.to_builtins(one.params)} for name, one in value.items()}

    @model_validator(mode="after")
    def _reachable_only_when_guarded(self) -> "Config":
        guarded = bool(self.security.tokens) and bool(self.security.tls)
        for key, address, insecure in (
            ("receivers.otlp_grpc", self.receivers.otlp_grpc, self.receivers.insecure),
            ("receivers.otlp_http", self.receivers.otlp_http, self.receivers.insecure),
            ("web.listen", self.web.listen, self.web.insecure),
        ):
            if not (address.is_loopback or guarded or insecure):
                insecure_key = f"{key.partition('.')[0]}.insecure"
                raise AtKey(
                    key,
                    f"{address} is reachable from outside: configure security.tokens and security.tls, or set {insecure_key}: true",
                )
        return self

    @model_validator(mode="after")
    def _addresses_differ(self) -> "Config":
        taken: dict[str, str] = {}
        for key, address in (
            ("receivers.otlp_grpc", self.receivers.otlp_grpc),
            ("receivers.otlp_http", self.receivers.otlp_http),
            ("web.listen", self.web.listen),
        ):
            other = taken.setdefault(str(address), key)
            if address.port and other != key:
                raise AtKey(key, f"must not be the address of {other} ({address})")
        return self

    @cached_property
    def fingerprint(self) -> str:
        """Names the policy: same agent types, budgets, detectors and session rules, same twelve characters. Holds no secret."""
        policy = self.model_dump(mode="json", include={"agent_types", "budgets_mode", "detectors", "sessions"})
        return hashlib.sha256(json.dumps(policy, sort_keys=True, default=str).encode()).hexdigest()[:12]

    # not a private attribute: pydantic compares those, and two configurations are equal whatever they were asked
    @cached_property
    def _agent_type_cache(self) -> dict[tuple[str | None, str | None], str]:
        return {}

    def agent_type_of(self, agent_name: str | None, service_name: str | None) -> str:
        """The agent type of a session: configured match, else the agent's name, else the service's, else `unknown`.

        Names come from senders, so the answer is cut to 200 characters, and the cache starts anew when it is full.
        """
        key = (agent_name and agent_name[:MAX_AGENT_TYPE_CHARS], service_name and service_name[:MAX_AGENT_TYPE_CHARS])
        found = self._agent_type_cache.get(key)
        if found is None:
            if len(self._agent_type_cache) >= MAX_CACHED_AGENT_TYPES:
                self._agent_type_cache.clear()
            found = self._agent_type_cache[key] = self._match(*key)
        return found

    def _match(self, agent_name: str | None, service_name: str | None) -> str:
        for name, agent_type in self.agent_types.items():
            match = agent_type.match
            if match is None or (match.agent_name is None and match.service_name is None):
                continue
            if (match.agent_name is None or fnmatchcase(agent_name or "", match.agent_name)) and (
                match.service_name is None or fnmatchcase(service_name or "", match.service_name)
            ):
                return name
        return agent_name or service_name or UNKNOWN_AGENT_TYPE

    def policy_for(self, agent_type: str) -> AgentTypePolicy:
        """Budgets and tools of `agent_type`; parts it does not have, and types without a section, take `default`'s."""
        default = self.agent_types["default"]
        own = self.agent_types.get(agent_type, default)
        return AgentTypePolicy(
            agent_type=agent_type,
            budgets=own.budgets or default.budgets or Budgets(),
            tools=own.tools or default.tools or Tools(),
        )

    def detector(self, name: str) -> DetectorSettings:
        """Settings of one registered detector. Raises KeyError for another."""
        return self.detectors[name]

    def with_changes(self, **sections: Any) -> "Config":
        """A checked copy with whole sections replaced; for tests and for arming a detector while running.

        Not `model_copy`, which checks nothing and would share what this one remembered.
        """
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self)(**{**values, **sections})


def _laid_over(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = copy.deepcopy(dict(base))
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _laid_over(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def _without_empty(values: Mapping[str, Any]) -> dict[str, Any]:
    # `web:` with every key commented out is a section at its defaults, not a mistake
    return {name: value for name, value in values.items() if value is not None}
