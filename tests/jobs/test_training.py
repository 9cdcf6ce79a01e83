import json
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from prelabel.errors import (
    InvalidRequest,
    LabelStudioUnreachable,
    SettingsError,
    StoreUnavailable,
)
from prelabel.jobs.requests import Trainings
from prelabel.jobs.training import Training, TrainingRequest
from prelabel.jobs.work import Stopped
from prelabel.learning.archive import loads
from prelabel.learning.frames import frame_key
from prelabel.learning.gate import Verdict
from prelabel.learning.sequence import Options
from prelabel.store.jobs import Jobs
from prelabel.store.learned import Scope

from .conftest import until

URL = "http://studio.test"
CREATED = 1_767_323_045  # 2026-01-02T03:04:05Z
SCOPE = Scope(URL, 7, CREATED)
PROJECT = TrainingRequest(7)


def silent(progress, message):
    pass


@pytest.fixture
def training(versions, studio):
    return Training(versions, studio, URL, options=Options(), default_box_pct=(6.0, 10.0))


@pytest.mark.parametrize("annotated", [0, 3, 7])
def test_too_few_annotations_are_an_answer(training, studio, versions, annotated):
    studio.annotated = studio.annotated[:annotated]
    outcome = training.train(PROJECT, silent)
    assert outcome["status"] == "insufficient-data"
    assert (outcome["sample_count"], outcome["required_samples"]) == (annotated, 8)
    assert (outcome["version"], outcome["annotated_tasks"]) == (None, annotated)
    assert "needs 8 annotated objects" in outcome["message"]
    assert versions.active_numbers() == {}


def test_what_was_annotated_is_learnt_and_answers(training, versions, car):
    outcome = training.train(PROJECT, silent)
    assert (outcome["status"], outcome["version"]) == ("trained", 1)
    assert (outcome["sample_count"], outcome["annotated_tasks"]) == (12, 12)
    assert outcome["message"].startswith("Version 1 answers, learnt from 12 annotated frames: ")
    assert versions.active_numbers() == {SCOPE: 1}
    active = versions.active(SCOPE)
    between = frame_key({}, "/data/upload/1/drive_00007.jpg")
    (carried,) = loads(active.model).at(between).carried
    expected = car(7)["value"]["x"] / 100 * 640
    assert carried.mark.box_xyxy[0] == pytest.approx(expected, abs=2)
    assert active.report["figures"] == outcome["figures"] != {}
    assert 0 <= outcome["seconds"] < 600
    assert round(outcome["seconds"], 2) == outcome["seconds"]
    assert json.loads(json.dumps(outcome)) == outcome


def test_learning_the_same_again_changes_nothing(training, versions):
    figures = training.train(PROJECT, silent)["figures"]
    again = training.train(PROJECT, silent)
    assert (again["status"], again["version"], again["figures"]) == ("unchanged", 1, figures)
    assert again["message"] == "Nothing was annotated or changed since version 1."
    assert len(versions.history(SCOPE)) == 1


def test_more_annotations_make_a_new_version(training, studio, task):
    training.train(PROJECT, silent)
    studio.annotated.append(task(7))
    assert training.train(PROJECT, silent)["version"] == 2


def test_what_is_worse_is_kept_but_does_not_answer_unless_it_must(
    training, studio, versions, task, monkeypatch
):
    training.train(PROJECT, silent)
    worse = Verdict(accepted=False, reason="0.5 instead of 0.9", new_iou=0.5, old_iou=0.9)
    monkeypatch.setattr("prelabel.jobs.training.judge", lambda *_: worse)
    studio.annotated.append(task(7))
    for goes_on in (1, 3):  # the second time, nothing is stored again
        outcome = training.train(PROJECT, silent)
        assert (outcome["status"], outcome["version"]) == ("kept-old", 3)
        assert outcome["message"].startswith(
            f"Version {goes_on} goes on: 0.5 instead of 0.9. `prelabel train --project 7 --force` "
        )
        assert [row.version for row in versions.history(SCOPE)] == [3, 2, 1]
        assert versions.active_numbers() == {SCOPE: 3}
    assert training.train(PROJECT, silent, force=True)["status"] == "trained"
    assert versions.active_numbers() == {SCOPE: 4}


def test_what_people_changed_is_shown_on_its_own_frame_where_it_teaches_nothing(
    training, studio, versions, task, monkeypatch
):
    training.train(PROJECT, silent)
    worse = Verdict(accepted=False, reason="worse", new_iou=0.5, old_iou=0.9)
    monkeypatch.setattr("prelabel.jobs.training.judge", lambda *_: worse)
    deleted = frame_key({}, studio.annotated.pop(4)["data"]["image"])
    moved = studio.annotated[1]
    moved["annotations"][0]["result"][0]["value"]["x"] = 70.0
    training.train(PROJECT, silent)
    showing = loads(versions.active(SCOPE).model)
    assert showing.at(deleted) is None
    (mark,) = showing.at(frame_key({}, moved["data"]["image"])).carried
    assert mark.mark.box_xyxy[0] == pytest.approx(0.7 * 640)
    today, worse, first = [row.report for row in versions.history(SCOPE)]
    assert [r["status"] for r in (today, worse, first)] == ["kept-old", "kept-old", "trained"]
    assert today["message"] == "The tracks of version 1, and what people drew since."
    assert today["figures"] == first["figures"]
    assert (today["version"], worse["version"]) == (None, None)


def test_a_sequence_without_annotations_is_forgotten(training, studio, versions):
    training.train(PROJECT, silent)
    between = frame_key({}, "/data/upload/1/drive_00007.jpg")
    assert loads(versions.active(SCOPE).model).at(between).carried
    studio.annotated = []
    assert training.train(PROJECT, silent)["status"] == "insufficient-data"
    assert loads(versions.active(SCOPE).model).at(between) is None


def test_a_few_tasks_that_came_with_the_request_do_not_tell_of_the_others(
    training, studio, versions
):
    training.train(PROJECT, silent)
    outcome = training.train(TrainingRequest(7, studio.annotated[:2]), silent)
    assert (outcome["status"], outcome["version"]) == ("insufficient-data", 1)
    assert versions.active_numbers() == {SCOPE: 1}


def test_an_earlier_version_goes_on_when_too_little_is_left(training, studio, versions):
    training.train(PROJECT, silent)
    studio.annotated = studio.annotated[:2]
    outcome = training.train(PROJECT, silent)
    assert (outcome["status"], outcome["version"]) == ("insufficient-data", 2)
    assert "Version 1 goes on. As version 2 it shows" in outcome["message"]
    assert versions.active_numbers() == {SCOPE: 2}
    between = frame_key({}, "/data/upload/1/drive_00007.jpg")
    assert loads(versions.active(SCOPE).model).at(between).carried


def test_a_project_made_anew_under_the_same_number_learns_anew(training, studio, versions):
    training.train(PROJECT, silent)
    studio.created_at = "2026-01-02T04:00:00.000000Z"
    assert training.train(PROJECT, silent)["version"] == 1
    assert len(versions.active_numbers()) == 2


def test_a_project_of_another_label_studio_is_not_taken_for_the_one_that_asks(training, versions):
    assert training.train(replace(PROJECT, created=CREATED), silent)["status"] == "trained"
    with pytest.raises(SettingsError, match=r"project 7 of .*Set LABEL_STUDIO_URL"):
        training.train(replace(PROJECT, created=CREATED + 1), silent)
    assert versions.active_numbers() == {SCOPE: 1}


def test_tasks_that_came_with_the_request_are_not_fetched(training, studio):
    request = TrainingRequest(7, studio.annotated)
    assert training.train(request, silent)["status"] == "trained"
    assert studio.fetched == 0


def test_tasks_and_config_that_came_with_the_request_need_no_login(versions, studio):
    training = Training(versions, None, URL, options=Options(), default_box_pct=(6.0, 10.0))
    config = studio.project(7)["label_config"]
    outcome = training.train(TrainingRequest(7, studio.annotated, config), silent)
    assert outcome["status"] == "trained"
    assert versions.active_numbers() == {Scope(URL, 7, 0): 1}
    dated = TrainingRequest(7, studio.annotated, config, CREATED)
    assert training.train(dated, silent)["status"] == "trained"
    assert SCOPE in versions.active_numbers()


@pytest.mark.parametrize(
    "request_", [PROJECT, replace(PROJECT, label_config="<View/>"), replace(PROJECT, tasks=[])]
)
def test_without_a_login_the_next_step_is_said(versions, request_):
    training = Training(versions, None, "", options=Options(), default_box_pct=(6.0, 10.0))
    with pytest.raises(SettingsError) as raised:
        training.train(request_, silent)
    assert str(raised.value) == (
        "project 7: what to learn did not come with the request, and cannot be fetched without a "
        "login. Set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY where prelabel runs, and train again."
    )


def test_a_job_that_nothing_came_with_names_its_project(versions, table):
    training = Training(versions, None, "", options=Options(), default_box_pct=(6.0, 10.0))
    with pytest.raises(SettingsError, match=r"^project 7: what to learn"):
        training(table.submit("training", "#7"), silent)


def test_a_label_config_that_does_not_parse_is_said(training, studio):
    with pytest.raises(InvalidRequest):
        training.train(TrainingRequest(7, studio.annotated, "<View>"), silent)


def test_a_label_studio_that_goes_away_changes_nothing(training, studio, versions):
    training.train(PROJECT, silent)

    def breaks_off(project_id):
        yield studio.annotated[0]
        raise LabelStudioUnreachable(URL, "nobody answers", "Start it.")

    studio.annotated_tasks = breaks_off
    with pytest.raises(LabelStudioUnreachable):
        training.train(PROJECT, silent)
    assert versions.active_numbers() == {SCOPE: 1}


def test_progress_goes_up_and_says_what_is_done(training):
    said = []
    training.train(PROJECT, lambda progress, message: said.append((progress, message)))
    assert said == sorted(said, key=lambda one: one[0])
    assert said[0] == (0.0, "fetching annotated task 1 of 12")
    assert [message for _, message in said[11:]] == [
        "fetching annotated task 12 of 12",
        "looking whether two videos have frames of equal names",
        "learning from 12 annotated frames",
        "checking on 12 annotated frames",
        "keeping it",
    ]
    assert said[-1][0] < 1


def test_a_stopped_training_changes_nothing(training, versions):
    def stop(progress, message):
        if message.startswith("learning"):
            raise Stopped

    with pytest.raises(Stopped):
        training.train(PROJECT, stop)
    assert versions.active_numbers() == {}


def test_a_version_that_cannot_be_read_is_replaced(training, versions, engine):
    versions.add(SCOPE, b"damaged", "digest", {}, activate=True)
    with capture_logs() as logs:
        assert training.train(PROJECT, silent)["version"] == 2
    (said,) = logs
    assert (said["event"], said["version"]) == ("learnt version cannot be read", 1)
    assert said["reason"] not in ("", "None")


def test_whoever_answers_is_told_of_a_new_version_only(versions, studio):
    told = []
    training = Training(
        versions,
        studio,
        URL,
        options=Options(),
        default_box_pct=(6.0, 10.0),
        learnt=lambda: told.append(versions.active_numbers()),
    )
    training.train(PROJECT, silent)
    training.train(PROJECT, silent)
    assert told == [{SCOPE: 1}]


def test_a_request_is_read_as_it_was_written(studio):
    for request in (PROJECT, TrainingRequest(7, studio.annotated, "<View/>", CREATED)):
        assert TrainingRequest.read(request.write()) == request


def test_a_click_becomes_a_job_that_trains(table, training):
    woken = []
    trainings = Trainings(table, URL, can_fetch=True, delay_s=10, wake=lambda: woken.append(1))
    job = trainings.start(7)
    assert trainings.start(7, delayed=True).id == job.id
    assert (trainings.status(job.id).status, len(woken)) == ("queued", 2)
    taken = table.claim("a", ["training"], 20)
    assert training(taken, silent)["status"] == "trained"
    assert trainings.status("0") is None


def test_a_click_while_the_database_is_away_becomes_a_job_when_it_is_back(table, monkeypatch):
    trouble = [StoreUnavailable("the database", "is locked", "Wait.")] * 3

    def submit(*args, **how):
        if trouble:
            raise trouble.pop()
        return Jobs.submit(table, *args, **how)

    monkeypatch.setattr("prelabel.jobs.requests._AGAIN_S", 0.01)
    monkeypatch.setattr(table, "submit", submit)
    trainings = Trainings(table, URL, can_fetch=True, delay_s=3600)
    with capture_logs() as logged:
        assert trainings.start_for_click(7, created=CREATED) is None
        taken = until(lambda: table.claim("a", ["training"], 20))
        until(lambda: len(logged) > 1)
    assert TrainingRequest.read(taken.payload) == replace(PROJECT, created=CREATED)
    assert [(one["event"], one["project"]) for one in logged] == [
        ("training not written down", 7),
        ("training written down after all", 7),
    ]
    assert trainings.start_for_click(7).status == "queued"


def test_an_event_waits_for_further_ones_and_a_click_does_not(table):
    trainings = Trainings(table, URL, can_fetch=True, delay_s=3600)
    trainings.start(7, delayed=True)
    assert table.claim("a", ["training"], 20) is None
    trainings.start(7)
    assert table.claim("a", ["training"], 20) is not None


def test_without_a_login_an_event_does_not_take_the_tasks_of_a_request_that_waits(
    table, versions, studio
):
    training = Training(versions, None, "", options=Options(), default_box_pct=(6.0, 10.0))
    trainings = Trainings(table, "", can_fetch=False, delay_s=10)
    config = studio.project(7)["label_config"]
    trainings.start(7, payload_tasks=studio.annotated, label_config=config)
    trainings.start(7)
    taken = table.claim("a", ["training"], 20)
    assert training(taken, silent)["status"] == "trained"
    trainings.start(8)
    with pytest.raises(SettingsError, match="Set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY"):
        training(table.claim("a", ["training"], 20), silent)


def test_two_uploaded_videos_with_files_of_one_name_teach_nothing(training, studio, task):
    """The second has no annotation, but would be given those of the first."""
    second = [{**task(frame), "id": 500 + frame} for frame in range(60)]
    studio.not_annotated = [
        {**one, "data": {"image": one["data"]["image"].replace("/drive", "/0a1b2c3d-drive")}}
        for one in second
    ]
    outcome = training.train(PROJECT, silent)
    assert outcome["status"] == "insufficient-data"
    (warning,) = outcome["warnings"]
    assert "drive_#" in warning
    assert "`video`" in warning


def test_frames_that_nobody_annotated_do_not_make_two_videos_of_one(training, studio, task):
    studio.not_annotated = [task(frame) for frame in range(60) if frame % 5]
    assert training.train(PROJECT, silent)["status"] == "trained"
