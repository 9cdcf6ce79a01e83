"""What this process knows of earlier findings: the prediction store, and what is on its way there.

Whoever predicts waits for no write, and never fails because the store does.
"""

import atexit
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Condition, Lock, Thread

import structlog

from prelabel.errors import StoreUnavailable
from prelabel.runtime.outage import Outage
from prelabel.store.finding_bytes import Break, Finding
from prelabel.store.findings import Findings
from prelabel.types import Detections, Poses

log = structlog.get_logger(__name__)

_GATHER_S = 0.2
"""How long findings are gathered before they are written together."""

_TOGETHER = 500
"""Findings that are written at a time."""

_AWAY_S = 10.0
"""How long a store that did not answer is left alone."""

_MOST_WAITING_BYTES = 32 * 1024 * 1024
_ENTRY_BYTES = 1024
"""What a finding takes in memory beside its arrays, about."""

_MOST_RECENT = 1000
"""Findings that are at hand without the database after they were written."""

_LAST_WRITE_S = 5.0


@dataclass(frozen=True, slots=True)
class MemoryCounts:
    """How the prediction store is used by this process, since it began.

    Attributes:
        hits: Images of which was known what a model finds in them.
        misses: Images of which it was not.
        refused: Images that were refused, because they had broken the model before.
        dropped: Findings that were not written, because the store did not keep up.
        bytes: Room that its rows take, as far as this process knows.
    """

    hits: int = 0
    misses: int = 0
    refused: int = 0
    dropped: int = 0
    bytes: int = 0


class Memory:
    """Reads the store at once, and writes to it behind the answer. Threads may share it.

    Args:
        findings: The store.
        most_waiting_bytes: Memory of what waits to be written; then the oldest is dropped.
        clock: Tells the time, in seconds since 1970.
    """

    def __init__(
        self,
        findings: Findings,
        *,
        most_waiting_bytes: int = _MOST_WAITING_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.now = clock
        self._findings = findings
        self._most_waiting_bytes = most_waiting_bytes
        self._counts = MemoryCounts()
        self._waiting: OrderedDict[bytes, Finding] = OrderedDict()
        self._waiting_bytes = 0
        self._being_written: Mapping[bytes, Finding] = {}
        self._recent: OrderedDict[bytes, Detections | Poses] = OrderedDict()
        self._stale: set[bytes] = set()
        self._broken: set[bytes] = set()
        self._is_closed = False
        self._is_awaited = False
        self._one_writes = Lock()
        self._writer: Thread | None = None
        self._changed = Condition()
        says = ("prediction store away", "prediction store back")
        self._reading = Outage(*says, while_="reading")
        self._writing = Outage(*says, while_="writing")

    def counts(self) -> MemoryCounts:
        """How it is used."""
        with self._changed:
            return replace(self._counts, bytes=self._findings.size)

    def recall(self, keys: Sequence[bytes]) -> dict[bytes, Finding]:
        """What is known under these keys; nothing while the store does not answer."""
        with self._changed:
            known = {
                key: pending[key]
                for pending in (self._being_written, self._waiting)  # the newer one wins
                for key in keys
                if key in pending
            }
        missing = [key for key in keys if key not in known]
        if not missing or self._reading.was_on_within(_AWAY_S):
            return known
        try:
            found = self._findings.read(missing)
        except StoreUnavailable as error:
            self._reading.begins(error)
            return known
        self._reading.ends()
        if found.stale or found.broken:
            with self._changed:
                self._stale.update(found.stale)
                self._broken.update(found.broken)
                self._wake()
        return {**found.findings, **known}

    def recent(self, keys: Sequence[bytes]) -> list[Detections | Poses | None]:
        """What this process was the last to find, under each key; asks no database."""
        with self._changed:
            return [self._recent.get(key) for key in keys]

    def keep(self, findings: Mapping[bytes, Finding]) -> None:
        """Take findings to be written soon, in place of what is known under their keys."""
        if not findings:
            return
        with self._changed:
            for key, finding in findings.items():
                self._take_out(key)
                self._waiting[key] = finding
                self._waiting_bytes += _size(finding)
                if not isinstance(finding, Break):
                    self._recent[key] = finding
            while len(self._recent) > _MOST_RECENT:
                self._recent.popitem(last=False)
            while self._waiting_bytes > self._most_waiting_bytes:
                self._take_out(next(iter(self._waiting)))
                self._count(dropped=1)
            self._wake()
            is_closed = self._is_closed
        if is_closed:  # what ends after everything else is written by whoever brings it
            self._write_all()
            self._findings.close()

    def forget(self, keys: Sequence[bytes]) -> None:
        """Take out soon what is known under these keys."""
        if not keys:
            return
        with self._changed:
            for key in keys:
                self._take_out(key)
            self._broken.update(keys)
            self._wake()

    def count(self, *, hits: int = 0, misses: int = 0, refused: int = 0) -> None:
        """Count what became of images."""
        with self._changed:
            self._count(hits=hits, misses=misses, refused=refused)

    def flush(self, timeout_s: float = _LAST_WRITE_S) -> bool:
        """Wait until all is written; False where that takes longer."""
        with self._changed:
            self._is_awaited = True
            self._changed.notify_all()
            is_done = self._changed.wait_for(lambda: not self._has_work, timeout_s)
            self._is_awaited = False
            return is_done

    def close(self) -> None:
        """Write what is left, for a few seconds at most, and end the thread that writes."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            writer = self._writer
        if writer is not None:
            writer.join(_LAST_WRITE_S)
        atexit.unregister(self.close)
        self._findings.close()

    @property
    def _has_work(self) -> bool:
        return bool(self._waiting or self._being_written or self._stale or self._broken)

    def _count(self, **more: int) -> None:
        counted = {name: getattr(self._counts, name) + count for name, count in more.items()}
        self._counts = replace(self._counts, **counted)

    def _take_out(self, key: bytes) -> None:
        finding = self._waiting.pop(key, None)
        if finding is not None:
            self._waiting_bytes -= _size(finding)

    def _wake(self) -> None:
        """See to it that the thread that writes is there and awake."""
        if self._writer is None and not self._is_closed:
            self._writer = Thread(target=self._write, name="prediction-store", daemon=True)
            self._writer.start()
            atexit.register(self.close)  # who forgets to close it loses nothing
        self._changed.notify_all()

    def _write(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._has_work or self._is_closed)
                self._changed.wait_for(self._is_urgent, _GATHER_S)
                is_last = self._is_closed
            is_done = self._write_all()
            if is_last:
                return
            if not is_done:
                with self._changed:
                    self._changed.wait_for(lambda: self._is_closed, _AWAY_S)

    def _is_urgent(self) -> bool:
        return self._is_closed or self._is_awaited or len(self._waiting) >= _TOGETHER

    def _write_all(self) -> bool:
        """Write what waits; False where the store does not take it, and it waits on."""
        with self._one_writes:
            while self._write_some():
                pass
            return not self._has_work

    def _write_some(self) -> bool:
        """Write a portion; False where nothing is left, or nothing can be written."""
        with self._changed:
            if not self._has_work:
                return False
            together = min(_TOGETHER, len(self._waiting))
            some = dict(self._waiting.popitem(last=False) for _ in range(together))
            self._waiting_bytes -= sum(_size(finding) for finding in some.values())
            self._being_written = some
            stale, broken = list(self._stale - some.keys()), list(self._broken - some.keys())
            self._stale, self._broken = set(), set()
        try:
            self._findings.forget(broken)
            self._findings.write(some)
            self._findings.mark_used(stale)
        except StoreUnavailable as error:
            self._writing.begins(error)
            self._put_back(some, broken)
            return False
        except Exception:
            log.exception("defect", thing="prediction store")  # these are lost, later ones are not
        self._writing.ends()
        with self._changed:
            self._being_written = {}
            self._changed.notify_all()
        return True

    def _put_back(self, some: Mapping[bytes, Finding], broken: Sequence[bytes]) -> None:
        """Let what was not written wait again, before what came since; newer ones stay.

        Likewise what was not taken out, and not what is to be taken out since.
        """
        with self._changed:
            self._being_written = {}
            for key, finding in reversed(list(some.items())):
                if key not in self._waiting and key not in self._broken:
                    self._waiting[key] = finding
                    self._waiting.move_to_end(key, last=False)
                    self._waiting_bytes += _size(finding)
            self._broken.update(broken)
            while self._waiting_bytes > self._most_waiting_bytes:
                self._take_out(next(iter(self._waiting)))
                self._count(dropped=1)
            self._changed.notify_all()


def _size(finding: Finding) -> int:
    """Memory that a finding takes, about."""
    if isinstance(finding, Break):
        return _ENTRY_BYTES
    arrays = finding.boxes_xyxy.nbytes
    if isinstance(finding, Poses):
        arrays += finding.keypoints_xy.nbytes + finding.keypoint_scores.nbytes
    return _ENTRY_BYTES + arrays
