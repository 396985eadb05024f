"""What may follow what in the life of a halt. Pure."""

from typing import Final

from collector.model import Halt, HaltState, SessionState, Verb

STOPS: Final = frozenset({Verb.HALT, Verb.PAUSE})
"""Verbs that hold a session until a person lets it go."""
LIFTS: Final = frozenset({Verb.RELEASE, Verb.REQUEUE})
"""Verbs that let it go."""
STRENGTH: Final = {Verb.HALT: 3, Verb.PAUSE: 2, Verb.COMPACT: 1}

PROVEN: Final = frozenset({HaltState.CONFIRMED_STOPPED, HaltState.QUIET})
"""The session is known to have stopped."""
OWNED: Final = PROVEN | {HaltState.ACKNOWLEDGED}
"""An owner of the session answered, or the session fell silent: other runtimes need not be asked for ever."""

_UNANSWERED: Final = frozenset({HaltState.ACKNOWLEDGED, HaltState.CONFIRMED_STOPPED, HaltState.QUIET, HaltState.SUPERSEDED})

NEXT: Final[dict[HaltState, frozenset[HaltState]]] = {
    HaltState.REQUESTED: _UNANSWERED | {HaltState.DELIVERED, HaltState.UNSUPPORTED, HaltState.UNDELIVERABLE},
    HaltState.UNDELIVERABLE: _UNANSWERED | {HaltState.DELIVERED, HaltState.UNSUPPORTED},
    # Delivered, but no owner spoke: after enough attempts a person must look, as with one that never arrived.
    HaltState.DELIVERED: _UNANSWERED | {HaltState.UNSUPPORTED, HaltState.UNDELIVERABLE},
    HaltState.UNSUPPORTED: _UNANSWERED,
    HaltState.ACKNOWLEDGED: frozenset({HaltState.CONFIRMED_STOPPED, HaltState.QUIET, HaltState.DISOBEYED, HaltState.SUPERSEDED}),
    HaltState.CONFIRMED_STOPPED: frozenset({HaltState.QUIET, HaltState.DISOBEYED, HaltState.SUPERSEDED}),
    HaltState.QUIET: frozenset({HaltState.DISOBEYED, HaltState.SUPERSEDED}),
    HaltState.DISOBEYED: _UNANSWERED,
    HaltState.SUPERSEDED: frozenset(),
}
"""Proof never weakens by itself: only new steps of the session (`disobeyed`) or a later request undo it."""


def session_state(active: Halt | None) -> SessionState | None:
    """Returns the sticky state that the halt or pause in force gives its session; None where none is in force."""
    if active is None:
        return None
    stopped = active.state in PROVEN
    if active.verb is Verb.HALT:
        return SessionState.HALTED if stopped else SessionState.HALTING
    return SessionState.PAUSED if stopped else SessionState.PAUSING
