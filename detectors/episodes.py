"""What was reported of a detector's pattern, episode by episode."""

from typing import Final

import msgspec

from detectors.base import Signal
from detectors.model import Severity

_EPISODES: Final = 8
"""Episodes of each detector remembered, to recognise them when steps are replayed."""


class Episode(msgspec.Struct):
    """One stretch during which a detector's pattern held, and the worst that was reported of it."""

    number: int
    first_seq: int
    last_seq: int
    severity: Severity
    halt_eligible: bool
    open: bool = True


class Record:
    """What was reported of one detector's pattern: the latest episode's number, and the latest episodes."""

    __slots__ = ("episodes", "latest")

    def __init__(self) -> None:
        self.latest = 0
        self.episodes: list[Episode] = []

    def add(self, episode: Episode) -> None:
        """Remembers another episode, and forgets the oldest of too many."""
        self.latest = max(self.latest, episode.number)
        self.episodes.append(episode)
        if len(self.episodes) > _EPISODES:
            del self.episodes[0]

    def current(self) -> Episode | None:
        """The open episode."""
        return next((each for each in reversed(self.episodes) if each.open), None)

    def covering(self, signal: Signal, seq: int) -> Episode | None:
        """Finds the remembered episode that overlaps the steps of `signal`."""
        return next((each for each in reversed(self.episodes) if each.first_seq <= seq and signal.first_step_seq <= each.last_seq), None)
