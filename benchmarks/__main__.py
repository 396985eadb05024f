"""`python -m benchmarks [WHICH ...]`: measures, and prints tables or JSON. Without a name: throughput, stages, latency and factors."""

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.report import Table, machine, show

if TYPE_CHECKING:
    from benchmarks.load import Mix

SHORT: Final = ("throughput", "stages", "latency", "factors")
"""What runs without a name: a few minutes in all."""


def _mix(options: argparse.Namespace) -> "Mix":
    from benchmarks.load import Mix  # noqa: PLC0415 — `--help` needs none of it, here and below

    return Mix(batch=options.batch, step_share=options.step_share, loop_share=options.loop_share)


def _throughput(options: argparse.Namespace) -> list[Table]:
    from benchmarks.throughput import sustained  # noqa: PLC0415

    return sustained(options.seconds, options.connections, _mix(options))


def _stages(options: argparse.Namespace) -> list[Table]:
    from benchmarks.stages import stages  # noqa: PLC0415

    return stages(options.spans, options.seconds, mix=_mix(options))


def _latency(options: argparse.Namespace) -> list[Table]:
    from benchmarks.latency import latency  # noqa: PLC0415

    return latency(options.seconds, options.connections, tuple(options.rates), mix=_mix(options))


def _factors(options: argparse.Namespace) -> list[Table]:
    from benchmarks.throughput import factors  # noqa: PLC0415

    return factors(options.seconds, options.connections)


def _gate(options: argparse.Namespace) -> list[Table]:
    from benchmarks.gate import gate  # noqa: PLC0415

    return gate(options.seconds, options.connections, tuple(options.rates))


def _storage(options: argparse.Namespace) -> list[Table]:
    from benchmarks.storage import SIZES, storage  # noqa: PLC0415

    return storage(options.sizes or SIZES, options.seconds, options.connections)


def _durability(options: argparse.Namespace) -> list[Table]:
    from benchmarks.durability import durability  # noqa: PLC0415

    return durability(options.rounds, options.seconds, options.seed, options.minutes)


def _peers(options: argparse.Namespace) -> list[Table]:
    from benchmarks.peers import peers  # noqa: PLC0415

    return peers(options.seconds, options.connections, options.environments)


def _live(options: argparse.Namespace) -> list[Table]:
    from benchmarks.live import SIZES, live  # noqa: PLC0415

    return live(options.sizes or SIZES, options.steps, options.span_bytes)


ALL: Final[dict[str, Callable[[argparse.Namespace], list[Table]]]] = {
    "throughput": _throughput,
    "stages": _stages,
    "latency": _latency,
    "factors": _factors,
    "gate": _gate,
    "storage": _storage,
    "durability": _durability,
    "peers": _peers,
    "live": _live,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("which", nargs="*", metavar="WHICH", help=f"any of {', '.join(ALL)}")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each run (default 5; 300 for a sustained one)")
    parser.add_argument("--json", action="store_true", help="JSON instead of tables")
    parser.add_argument("--connections", type=int, default=4, help="requests under way at the same time (default 4)")
    parser.add_argument("--rates", type=float, nargs="+", default=[0, 2_000, 10_000], help="spans a second beside latency and gate")
    parser.add_argument("--batch", type=int, default=256, help="spans a request in throughput, stages and latency (default 256)")
    parser.add_argument("--step-share", type=float, default=1.0, help="share of their spans that are steps (default 1)")
    parser.add_argument("--loop-share", type=float, default=0.0, help="share of their sessions that loop (default 0)")
    parser.add_argument("--spans", type=int, default=50_000, help="spans that stages measures (default 50,000)")
    parser.add_argument("--rounds", type=int, default=5, help="kills of durability (default 5)")
    parser.add_argument("--minutes", type=float, help="when durability stops, whatever rounds are left")
    parser.add_argument("--seed", type=int, help="decides when durability kills")
    parser.add_argument("--environments", type=Path, help="folder in which peers stay installed (default: they are thrown away)")
    parser.add_argument("--sizes", type=int, nargs="+", help="stored spans of storage, sessions of live")
    parser.add_argument("--steps", type=int, default=5, help="spans a session of live (default 5)")
    parser.add_argument("--span-bytes", type=int, default=1_500, help="bytes a span of live (default 1,500)")
    options = parser.parse_args()
    unknown = [name for name in options.which if name not in ALL]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are: {', '.join(ALL)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    facts = machine()
    tables: list[Table] = []
    for name in options.which or SHORT:
        tables += ALL[name](options)
    show(tables, facts, as_json=options.json)


if __name__ == "__main__":
    main()
