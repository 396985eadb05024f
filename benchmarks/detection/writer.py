"""Makes up the texts of sessions: words and templates of one half of the corpus, one domain and one seed.

Names are put together from syllables and numbers drawn afresh, so that long sessions keep bringing words not seen before, as
real ones do. The two halves (`lexicon/tune.yaml`, `lexicon/test.yaml`) share no template, tool, agent, topic or language.
"""

import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

import yaml

Half = Literal["tune", "test"]
HALVES: Final[tuple[Half, ...]] = ("tune", "test")
DOMAINS: Final = ("coding", "support", "research", "data", "ops", "browsing")

_FOLDER: Final = Path(__file__).parent / "lexicon"


@cache
def lexicon(half: Half) -> dict[str, Any]:
    """Reads the words of one half."""
    loaded: dict[str, Any] = yaml.safe_load((_FOLDER / f"{half}.yaml").read_text(encoding="utf8"))
    return loaded


class Writer:
    """Words of one domain in one half. The same seed says the same."""

    def __init__(self, half: Half, domain: str, seed: str) -> None:
        self.half: Half = half
        self.domain = domain
        self.dice = random.Random(f"{seed}/{half}/{domain}")  # noqa: S311 — a corpus, not a secret
        self.all = lexicon(half)
        self.own: dict[str, Any] = self.all["domains"][domain]
        self.argument: str = self.own["argument"]
        self.unit: str = self.own["unit"]
        self._names = [self.name() for _ in range(3)]

    def pick(self, values: list[str]) -> str:
        return self.dice.choice(values)

    def tool(self, slot: str) -> str:
        """The domain's tool for `search`, `read`, `write`, `run`, `status`, `list`, `ask` or `send`, or one of `other_tools`."""
        name: str = self.own["tools"].get(slot) or self.all["other_tools"][slot]
        return name

    def agents(self, count: int) -> list[str]:
        return self.dice.sample(self.own["agents"], count)

    def subject(self) -> str:
        return self.pick(self.own["subjects"])

    def aspect(self) -> str:
        return self.pick(self.own["aspects"])

    def word(self) -> str:
        return self.pick(self.own["vocabulary"])

    def name(self) -> str:
        """A name nobody has heard of."""
        middle = self.dice.choice(("", "", self.pick(self.all["roots"])))
        return (self.pick(self.all["roots"]) + middle + self.pick(self.all["endings"])).title()

    def number(self, top: int = 9999) -> int:
        return self.dice.randint(2, top)

    def nonce(self) -> str:
        return f"{self.dice.getrandbits(64):016x}"

    def moment(self) -> str:
        day, clock = (self.dice.randint(1, 12), self.dice.randint(1, 28)), [self.dice.randint(0, high) for high in (23, 59, 59)]
        return "2026-{:02}-{:02}T{:02}:{:02}:{:02}Z".format(*day, *clock)

    def fill(self, template: str, **given: str) -> str:
        """Fills the slots of a template that `given` does not with words of the domain."""
        slots = {
            "w": self.word(),
            "w2": self.word(),
            "w3": self.word(),
            "c": self.pick(self.all["common"]),
            "n": str(self.number()),
            "m": str(self.number(99)),
            "year": str(self.dice.randint(1950, 2026)),
            "Name": self.name(),
            "Name2": self.name(),
            "s": self.subject(),
            "a": self.aspect(),
            "p": self.word(),
        }
        return template.format(**(slots | given))

    def fact(self, subject: str | None = None) -> str:
        return self.fill(self.pick(self.all["facts"]), **({"s": subject} if subject else {}))

    def text(self, sentences: int, subject: str | None = None) -> str:
        """Several facts in a row: what a tool returns that has something to say."""
        return " ".join(self.fact(subject) for _ in range(sentences))

    def item(self) -> str:
        return self.fill(self.pick(self.own["items"]))

    def items(self, count: int) -> list[str]:
        """So many different items."""
        found: dict[str, None] = {}
        while len(found) < count:
            found[self.item()] = None
        return list(found)

    def thought(self, tool: str, subject: str, aspect: str) -> str:
        return self.fill(self.pick(self.all["thoughts"]), t=tool, s=subject, a=aspect)

    def wordings(self, subject: str, aspect: str) -> Iterator[str]:
        """One question in ever other words, without end; a wording returns after a dozen others, slightly changed."""
        while True:
            order = list(self.all["questions"])
            self.dice.shuffle(order)
            for template in order:
                yield template.format(s=subject, a=aspect)

    def foreign(self, language: str) -> tuple[Iterator[str], list[str]]:
        """One question in other words of another language, and how that language says that nothing was found."""
        own = self.all["languages"][language]
        subject = self.pick(own["subjects"])

        def without_end() -> Iterator[str]:
            while True:
                order = list(own["questions"])
                self.dice.shuffle(order)
                for template in order:
                    yield template.format(s=subject)

        return without_end(), own["nothing"]

    def failure(self, kind: str) -> str:
        return self.fill(self.pick(self.all["failures"][kind]))

    def ask(self, subject: str, aspect: str) -> str:
        verb = self.pick(self.all["handoffs"]["verbs"])
        return self.pick(self.all["handoffs"]["ask"]).format(s=subject, a=aspect, v=verb)

    def answer(self, subject: str, aspect: str) -> str:
        return self.pick(self.all["handoffs"]["answer"]).format(s=subject, a=aspect)
