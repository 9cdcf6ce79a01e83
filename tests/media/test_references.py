"""Addresses are shown without secrets, and Label Studio is known by all its names."""

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prelabel.errors import SettingsError
from prelabel.media.references import ImageReference, Origin, shown


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("", ""),
        ("/data/upload/1/a.png", "/data/upload/1/a.png"),
        ("/data/local-files/?d=a/b.png", "/data/local-files/?d=a/b.png"),
        ("http://u:secret@h/a", "http://h/a"),
        ("http://h/a?X-Amz-Signature=secret&d=1#secret", "http://h/a?X-Amz-Signature=…&d=1"),
        ("http://h/a?token=secret=secret&flag", "http://h/a?token=…&flag"),
        ("a\n\x1b[31m\u202eb", r"a\n\x1b[31m\u202eb"),
        ("data:image/png;base64,secret", "data:image/png;base64,… (28 characters)"),
        ("x" * 300, "x" * 199 + "…"),
    ],
)
def test_an_address_is_shown_without_its_secrets(uri, text):
    assert shown(uri) == text


@given(st.text())
def test_whatever_is_shown_is_one_printable_line_of_sane_length(uri):
    text = shown(uri)
    assert not text or text.isprintable()
    assert len(text) <= 200


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://studio:8080/a?b=c", "/a?b=c"),
        ("http://STUDIO:8080/a", "/a"),
        ("http://localhost:8080/ls/a", "/a"),
        ("http://localhost:8080/a", None),
        ("http://localhost:8080/lsx/a", None),
        ("http://studio:8081/a", None),
        ("https://studio:8080/a", None),
        ("http://studio.evil.org:8080/a", None),
    ],
)
def test_label_studio_is_known_by_its_origin_its_path_and_its_aliases(url, path):
    origin = Origin("http://studio:8080", aliases=("http://localhost:8080/ls/",))
    assert origin.path_below(httpx2.URL(url)) == path


@pytest.mark.parametrize("url", ["", "studio:8080", "/ls", "ftp://studio", "http://u:p@studio"])
def test_an_address_that_is_no_label_studio_is_a_mistake_in_the_settings(url):
    with pytest.raises(SettingsError) as caught:
        Origin(url)
    assert ":p@" not in str(caught.value)


def test_credentials_are_not_in_representations():
    auth = httpx2.BasicAuth("u", "secret")
    reference = ImageReference("a", password="secret", label_studio=Origin("http://h", auth))
    assert "secret" not in repr(reference)
    assert "Auth" not in repr(reference)
