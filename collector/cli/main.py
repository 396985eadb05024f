"""`overcurrent`: the entry point and what all commands share."""

import importlib
import sys
from typing import Any, Final

import click

from collector.errors import ConfigError, OvercurrentError

EXIT_NO: Final = 1
"""The answer is no: a critical finding, a failed check."""
EXIT_USAGE: Final = 2
EXIT_INTERNAL: Final = 70

_COMMANDS: Final = {
    "serve": "Runs the service: OTLP receivers, detectors, halting, API and metrics.",
    "demo": "Sends realistic agent sessions to a service and shows what happens to them.",
    "replay": "Puts recorded telemetry through the same pipeline, off-line.",
    "sessions": "Lists sessions of a running service.",
    "show": "Shows one session: its steps, findings and halts.",
    "findings": "Lists findings of a running service.",
    "halt": "Halts a session.",
    "release": "Lets a halted session go on.",
    "check-config": "Validates a configuration file.",
    "generate": "Writes Prometheus rules, Alertmanager routes, runbooks and dashboards.",
}


class _Lazy(click.Group):
    """Imports a command's module only when it is asked for: `--help` needs no database."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 — click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 — click's signature
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"collector.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 — click's signature
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="overcurrent", prog_name="overcurrent")
def cli() -> None:
    """Overcurrent protection for AI agents.

    Exit status: 0 success, 1 the answer is no, 2 wrong usage or configuration, 70 an error of our own.
    """


def main(arguments: list[str] | None = None) -> None:
    """Runs a command; turns every error into one line that says what to do, and the right exit status."""
    try:
        code = cli.main(args=arguments, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_USAGE)
    except click.Abort:
        sys.exit(130)
    except ConfigError as error:
        _complain(error.message)
        sys.exit(EXIT_USAGE)
    except OvercurrentError as error:
        _complain(error.message)
        sys.exit(EXIT_NO)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output went away (`| head`): nothing to tell anybody
        sys.exit(0)
    except Exception as error:  # noqa: BLE001 — the last resort of a command line
        _complain(f"internal error: {type(error).__name__}: {error}; please report it with the command you ran")
        sys.exit(EXIT_INTERNAL)
    sys.exit(code if isinstance(code, int) else 0)


def _complain(message: str) -> None:
    for line in message.splitlines():
        print(f"overcurrent: {line}", file=sys.stderr)


def format_option(function: Any) -> Any:
    """The option that every command which prints has."""
    return click.option(
        "--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True, help="How to print."
    )(function)
