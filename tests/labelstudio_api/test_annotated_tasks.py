import json

import httpx2
import pytest

from prelabel.labelstudio_api.client import LabelStudio


@pytest.fixture
def asked():
    return []


@pytest.fixture
def studio(asked):
    """A project of 250 tasks, every second one annotated, in pages of at most 100."""
    tasks = [{"id": number, "total_annotations": number % 2} for number in range(1, 251)]

    def answer(request):
        query = json.loads(request.url.params["query"])
        asked.append(dict(request.url.params))
        rows = tasks
        for item in query["filters"]["items"]:
            assert item["operator"] == "greater"
            column = item["filter"].removeprefix("filter:tasks:")
            rows = [row for row in rows if row[column] > item["value"]]
        size = min(100, int(request.url.params["page_size"]))
        return httpx2.Response(200, json={"total": len(rows), "tasks": rows[:size]})

    with LabelStudio("http://s.test", token="a" * 40, transport=httpx2.MockTransport(answer)) as s:
        yield s


def test_only_tasks_with_a_submitted_annotation_are_fetched_page_by_page(studio, asked):
    found = [task["id"] for task in studio.annotated_tasks(7)]
    assert found == list(range(1, 250, 2))
    assert len(asked) == 2
    assert {(params["fields"], params["page"]) for params in asked} == {("all", "1")}


def test_a_page_is_fetched_when_it_is_read(studio, asked):
    listing = studio.annotated_tasks(7)
    assert asked == []
    next(listing)
    assert len(asked) == 1


def test_how_many_there_are_is_told_without_fetching_them(studio, asked):
    assert studio.annotated_task_count(7) == 125
    assert [params["page_size"] for params in asked] == ["1"]
