import json

import pytest

from prelabel.errors import InvalidRequest
from prelabel.export.source import accepted, tasks_of_file


def test_a_task_without_annotations_has_none_that_counts():
    assert accepted({"annotations": []}) is None
    assert accepted({}) is None


def test_annotations_without_a_date_are_as_new_as_their_ids_say():
    rows = [{"id": 1, "result": []}, {"id": 3, "result": []}, {"id": 2, "result": []}]
    assert accepted({"annotations": rows})["id"] == 3


@pytest.mark.parametrize("written", ["yesterday", 5, None])
def test_an_annotation_whose_date_is_none_is_older_than_others(written):
    rows = [{"id": 1, "updated_at": "2026-01-01T00:00:00Z"}, {"id": "b", "updated_at": written}]
    assert accepted({"annotations": rows})["id"] == 1


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ("", "cannot be read"),
        ("{}", "holds no list of tasks"),
        ('[{"image": "a.png", "keypoints": []}]', "entry 0: is no task"),  # JSON-MIN
        ('[{"id": 1, "data": {}, "annotations": []}, 3]', "entry 1: is no task"),
        ('[{"id": 1, "data": {}, "annotations": [null]}]', "entry 0: is no task"),
        ('[{"id": 1, "data": {}, "annotations": [{"result": "x"}]}]', "entry 0: is no task"),
        ('[{"id": 1, "data": {}, "annotations": [{"result": [null]}]}]', "entry 0: is no task"),
    ],
)
def test_a_file_that_is_no_export_says_what_is_wrong(tmp_path, content, cause):
    path = tmp_path / "export.json"
    path.write_text(content)
    with pytest.raises(InvalidRequest, match=cause):
        list(tasks_of_file(path))


def test_tasks_of_a_file_come_in_its_order(tmp_path):
    tasks = [{"id": number, "data": {}, "annotations": []} for number in (3, 1, 2)]
    path = tmp_path / "export.json"
    path.write_text(json.dumps(tasks))
    assert list(tasks_of_file(path)) == tasks
