"""How busy each stage of a run is, and which of them sets the pace."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock

from prelabel.batch.summary import STAGES, Stage


class StageClock:
    """Adds up the time that workers spend in each stage. Threads may share one.

    Args:
        workers: How many work in a stage at the same time; 1 where nothing is said.
    """

    def __init__(self, workers: Mapping[str, int] | None = None) -> None:
        self._workers = dict.fromkeys(STAGES, 1) | dict(workers or {})
        self._items = dict.fromkeys(STAGES, 0)
        self._busy_s = dict.fromkeys(STAGES, 0.0)
        self._lock = Lock()

    @contextmanager
    def busy(self, stage: str, items: int = 1, /) -> Iterator[None]:
        """Time a piece of work; its items count when it is done.

        Findings are written as regions by the thread that predicts, so that "write" is a part of
        "predict".
        """
        begin = time.monotonic()
        if stage == "write":
            stage, items = "predict", 0
        try:
            yield
        finally:
            with self._lock:
                self._busy_s[stage] += time.monotonic() - begin
                self._items[stage] += items

    def done(self, stage: str, items: int) -> None:
        """Count items whose time is taken elsewhere."""
        with self._lock:
            self._items[stage] += items

    def set_workers(self, stage: str, workers: int) -> None:
        """Say how many work in a stage at the same time."""
        self._workers[stage] = workers

    def stages(self, elapsed_s: float) -> tuple[Stage, ...]:
        """All stages, after a run of so many seconds."""
        with self._lock:
            items, busy_s = dict(self._items), dict(self._busy_s)
        return tuple(
            Stage(
                name=stage,
                items=items[stage],
                busy_s=round(busy_s[stage], 3),
                workers=self._workers[stage],
                rate=round(items[stage] * self._workers[stage] / max(busy_s[stage], 1e-6), 2),
                occupancy=round(busy_s[stage] / max(elapsed_s, 1e-6) / self._workers[stage], 4),
            )
            for stage in STAGES
        )

    def busy_s(self) -> dict[str, float]:
        """Seconds of work so far, by stage."""
        with self._lock:
            return dict(self._busy_s)

    def bottleneck(self, busy_s: Mapping[str, float]) -> str:
        """The stage that sets the pace, given how many seconds each worked; "" where none did.

        Fetching and decoding are done by the same workers: together they are one stage, and the
        longer of the two gives it its name.
        """
        share = {stage: busy_s[stage] / self._workers[stage] for stage in STAGES}
        loading = share["fetch"] + share["decode"]
        longer = max("fetch", "decode", key=share.__getitem__)
        rivals = {"list": share["list"], longer: loading}
        rivals |= {"predict": share["predict"], "push": share["push"]}
        slowest = max(rivals, key=rivals.__getitem__)
        return slowest if rivals[slowest] > 0 else ""
