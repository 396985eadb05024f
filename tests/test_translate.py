"""What one request says survives the way to another process whole."""

from pathlib import Path

import pytest

from collector.translate import decode_translation, encode, translate
from tests.dialects.captures import SCENARIOS, name_of, requests


@pytest.mark.parametrize("folder", SCENARIOS, ids=name_of)
def test_a_translation_is_the_same_after_the_way_to_another_process(folder: Path) -> None:
    for request in requests(folder):
        translation = translate(request)
        assert decode_translation(encode(translation)) == translation
