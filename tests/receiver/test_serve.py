import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from collector.config import Tls
from collector.errors import ConfigError
from collector.receiver.serve import serve_asgi
from tests.plain import http_client


async def hello(_: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


APP = Starlette(routes=[Route("/", hello)])


async def test_it_listens_when_it_returns_and_not_after_the_stop() -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    server = await serve_asgi(APP, "127.0.0.1", 0)
    assert server.started.is_set()
    async with http_client() as client:
        answer = await client.get(f"http://127.0.0.1:{server.port}/")
    assert answer.text == "hello"
    assert "server" not in answer.headers
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    await server.stop()
    await server.stop()
    with pytest.raises(OSError, match=r"refused|Connect"):
        await asyncio.open_connection("127.0.0.1", server.port)


async def test_a_port_that_is_taken_is_a_configuration_error() -> None:
    server = await serve_asgi(APP, "127.0.0.1", 0)
    with pytest.raises(ConfigError, match=f"web.listen: cannot listen on 127.0.0.1:{server.port}: Address already in use"):
        await serve_asgi(APP, "127.0.0.1", server.port)
    await server.stop()


async def test_a_certificate_that_is_none_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("no certificate")
    tls = Tls(cert_file=tmp_path / "cert.pem", key_file=tmp_path / "cert.pem")
    with pytest.raises(ConfigError, match=r"security.tls: the certificate cannot be used"):
        await serve_asgi(APP, "127.0.0.1", 0, tls)


async def test_ipv6() -> None:
    try:
        server = await serve_asgi(APP, "::1", 0)
    except ConfigError:
        pytest.skip("this machine has no IPv6")
    async with http_client() as client:
        assert (await client.get(f"http://[::1]:{server.port}/")).text == "hello"
    await server.stop()


async def test_an_application_that_does_not_start_is_an_error() -> None:
    @asynccontextmanager
    async def broken(app: Starlette) -> AsyncIterator[None]:
        if not app.debug:
            raise ValueError("no database")
        yield

    with pytest.raises(RuntimeError, match="the application did not start"):
        await serve_asgi(Starlette(lifespan=broken), "127.0.0.1", 0)
