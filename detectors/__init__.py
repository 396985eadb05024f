"""Finds loops, runaway cost and full contexts in the steps of one agent session. Pure: no clock, no I/O.

`DETECTORS` is the only registration. To add one: a file named after the pattern, an entry here, and
`tests/detectors/<name>/cases.yaml`. Where one detector yields to another (`yields_to`), the other stands before it.
"""

from typing import Any, Final

from detectors.abandoned import Abandoned
from detectors.base import Detector
from detectors.context_overflow import ContextOverflow
from detectors.cost_runaway import CostRunaway
from detectors.credential_failure import CredentialFailure
from detectors.exact_loop import ExactLoop
from detectors.max_steps import MaxSteps
from detectors.no_progress import NoProgress
from detectors.ping_pong import PingPong
from detectors.retry_storm import RetryStorm
from detectors.soft_loop import SoftLoop
from detectors.timeout import Timeout
from detectors.workflow_spend import WorkflowSpend
from detectors.zombie import Zombie

DETECTORS: Final[tuple[type[Detector[Any]], ...]] = (
    CredentialFailure,
    RetryStorm,
    PingPong,
    ExactLoop,
    SoftLoop,
    NoProgress,
    CostRunaway,
    ContextOverflow,
    MaxSteps,
    Timeout,
    Abandoned,
    Zombie,
)

WORKFLOW_DETECTORS: Final[tuple[type[Detector[Any]], ...]] = (PingPong, WorkflowSpend)
"""Those that watch whole workflows: what agents in several sessions do to each other, and spend together."""
