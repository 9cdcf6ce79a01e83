"""Freed memory goes back to the system."""

import platform
from pathlib import Path

import pytest

from prelabel.predictors import trimming
from prelabel.predictors.trimming import give_back_freed_memory

KB = 1024
BLOCKS = 100_000


def resident_mb():
    status = Path("/proc/self/status").read_text("ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / KB


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have their ways")
def test_what_was_freed_between_blocks_in_use_is_given_back():
    blocks = [bytes(KB) for _ in range(BLOCKS)]
    in_use = blocks[::16]
    del blocks
    before_mb = resident_mb()

    give_back_freed_memory()

    freed_mb = (BLOCKS - len(in_use)) * KB / 1e6
    assert before_mb - resident_mb() > freed_mb / 2


def test_a_system_that_cannot_is_left_alone(monkeypatch):
    trimming._trim.cache_clear()
    monkeypatch.setattr(trimming.sys, "platform", "darwin")
    try:
        give_back_freed_memory()
    finally:
        trimming._trim.cache_clear()
