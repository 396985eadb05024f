"""The page about dialects says what their classes say."""

from collector.dialects import DIALECTS
from collector.dialects.reference import HEADINGS, PAGE, page, sections


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text() == page(), "run python -m collector.dialects.reference"


def test_every_dialect_says_everything() -> None:
    for dialect in DIALECTS:
        assert set(HEADINGS) <= sections(dialect).keys(), dialect.name
