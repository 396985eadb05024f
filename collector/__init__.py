"""The service: bytes in, verdicts out."""

from importlib.metadata import version

__version__ = version("overcurrent")
