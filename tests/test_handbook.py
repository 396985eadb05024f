import re
from pathlib import Path

import pytest

from collector.config import reference
from collector.handbook import PAGES


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_committed_page_is_what_the_code_says(path: Path) -> None:
    assert path.read_text() == PAGES[path](), "run make docs"


def test_every_key_is_explained_and_every_detector_linked() -> None:
    said = {path.name: path.read_text() for path in PAGES}
    for key in reference():
        assert f"| `{key.name}` |" in said["configuration.md"]
        assert key.help, key.name
    anchors = {heading.replace(".", "") for heading in re.findall(r"(?m)^## (.+)$", said["configuration.md"])}
    assert set(re.findall(r"configuration\.md#(\w+)", said["detectors.md"])) <= anchors
