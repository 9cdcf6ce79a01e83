"""One model run on several inputs at the same time, each run on a thread of its own."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TypeVar

from prelabel.predictors.backends import open_session
from prelabel.predictors.sessions import Fits, Opener, Runtime, Session

Result = TypeVar("Result")

FULL_ENOUGH = 0.75  # share of the streams; fewer inputs are quicker with all threads for each


class Streams:
    """A model opened twice: to give one run all threads, and to give each of many runs one.

    A run on several threads waits for the slowest of them at every layer: small layers leave some
    idle, and a core that something else uses holds up all. Runs on one thread each wait for none.
    Sixteen people on two quiet cores take 0.83 (our embedded model) to 1.0 (RTMW-l) of the time of
    batches on both, with another process on one core about 0.75.

    ONNX Runtime for Python has no way to share packed weights between the two, and so the second
    session is opened only for the first inputs that need it. For a detector and a pose model that
    is 0.3 s once and 80 MB with ours, 0.6 s and 170 MB with YOLOX-tiny and RTMW-m, 2 s and 390 MB
    with YOLOX-m and RTMW-l.
    """

    def __init__(self, session: Session, open_single: Callable[[], Session], count: int) -> None:
        """Nothing is opened or started yet.

        Args:
            session: The model, with all threads.
            open_single: Opens it with one thread; called for every use, and so must remember.
            count: How many runs go on at the same time; 1 where `session` is to do everything.
        """
        self.session = session
        self._open_single = open_single
        self._count = count
        self._helpers = ThreadPoolExecutor(max(count - 1, 1), "pose-stream")

    def each(self, total: int, task: Callable[[Session, slice], Result]) -> list[Result]:
        """Results of `task` for consecutive rows out of `total`, in their order.

        Args:
            total: How many inputs there are.
            task: Called with a session and the rows that it is to run there, from several threads
                at once; what it raises is raised.
        """
        alone = inputs_alone(total, self._count)
        results = self._each_alone(alone, task) if alone else []
        if alone < total:
            results.append(task(self.session, slice(alone, total)))
        return results

    def _each_alone(self, total: int, task: Callable[[Session, slice], Result]) -> list[Result]:
        """Results of `task` for each row by itself; the calling thread is one of the streams."""
        single = self._open_single()
        rows, turn = iter(range(total)), Lock()
        results: dict[int, Result] = {}

        def stream() -> None:
            while True:
                with turn:
                    row = next(rows, None)
                if row is None:
                    return
                results[row] = task(single, slice(row, row + 1))

        helpers = [self._helpers.submit(stream) for _ in range(min(self._count, total) - 1)]
        try:
            stream()
        finally:
            helpers = [helper for helper in helpers if not helper.cancel()]
            wait(helpers)
        for helper in helpers:
            helper.result()
        return [results[row] for row in range(total)]


def open_streams(
    path: Path,
    runtime: Runtime,
    probe_hw: tuple[int, int],
    opener: Opener = open_session,
    fits: Fits | None = None,
) -> Streams:
    """The model of a file; arguments and errors as of `open_session`, which `opener` stands for.

    Several streams are for ONNX Runtime on the CPU: a GPU wants batches, OpenVINO's sessions give
    two runs at once the same threads, and OpenCV's take one at a time.
    """
    session = opener(path, runtime, probe_hw, fits)
    streams = runtime.backend == "onnxruntime" and session.device == "cpu"
    single = replace(runtime, device="cpu", threads=1)
    return Streams(
        session,
        lambda: opener(path, single, probe_hw, fits),
        runtime.threads if streams else 1,
    )


def inputs_alone(total: int, streams: int) -> int:
    """How many of `total` inputs are run on one thread each; the others share all threads."""
    if streams == 1:
        return 0
    left = total % streams
    return total if left > FULL_ENOUGH * streams else total - left
