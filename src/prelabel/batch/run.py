"""A batch run: tasks are listed, predicted and pushed at the same time, and nothing is lost.

Three threads do it, each held back by the next: one lists, one predicts (what it calls fetches
and decodes ahead of the model), one pushes. Between the last two lies the journal on disk.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event, Thread

import structlog

from prelabel.batch.feed import Feed
from prelabel.batch.predicting import Predict, Predicting
from prelabel.batch.push import Manners, Target, Writer
from prelabel.batch.remaining import how_to_go_on, tasks_left
from prelabel.batch.replacing import clearing
from prelabel.batch.selection import FAILED_BEFORE, Selection
from prelabel.batch.stages import StageClock
from prelabel.batch.summary import DONE_WITH_FAILURES, INTERRUPTED, Progress, RunSummary
from prelabel.batch.tally import Tally
from prelabel.errors import PrelabelError, consequence_of
from prelabel.store.journal import Journal, State

log = structlog.get_logger(__name__)

REFUSED_BEFORE_START = 5
_POLL_S = 0.1
_REPORT_EVERY_S = 0.5
_RATE_OVER_S = 10.0
_CHUNKS_WAITING = 20


@dataclass(frozen=True, slots=True)
class Parts:
    """What a run works with.

    Attributes:
        target: Label Studio, the project and the model version.
        title: The project's title.
        predict: What predicts.
        journal: What outlives the run.
        clock: Times its stages; whoever made `predict` counts in it, too.
        warnings: What the operator should know, each a full sentence.
        ended: Told the exit code when the run is over.
    """

    target: Target
    title: str
    predict: Predict
    journal: Journal
    clock: StageClock
    warnings: tuple[str, ...] = ()
    ended: Callable[[int], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class Options:
    """How a run is to go.

    Attributes:
        selection: Which tasks are to be predicted.
        manners: How Label Studio is treated.
        max_failures: The run ends when more tasks than this have failed; None: only where the
            first tasks all fail for one same reason.
        dry_run: Push nothing and write nothing down.
    """

    selection: Selection = field(default_factory=Selection)
    manners: Manners = field(default_factory=Manners)
    max_failures: int | None = None
    dry_run: bool = False


def run(
    parts: Parts,
    options: Options,
    interrupt: Event,
    report: Callable[[Progress], None] = lambda _: None,
) -> RunSummary:
    """Predict the tasks of a project and push the predictions.

    Args:
        parts: What it works with.
        options: How it is to go.
        interrupt: Once set, what is begun is finished and pushed, and the run ends.
        report: Called twice a second with how far it is.

    Returns:
        What became of it, also where it ended early; `exit_code` tells.
    """
    summary = _Run(parts, options, interrupt).go(report)
    parts.ended(summary.exit_code)
    return summary


class _Run:
    """One run: its three threads, and what they share."""

    def __init__(self, parts: Parts, options: Options, interrupt: Event) -> None:
        self._parts = parts
        self._options = options
        self._interrupt = interrupt
        self._stop = Event()
        self._tally = Tally()
        self._errors: list[Exception] = []
        self._begin = time.monotonic()
        self._recent: deque[tuple[float, int, dict[str, float]]] = deque()
        journal = None if options.dry_run else parts.journal
        self._writer = Writer(
            parts.target,
            parts.journal,
            options.manners,
            parts.clock,
            self._tally,
            clear=clearing(parts.target, options.selection),
        )
        most_waiting = _CHUNKS_WAITING * options.manners.chunk
        self._feed = Feed(
            parts.target,
            options.selection,
            journal,
            parts.clock,
            self._tally,
            stop=self._stop,
            hold=lambda: not options.dry_run and self._writer.waiting > most_waiting,
        )
        self._predicting = Predicting(
            parts.predict,
            journal,
            self._tally,
            options.manners,
            stop=self._stop,
            kept=self._writer.expect,
            max_failures=options.max_failures,
            gives_up=options.max_failures is None,
        )
        if not options.dry_run:
            known = parts.journal.counts()
            self._tally.add("resumed", known[State.PREDICTED] + known[State.SENDING])

    def go(self, report: Callable[[Progress], None]) -> RunSummary:
        started_at = datetime.now(UTC)
        works = {"list": self._feed.list_all, "predict": self._predict, "push": self._push}
        threads = [
            Thread(target=self._guarded, args=(name, work), name=f"run-{name}", daemon=True)
            for name, work in works.items()
        ]
        for thread in threads:
            thread.start()
        reported = 0.0
        while any(thread.is_alive() for thread in threads):
            if self._interrupt.is_set():
                self._stop.set()
            if time.monotonic() - reported >= _REPORT_EVERY_S:
                reported = time.monotonic()
                report(self._progress())
            time.sleep(_POLL_S)
        report(self._progress())
        return self._summary(started_at)

    def _guarded(self, name: str, work: Callable[[], None]) -> None:
        """Run a thread's work; its failure ends the run, and listing what is not listed yet."""
        try:
            work()
        except PrelabelError as error:
            log.error("run cannot go on", stage=name, reason=str(error))  # noqa: TRY400 - in words
            self._errors.append(error)
        except Exception as error:
            log.exception("defect", stage=name)
            self._errors.append(error)
        else:
            return
        if name != "list":  # what was listed can still be done
            self._stop.set()

    def _predict(self) -> None:
        try:
            self._predicting.run(self._feed)
        finally:
            self._writer.end()

    def _push(self) -> None:
        if not self._options.dry_run:
            self._writer.run()

    def _progress(self) -> Progress:
        now, counts = time.monotonic(), self._tally.counts()
        done = counts.predicted + counts.empty + counts.failed
        self._recent.append((now, done, self._parts.clock.busy_s()))
        while now - self._recent[0][0] > _RATE_OVER_S:
            self._recent.popleft()
        then, done_then, busy_then = self._recent[0]
        rate = (done - done_then) / (now - then) if now > then else 0.0
        busy_now = self._recent[-1][2]
        busy = {stage: busy_now[stage] - busy_then[stage] for stage in busy_now}
        return Progress(
            done=done,
            total=self._feed.total,
            listed=self._feed.listed,
            failed=counts.failed,
            pushed=counts.pushed,
            elapsed_s=now - self._begin,
            rate=rate,
            eta_s=max(self._feed.total - done, 0) / rate if rate > 0 else None,
            bottleneck=self._parts.clock.bottleneck(busy),
        )

    def _summary(self, started_at: datetime) -> RunSummary:
        seconds = time.monotonic() - self._begin
        parts, tally, clock = self._parts, self._tally, self._parts.clock
        selection = self._options.selection
        left = tasks_left(parts.target, selection, parts.journal, self._feed, tally.counts())
        if not left and selection.anew and not self._errors:
            parts.journal.anew_ended()
        counts = tally.counts(self._feed.wanted, left)
        errors = dict.fromkeys(map(str, self._errors))  # one may end two stages
        return RunSummary(
            project=parts.target.project,
            title=parts.title,
            url=parts.target.studio.url,
            model_version=parts.target.version,
            dry_run=self._options.dry_run,
            interrupted=self._interrupt.is_set(),
            started_at=started_at.isoformat(timespec="seconds"),
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(seconds, 2),
            counts=counts,
            skipped=dict(tally.skipped),
            stages=clock.stages(seconds),
            bottleneck=clock.bottleneck(clock.busy_s()),
            failures=tally.failures,
            failure_kinds=dict(tally.failure_kinds),
            labels=dict(tally.labels.most_common()),
            scores=tally.scores(),
            **tally.samples(),
            warnings=(*parts.warnings, *errors),
            exit_code=self._exit_code(counts.failed),
            go_on=how_to_go_on(
                counts,
                selection,
                is_dry=self._options.dry_run,
                is_cut_short=self._stop.is_set() or bool(self._errors),
                lasting=tally.lasting,
            ),
        )

    def _exit_code(self, failed: int) -> int:
        if self._interrupt.is_set():
            return INTERRUPTED
        if self._errors:
            first = self._errors[0]
            code = consequence_of(first).exit_code if isinstance(first, PrelabelError) else 1
            return 1 if code == REFUSED_BEFORE_START else code
        has_failures = failed or self._tally.skipped[FAILED_BEFORE]
        return DONE_WITH_FAILURES if has_failures else 0
