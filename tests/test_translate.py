"""What one request says survives the way to another process whole, and lies in the store as if it had come alone."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from collector.decode import decode
from collector.dialects import fragment_of, fragment_of_log
from collector.translate import Translation, decode_translation, encode, lay_out, translate
from tests.dialects.captures import SCENARIOS, name_of, requests


@pytest.mark.parametrize("folder", SCENARIOS, ids=name_of)
def test_a_translation_is_the_same_after_the_way_to_another_process(folder: Path) -> None:
    for request in requests(folder):
        translation = translate(request)
        lay_out([translation])
        assert decode_translation(encode(translation)) == translation


@pytest.mark.parametrize("folder", SCENARIOS, ids=name_of)
def test_each_item_has_its_own_fragment(folder: Path) -> None:
    for request in requests(folder):
        decoded, translation = decode(request), translate(request)
        assert translation.spans.fragments == [fragment_of(span) for span in decoded.spans]
        assert translation.logs.fragments == [fragment_of_log(record) for record in decoded.logs]


def told(translations: Sequence[Translation]) -> dict[str, list[Any]]:
    """Tenant by tenant, every span and log record of several requests with all that is known of it, in order."""
    found: dict[str, list[Any]] = {}
    for one in translations:
        for records in (one.spans, one.logs):
            assert not records.items
            rows = records.rows.to_pylist() if records.rows is not None else []
            for key, time_ns, fragment, row in zip(records.keys, records.times_ns, records.fragments, rows, strict=True):
                found.setdefault(f"{one.tenant} {type(key).__name__}", []).append((key, time_ns, fragment, row))
    return found


@pytest.mark.parametrize("folder", SCENARIOS, ids=name_of)
def test_requests_that_are_laid_out_together_say_what_they_say_alone(folder: Path) -> None:
    sent = [
        msgspec.structs.replace(request, tenant=tenant)
        for request, tenant in zip(requests(folder), itertools.cycle(("one", "one", "other")), strict=False)
    ]
    alone, together = [translate(request) for request in sent], [translate(request) for request in sent]
    for one in alone:
        lay_out([one])
    lay_out(together)
    assert told(together) == told(alone)
    assert [one.outcome for one in together] == [one.outcome for one in alone]
