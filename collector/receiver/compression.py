"""Bounded decompression: what comes out is limited while it comes out, whatever the input promises."""

import io
import zlib
from collections.abc import Callable, Iterator
from typing import Final

import zstandard

from collector.errors import Malformed, TooLarge

CHUNK_BYTES = 256 * 1024
MAX_ZSTD_WINDOW_BYTES = 8 * 2**20
"""A frame may ask the decoder for gigabytes of window; 8 MiB is what RFC 8878 asks decoders to support."""
MAX_MEMBERS = 100
"""Empty members and frames cost time and bring no bytes, so the limit on bytes does not bound them."""

_GZIP, _ZLIB, _RAW = 31, 15, -15


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """Returns `body` decompressed; `encoding` is a key of `DECODERS`.

    Raises TooLarge as soon as more than `limit` bytes would come out, and Malformed where `body` is not of that encoding or
    ends early. Holds little more than `limit` bytes at any time.
    """
    # unlike a list of pieces or a bytearray it gives its bytes away without a second copy
    out = io.BytesIO()
    for piece in DECODERS[encoding](body):
        if out.tell() + len(piece) > limit:
            raise TooLarge(f"the decompressed request is above receivers.max_request_bytes ({limit} bytes); send smaller batches")
        out.write(piece)
    return out.getvalue()


def _gzip(body: bytes) -> Iterator[bytes]:
    return _inflate(body, _GZIP, "gzip")


def _deflate(body: bytes) -> Iterator[bytes]:
    # HTTP means zlib by "deflate", and some clients send the bare stream all the same
    is_zlib = len(body) >= 2 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
    return _inflate(body, _ZLIB if is_zlib else _RAW, "deflate")


def _inflate(body: bytes, window_bits: int, name: str) -> Iterator[bytes]:
    source = memoryview(body)
    at, held = 0, b""
    try:
        # gzip allows several members one after the other
        for _ in range(MAX_MEMBERS):
            stream = zlib.decompressobj(window_bits)
            while not stream.eof:
                # a piece at a time, since zlib copies what it did not consume
                taken = held or source[at : at + CHUNK_BYTES]
                at += 0 if held else len(taken)
                piece = stream.decompress(taken, CHUNK_BYTES)
                held = stream.unconsumed_tail
                if not piece and not held and not stream.eof and at == len(source):
                    raise Malformed(f"the {name} body ends early")
                yield piece
            held = stream.unused_data
            if not held and at == len(source):
                return
            if window_bits != _GZIP:
                raise Malformed(f"the {name} body has data after its end")
        raise Malformed(f"the {name} body has more than {MAX_MEMBERS} members")
    except zlib.error:
        raise Malformed(f"the body is not {name}, though Content-Encoding says so") from None


def _zstd(body: bytes) -> Iterator[bytes]:
    try:
        _check_zstd_frames(memoryview(body))
        decoder = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW_BYTES)
        with decoder.stream_reader(body, read_across_frames=True) as frames:
            while piece := frames.read(CHUNK_BYTES):
                yield piece
    except zstandard.ZstdError:
        raise Malformed("the body is not zstd, though Content-Encoding says so, or needs a window above 8 MiB") from None


def _check_zstd_frames(body: memoryview) -> None:
    """Walks the block headers (RFC 8878, 3.1), since the stream reader takes a frame that ends early for a whole one."""
    at, end, frames = 0, len(body), 0
    while at < end:
        frames += 1
        if frames > MAX_MEMBERS:
            raise Malformed(f"the zstd body has more than {MAX_MEMBERS} frames")
        if end - at >= 8 and 0x184D2A50 <= int.from_bytes(body[at : at + 4], "little") <= 0x184D2A5F:
            at += 8 + int.from_bytes(body[at + 4 : at + 8], "little")
            continue
        parameters = zstandard.get_frame_parameters(body[at:])
        at += zstandard.frame_header_size(body[at:])
        last = False
        while not last and at + 3 <= end:
            header = int.from_bytes(body[at : at + 3], "little")
            last = bool(header & 1)
            is_run = header >> 1 & 3 == 1
            at += 3 + (1 if is_run else header >> 3)
        at += 4 * parameters.has_checksum
        if not last or at > end:
            raise Malformed("the zstd body ends early")


def _identity(body: bytes) -> Iterator[bytes]:
    yield body


DECODERS: Final[dict[str, Callable[[bytes], Iterator[bytes]]]] = {
    "identity": _identity,
    "gzip": _gzip,
    "deflate": _deflate,
    "zstd": _zstd,
}
