"""Who may look: a token where the page is open to a network, and never a page of another origin."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from aiohttp import web

COOKIE = "h2w_token"
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]", "::1")
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def is_local(host: str) -> bool:
    """Whether only this machine reaches an address to listen at."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def token_for(host: str, token: str) -> str:
    """The token that visitors must bring: the given one, a fresh one for an address that others reach, none at home."""
    return token or ("" if is_local(host) else secrets.token_urlsafe(16))


@dataclass(frozen=True)
class Doorkeeper:
    """Decides about every request. Without a token only names of this machine are answered, which stops rebound DNS names."""

    token: str

    def middleware(self) -> Callable[..., Awaitable[web.StreamResponse]]:
        """What aiohttp asks before every handler."""

        @web.middleware
        async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
            refusal = self.refusal(request)
            if refusal:
                raise web.HTTPForbidden(text=refusal, headers=HEADERS)
            if self.token and request.query.get("token"):
                return self._welcome(request)
            response = await handler(request)
            if not response.prepared:
                response.headers.update(HEADERS)
            return response

        return check

    def refusal(self, request: web.Request) -> str:
        """Why a request is not answered; empty when it is."""
        if not self.token and request.url.host not in LOCAL_NAMES:
            return f"this page answers to localhost only, not to {request.host!r}; open it to others with --host, which asks for a token"
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            return f"pages of {origin} may not use this one"
        if self.token and not self._knows_token(request):
            return "a token is needed: open the address that `h2w preview` printed"
        return ""

    def _knows_token(self, request: web.Request) -> bool:
        brought = request.query.get("token") or request.cookies.get(COOKIE, "")
        return hmac.compare_digest(brought.encode(), self.token.encode())

    def _welcome(self, request: web.Request) -> web.Response:
        """The token moves from the address, which is shown and passed on, into a cookie, which is not."""
        response = web.Response(status=302, headers={"Location": request.path, **HEADERS})
        response.set_cookie(COOKIE, self.token, httponly=True, samesite="Strict")
        return response


@dataclass
class Allowance:
    """So many messages a second, with some in reserve."""

    rate_hz: float
    reserve: float
    _left: float = field(init=False)
    _then_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._left, self._then_s = self.reserve, time.monotonic()

    def allows(self) -> bool:
        """Whether one more may come now; counts it."""
        now_s = time.monotonic()
        self._left = min(self.reserve, self._left + (now_s - self._then_s) * self.rate_hz)
        self._then_s = now_s
        self._left -= 1.0
        return self._left >= 0.0
