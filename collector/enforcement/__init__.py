"""Enforcement: what the service does about a verdict, durably and once."""

from typing import Final

from collector.enforcement.action import Action
from collector.enforcement.webhook import KillWebhook

ACTIONS: Final[dict[str, type[Action]]] = {KillWebhook.name: KillWebhook}
"""Every way to reach out of the service, by name. The only registration."""

__all__ = ["ACTIONS", "Action", "KillWebhook"]
