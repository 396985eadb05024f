"""Clients that speak no TLS: reading the system's certificate authorities takes longer than most tests."""

import ssl
from typing import Any

import httpx2

_NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def http_client(**options: Any) -> httpx2.AsyncClient:
    """A client of a server on this machine, over HTTP."""
    return httpx2.AsyncClient(trust_env=False, verify=_NO_AUTHORITIES, **options)
