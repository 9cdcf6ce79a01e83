"""Pixels are counted while anybody holds them."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from prelabel.media.room import ImageRoom, Line
from prelabel.types import Image


def image():
    return Image(np.zeros((10, 10, 3), np.uint8))


def test_an_empty_room_lets_anybody_in():
    room = ImageRoom(300)
    room.wait(Line(), 0)
    assert room.bytes == 0


def test_an_image_counts_for_as_long_as_somebody_holds_its_pixels():
    room = ImageRoom(300)
    one = room.keep(image())
    pixels = one.pixels_rgb
    assert room.bytes == 300
    del one
    assert room.bytes == 300
    del pixels
    assert room.bytes == 0


def test_who_comes_to_a_full_room_waits_until_an_image_goes():
    room = ImageRoom(300)
    held = [room.keep(image())]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(room.wait, Line(), 10)
        time.sleep(0.1)
        assert not waiting.done()
        held.clear()
        waiting.result(1)


def test_nobody_waits_for_longer_than_its_own_deadline():
    room = ImageRoom(300)
    held = room.keep(image())
    started = time.monotonic()
    room.wait(Line(), 0.05)
    assert 0.04 < time.monotonic() - started < 8
    assert held is not None


def test_of_a_request_that_has_no_image_left_one_task_goes_on_and_no_more():
    room, line = ImageRoom(300), Line()
    held = room.keep(image())
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(room.wait, line, 1) for _ in range(2)]
        time.sleep(0.1)
        room.hurry(line)
        time.sleep(0.2)
        assert [one.done() for one in waiting].count(True) == 1
    assert held is not None
