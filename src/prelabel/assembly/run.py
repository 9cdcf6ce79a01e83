"""Builds a batch run: settings in, its working parts out, the lock on its project held."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import structlog

from prelabel.assembly.credentials import credentials
from prelabel.assembly.jobs import manners_of, queued, teacher
from prelabel.assembly.parts import (
    access_to,
    database,
    fetcher,
    images,
    label_studio,
    predictors,
    require_named,
)
from prelabel.assembly.remembering import memory, remembering
from prelabel.assembly.watching import watch_over_models
from prelabel.batch.backend import Backend
from prelabel.batch.leftovers import forget_lost_tasks
from prelabel.batch.local import local, until_it_hangs
from prelabel.batch.outdated import outdated
from prelabel.batch.packing import Squeeze, first_picture
from prelabel.batch.predicting import Predict
from prelabel.batch.preflight import check_loaded, check_writing, prepare
from prelabel.batch.push import Manners, Target
from prelabel.batch.remote import Remote, Shipping
from prelabel.batch.report.contact_sheet import contact_sheet
from prelabel.batch.report.page import write_report
from prelabel.batch.run import Parts
from prelabel.batch.stages import StageClock
from prelabel.batch.summary import RunSummary
from prelabel.errors import NotReady, SettingsError
from prelabel.gathering import Access, Studio
from prelabel.jobs.retrieves import KIND as BACKFILL
from prelabel.labelstudio.config import LabelConfig, parse
from prelabel.labelstudio_api.client import LabelStudio, created_s
from prelabel.labelstudio_api.session import Json
from prelabel.labelstudio_api.siblings import Siblings
from prelabel.runtime.ending import ended_for_sure
from prelabel.runtime.hanging import Watch
from prelabel.settings import Settings
from prelabel.store.database import Database
from prelabel.store.jobs import Jobs
from prelabel.store.journal import Campaign, Journal
from prelabel.store.learned import LearnedVersions
from prelabel.store.lock import held, run_lock
from prelabel.types import Image

log = structlog.get_logger(__name__)

_PATIENCE_S, _LOOK_S = 120.0, 0.5
"""How long a backfill of the same project is waited for, and the pause between two looks."""

_AHEAD = 16
"""Tasks that are fetched ahead of the model, at least; full HD pictures of 6 MB."""


@dataclass(frozen=True, slots=True)
class Assembled:
    """A run that can begin.

    Attributes:
        parts: What it works with.
        manners: How Label Studio is treated.
        config: The project's label config.
        load: Where images come from, for the report.
        reports: Where reports are put.
    """

    parts: Parts
    manners: Manners
    config: LabelConfig
    load: Callable[[str, int], Image]
    reports: Path

    def write_report(self, summary: RunSummary, path: Path | None) -> Path:
        """Write the report of a run; to the folder of reports where no file is named."""
        moment = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        path = path or self.reports / f"run-{summary.project}-{moment}.html"
        write_report(path, summary, contact_sheet(summary, self.config, self.load))
        return path


@contextmanager
def batch_run(
    settings: Settings, *, backend: str | None, anew: bool, dry_run: bool
) -> Iterator[Assembled]:
    """Check all that a run needs, and hold its project until it is over.

    Args:
        settings: All settings.
        backend: Address of a prelabel server that predicts; None for this process.
        anew: Whether predictions that are there are made anew.
        dry_run: Whether nothing will be pushed.

    Raises:
        SettingsError: No project is named, or a setting cannot be used.
        NotReady: A check says no, or another process is at this project.
        LabelStudioError: Label Studio cannot be reached, or refuses the login.
    """
    project_id = settings.project_id
    if project_id is None:
        raise SettingsError("the project", "none is given", "Give --project or set PROJECT_ID.")
    manners = manners_of(settings)
    studio = label_studio(
        settings,
        attempts=manners.max_retries + 1,
        first_pause_s=1.0,
        longest_pause_s=manners.max_backoff_s,
    )
    watch = watch_over_models(settings)
    with ended_for_sure(lambda: watch.hangs) as ending, studio, ExitStack() as stack:
        stack.callback(watch.close)
        opened = database(settings)
        stack.callback(opened.dispose)
        if not dry_run:
            stack.enter_context(_alone(settings, opened, studio, project_id))
        project = studio.project(project_id)
        clock = StageClock({"fetch": settings.fetch_threads, "decode": settings.fetch_threads})
        source = stack.enter_context(closing(fetcher(settings)))
        fetchers = ThreadPoolExecutor(settings.fetch_threads, thread_name_prefix="fetch")
        stack.callback(fetchers.shutdown, wait=False, cancel_futures=True)
        shared = Studio(
            images(settings, source.fetch, clock), fetchers, Siblings(studio), _AHEAD, clock
        )
        access = access_to(settings, studio, project)
        if backend is None:
            way = _here(settings, project, shared, access, opened, watch, stack)
        else:
            way = _elsewhere(settings, project, clock, shared, access, backend, stack)
        campaign = Campaign(studio.url, project_id, str(created_s(project)), way.version)
        target, journal = Target(studio, project_id, way.version), Journal(opened, campaign)
        if not dry_run:
            check_writing(studio, project_id, manners)
            forget_lost_tasks(target, journal)
        config = parse(project["label_config"])
        old = () if anew else outdated(target, config)
        title, told = str(project.get("title")), (*way.warnings, *old)
        yield Assembled(
            Parts(target, title, way.predict, journal, clock, told, ending.ends_with),
            manners,
            config,
            lambda uri, task_id: shared.images.load(access.reference(uri, task_id)),
            settings.data_folder / "reports",
        )


@dataclass(frozen=True, slots=True)
class _Way:
    """Who predicts, and under which name."""

    predict: Predict
    version: str
    warnings: tuple[str, ...]


def _here(
    settings: Settings,
    project: Json,
    shared: Studio,
    access: Access,
    opened: Database,
    watch: Watch,
    stack: ExitStack,
) -> _Way:
    known = memory(settings)
    if known:
        stack.callback(known.close)
    found_by = remembering(
        predictors(settings), known, lambda found_by: queued(found_by, watch=watch)
    )
    plan, warnings = prepare(project, found_by)
    check_loaded(plan)
    teach = teacher(settings, LearnedVersions(opened))
    plan = teach(plan, int(project["id"]), created_s(project))
    batch_size = max(step.predictor.batch_size for step in plan.steps)
    studio = replace(shared, ahead=max(shared.ahead, 4 * batch_size))
    predict = until_it_hangs(local(plan, studio, access), plan)
    return _Way(predict, plan.model_version, warnings)


def _elsewhere(
    settings: Settings,
    project: Json,
    clock: StageClock,
    shared: Studio,
    access: Access,
    url: str,
    stack: ExitStack,
) -> _Way:
    require_named(settings, url)
    squeeze = Squeeze(settings.remote_jpeg_quality, settings.remote_longest_side)
    backend = Backend(
        url,
        credentials(settings),
        project["label_config"],
        int(project["id"]),
        max_retries=settings.max_retries,
        max_backoff_s=settings.max_backoff_delay,
        verify=settings.verify_ssl,
    )
    stack.callback(backend.close)
    version, warnings = backend.prepare(first_picture(squeeze))
    config, shipping = parse(project["label_config"]), Shipping(squeeze)
    clock.set_workers("predict", shipping.requests)
    remote = Remote(backend, version, config, shared, access, shipping, clock)
    return _Way(remote, version, warnings)


@contextmanager
def _alone(
    settings: Settings, opened: Database, studio: LabelStudio, project_id: int
) -> Iterator[None]:
    """Hold the project, so that no other run on this machine works on it.

    What goes on after a click of *Retrieve Predictions* is waited for, a while: whoever clicked
    and then runs is no second person.
    """
    path = run_lock(settings.data_folder, studio.url, project_id)
    jobs, until, is_told = Jobs(opened), time.monotonic() + _PATIENCE_S, False
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(held(path, f"project {project_id}"))
                break
            except NotReady:
                if time.monotonic() > until or not _goes_on(jobs, studio.url, project_id):
                    raise
            if not is_told:
                log.info("waits for what goes on after a retrieve", project=project_id)
                is_told = True
            time.sleep(_LOOK_S)
        yield


def _goes_on(jobs: Jobs, url: str, project_id: int) -> bool:
    """Whether a backfill of the project is at work."""
    recent = jobs.recent(f"{url}#{project_id}")
    return any(job.kind == BACKFILL and job.status == "running" for job in recent)
