"""What the way in which answers change says: a tool that tells one thing from another, and an agent that reports."""

from typing import Final

import msgspec

from detectors.receipts import RECEIPT_WORDS
from detectors.speech import is_figure
from detectors.step_features import StepFeatures

_PARTIES: Final = 12
"""Parties whose reports are remembered."""


def acknowledges(features: StepFeatures) -> bool:
    """Whether all that came back is that it was done: that says the same however often something is done."""
    return features.result_words <= RECEIPT_WORDS and not (features.failed or features.asks or features.found_nothing)


class Answering(msgspec.Struct, gc=False):
    """The tool that answered different calls now this way, now that, though each answer was known."""

    key: str | None = None
    patience: int = 0
    """Equal answers in a row that are still taken for answers."""

    def observe(self, features: StepFeatures, patience: int) -> bool:
        """Takes in a call not made before. Whether its tool answers so: "larger" after "smaller" says something, however few the words."""
        if features.varied and features.same_result_as is not None:
            self.key, self.patience = features.key, patience
        elif self.key == features.key:
            self.patience -= 1
            if self.patience <= 0:
                self.key = None
        return self.key is not None and self.key == features.key


class Reports(msgspec.Struct):
    """The figures and identifiers that answers put together of late: other tests that fail, or another count of them."""

    told: dict[str, tuple[frozenset[str], ...]] = {}
    """The last two reports of each party."""

    def observe(self, party: str, said: frozenset[str]) -> bool:
        """Whether what was said holds an identifier and more, put together as in neither of the party's last two reports.

        >>> from detectors.speech import substance
        >>> reports, said = Reports(), ("2 fail: test_a", "2 fail, test_b", "test_a fails, with 2", "2 of 9 fail")
        >>> [reports.observe("tester", substance(each)) for each in said]
        [True, True, False, False]
        """
        figures = frozenset(filter(is_figure, said))
        if len(figures) < 2 or all(map(str.isdigit, figures)):
            return False
        before = self.told.pop(party, ())
        if len(self.told) >= _PARTIES:
            del self.told[next(iter(self.told))]
        self.told[party] = (*before[-1:], figures)
        return figures not in before
