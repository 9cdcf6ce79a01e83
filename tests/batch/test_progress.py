"""How a run says how far it is."""

import fcntl
import io
import os
import pty
import struct
import termios
from contextlib import suppress

import pytest

from prelabel.batch.progress import REDRAWN_EVERY_S, SAID_EVERY_S, ProgressLine, in_words
from prelabel.batch.summary import Progress


def progress(done=0, total=0, *, listed=True, **fields):
    defaults = {"failed": 0, "pushed": 0, "elapsed_s": 0.0, "rate": 0.0}
    defaults |= {"eta_s": None, "bottleneck": ""}
    return Progress(done=done, total=total, listed=listed, **{**defaults, **fields})


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


MIDWAY = progress(1234, 10_000, pushed=1000, failed=3, rate=8.3, eta_s=1056, bottleneck="predict")
DONE = progress(500, 500, pushed=498, failed=2, elapsed_s=61, rate=8, eta_s=0)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (progress(listed=False), "listing tasks"),
        (progress(), "0 of 0 tasks, in 0 s"),
        (progress(0, 1), "0 of 1 task"),
        (
            progress(40, 500, listed=False, rate=8.04, eta_s=57.6),
            "40 of about 500 tasks, 8/s, about 1 min left",
        ),
        (MIDWAY, "1,234 of 10,000 tasks, 1,000 pushed, 3 failed, 8.3/s, 18 min left, predicting"),
        (DONE, "500 of 500 tasks, 498 pushed, 2 failed, in 1 min 1 s"),
    ],
)
def test_a_state_is_said_in_one_line(state, words):
    assert in_words(state).removesuffix(" sets the pace") == words


def test_a_run_goes_on_where_nobody_reads_along_any_more():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        with ProgressLine(stream) as line:
            line(MIDWAY)
        with suppress(BrokenPipeError):  # what Python held back is tried once more
            stream.close()


def test_while_tasks_are_listed_nothing_is_said_to_be_done():
    assert in_words(progress(500, 500, listed=False)) == "500 of about 500 tasks"


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "5 s"), (13, "15 s"), (344, "5 min 40 s")])
def test_time_left_goes_in_steps_that_do_not_flicker(seconds, words):
    assert f"{words} left" in in_words(progress(1, 2, rate=1, eta_s=seconds))


def test_without_a_terminal_a_plain_line_comes_every_few_seconds():
    stream, clock = io.StringIO(), Clock()
    with ProgressLine(stream, clock) as line:
        for done in range(100):
            clock.now = done / 10
            line(progress(done, 99))
    said = stream.getvalue()
    assert said.splitlines() == [
        "0 of 99 tasks",
        f"{round(10 * SAID_EVERY_S)} of 99 tasks",
        "99 of 99 tasks, in 0 s",
    ]
    assert said.replace("\n", "").isprintable()


def test_on_a_terminal_one_line_is_redrawn_and_left_standing_at_the_end():
    stream, clock = Terminal(), Clock()
    with ProgressLine(stream, clock) as line:
        line(progress(1, 1000))
        line(progress(2, 1000))  # too soon
        clock.now = REDRAWN_EVERY_S
        line(progress(3, 1000))
    drawn = stream.getvalue()
    assert drawn.count("\n") == 1
    assert drawn.endswith("\n")
    assert [part for part in drawn.replace("\n", "").split("\r") if part] == [
        "1 of 1,000 tasks",
        "3 of 1,000 tasks",
        "3 of 1,000 tasks",
    ]


def test_a_shorter_line_covers_the_longer_one_before_it():
    stream, clock = Terminal(), Clock()
    with ProgressLine(stream, clock) as line:
        line(progress(1, 10, rate=1, eta_s=100))
        clock.now = 1
        line(progress(2, 10))
        longer, shorter = (part for part in stream.getvalue().split("\r") if part)
    assert len(shorter) == len(longer)


def test_a_line_of_the_log_begins_at_the_start_of_the_line():
    stream = Terminal()
    ProgressLine(stream, Clock())(progress(1, 10))
    assert stream.getvalue().endswith("\r")


def test_a_narrow_terminal_gets_no_more_than_fits_in_its_line():
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 20, 0, 0))
    with os.fdopen(follower, "w", encoding="utf-8") as stream:
        ProgressLine(stream, Clock())(progress(1, 10, rate=1, eta_s=100))
        shown = os.read(leader, 1000).decode()
    os.close(leader)
    assert shown.strip("\r") == "1 of 10 tasks, 1/s,"


def test_an_interrupted_run_still_says_how_far_it_came():
    stream = io.StringIO()
    with suppress(KeyboardInterrupt), ProgressLine(stream, Clock()) as line:
        line(progress(1, 10))
        line(progress(7, 10))
        raise KeyboardInterrupt
    assert stream.getvalue().splitlines()[-1] == "7 of 10 tasks"


def test_a_run_without_progress_says_nothing():
    stream = Terminal()
    with ProgressLine(stream):
        pass
    assert stream.getvalue() == ""
