"""The two receivers alone: everything up to the queue, and then an answer at once. Measured from outside by `benchmarks.stages`."""

import asyncio
import json
import sys
from collections.abc import Sequence

from collector.config import Address
from collector.errors import OvercurrentError
from collector.loop import run
from collector.model import Outcome, Request
from collector.receiver.admission import Admission
from collector.receiver.grpc import GrpcReceiver
from collector.receiver.http import HttpReceiver
from collector.receiver.serve import serve_asgi
from collector.security import Authority

_ANY = Address("127.0.0.1", 0)
_MAX_REQUEST = 16 * 2**20


def _nothing(requests: Sequence[Request]) -> list[Outcome | OvercurrentError]:
    return [Outcome(accepted=0) for _ in requests]


async def serve() -> None:
    """Runs until its input ends. Prints where it listens as one JSON line."""
    admission = Admission(_nothing, queue_bytes=256 * 2**20)
    admission.start()
    grpc = GrpcReceiver(admission, address=_ANY, max_request_bytes=_MAX_REQUEST, authority=Authority(()))
    http = HttpReceiver(admission, address=_ANY, max_request_bytes=_MAX_REQUEST, authority=Authority(()))
    port = await grpc.start()
    handle = await serve_asgi(http.app, _ANY.host, _ANY.port)
    print(json.dumps({"grpc": f"{_ANY.host}:{port}", "http": f"{_ANY.host}:{handle.port}"}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await grpc.stop(1.0)
    await handle.stop()
    await asyncio.to_thread(admission.drain_and_stop, 5.0)


if __name__ == "__main__":
    run(serve())
