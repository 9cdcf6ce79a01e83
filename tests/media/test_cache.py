"""Images are loaded once, kept while there is room, and forgotten in time."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from prelabel.errors import ImageUnreachable
from prelabel.media.cache import ImageCache
from prelabel.media.references import ImageReference, Origin
from prelabel.types import Image

IMAGE_BYTES = 10 * 10 * 3


class Source:
    """Loads a new image for each call and remembers the calls."""

    def __init__(self):
        self.calls = []
        self.fails = False

    def __call__(self, reference):
        self.calls.append(reference.uri)
        if self.fails:
            raise ImageUnreachable(reference.uri, "it is away", "Wait.")
        return Image(np.zeros((10, 10, 3), np.uint8), reference.uri)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_an_image_is_loaded_once():
    source = Source()
    cache = ImageCache(source)
    first = cache.load(ImageReference("a"))
    assert cache.load(ImageReference("a")) is first
    assert source.calls == ["a"]


def test_the_least_recently_used_goes_first_when_the_bytes_are_used_up():
    source = Source()
    cache = ImageCache(source, max_bytes=2 * IMAGE_BYTES)
    for uri in ("a", "b", "a", "c", "a", "b"):
        cache.load(ImageReference(uri))
    assert source.calls == ["a", "b", "c", "b"]


def test_an_image_that_stands_in_its_address_is_kept_without_that():
    source = Source()
    cache = ImageCache(source)
    first, other = (f"data:image/png;base64,{letter * 1_000_000}" for letter in "ab")
    images = [cache.load(ImageReference(uri)) for uri in (first, first, other)]
    assert images[0] is images[1]
    assert images[1] is not images[2]
    assert source.calls == [first, other]
    assert all(len(str(part)) < 100 for key in cache._kept for part in key)


def test_an_image_over_the_whole_room_is_given_but_not_kept():
    source = Source()
    cache = ImageCache(source, max_bytes=IMAGE_BYTES - 1)
    cache.load(ImageReference("a"))
    cache.load(ImageReference("a"))
    assert source.calls == ["a", "a"]


def test_an_image_is_loaded_again_after_its_time():
    source, clock = Source(), Clock()
    cache = ImageCache(source, max_bytes=IMAGE_BYTES, ttl_s=60, clock=clock)
    cache.load(ImageReference("a"))
    clock.now = 59
    cache.load(ImageReference("a"))
    assert source.calls == ["a"]
    clock.now = 61
    cache.load(ImageReference("a"))
    clock.now = 100
    cache.load(ImageReference("a"))
    assert source.calls == ["a", "a"]


def test_a_failure_is_not_kept():
    source = Source()
    cache = ImageCache(source)
    source.fails = True
    with pytest.raises(ImageUnreachable):
        cache.load(ImageReference("a"))
    source.fails = False
    assert cache.load(ImageReference("a")).name == "a"


@pytest.mark.parametrize("fails", [False, True])
def test_threads_that_want_the_same_image_wait_for_one_load(fails):
    source = Source()
    source.fails = fails
    entered, go_on = threading.Event(), threading.Event()

    def slow(reference):
        entered.set()
        assert go_on.wait(10)
        return source(reference)

    cache = ImageCache(slow)
    with ThreadPoolExecutor(5) as threads:
        first = threads.submit(cache.load, ImageReference("a"))
        assert entered.wait(10)
        others = [threads.submit(cache.load, ImageReference("a")) for _ in range(4)]
        go_on.set()
        outcomes = [future.exception() or future.result() for future in (first, *others)]
    if fails:
        # A thread that came late, after the failure, has tried again and failed by itself.
        assert all(isinstance(outcome, ImageUnreachable) for outcome in outcomes)
    else:
        assert source.calls == ["a"]
        assert len({id(outcome) for outcome in outcomes}) == 1


@pytest.mark.parametrize(
    ("one", "other", "loads"),
    [
        (ImageReference("a", task_id=1), ImageReference("a", task_id=2), 1),
        (ImageReference("s3://b/a", task_id=1), ImageReference("s3://b/a", task_id=2), 2),
        (ImageReference("a", login="x"), ImageReference("a", login="y"), 2),
        (ImageReference("a", password="x"), ImageReference("a", password="y"), 2),
        (
            ImageReference("/a", label_studio=Origin("http://one")),
            ImageReference("/a", label_studio=Origin("http://two")),
            2,
        ),
    ],
)
def test_images_are_told_apart_by_what_decides_what_comes_back(one, other, loads):
    source = Source()
    cache = ImageCache(source)
    cache.load(one)
    cache.load(other)
    assert len(source.calls) == loads
