"""The progress of a run on standard error: a line that is redrawn, or one every few seconds."""

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Self, TextIO

from prelabel.batch.summary import Progress
from prelabel.batch.words import counted, duration, rate

REDRAWN_EVERY_S = 0.2
SAID_EVERY_S = 5.0
"""Where nobody watches, as in a log file or in CI."""

_DOING = {
    "list": "listing",
    "fetch": "fetching",
    "decode": "decoding",
    "predict": "predicting",
    "push": "pushing",
}
_WIDTH_UNKNOWN = 80
_CALM = ((60, 5), (600, 10))
"""Under so many seconds, time left is said in steps of so many; over them in minutes."""


class ProgressLine:
    """Says how far a run is: give it each `Progress`, as often as they come.

    Used in a `with` block, at whose end the last state is said. On a terminal it is one line that
    is redrawn; elsewhere it is a plain line now and then, without control characters.
    """

    def __init__(
        self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream or sys.stderr
        self._clock = clock
        self._redraws = self._stream.isatty()
        self._every_s = REDRAWN_EVERY_S if self._redraws else SAID_EVERY_S
        self._said_at = -self._every_s
        self._latest: Progress | None = None
        self._width = 0

    def __enter__(self) -> Self:
        return self

    def __call__(self, progress: Progress) -> None:
        """Say it, unless something was said just now."""
        self._latest = progress
        if self._clock() - self._said_at >= self._every_s:
            self._say(progress)

    def __exit__(self, *_: object) -> None:
        if self._latest is not None:
            self._say(self._latest)
            if self._redraws:
                self._write("\n")

    def _say(self, progress: Progress) -> None:
        self._said_at = self._clock()
        line = in_words(progress)
        if self._redraws:
            line = line[: self._columns() - 1]
            # The cursor waits at the start, so that a line of the log begins there.
            self._write(f"\r{line.ljust(self._width)}\r")
            self._width = len(line)
        else:
            self._write(line + "\n")

    def _write(self, text: str) -> None:
        with suppress(OSError):  # who read along is gone, or the log's disk full: no end of a run
            self._stream.write(text)
            self._stream.flush()

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or _WIDTH_UNKNOWN
        except OSError:
            return _WIDTH_UNKNOWN


def in_words(progress: Progress) -> str:
    """How far a run is, in one line.

    While tasks are still being listed, total and time left are estimates, and are said so.
    """
    if not progress.listed and not progress.total:
        return "listing tasks"
    about = "" if progress.listed else "about "
    parts = [f"{progress.done:,} of {about}{counted(progress.total, 'task')}"]
    if progress.pushed:
        parts.append(f"{progress.pushed:,} pushed")
    if progress.failed:
        parts.append(f"{progress.failed:,} failed")
    if progress.done < progress.total or not progress.listed:
        parts += _pace(progress, about)
    else:
        parts.append(f"in {duration(progress.elapsed_s)}")
    return ", ".join(parts)


def _pace(progress: Progress, about: str) -> list[str]:
    parts = []
    if progress.rate > 0:
        parts.append(f"{rate(progress.rate)}/s")
    if progress.eta_s is not None:
        parts.append(f"{about}{duration(_calm(progress.eta_s))} left")
    if progress.bottleneck:
        parts.append(f"{_DOING[progress.bottleneck]} sets the pace")
    return parts


def _calm(seconds: float) -> float:
    """A time in steps so large that it does not flicker."""
    step = next((step for below, step in _CALM if seconds < below), 60)
    return max(round(seconds / step), 1) * step
