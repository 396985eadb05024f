"""Notices when a tool's definition is offered for the first time, or another than before, and says so in the stream."""

import hashlib
from collections.abc import Callable
from typing import Final

from collector.bounded import remember
from collector.dialects.base import Fragment
from collector.knowledge import Knowledge
from detectors.model import SchemaRegistered

_OFFERS: Final = 2_000
"""Agents whose latest offer is remembered."""
_KNOWN: Final = 20_000
"""Tools whose definition is remembered."""
_PAUSE_NS: Final = 10 * 10**9
"""A definition that is made anew for every call is told of this often, by event time."""


class ToolSchemas:
    """What each agent type offers its models. One instance, one thread; a function of the fragments and of `knowledge`."""

    def __init__(self, knowledge: Knowledge, agent_type: Callable[[str | None, str | None], str]) -> None:
        self._knowledge = knowledge
        self._agent_type = agent_type
        self._offers: dict[tuple[str | None, str | None], tuple[tuple[str, str], ...]] = {}
        self._told: dict[tuple[str, str], tuple[str, int]] = {}

    def forget(self) -> None:
        """Falls back on what the stream holds, after a commit that failed."""
        self._offers.clear()
        self._told.clear()

    def offered(self, fragment: Fragment, last_seq: int) -> list[SchemaRegistered]:
        """The definitions in `fragment` that are news, numbered from `last_seq` on. Costs a comparison where nothing changed."""
        schemas = fragment.tool_schemas
        step = fragment.step
        who = (step.agent or fragment.agent if step is not None else fragment.agent, step.service_name if step is not None else None)
        if self._offers.get(who) == schemas:
            return []
        remember(self._offers, who, schemas, _OFFERS)
        agent_type = self._agent_type(*who)
        made: list[SchemaRegistered] = []
        for tool, schema in schemas:
            fingerprint = hashlib.blake2b(schema.encode("utf8", "surrogatepass"), digest_size=12).hexdigest()
            told = self._told.get((agent_type, tool))
            known = told[0] if told is not None else self._knowledge.fingerprint(agent_type, tool)
            if known == fingerprint:
                if told is None:
                    remember(self._told, (agent_type, tool), (fingerprint, 0), _KNOWN)
                continue
            if told is not None and fragment.at_ns - told[1] < _PAUSE_NS:
                self._offers.pop(who, None)  # look again at the next one
                continue
            remember(self._told, (agent_type, tool), (fingerprint, fragment.at_ns), _KNOWN)
            made.append(
                SchemaRegistered(
                    seq=last_seq + 1 + len(made),
                    agent_type=agent_type,
                    tool=tool,
                    schema=schema,
                    fingerprint=fingerprint,
                    at_ns=fragment.at_ns,
                )
            )
        return made
