"""Where annotated tasks come from: a Label Studio, or a file that it exported as JSON."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prelabel.errors import InvalidRequest
from prelabel.labelstudio_api.client import LabelStudio

_TASKS_PER_PAGE = 100  # with annotations and predictions, a task of poses is some 100 KB

_EXPORT_AGAIN = "Export the project from Label Studio in the format JSON (not JSON-MIN)."


def tasks_of_project(studio: LabelStudio, project_id: int) -> Iterator[Mapping[str, Any]]:
    """The tasks of a project with their annotations, in the order of their ids.

    Raises:
        LabelStudioError: Label Studio cannot be reached, or refused.
    """
    return studio.tasks(project_id, page_size=_TASKS_PER_PAGE, annotations=True)


def tasks_of_file(path: Path) -> Iterator[Mapping[str, Any]]:
    """The tasks of a file that Label Studio exported as JSON, in its order.

    Raises:
        InvalidRequest: The file is not such an export.
    """
    try:
        tasks = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidRequest(str(path), f"cannot be read ({error})", _EXPORT_AGAIN) from error
    if not isinstance(tasks, list):
        raise InvalidRequest(str(path), "holds no list of tasks", _EXPORT_AGAIN)
    for place, task in enumerate(tasks):
        if not _is_task(task):
            raise InvalidRequest(
                f"{path}, entry {place}",
                "is no task with id, data and annotations",
                _EXPORT_AGAIN,
            )
        yield task


def accepted(task: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The annotation of a task that counts: a ground truth before others, then the newest.

    Cancelled ones, which annotators skipped, do not count; None where no other is there.
    """
    annotations = [row for row in task.get("annotations") or () if not row.get("was_cancelled")]
    return max(annotations, key=_weight, default=None)


def moment(written: str | None) -> datetime:
    """A time as Label Studio writes it; before all others where that is none."""
    try:
        told = datetime.fromisoformat(written or "")
    except (TypeError, ValueError):
        return datetime.min.replace(tzinfo=UTC)
    return told if told.tzinfo else told.replace(tzinfo=UTC)


def _weight(annotation: Mapping[str, Any]) -> tuple[bool, datetime, int]:
    changed = annotation.get("updated_at") or annotation.get("created_at")
    identity = annotation.get("id")
    number = identity if isinstance(identity, int) else 0
    return bool(annotation.get("ground_truth")), moment(changed), number


def _is_task(entry: object) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("id"), int)
        and isinstance(entry.get("data"), dict)
        and isinstance(entry.get("annotations"), list)
        and all(map(_is_annotation, entry["annotations"]))
    )


def _is_annotation(entry: object) -> bool:
    result = entry.get("result") or [] if isinstance(entry, dict) else None
    return isinstance(result, list) and all(isinstance(region, dict) for region in result)
