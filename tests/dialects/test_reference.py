"""The page about dialects says what their classes say."""

from collector.dialects import DIALECTS
from collector.dialects.reference import FRAMEWORKS, HEADINGS, PAGE, README, page, readme, sections


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text() == page(), "run python -m collector.dialects.reference"


def test_every_dialect_says_everything() -> None:
    for dialect in DIALECTS:
        assert set(HEADINGS) <= sections(dialect).keys(), dialect.name


def test_the_table_in_readme_is_what_the_dialects_say() -> None:
    text = README.read_text()
    assert readme(text) == text
    assert all(framework.title in text for framework in FRAMEWORKS)
