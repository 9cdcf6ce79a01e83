import xml.etree.ElementTree as ET

import pytest

from prelabel.errors import LoginRefused, RequestRefused, SettingsError
from prelabel.labelstudio.templates import boxes_config
from prelabel.labelstudio_api.backends import (
    connect_project,
    try_prediction,
)
from prelabel.types import BODY_PARTS

BACKEND = "http://127.0.0.1:9"  # nothing listens here; only the fake believes in it
UNCHECKED = "Label config not checked"


@pytest.fixture(autouse=True)
def running_backend(fake):
    fake.running_backends[BACKEND] = None


def test_the_shipped_config_has_the_agreed_names_and_body_parts():
    view = ET.fromstring(boxes_config())
    [image] = view.iter("Image")
    [boxes] = view.iter("RectangleLabels")
    choices = {tag.get("name"): tag for tag in view.iter("Choices")}
    values = {name: [choice.get("value") for choice in tag] for name, tag in choices.items()}
    assert (image.get("name"), image.get("value")) == ("image", "$image")
    assert (boxes.get("name"), [label.get("value") for label in boxes]) == (
        "label",
        ["body_distortion"],
    )
    assert values == {"body_part": list(BODY_PARTS), "severity": ["mild", "medium", "severe"]}
    for tag in choices.values():
        assert (tag.get("perRegion"), tag.get("whenTagName")) == ("true", "label")


def test_the_first_time_makes_project_backend_and_webhook(fake, studio):
    made = connect_project(studio, f"{BACKEND}/")
    assert (made.project_action, made.backend_action, made.webhook_action) == (
        "created",
        "attached",
        "created",
    )
    assert fake.projects[made.project_id]["label_config"] == boxes_config()
    assert fake.backends[made.backend_id]["url"] == BACKEND
    assert made.model_version == "v1"
    assert made.project_url == f"{fake.url}/projects/1/data"


def test_the_second_time_changes_nothing(fake, studio):
    first = connect_project(studio, BACKEND)
    writes = len(fake.writes())
    second = connect_project(studio, f"{BACKEND}/")
    assert len(fake.writes()) == writes
    assert (second.project_action, second.backend_action, second.webhook_action) == (
        "found",
        "unchanged",
        "unchanged",
    )
    assert (second.project_id, second.backend_id) == (first.project_id, first.backend_id)


def test_another_address_moves_the_first_backend_and_its_webhook(fake, studio):
    connect_project(studio, BACKEND)
    fake.running_backends["http://127.0.0.1:10"] = None
    moved = connect_project(studio, "http://127.0.0.1:10")
    assert (moved.backend_action, moved.webhook_action) == ("updated", "moved")
    assert [row["url"] for row in fake.backends.values()] == ["http://127.0.0.1:10"]
    assert [row["url"] for row in fake.webhooks.values()] == ["http://127.0.0.1:10/webhook"]


def test_a_backend_in_a_bad_state_is_checked_anew_for_the_reason(fake, studio):
    made = connect_project(studio, BACKEND)
    fake.backends[made.backend_id]["state"] = "DI"
    assert connect_project(studio, BACKEND).backend_action == "updated"
    fake.backends[made.backend_id]["state"] = "DI"
    fake.running_backends.clear()
    with pytest.raises(RequestRefused, match=r"host\.docker\.internal") as refused:
        connect_project(studio, BACKEND)
    assert "Learn more" not in str(refused.value)


def test_further_backends_are_named_as_never_asked(fake, studio):
    made = connect_project(studio, BACKEND)
    fake.backends[2] = {**fake.backends[1], "id": 2, "url": "http://other.test:9090"}
    again = connect_project(studio, BACKEND)
    assert again.backend_id == made.backend_id
    assert any("http://other.test:9090 is attached and never asked" in w for w in again.warnings)


def test_a_host_name_without_a_dot_works_but_its_webhook_is_explained(fake, studio):
    fake.running_backends["http://ml-backend:9090"] = None
    made = connect_project(studio, "http://ml-backend:9090")
    assert (made.backend_action, made.webhook_action) == ("attached", "missing")
    [warning] = [warning for warning in made.warnings if not warning.startswith(UNCHECKED)]
    assert "Predictions work" in warning
    assert "ml.internal" in warning


def test_a_deleted_webhook_is_made_again(fake, studio):
    connect_project(studio, BACKEND)
    fake.webhooks.clear()
    assert connect_project(studio, BACKEND).webhook_action == "created"


def test_a_blocked_private_address_says_which_settings_open_it(fake, studio):
    fake.blocks_private_addresses = True
    with pytest.raises(RequestRefused, match="ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION"):
        connect_project(studio, BACKEND)


def test_a_backend_with_a_password_needs_it_and_hears_no_events_without_its_path(fake, studio):
    fake.running_backends[BACKEND] = ("bob", "secret")
    with pytest.raises(RequestRefused, match="--basic-auth-user and --basic-auth-pass"):
        connect_project(studio, BACKEND)
    made = connect_project(studio, BACKEND, basic_auth=("bob", "secret"))
    assert made.backend_action == "attached"
    assert any("SECRET_PATH" in warning for warning in made.warnings)
    assert "secret" not in str(made)
    again = connect_project(studio, BACKEND, basic_auth=("bob", "secret"))
    assert again.backend_action == "unchanged"


def test_before_1_12_a_backend_with_a_password_is_attached_by_its_secret_path(fake, studio):
    fake.knows_backend_passwords = False
    fake.running_backends[BACKEND] = ("bob", "secret")
    with pytest.raises(RequestRefused, match="attach its address with /<SECRET_PATH>"):
        connect_project(studio, BACKEND, basic_auth=("bob", "secret"))
    fake.running_backends[f"{BACKEND}/path"] = None
    made = connect_project(studio, f"{BACKEND}/path")
    again = connect_project(studio, f"{BACKEND}/path", basic_auth=("bob", "secret"))
    assert (made.backend_action, again.backend_action) == ("attached", "unchanged")


def test_an_existing_project_keeps_its_label_config(fake, studio):
    own = studio.create_project("hands", "<View><Text name='t' value='$t'/></View>")
    kept = connect_project(studio, BACKEND, project_title="hands", label_config=boxes_config())
    assert kept.project_id == own["id"]
    assert fake.projects[own["id"]]["label_config"] == own["label_config"]
    assert any("has a label config of its own" in warning for warning in kept.warnings)


def test_a_project_may_be_named_by_its_id(fake, studio):
    own = studio.create_project("hands", "<View/>")
    assert connect_project(studio, BACKEND, project_id=own["id"]).project_title == "hands"
    with pytest.raises(RequestRefused, match="No Project matches"):
        connect_project(studio, BACKEND, project_id=99)


def test_several_projects_of_one_title_are_not_guessed_between(fake, studio):
    studio.create_project("hands", "<View/>")
    studio.create_project("hands", "<View/>")
    with pytest.raises(SettingsError, match=r"ids 1, 2\). Name one of them with --project-id"):
        connect_project(studio, BACKEND, project_title="hands")


def test_a_backend_that_is_not_seen_from_here_is_only_a_doubt(fake, studio):
    made = connect_project(studio, BACKEND)
    assert [warning for warning in made.warnings if warning.startswith(UNCHECKED)]


@pytest.mark.parametrize("said", [[], ["nothing to fill"]])
def test_what_the_backend_thinks_of_the_label_config_is_passed_on(fake, studio, said):
    fake.running_backends[f"{fake.url}/backend"] = None
    fake.backend_warnings = said
    made = connect_project(studio, f"{fake.url}/backend")
    assert list(made.warnings) == [f"Label config: {warning}." for warning in said]


def test_a_refused_login_stops_before_anything_is_made(fake, studio):
    fake.legacy_allowed = False
    with pytest.raises(LoginRefused):
        connect_project(studio, BACKEND)
    assert fake.projects == {}


@pytest.mark.parametrize(
    ("entries", "answered", "regions", "version"),
    [
        ([], False, 0, None),
        ([[]], False, 0, None),
        ([{"result": [], "model_version": "v1"}], True, 0, "v1"),
        ([{"result": [{}, {}], "model_version": "v1"}], True, 2, "v1"),
        ([[{"result": [{}], "model_version": "v1"}, {"result": [{}]}]], True, 2, "v1"),
    ],
)
def test_a_trial_tells_failure_from_nothing_found(
    fake, studio, entries, answered, regions, version
):
    made = connect_project(studio, BACKEND)
    [task_id] = studio.import_tasks(made.project_id, [{"data": {"image": "a.png"}}])
    fake.prediction = entries
    trial = try_prediction(studio, made.backend_id)
    assert (trial.task_id, trial.answered) == (task_id, answered)
    assert (trial.regions, trial.model_version) == (regions, version)


def test_before_1_12_a_trial_says_what_to_do_instead(fake, studio):
    made = connect_project(studio, BACKEND)
    fake.unknown.add(("POST", f"/api/ml/{made.backend_id}/predict/test"))
    with pytest.raises(RequestRefused, match=r"none before 1\.12\. Open a task"):
        try_prediction(studio, made.backend_id)


def test_a_trial_in_an_empty_project_asks_for_images(fake, studio):
    made = connect_project(studio, BACKEND)
    with pytest.raises(RequestRefused, match="Import images first"):
        try_prediction(studio, made.backend_id)
