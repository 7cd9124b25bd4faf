"""A page given to browsers of this machine, and to no one else.

It listens on 127.0.0.1. A request whose Host is not a name of this machine's loopback is refused, so that a
web site cannot read the page by giving its own name this address (DNS rebinding). Nothing can be sent to it:
GET and HEAD of one page are all there is.
"""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ablate.report.live.page import Made

HOST = "127.0.0.1"
_LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)
_CHUNK = 2**16  # bytes
_PAGES = ("/", "/index.html")
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class PageServer(ThreadingHTTPServer):
    """Serves what ``now`` gives, each request in a thread of its own."""

    def __init__(self, port: int, now: Callable[[], Made]) -> None:
        """On ``port`` of loopback, 0: a free one. Raises OSError if that is taken."""
        self.now = now
        super().__init__((HOST, port), _Handler)

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that left is no error."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def open_server(port: int, now: Callable[[], Made]) -> PageServer:
    """On ``port``, or on a free one if that is taken: see its ``server_port``."""
    try:
        return PageServer(port, now)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
    return PageServer(0, now)


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    server_version, sys_version = "ablate", ""
    timeout = 10.0  # seconds that a silent connection is kept

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, format: str, *args: Any) -> None:
        """A page that polls would fill the terminal."""

    def _answer(self, *, with_body: bool) -> None:
        if not is_loopback(self.headers.get("Host", "")):
            self._send(HTTPStatus.MISDIRECTED_REQUEST, b"This page is for browsers of this machine only.\n")
        elif self.path.partition("?")[0] not in _PAGES:
            self._send(HTTPStatus.NOT_FOUND, b"There is one page: /\n")
        else:
            made = self.server.now()
            if is_current(self.headers.get("If-None-Match", ""), made.etag):
                self._send(HTTPStatus.NOT_MODIFIED, b"", etag=made.etag)
            else:
                body = made.body if with_body else b""
                self._send(HTTPStatus.OK, body, etag=made.etag, kind="text/html", length=len(made.body))

    def _send(
        self,
        status: HTTPStatus,
        body: bytes,
        *,
        etag: str = "",
        kind: str = "text/plain",
        length: int | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        if etag:
            self.send_header("ETag", etag)
        if status is not HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        for start in range(0, len(body), _CHUNK):  # the time limit is for each: a slow line is not a dead one
            self.wfile.write(body[start : start + _CHUNK])


def is_loopback(host: str) -> bool:
    """Whether the Host of a request is a name of loopback, whatever its port (it may come by a tunnel)."""
    return _LOOPBACK.fullmatch(host) is not None


def is_current(wanted: str, etag: str) -> bool:
    """Whether If-None-Match names this page."""
    return any(each.strip().removeprefix("W/") in (etag, "*") for each in wanted.split(","))
