"""How far the word of a Label Studio that introduces itself is believed."""

import socket

import httpx2
import pytest

from prelabel.server.introduction import Introduction, believed_origin

TOKEN = "a" * 40


@pytest.mark.parametrize(
    ("url", "caller"),
    [
        ("http://127.0.0.1:8080", "127.0.0.1"),
        ("http://localhost:8080/ls/", "127.0.0.1"),
        ("http://127.0.0.1:8080", "::1"),
    ],
)
def test_an_address_of_the_callers_own_is_believed(url, caller):
    origin = Introduction(url, TOKEN, caller).origin()
    assert origin is not None
    assert origin.path_below(httpx2.URL(url.rstrip("/") + "/data/upload/1/a.png"))
    assert "localhost" not in origin.url  # the checked address, not a name that may change
    assert origin.auth is not None


def test_a_name_with_another_address_beside_the_callers_is_not_believed(monkeypatch):
    def two_addresses(host, port):
        return [(0, 0, 0, "", ("203.0.113.9", 0)), (0, 0, 0, "", ("169.254.169.254", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", two_addresses)
    assert Introduction("http://evil.example", TOKEN, "203.0.113.9").origin() is None


@pytest.mark.parametrize(
    ("url", "caller"),
    [
        ("http://169.254.169.254", "127.0.0.1"),
        ("http://10.0.0.7:8080", "192.0.2.1"),
        ("http://localhost:8080", "192.0.2.1"),
        ("http://does-not-exist.invalid", "127.0.0.1"),
        ("file:///etc/passwd", "127.0.0.1"),
        ("http://", "127.0.0.1"),
        ("", "127.0.0.1"),
        ("http://127.0.0.1:8080", ""),
        ("http://[::1", "::1"),
        ("http://ann:pw@127.0.0.1:8080", "127.0.0.1"),
        ("http://127.0.0.1:8080/?x=1", "127.0.0.1"),
    ],
)
def test_any_other_address_is_not(url, caller):
    assert Introduction(url, TOKEN, caller).origin() is None


def test_one_that_is_believed_is_looked_up_once_and_one_that_is_not_again(monkeypatch):
    answers = [OSError("the name server does not answer"), "203.0.113.9", "203.0.113.1"]

    def look_up(host, port):
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return [(0, 0, 0, "", (answer, 0))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    introduction = Introduction("http://away.example:8080", TOKEN, "203.0.113.9")
    assert believed_origin(introduction) is None
    believed = believed_origin(introduction)
    assert believed is not None
    assert believed_origin(introduction) is believed


def test_a_token_that_is_none_leaves_images_that_need_none():
    origin = Introduction("http://127.0.0.1:8080", "not a token at all, too long " * 9, "127.0.0.1")
    assert origin.origin() is not None
    assert origin.origin().auth is None


def test_the_token_does_not_show():
    assert TOKEN not in repr(Introduction("http://127.0.0.1:8080", TOKEN, "127.0.0.1"))
