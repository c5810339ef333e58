"""The application on an address of this machine, until it is interrupted.

serve(index, listen("127.0.0.1", 8000), "127.0.0.1", token=None, limits=Limits())
"""

import asyncio
import ipaddress
import resource
import socket
from functools import partial

import numpy as np
import uvicorn
from PIL import Image
from uvicorn.protocols.http.h11_impl import H11Protocol

from probe.errors import UsageError, first_line
from probe.index import Index
from probe.serve.app import create_app
from probe.serve.limits import Limits

LOOPBACK = ("localhost", "127.0.0.1", "::1")
FILES = 16_384  # wanted: each connection is one
SHUTDOWN = 5  # seconds for answers that are under way


class InTime(H11Protocol):
    """A connection that sends no whole request in time is closed; uvicorn would wait for ever."""

    def __init__(self, *args, seconds: float, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.seconds = seconds

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        self._last = self.cycle
        self._look = self.loop.call_later(self.seconds, self._close_if_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        self._look.cancel()
        super().connection_lost(exc)

    def _close_if_idle(self) -> None:
        ended = self.cycle is None or self.cycle.response_complete
        if ended and self.cycle is self._last:  # no request has come since the last look
            self.transport.close()
        else:
            self._last = self.cycle
            self._look = self.loop.call_later(self.seconds, self._close_if_idle)


def is_loopback(host: str) -> bool:
    """Whether only this machine can ask there."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """Raises UsageError for an address that is not this machine's, or is taken."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        reason = (error.strerror or first_line(error)).lower()
        raise UsageError(
            f"{host}:{port} cannot be listened on ({reason}); name another --port, or a --host of this machine."
        ) from error


def serve(
    index: Index,
    listening: socket.socket,
    host: str,
    token: str | None,
    limits: Limits,
    false_match_rate: float | None = None,
) -> None:
    """Answers until it is interrupted. Raises ProbeError for an embedder that is not there, or not the index's,
    and UsageError for a rate that the index is not calibrated for."""
    _allow_many_files()
    index.search(np.ones((1, index.manifest.dim), np.float32), 1, false_match_rate=false_match_rate)
    if index.manifest.embedder:
        index.embedder.encode(Image.new("RGB", (64, 64)))  # loaded now, so that the first to ask need not wait
    app = create_app(index, limits, token, {host, *LOOPBACK}, false_match_rate)
    config = uvicorn.Config(
        app,
        http=partial(InTime, seconds=limits.seconds),  # pyright: ignore[reportArgumentType]
        loop="asyncio",
        ws="none",
        log_level="warning",
        access_log=False,  # an address may have the token in it
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN,
        limit_concurrency=2 * limits.waiting,
    )
    uvicorn.Server(config).run(sockets=[listening])


def _allow_many_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
