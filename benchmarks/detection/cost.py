"""Prints what features and detectors cost: CPU microseconds a step, and bytes of state a session.

The steps resemble a load of ordinary agent sessions: a model call and a tool call in turn, about 320 characters of arguments
and 430 of results in fresh words, six tools, one session in ten stuck in a loop. Compare figures of one machine only.
"""

import argparse
import pickle
import random
import statistics
import time
from collections.abc import Callable
from decimal import Decimal

from detectors import testing
from detectors.base import Context
from detectors.features import FeatureState
from detectors.host import DetectorHost
from detectors.model import Step

_TOOLS = (("read_file", "path"), ("web_search", "query"), ("run_shell", "command"), ("sql_query", "sql"), ("send_email", "body"))
_QUERIES = ("reset two factor authentication", "how to reset two factor authentication", "reset 2fa steps")


def make_sessions(sessions: int, steps: int, seed: int, looping_share: float = 0.1) -> list[list[Step]]:
    dice = random.Random(seed)  # noqa: S311 — a workload, not a secret
    syllables = ("ba", "co", "di", "fu", "ge", "hi", "jo", "ku", "la", "me", "ni", "po", "qua", "ri", "so", "tu")
    vocabulary = ["".join(dice.choice(syllables) for _ in range(dice.randint(2, 4))) for _ in range(17_000)]

    def text(length: int) -> str:
        return " ".join(dice.choice(vocabulary) for _ in range(length // 7))

    made = []
    for _ in range(sessions):
        looping, context, one = dice.random() < looping_share, dice.randint(800, 3000), []
        for number in range(steps // 2):
            context += dice.randint(90, 1600)
            one.append(
                testing.llm(
                    "gpt-5",
                    text(320),
                    agent="worker",
                    input_text=text(320),
                    input_tokens=context,
                    output_tokens=dice.randint(40, 700),
                    context_window=200_000,
                    cost_usd=context / 1e6,
                )
            )
            name, argument = ("web_search", "query") if looping else dice.choice(_TOOLS)
            asked = _QUERIES[number % len(_QUERIES)] if looping else text(320)
            answer = "3 results: account overview; password reset; contact support. No exact match." if looping else text(430)
            one.append(testing.tool(name, {argument: asked, "limit": dice.randint(1, 50)}, answer))
        made.append(testing.session(*one))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=100)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    sessions = make_sessions(options.sessions, options.steps, options.seed)
    total = sum(len(steps) for steps in sessions)

    def features_only() -> None:
        for steps in sessions:
            state = FeatureState()
            for step in steps:
                state.observe(step)

    def watched(steps: list[Step]) -> DetectorHost:
        host = DetectorHost(testing.KEY, ceiling_usd=Decimal(5))
        for step in steps:
            host.observe(step)
        return host

    def everything() -> None:
        for steps in sessions:
            watched(steps)

    def cpu(work: Callable[[], None]) -> float:
        taken = []
        for _ in range(options.repeats):
            start = time.process_time()
            work()
            taken.append(time.process_time() - start)
        return min(taken) / total * 1e6

    print(f"features               {cpu(features_only):8.1f} CPU-us a step")
    print(f"features and detectors {cpu(everything):8.1f} CPU-us a step")
    sizes = [len(pickle.dumps(watched(steps))) for steps in sessions]
    print(f"state of a session of {options.steps} steps, pickled: median {statistics.median(sizes):,.0f} bytes, largest {max(sizes):,}")
    print(f"an empty host, pickled: {len(pickle.dumps(DetectorHost(testing.KEY))):,} bytes; a context: {len(pickle.dumps(Context())):,}")


if __name__ == "__main__":
    main()
