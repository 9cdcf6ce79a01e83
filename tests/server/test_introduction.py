"""How far the word of a Label Studio that introduces itself is believed."""

import pytest

from prelabel.server.introduction import Introduction

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
    assert origin.url == url.rstrip("/")
    assert origin.auth is not None


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


def test_a_token_that_is_none_leaves_images_that_need_none():
    origin = Introduction("http://127.0.0.1:8080", "not a token at all, too long " * 9, "127.0.0.1")
    assert origin.origin() is not None
    assert origin.origin().auth is None


def test_the_token_does_not_show():
    assert TOKEN not in repr(Introduction("http://127.0.0.1:8080", TOKEN, "127.0.0.1"))
