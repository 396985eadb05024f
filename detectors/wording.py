"""How the words of a call compare with those of the calls before it. Pure functions over one `Call` and the calls before it."""

from collections.abc import Sequence

from detectors.calls import Call, values_of
from detectors.text import tokens


def is_reordered(call: Call, calls: Sequence[Call]) -> bool:
    """Whether the arguments are those of a remembered call in another order, and nothing else."""
    ours = sorted(call.arguments)
    return any(len(other.arguments) == len(ours) and sorted(other.arguments) == ours for other in calls)


def is_worded_anew(call: Call, calls: Sequence[Call]) -> bool:
    """Whether most words of what is not the same in all calls stood in none remembered: other names, where other wording keeps a word."""
    before = [values_of(other) for other in calls]
    now = values_of(call)
    if now is None or None in before:
        ours, theirs = tokens(call.arguments), [tokens(other.arguments) for other in calls]
    else:
        told = [key for key, value in now.items() if any((each or {}).get(key) != value for each in before)]
        ours, *theirs = [tokens(" ".join((each or {}).get(key, "") for key in told)) for each in (now, *before)]
    fresh = ours.difference(*theirs)
    return len(fresh) > 1 and len(fresh) * 3 >= len(ours) * 2 and not ours.intersection(*theirs)
