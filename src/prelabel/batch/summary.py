"""What a batch run tells about itself: while it goes on, and when it is over."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from prelabel.store.journal import Failed

STAGES = ("list", "fetch", "decode", "predict", "push")
"""What a task goes through, in order; the stages of a run work at the same time."""


INTERRUPTED = 130
DONE_WITH_FAILURES = 3
"""Exit codes of a run."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        done: Tasks predicted or failed, of those that are not skipped.
        total: Tasks there are to do, as far as they are listed; final once `listed` is true.
        listed: Whether the list of tasks is complete.
        failed: Tasks without a prediction, and why is known.
        pushed: Predictions that Label Studio holds since this run.
        elapsed_s: Seconds since the start.
        rate: Tasks per second over the last seconds.
        eta_s: Seconds that are left at this rate; None where that is not known yet.
        bottleneck: The one of `STAGES` that sets the pace; "" before there is one.
    """

    done: int
    total: int
    listed: bool
    failed: int
    pushed: int
    elapsed_s: float
    rate: float
    eta_s: float | None
    bottleneck: str


@dataclass(frozen=True, slots=True)
class Counts:
    """Tasks of a run, by what became of them.

    Attributes:
        listed: Tasks that the run was told to look at.
        skipped: Of these, the ones that needed nothing; `RunSummary.skipped` has the reasons.
        predicted: Tasks with at least one region.
        empty: Tasks that were looked at without finding anything.
        resumed: Predictions that an earlier run had made and this one pushed.
        failed: Tasks without a prediction; `RunSummary.failures` has the reasons.
        pushed: Predictions that Label Studio holds since this run.
        already_there: Predictions that were to be pushed and turned out to be there.
        left: Tasks of the project that are still to do, by --limit or an interruption.
    """

    listed: int = 0
    skipped: int = 0
    predicted: int = 0
    empty: int = 0
    resumed: int = 0
    failed: int = 0
    pushed: int = 0
    already_there: int = 0
    left: int = 0


@dataclass(frozen=True, slots=True)
class Stage:
    """How one stage of a run went.

    Attributes:
        name: One of `STAGES`.
        items: Tasks, images or predictions that went through it.
        busy_s: Seconds spent in it, added up over its workers.
        workers: How many work in it at the same time.
        rate: Items per second that it could do if it never had to wait for another stage.
        occupancy: The share of the run in which it was busy, 0..1; the highest is the bottleneck.
    """

    name: str
    items: int
    busy_s: float
    workers: int
    rate: float
    occupancy: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One task for the contact sheet.

    Attributes:
        task_id: The task.
        data: Its raw data, which names the image.
        score: The prediction's score.
        result: The prediction's regions; empty for "looked, found nothing".
    """

    task_id: int
    data: Mapping[str, Any]
    score: float
    result: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class RunSummary:
    """All that is to be known of a run when it is over.

    Attributes:
        project: The project's id.
        title: The project's title.
        url: Label Studio's address.
        model_version: What the predictions are called.
        dry_run: Whether nothing was pushed.
        interrupted: Whether the run was stopped before its end.
        started_at: ISO 8601, UTC.
        finished_at: ISO 8601, UTC.
        seconds: How long it took.
        counts: Tasks by what became of them.
        skipped: Tasks that needed nothing, by reason.
        stages: One entry for each of `STAGES`.
        bottleneck: The stage that set the pace.
        failures: The failures, at most 1,000 of them; `counts.failed` has all.
        labels: Regions by label; keypoints count under their own labels.
        scores: Scores of regions by label: all, or a fair sample where there are very many.
        surest: Tasks of the highest prediction scores, best first.
        least_sure: Tasks of the lowest prediction scores, lowest first.
        empty: Some tasks in which nothing was found.
        warnings: What the operator should know, each a full sentence.
        exit_code: What the command ends with.
        go_on: How to go on, as a command or a sentence; "" where nothing is left.
        failure_kinds: All failures, by their kind.
    """

    project: int
    title: str
    url: str
    model_version: str
    dry_run: bool
    interrupted: bool
    started_at: str
    finished_at: str
    seconds: float
    counts: Counts
    skipped: Mapping[str, int]
    stages: tuple[Stage, ...]
    bottleneck: str
    failures: tuple[Failed, ...]
    labels: Mapping[str, int]
    scores: Mapping[str, tuple[float, ...]]
    surest: tuple[Sample, ...] = ()
    least_sure: tuple[Sample, ...] = ()
    empty: tuple[Sample, ...] = ()
    warnings: tuple[str, ...] = ()
    exit_code: int = 0
    go_on: str = ""
    failure_kinds: Mapping[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """All of it, for `json.dumps`."""
        return asdict(self)
