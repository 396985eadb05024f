"""What conformance left unknown, against what docs/dialects.md lists: `python -m benchmarks.unknown CONFORMANCE`.

CONFORMANCE is what `../shared/tools/conformance.py --findings --json …` printed. Names the reason for each fact that was left
unknown, and exits with 1 where one has none.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from collector.dialects.reference import UNKNOWN


def reasons(result: dict[str, Any]) -> Iterator[tuple[str, str, str | None]]:
    """Recording, fact and reason of everything unknown; no reason where the list has none."""
    for row in result["rows"]:
        for fact, verdict in (row.get("verdict") or {}).items():
            if verdict == "unknown":
                listed = (one.why for one in UNKNOWN if fact in one.facts and any(fnmatch(row["capture"], each) for each in one.recordings))
                yield row["capture"], fact, next(listed, None)


def main() -> None:
    """Prints the reasons, and fails where one lacks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.unknown", description=__doc__)
    parser.add_argument("conformance", type=Path)
    found = list(reasons(json.loads(parser.parse_args().conformance.read_text())))
    for recording, fact, why in found:
        sys.stdout.write(f"{recording} {fact}: {why or 'NOT LISTED'}\n")
    missing = sum(why is None for _, _, why in found)
    sys.stdout.write(f"{len(found)} unknown, {missing} of them not listed\n")
    sys.exit(missing > 0)


if __name__ == "__main__":
    main()
