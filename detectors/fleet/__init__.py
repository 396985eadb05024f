"""Detectors that watch all sessions of a tenant: one finding for each cause. `FLEET_DETECTORS` is the only registration."""

from typing import Any, Final

from detectors.fleet.base import FleetDetector
from detectors.fleet.dependency_failure import DependencyFailure
from detectors.fleet.fleet_credential_failure import FleetCredentialFailure
from detectors.fleet.schema_drift import SchemaDrift
from detectors.fleet.semantic_regression import SemanticRegression
from detectors.fleet.unmetered_spend import UnmeteredSpend

FLEET_DETECTORS: Final[tuple[type[FleetDetector[Any]], ...]] = (
    SchemaDrift,
    FleetCredentialFailure,
    DependencyFailure,
    SemanticRegression,
    UnmeteredSpend,
)
