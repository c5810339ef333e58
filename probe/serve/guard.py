"""What stands before every request: who may ask, what browsers may do with an answer, and how long answers take.

Other sites that a browser has open may not ask: without a token, only requests that name this machine are answered
(a name of theirs may lead to the loopback), and none that comes from another site's page.

    app.add_middleware(Guard, hosts=frozenset({"localhost", "127.0.0.1"}), token=None, measures=measures)
"""

import asyncio
import hmac
import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from probe.serve.measures import Measures
from probe.serve.refusals import Refused

COOKIE = "probe_token"
OPEN_TO_ALL = "/health"
GONE = 499  # as servers count requests whose client has left
LINGERS = 1.0  # seconds
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
POLICY += "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

log = logging.getLogger("probe.serve")


class Guard:
    def __init__(self, app: ASGIApp, hosts: Iterable[str], token: str | None, measures: Measures) -> None:
        self.app, self.hosts, self.token, self.measures = app, frozenset(hosts), token, measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, started, began = 500, False, time.perf_counter()
        unread = _has_body(scope)

        async def received() -> Message:
            nonlocal unread
            message = await receive()
            unread = message.get("more_body", False)
            return message

        async def guarded(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
                if unread:
                    headers["Connection"] = "close"
            elif unread and not message.get("more_body"):
                await send({**message, "more_body": True})
                await _discard(received)
                message = {"type": "http.response.body"}
            await send(message)

        try:
            await self._answer(scope)(scope, received, guarded)
        except ClientDisconnect:
            status = GONE
        except Exception:  # no answer has a traceback, and the server lives on
            log.exception("an answer failed")
            if not started:
                failed = Refused(500, "the answer failed; whoever runs this server sees why.")
                await failed.response()(scope, received, guarded)
        self.measures.answered(scope, status, time.perf_counter() - began)

    def _answer(self, scope: Scope) -> ASGIApp:
        """The application, for those who may ask."""
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if self.token is None and _name(host) not in self.hosts:
            return Refused(
                403, "this server is asked by another name than its own; open the address that it printed."
            ).response()
        if origin is not None and _place(origin) != host.lower():
            return Refused(
                403, "this request comes from a page of another site; open the page of this server."
            ).response()
        if self.token is None or scope["path"] == OPEN_TO_ALL:
            return self.app
        shown = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        if scope["path"] == "/" and scope["method"] == "GET" and self._is_token(*shown):
            answer = RedirectResponse("/", 303)
            answer.set_cookie(COOKIE, self.token, httponly=True, samesite="strict")
            return answer
        given = headers.get("authorization", "").removeprefix("Bearer ")
        if self._is_token(given) or self._is_token(_cookie(headers)):
            return self.app
        return Refused(
            401, "a token is needed; open the address that `probe serve` printed, or send Authorization: Bearer TOKEN."
        ).response()

    def _is_token(self, *given: str) -> bool:
        """In a time that says nothing of how much of it is right."""
        wanted = (self.token or "").encode()
        return len(given) == 1 and hmac.compare_digest(given[0].encode(errors="replace"), wanted)


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


async def _discard(receive: Receive) -> None:
    """The rest of an upload that is not wanted, for a moment: were the connection closed on unread bytes, it would be
    reset, and the answer lost."""
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGERS):
            while (await receive()).get("more_body"):
                pass


def _name(host: str) -> str | None:
    """`[::1]:8000` -> `::1`; None for what is no host."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _place(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _cookie(headers: Headers) -> str:
    try:
        cookies = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    return cookies[COOKIE].value if COOKIE in cookies else ""
