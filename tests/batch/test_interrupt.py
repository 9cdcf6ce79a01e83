"""The first signal asks, the second does not."""

import signal
import subprocess
import sys
import time

import pytest

from prelabel.batch.interrupt import interruptible

WAITS = """
import time
from prelabel.batch.interrupt import interruptible
with interruptible() as interrupt:
    print("ready", flush=True)
    interrupt.wait(30)
    print("asked", flush=True)
    time.sleep(30)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_asks_and_two_end_the_process(number):
    command = [sys.executable, "-c", WAITS]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.readline() == "asked\n"
        process.send_signal(number)
        begin = time.monotonic()
        assert process.wait(10) == 130
        assert time.monotonic() - begin < 5
        assert "once more to stop at once" in process.stderr.read()


def test_signals_mean_afterwards_what_they_meant_before():
    before = signal.getsignal(signal.SIGINT)
    with interruptible() as interrupt:
        assert signal.getsignal(signal.SIGINT) is not before
        signal.raise_signal(signal.SIGINT)
        assert interrupt.is_set()
    assert signal.getsignal(signal.SIGINT) is before
