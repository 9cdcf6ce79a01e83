"""Images that stand in the task itself: what is read, and the whole of what is said otherwise."""

import base64

import pytest

from prelabel.errors import ImageRefused, ImageTooLarge, ImageUnreadable
from prelabel.media.inline import read_data_uri
from prelabel.media.limits import Limits

LIMITS = Limits()
NO_IMAGE = (
    "task 7: its media type is {}, not image/…. "
    "Write data:image/png;base64, or the image's own type in front of the data."
)


def base64_uri(data, escape=lambda text: text):
    return "data:image/png;base64," + escape(base64.b64encode(data).decode())


@pytest.mark.parametrize("size", range(8))
def test_base64_is_read_with_its_padding_and_without(size):
    data = bytes(range(249, 249 + size))
    uri = base64_uri(data)
    assert read_data_uri(uri, LIMITS, "it") == data
    assert read_data_uri(uri.rstrip("="), LIMITS, "it") == data


@pytest.mark.parametrize("space", ["%0A", "\n", " ", "%20\t"])
def test_white_space_in_base64_is_nothing(space):
    data = bytes(range(200))
    uri = base64_uri(data, lambda text: space.join([text[:3], text[3:90], text[90:]]))
    assert read_data_uri(uri, LIMITS, "it") == data


def test_padding_more_than_enough_is_left_out():
    assert read_data_uri("data:image/png;base64,QQ====", LIMITS, "it") == b"A"


def test_what_is_percent_encoded_is_read():
    assert read_data_uri("data:image/svg+xml,%3Csvg/%3E", LIMITS, "it") == b"<svg/>"


@pytest.mark.parametrize(
    ("uri", "error", "said"),
    [
        (
            "data:text/html,hello",
            ImageRefused,
            NO_IMAGE.format("'text/html'"),
        ),
        (
            "data:,hello",
            ImageRefused,
            NO_IMAGE.format("'text/plain'"),
        ),
        (
            f"data:{'x' * 50},hello",
            ImageRefused,
            NO_IMAGE.format(repr("x" * 40)),
        ),
        (
            "data:image/png;base64",
            ImageUnreadable,
            "task 7: it has no comma, so no data. Write data:image/png;base64,<data>.",
        ),
        (
            "data:image/png;base64,QUJ(",
            ImageUnreadable,
            "task 7: its base64 is damaged. Encode the image again; part of it may be missing.",
        ),
        (
            "data:image/png;base64,A",
            ImageUnreadable,
            "task 7: its base64 is damaged. Encode the image again; part of it may be missing.",
        ),
    ],
)
def test_what_cannot_be_read_is_said_in_full(uri, error, said):
    with pytest.raises(error) as raised:
        read_data_uri(uri, LIMITS, "task 7")
    assert str(raised.value) == said


@pytest.mark.parametrize("size", [3000, 3001, 3002])
def test_base64_of_just_the_limit_is_read(size):
    data = bytes(size)
    assert read_data_uri(base64_uri(data), Limits(max_bytes=size), "it") == data


@pytest.mark.parametrize("escaped", [lambda text: text, lambda text: "%41" + text[1:]])
def test_base64_well_over_the_limit_is_refused_before_it_is_decoded(escaped):
    uri = base64_uri(bytes(3009), escaped).replace("AAAA=", "(((((")
    with pytest.raises(ImageTooLarge, match=r"^task 7: it is over the limit of"):
        read_data_uri(uri, Limits(max_bytes=3000), "task 7")


def test_percent_escapes_count_as_one_byte_each():
    uri = "data:image/png," + "%41" * 100
    assert read_data_uri(uri, Limits(max_bytes=100), "it") == b"A" * 100
    with pytest.raises(ImageTooLarge):
        read_data_uri(uri, Limits(max_bytes=99), "it")
