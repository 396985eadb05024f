"""Recordings in another order: `python -m benchmarks.scattered RECORDINGS TARGET [--seed 0]`.

Copies every `RECORDINGS/<pair>/<scenario>/` with each span and log record in a request of its own, in random order. What is
made of the copies must be what is made of the originals: conformance over TARGET has the figures of that over RECORDINGS.
"""

import argparse
import random
import shutil
import sys
from pathlib import Path

from benchmarks.otlp import LEVELS, singles
from collector.recordings import requests


def scatter(source: Path, target: Path, chance: random.Random) -> int:
    """Copies one scenario, scattered. Returns how many requests there are now."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    shutil.copy(source / "facts.json", target)
    found: list[tuple[str, bytes]] = []
    for request in requests(source):
        if request.signal in LEVELS:
            ending = "json" if request.encoding == "json" else "pb"
            found += [(f"{request.signal}.{ending}", single.body) for single in singles(request)]
    chance.shuffle(found)
    for number, (ending, body) in enumerate(found):
        (target / f"{number:06}.{ending}").write_bytes(body)
    return len(found)


def main() -> None:
    """Scatters all recordings of a folder."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scattered", description=__doc__)
    parser.add_argument("recordings", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)  # noqa: S311 - repeatable, not secret
    folders = sorted(path.parent for path in options.recordings.glob("*/*/facts.json"))
    if not folders:
        sys.exit(f"{parser.prog}: no recordings (folders with a facts.json) in {options.recordings}")
    count = sum(scatter(folder, options.target / folder.relative_to(options.recordings), chance) for folder in folders)
    sys.stdout.write(f"{len(folders)} recordings, {count} requests\n")


if __name__ == "__main__":
    main()
