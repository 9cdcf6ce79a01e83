"""Requests in all the shapes in which they come."""

import json

import pytest

from prelabel.errors import InvalidRequest
from prelabel.labelstudio.messages import (
    EventRequest,
    PredictRequest,
    SetupRequest,
    TrainRequest,
)


def read(model, content):
    return model.read(json.dumps(content).encode())


def test_an_empty_body_is_an_empty_object():
    assert SetupRequest.read(b"").label_config is None
    assert TrainRequest.read(b"").project is None


@pytest.mark.parametrize(
    ("sent", "read_as"),
    [
        (r"\ud83d", "\ufffd"),
        (r"\ude00 a", "\ufffd a"),
        (r"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        (r"\ud83d \\ud83d \"", '\ufffd \\ud83d "'),
        (r"\\\ud83d", "\\\ufffd"),
    ],
)
def test_halves_of_characters_are_replaced_and_nothing_else(sent, read_as):
    body = f'{{"action": "{sent}"}}'.encode()
    assert EventRequest.read(body).action == read_as


@pytest.mark.parametrize("body", [rb'{"action": "\ud83"}', rb'{"action": "\ud83d"', rb"\ud83d"])
def test_half_a_character_in_what_is_no_json_is_refused(body):
    with pytest.raises(InvalidRequest):
        EventRequest.read(body)


@pytest.mark.parametrize(
    ("project", "expected"),
    [
        (None, None),
        ("", None),
        (0, None),
        ("0.1699999999", None),
        (7, 7),
        ("7", 7),
        ("7.1699999999", 7),
        ({"id": 7, "title": "x", "label_config": "<View/>"}, 7),
        ({}, None),
        ("abc", "abc"),
    ],
)
def test_projects_come_as_numbers_texts_and_objects(project, expected):
    number = read(EventRequest, {"action": "START_TRAINING", "project": project}).project
    assert str(number) == str(expected)


@pytest.mark.parametrize(
    ("project", "expected"),
    [
        (7, None),
        ("7.1699999999", 1_699_999_999),
        ({"id": 7}, None),
        ({"id": 7, "created_at": None}, None),
        ({"id": 7, "created_at": "yesterday"}, None),
        ({"id": 7, "created_at": "2026-01-02T03:04:05.678901"}, None),
        ({"id": 7, "created_at": "2026-01-02T03:04:05.678901Z"}, 1_767_323_045),
        ({"id": 7, "created_at": "2026-01-02T05:04:05+02:00"}, 1_767_323_045),
    ],
)
def test_events_say_when_their_project_was_made(project, expected):
    event = read(EventRequest, {"action": "START_TRAINING", "project": project})
    assert event.project_created == expected


def test_tasks_come_as_a_list_or_as_one_object():
    task = {"id": 1, "data": {"image": "a.png"}, "annotations": [{"result": []}], "junk": 1}
    assert read(PredictRequest, {"tasks": [task, task]}).each_task[1].data == {"image": "a.png"}
    assert [t.id for t in read(PredictRequest, {"tasks": task}).each_task] == [1]


def test_context_may_be_missing_null_or_an_object():
    for params in (None, {}, {"context": None}, {"context": {}}):
        assert read(PredictRequest, {"tasks": [], "params": params}).context == {}
    drawn = {"result": [{"type": "textarea"}]}
    assert read(PredictRequest, {"tasks": [], "params": {"context": drawn}}).context == drawn


@pytest.mark.parametrize("given", [None, {"a": 1}, '{"a": 1}', "not json", "[" * 100_000])
def test_extra_params_are_let_be_whatever_they_are(given):
    read(SetupRequest, {"schema": "<View/>", "extra_params": given})


def test_tokens_do_not_show_in_the_text_of_a_request():
    request = read(SetupRequest, {"schema": "<View/>", "access_token": "s3cret"})
    assert request.label_config == "<View/>"
    assert "s3cret" not in repr(request)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", "request body"),
        (b"[]", "request body"),
        (b"{}", "tasks"),
        (b'{"tasks": 3}', "tasks"),
        (b'{"tasks": [null]}', "tasks.0"),
        (b'{"tasks": [[]]}', "tasks.0"),
        (b"\xff\xfe", "request body"),
    ],
)
def test_what_does_not_parse_names_the_field(body, field):
    with pytest.raises(InvalidRequest) as caught:
        PredictRequest.read(body)
    assert caught.value.thing == field


def test_a_task_with_a_field_of_the_wrong_type_does_not_spoil_the_request():
    odd = {"id": 1.5, "inner_id": "x", "project": {}, "data": None}
    first, second = read(PredictRequest, {"tasks": [odd, {"id": 2, "data": {"a": 1}}]}).each_task
    assert (first.id, first.inner_id, first.project, first.data) == (None, None, None, {})
    assert second.data == {"a": 1}
