"""The live server: one page, for this machine only."""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.report.live.page import Made
from ablate.report.live.server import HOST, PageServer, is_current, is_loopback, open_server

PAGE = Made(b"<!doctype html><p>page", '"abc"')


@pytest.fixture(scope="module")
def server() -> Iterator[PageServer]:
    with open_server(0, lambda: PAGE) as opened:
        thread = threading.Thread(target=opened.serve_forever, args=(0.05,))
        thread.start()
        yield opened
        opened.shutdown()
        thread.join(30)


def ask(
    server: PageServer, path: str = "/", method: str = "GET", **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(HOST, server.server_port, timeout=30)
    connection.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
    response = connection.getresponse()
    return response, response.read()


def test_the_page_is_given_with_its_etag_and_kept_from_others(server: PageServer) -> None:
    response, body = ask(server)
    assert (response.status, body) == (200, PAGE.body)
    assert response.headers["ETag"] == PAGE.etag
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-cache"
    assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in response.headers


def test_a_page_that_is_current_is_not_sent_again(server: PageServer) -> None:
    response, body = ask(server, If_None_Match=f'"old", W/{PAGE.etag}')
    assert (response.status, body) == (304, b"")
    assert ask(server, If_None_Match='"old"')[0].status == 200


def test_head_has_the_length_and_no_body(server: PageServer) -> None:
    response, body = ask(server, method="HEAD")
    assert (response.status, body) == (200, b"")
    assert response.headers["Content-Length"] == str(len(PAGE.body))


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8421", "127.0.0.1.evil.example", "", "192.168.0.7"]
)
def test_another_host_name_gets_nothing(server: PageServer, host: str) -> None:
    response, body = ask(server, Host=host)
    assert response.status == 421
    assert PAGE.body not in body


@pytest.mark.parametrize("host", ["localhost", "localhost:9000", "127.0.0.1:1", "[::1]:8421", "LOCALHOST"])
def test_names_of_loopback_are_served_whatever_the_port(server: PageServer, host: str) -> None:
    assert ask(server, Host=host)[0].status == 200


def test_there_is_one_page_and_nothing_can_be_sent(server: PageServer) -> None:
    assert ask(server, "/ledger.jsonl")[0].status == 404
    assert ask(server, "/../../etc/passwd")[0].status == 404
    assert ask(server, "HTTP://[")[0].status == 404
    assert ask(server, "/index.html?x=1")[0].status == 200
    for method in ("POST", "PUT", "DELETE"):
        assert ask(server, method=method)[0].status == 501


def test_it_listens_on_loopback_and_takes_another_port_if_one_is_busy(server: PageServer) -> None:
    with open_server(server.server_port, lambda: PAGE) as other:
        assert other.server_port != server.server_port
        assert other.server_address[0] == HOST == "127.0.0.1"


def test_a_browser_that_leaves_is_no_error(server: PageServer, capfd: pytest.CaptureFixture[str]) -> None:
    try:
        raise ConnectionResetError
    except ConnectionResetError:
        server.handle_error(None, ("127.0.0.1", 1))
    assert capfd.readouterr().err == ""


@given(st.sampled_from(("localhost", "127.0.0.1", "[::1]")), st.text(min_size=1, max_size=20))
def test_a_name_of_loopback_with_more_to_it_is_another_name(name: str, more: str) -> None:
    assert not is_loopback(more + name)
    assert is_loopback(name + more) == (re.fullmatch(":[0-9]{1,5}", more) is not None)


@given(st.lists(st.from_regex(r'\A(W/)?"[a-z]{1,4}"\Z'), max_size=4))
def test_if_none_match_is_a_list_of_weak_or_strong_names(names: list[str]) -> None:
    wanted = ", ".join(names)
    assert is_current(wanted, '"abc"') == any(name.endswith('"abc"') for name in names)
