"""What the status page tells, as plain data: what Label Studio's own screen does not."""

from typing import Any

from prelabel.predictors.base import Predictor
from prelabel.runtime.batcher import waiting
from prelabel.server.gauges import word
from prelabel.server.learning import described
from prelabel.server.records import Taught
from prelabel.server.service import Service
from prelabel.store.jobs import Job

MOST_FAILURES = 30


def report(service: Service) -> dict[str, Any]:
    """All that the page shows; answers within a second also where the database hangs."""
    records = service.records.latest()
    projects = service.projects.report()
    return {
        **service.health(),
        "predictors": {
            finds: {"name": one.name, **one.health(), **_queue(one)}
            for finds, one in service.predictors.items()
        },
        "versions": service.versions(),
        "label_studio": service.label_studio_url,
        "database_trouble": records.trouble,
        "projects": projects,
        "jobs": [_job(job) for job in records.jobs],
        "learnt": [_learnt(taught) for taught in records.taught],
        "failures": _last_failures(projects),
    }


def _queue(predictor: Predictor) -> dict[str, Any]:
    """What waits for a predictor; nothing where it has no queue."""
    queue = waiting(predictor)
    if queue is None:
        return {}
    return {
        "queue": {word(priority): images for priority, images in queue.images.items()},
        "oldest_s": round(queue.oldest_s, 1),
        "batches_running": queue.running,
    }


def _job(job: Job) -> dict[str, Any]:
    return {
        "job": job.id,
        "status": job.status,
        **described(job),
        "can_cancel": job.status in ("queued", "running"),
    }


def _learnt(taught: Taught) -> dict[str, Any]:
    return {
        "project": str(taught.project),
        "versions": [
            {
                "version": one.version,
                "created": one.created.isoformat(timespec="seconds"),
                "active": one.active,
                "status": one.status,
                "annotated_tasks": one.annotated,
                "mean_iou": dict(one.mean_iou),
            }
            for one in taught.versions
        ],
    }


def _last_failures(projects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last failures of all projects, newest first."""
    found = [
        {"project": project["project"], **failure}
        for project in projects
        for failure in project["last_failures"]
    ]
    return sorted(found, key=lambda failure: failure["time"], reverse=True)[:MOST_FAILURES]
