import contextlib
import gzip
import random
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.errors import Malformed, TooLarge
from collector.receiver.compression import CHUNK_BYTES, DECODERS, decompress


def zstd(body: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(body)


def zstd_streamed(body: bytes) -> bytes:
    """Without the content size in its header."""
    stream = zstandard.ZstdCompressor().compressobj()
    return stream.compress(body) + stream.flush()


def noise(size: int) -> bytes:
    return random.Random(1).randbytes(size)  # noqa: S311 — only has to be incompressible


SKIPPABLE = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"12345"
COMPRESS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd}


@pytest.mark.parametrize("name", COMPRESS)
@settings(deadline=None)
@given(body=st.binary(max_size=10_000))
def test_round_trip(name: str, body: bytes) -> None:
    assert decompress(COMPRESS[name](body), name, 10_000) == body


@pytest.mark.parametrize("name", COMPRESS)
def test_a_round_trip_of_several_megabytes(name: str) -> None:
    body = noise(3_000_000)
    assert decompress(COMPRESS[name](body), name, len(body)) == body


@pytest.mark.parametrize("name", DECODERS)
@settings(deadline=None)
@given(body=st.binary(max_size=200))
def test_any_bytes_are_read_or_malformed(name: str, body: bytes) -> None:
    with contextlib.suppress(Malformed, TooLarge):
        decompress(body, name, 1000)


@pytest.mark.parametrize("name", COMPRESS)
@pytest.mark.parametrize("body", [b"a" * 1_000_000, noise(500)], ids=["run", "noise"])
def test_a_body_that_ends_early_is_malformed(name: str, body: bytes) -> None:
    whole = COMPRESS[name](body)
    for cut in {*range(1, len(whole), max(1, len(whole) // 50)), len(whole) - 1}:
        with pytest.raises(Malformed):
            decompress(whole[:cut], name, 2_000_000)


def test_several_members_and_frames() -> None:
    assert decompress(gzip.compress(b"a") + gzip.compress(b"b"), "gzip", 10) == b"ab"
    assert decompress(SKIPPABLE + zstd(b"a") + SKIPPABLE + zstd_streamed(b"b"), "zstd", 10) == b"ab"


@pytest.mark.parametrize(
    ("name", "empty"), [("gzip", gzip.compress(b"")), ("zstd", zstd(b"")), ("zstd", SKIPPABLE)], ids=["gzip", "zstd", "skippable"]
)
def test_empty_members_cannot_go_on_for_ever(name: str, empty: bytes) -> None:
    assert decompress(empty * 100, name, 10) == b""
    with pytest.raises(Malformed, match="more than 100"):
        decompress(empty * 101, name, 10)


@pytest.mark.parametrize("name", COMPRESS)
def test_bytes_after_the_end_are_malformed(name: str) -> None:
    with pytest.raises(Malformed):
        decompress(COMPRESS[name](b"a") + b"junk", name, 10)


def test_a_window_above_what_decoders_must_support_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=27)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    with pytest.raises(Malformed, match="window"):
        decompress(stream.compress(b"a" * 1000) + stream.flush(), "zstd", 10_000)


@pytest.mark.parametrize("name", [*COMPRESS, "zstd without its size"])
def test_a_bomb_never_holds_more_than_the_limit_and_a_little(name: str) -> None:
    limit = 1024 * 1024
    bomb = (COMPRESS | {"zstd without its size": zstd_streamed})[name](bytes(64 * 2**20))
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge, match=r"above receivers\.max_request_bytes"):
            decompress(bomb, name.split(maxsplit=1)[0], limit)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < limit + 4 * CHUNK_BYTES
