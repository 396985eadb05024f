"""What the way in which answers change says: a tool that tells one thing from another, and an agent that reports."""

from typing import Final

import msgspec

from detectors.receipts import RECEIPT_WORDS
from detectors.speech import is_figure
from detectors.step_features import StepFeatures

_REPORTS: Final = 6
"""Reports remembered."""


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

    told: tuple[frozenset[str], ...] = ()

    def observe(self, said: frozenset[str]) -> bool:
        """Whether what was said holds an identifier and more, put together as in no report remembered.

        >>> from detectors.speech import substance
        >>> reports = Reports()
        >>> [reports.observe(substance(said)) for said in ("2 fail: test_a", "2 fail, test_b", "test_a fails, with 2", "2 of 9 fail")]
        [True, True, False, False]
        """
        figures = frozenset(filter(is_figure, said))
        if len(figures) < 2 or all(map(str.isdigit, figures)) or figures in self.told:
            return False
        self.told = (*self.told[1 - _REPORTS :], figures)
        return True
