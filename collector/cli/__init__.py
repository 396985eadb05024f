"""The command line. Commands are modules of this package; each is imported only when it runs."""

from collector.cli.main import main

__all__ = ["main"]
