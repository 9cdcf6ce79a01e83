"""Listing the tasks of a project: some of them, in order, and what each of them holds already."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from prelabel.errors import SettingsError
from prelabel.labelstudio.tasks import Task
from prelabel.labelstudio_api.client import IDS_PER_QUERY, LabelStudio, all_of, among, behind
from prelabel.labelstudio_api.session import Json

PAGE_SIZE = 500
_FIELDS = "id,inner_id,data,total_annotations,total_predictions"
_OPERATORS = {
    "!=": "not_equal",
    ">=": "greater_or_equal",
    "<=": "less_or_equal",
    "!~": "not_contains",
    "~": "contains",
    "=": "equal",
    ">": "greater",
    "<": "less",
}
_SHORT = re.compile(r"\s*([\w.:]+)\s*(!=|>=|<=|!~|~|=|>|<)\s*(.*?)\s*", re.DOTALL)
_NUMBERS = frozenset(
    {
        *("id", "inner_id", "total_annotations", "total_predictions", "cancelled_annotations"),
        *("predictions_score", "avg_lead_time"),
    }
)


@dataclass(frozen=True, slots=True)
class Listed:
    """A task as a listing shows it.

    Attributes:
        id: The task.
        inner_id: Its number within the project.
        data: Its raw data.
        annotations: How many annotations it holds.
        predictions: How many predictions it holds, of all versions.
    """

    id: int
    inner_id: int | None
    data: Mapping[str, Any]
    annotations: int
    predictions: int

    def as_task(self, project_id: int) -> Task:
        """The task, as one that Label Studio asks for."""
        return Task(id=self.id, inner_id=self.inner_id, project=project_id, data=dict(self.data))


@dataclass(frozen=True, slots=True)
class Which:
    """Which tasks of a project are listed: those that pass all that is given here.

    Attributes:
        after_id: Not this one and none before it.
        ids: Only these; empty for all.
        view: Only what this tab of the data manager shows; None for all.
        filters: Only what these let through, each `COLUMN OPERATOR VALUE` or Label Studio's JSON.
    """

    after_id: int = 0
    ids: tuple[int, ...] = ()
    view: int | None = None
    filters: tuple[str, ...] = ()

    def conditions(self, studio: LabelStudio, project_id: int) -> list["Conditions"]:
        """All conditions but `after_id`; Label Studio is asked for those of the view.

        Raises:
            SettingsError: A filter cannot be read, or the view is one of another project.
            LabelStudioError: There is no such view.
        """
        found = [parse_filter(text) for text in self.filters]
        if self.ids:
            found.append(Conditions("and", (among(self.ids),)))
        if self.view is not None:
            view = studio.object("GET", f"/api/dm/views/{self.view}/")
            if (owner := view.get("project", project_id)) != project_id:
                raise SettingsError(
                    f"--view {self.view}",
                    f"this is a tab of project {owner}",
                    f"Give the number behind `tab=` in the address of project {project_id}'s tab.",
                )
            found.append(_conditions((view.get("data") or {}).get("filters") or {}))
        return found


@dataclass(frozen=True, slots=True)
class Conditions:
    """Filters of the data manager, joined by "and" or by "or"."""

    conjunction: str
    items: tuple[Json, ...]


def pages(
    studio: LabelStudio, project_id: int, which: Which, page_size: int = PAGE_SIZE
) -> Iterator[tuple[int, list[Listed]]]:
    """The tasks of a project in the order of their ids, a page at a time.

    Each page starts behind the last id seen, so that tasks which come, go or change meanwhile
    shift nothing.

    Yields:
        How many tasks there are from this page on, itself included, and the page.
    """
    blocks = _blocks(which)
    for place, block in enumerate(blocks):
        later = sum(len(other.ids) for other in blocks[place + 1 :])
        for total, page in _pages(studio, project_id, block, page_size):
            yield total + later, page


def count(studio: LabelStudio, project_id: int, which: Which, *more: Json) -> int:
    """How many tasks there are, of those that pass more filters, too."""
    total = 0
    for block in _blocks(which):
        conditions = [*block.conditions(studio, project_id), Conditions("and", more)]
        total += int(_asked(studio, project_id, conditions, block.after_id, 1)["total"])
    return total


def parse_filter(text: str) -> Conditions:
    """A filter in words: Label Studio's own JSON, or a short form such as `data.camera=left`.

    Operators of the short form are = != > >= < <= ~ (contains) and !~ (does not).

    Raises:
        SettingsError: It is neither.
    """
    if text.lstrip().startswith(("{", "[")):
        try:
            return _conditions(json.loads(text))
        except (ValueError, TypeError, KeyError) as error:
            raise _unreadable(text, str(error)) from error
    match = _SHORT.fullmatch(text)
    if match is None:
        raise _unreadable(text, "it has no operator")
    column, sign, value = match.groups()
    column = column.removeprefix("filter:tasks:")
    number = _number(value) if sign not in ("~", "!~") else None
    is_number = number is not None and (
        column in _NUMBERS or (column.startswith("data.") and sign not in ("=", "!="))
    )
    condition = {
        "filter": f"filter:tasks:{column}",
        "operator": _OPERATORS[sign],
        "type": "Number" if is_number else "String",
        "value": number if is_number else value.strip("\"'"),
    }
    return Conditions("and", (condition,))


def _blocks(which: Which) -> list[Which]:
    """The same tasks in portions, with no more ids in each than an address holds."""
    if not which.ids:
        return [which]
    ids = sorted(number for number in which.ids if number > which.after_id)
    starts = range(0, len(ids), IDS_PER_QUERY)
    return [replace(which, ids=tuple(ids[start : start + IDS_PER_QUERY])) for start in starts]


def _pages(
    studio: LabelStudio, project_id: int, which: Which, page_size: int
) -> Iterator[tuple[int, list[Listed]]]:
    conditions, after_id = which.conditions(studio, project_id), which.after_id
    while True:
        answer = _asked(studio, project_id, conditions, after_id, page_size)
        rows = answer.get("tasks") or []
        if not rows:
            return
        yield int(answer["total"]), [_listed(row) for row in rows]
        if len(rows) >= int(answer["total"]):
            return
        after_id = int(rows[-1]["id"])


def _conditions(written: Any) -> Conditions:
    """Filters as Label Studio writes them: with or without their conjunction, or one alone."""
    if isinstance(written, Mapping) and "filters" in written:
        written = written["filters"]
    if isinstance(written, Mapping) and "filter" in written:
        written = [written]
    if isinstance(written, list):
        written = {"items": written}
    items = tuple(written.get("items") or ())
    if any(not {"filter", "operator", "value"} <= set(item) for item in items):
        raise ValueError("each condition needs filter, operator, type and value")
    return Conditions(str(written.get("conjunction", "and")), items)


def _asked(
    studio: LabelStudio,
    project_id: int,
    conditions: Sequence[Conditions],
    after_id: int,
    page_size: int,
) -> Json:
    joined = _joined([*conditions, Conditions("and", (behind(after_id),))])
    return studio.list_tasks(project_id, joined, page_size, _FIELDS)


def _joined(conditions: Sequence[Conditions]) -> Json:
    """All conditions as one: Label Studio joins a list by one word, and knows one child for each.

    Raises:
        SettingsError: They cannot be written so.
    """
    either = [one for one in conditions if one.conjunction == "or" and len(one.items) > 1]
    others = [item for one in conditions if one not in either for item in one.items]
    if not either:
        return all_of(*others)
    fits = len(either) == 1 and len(others) == 1
    if not fits or any(item.get("child_filter") for item in either[0].items):
        raise SettingsError(
            "--view and --filter",
            "conditions joined by OR cannot be combined with further ones",
            "Join them by AND, or give the ids of the tasks with --ids.",
        )
    items = [{**item, "child_filter": others[0]} for item in either[0].items]
    return {"conjunction": "or", "items": items}


def _listed(row: Json) -> Listed:
    return Listed(
        int(row["id"]),
        row.get("inner_id"),
        row.get("data") or {},
        int(row.get("total_annotations") or 0),
        int(row.get("total_predictions") or 0),
    )


def _number(text: str) -> float | int | None:
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            return None


def _unreadable(text: str, reason: str) -> SettingsError:
    return SettingsError(
        f"--filter {text!r}",
        f"this is no filter ({reason})",
        "Write COLUMN=VALUE, for example data.camera=left or total_annotations=0, or Label "
        "Studio's JSON.",
    )


MOST_IDS = 1_000_000
"""More are a slip of the hand, and would fill the memory."""


def parse_ids(text: str) -> tuple[int, ...]:
    """Task ids in words: `1,5,20-40`.

    Raises:
        SettingsError: That cannot be read.
    """
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        try:
            end = int(last or first) if dash else int(first)
            number = end + 1 - int(first)
        except ValueError:
            number = 0
        if number < 1:  # 40-20 as well: no ids at all would stand for every task
            raise SettingsError(
                f"--ids {text!r}", "these are no task ids", "Write them like this: 1,5,20-40."
            )
        if len(found) + number > MOST_IDS:
            raise SettingsError(
                f"--ids {text!r}",
                f"these are more than {MOST_IDS:,} tasks",
                "Name fewer, or select with --start-task-id, --limit, --view or --filter.",
            )
        found += range(end + 1 - number, end + 1)
    return tuple(dict.fromkeys(found))
