"""`python -m collector.cli`."""

from collector.cli.main import main

main()
