"""Prints what features and detectors cost: CPU microseconds a step, and bytes of memory a session.

The steps resemble those of the load generator: a model call and a tool call in turn, about 320 characters of arguments and 430 of
results in fresh words, six tools; so many sessions are under way at a time, and their steps come interleaved. Compare figures of one
machine only, taken one after the other.
"""

import argparse
import gc
import pickle
import random
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal

import msgspec

from detectors import testing
from detectors.features import FeatureState
from detectors.host import DetectorHost
from detectors.model import SessionKey, Step

_TOOLS = (
    *(("read_file", "path"), ("web_search", "query"), ("run_shell", "command")),
    *(("sql_query", "sql"), ("send_email", "body"), ("http_get", "url")),
)
_QUERIES = ("reset two factor authentication", "how to reset two factor authentication", "reset 2fa steps")
_AT_A_TIME = 64
"""Sessions under way at a time."""


def make_sessions(sessions: int, steps: int, seed: int, looping_share: float = 0.0) -> list[list[Step]]:
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
            one.append(testing.tool(name, {argument: asked, "limit": 10 if looping else dice.randint(1, 50)}, answer))
        made.append(testing.session(*one, key=SessionKey("default", "default", f"s-{len(made)}")))
    return made


def interleaved(sessions: Sequence[list[Step]], seed: int) -> Iterator[Step]:
    """The steps of all sessions as they arrive."""
    dice = random.Random(seed)  # noqa: S311 — a workload, not a secret
    waiting = [iter(steps) for steps in sessions]
    live = [waiting.pop() for _ in range(min(_AT_A_TIME, len(waiting)))]
    while live:
        place = dice.randrange(len(live))
        step = next(live[place], None)
        if step is not None:
            yield step
        elif waiting:
            live[place] = waiting.pop()
        else:
            live.pop(place)


def features_of(steps: Sequence[Step]) -> None:
    states: dict[SessionKey, FeatureState] = {}
    for step in steps:
        state = states.get(step.session)
        if state is None:
            state = states[step.session] = FeatureState()
        state.observe(step)


def findings_of(steps: Sequence[Step]) -> None:
    hosts: dict[SessionKey, DetectorHost] = {}
    for step in steps:
        host = hosts.get(step.session)
        if host is None:
            host = hosts[step.session] = DetectorHost(step.session, ceiling_usd=Decimal(500))
        host.observe(step, count=False)


def cpu_us(work: Callable[[Sequence[Step]], None], steps: Sequence[Step], repeats: int) -> float:
    """CPU microseconds a step, the least of some repeats."""
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        work(steps)
        taken.append(time.process_time() - start)
    return min(taken) / len(steps) * 1e6


def memory_bytes(sessions: Sequence[list[Step]], steps: int) -> int:
    """Bytes that the host of a session takes after so many steps, the texts it keeps included, on average."""
    copies = pickle.dumps([one[:steps] for one in sessions])
    gc.collect()
    tracemalloc.start()
    own = pickle.loads(copies)  # noqa: S301 — our own bytes
    hosts = []
    for one in own:
        host = DetectorHost(testing.KEY, ceiling_usd=Decimal(500))
        for step in one:
            host.observe(step, count=False)
        hosts.append(host)
        one.clear()
    step = None
    gc.collect()
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return taken // len(hosts)


def largest(steps: int) -> int:
    """Bytes of a session made to fill what is kept: seventeen tools, as many agents, long texts that repeat almost."""
    dice = random.Random(1)  # noqa: S311 — a workload, not a secret
    many = [" ".join(f"{dice.randrange(36**4):x}" for _ in range(500)) for _ in range(64)]
    made = []
    for number in range(steps // 2):
        made.append(testing.llm("m", dice.choice(many), agent=f"a{number % 17}", input_text=dice.choice(many), input_tokens=number))
        made.append(testing.tool(f"t{number % 17}", {"q": dice.choice(many[:2]), "n": number}, f"{dice.choice(many[:2])} {number}"))
    return memory_bytes([testing.session(*made)], steps)


def by_length(repeats: int) -> dict[int, float]:
    """CPU microseconds of each step of one session by its length."""
    (long,) = make_sessions(1, 1000, 1)
    steps = [msgspec.structs.replace(step, seq=number) for number, step in enumerate(long * 100, 1)]
    return {length: cpu_us(findings_of, steps[:length], repeats) for length in (100, 1000, 100_000)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=100)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for share in (0.0, 0.1):
        sessions = make_sessions(options.sessions, options.steps, options.seed, share)
        steps = list(interleaved(sessions, options.seed))
        alone, together = cpu_us(features_of, steps, options.repeats), cpu_us(findings_of, steps, options.repeats)
        print(f"{share:4.0%} of sessions loop: features {alone:5.1f}, features and detectors {together:5.1f} CPU-us a step")
    for length, each in by_length(2).items():
        print(f"a session of {length:7,} steps: {each:5.1f} CPU-us a step")
    long = make_sessions(20, 1000, options.seed)
    for length in (0, 1, 5, 50, 1000):
        print(f"a session after {length:5,} steps: {memory_bytes(long, length):9,} bytes")
    print(f"the largest that could be made: {largest(6000):,} bytes")


if __name__ == "__main__":
    main()
