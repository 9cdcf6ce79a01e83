"""What the status page tells, as plain data: what Label Studio's own screen does not."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from prelabel.predictors.base import Predictor
from prelabel.runtime.batcher import waiting
from prelabel.server.gauges import word
from prelabel.server.learning import described
from prelabel.server.projects import KINDS
from prelabel.server.records import Taught
from prelabel.server.service import Service
from prelabel.store.jobs import Job

MOST_FAILURES = 30


def report(service: Service, processes: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """All that the page shows; answers within a second also where the database hangs.

    Args:
        service: Of this process.
        processes: What each of several server processes told, this one first; empty where it is
            the only one.
    """
    records = service.records.latest()
    whole = _together(processes or [of_process(service)])
    return {
        **whole,
        "label_studio": service.label_studio_url,
        "database_trouble": records.trouble,
        "jobs": [_job(job) for job in records.jobs],
        "learnt": [_learnt(taught) for taught in records.taught],
        "failures": _last_failures(whole["projects"]),
    }


def of_process(service: Service) -> dict[str, Any]:
    """What another server process would tell otherwise."""
    return {
        **service.health(),
        "predictors": {
            finds: {"name": one.name, **one.health(), **_queue(one)}
            for finds, one in service.predictors.items()
        },
        "versions": service.versions(),
        "projects": service.projects.report(),
    }


def _together(processes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What several processes told, as if they were one."""
    first = processes[0]
    if len(processes) == 1:
        return first
    worst = next((one for one in processes if one["status"] == "degraded"), first)
    return {
        **first,
        **{key: worst[key] for key in ("status", "reason") if key in worst},
        "model_loaded": any(one["model_loaded"] for one in processes),
        "uptime_s": max(one["uptime_s"] for one in processes),
        "predictors": {
            finds: _predictor([one["predictors"][finds] for one in processes])
            for finds in first["predictors"]
        },
        "versions": sorted({version for one in processes for version in one["versions"]}),
        "projects": _projects([project for one in processes for project in one["projects"]]),
    }


def _predictor(several: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One predictor, of which each process has a copy."""
    whole = {**several[0], "loaded": any(one.get("loaded") for one in several)}
    reasons = [one["reason"] for one in several if one.get("reason")]
    if reasons:
        whole["reason"] = reasons[0]
    if "queue" in whole:
        whole["queue"] = {
            word: sum(one["queue"][word] for one in several) for word in whole["queue"]
        }
        whole["oldest_s"] = max(one["oldest_s"] for one in several)
        whole["batches_running"] = sum(one["batches_running"] for one in several)
    return whole


def _projects(several: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Projects, each of which any process may have seen; those asked for most first."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for one in several:
        by_name.setdefault(one["project"], []).append(one)
    whole = [
        {
            "project": name,
            **{key: sum(one[key] for one in seen) for key in ("asked", *KINDS)},
            "reasons": _reasons([reason for one in seen for reason in one["reasons"]]),
            "last_failures": _newest(failure for one in seen for failure in one["last_failures"]),
        }
        for name, seen in by_name.items()
    ]
    return sorted(whole, key=lambda project: (-project["asked"], project["project"]))


def _reasons(several: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Why tasks failed, the most frequent first."""
    counts: Counter[str] = Counter()
    for reason in several:
        counts[reason["kind"]] += reason["tasks"]
    examples = {reason["kind"]: reason["example"] for reason in several if reason["example"]}
    return [
        {"kind": kind, "tasks": count, "example": examples.get(kind, "")}
        for kind, count in counts.most_common()
    ]


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
        "reasons": [str(reason) for reason in (job.result or {}).get("reasons", ())],
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
    return _newest(found)[:MOST_FAILURES]


def _newest(failures: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(failures, key=lambda failure: failure["time"], reverse=True)
