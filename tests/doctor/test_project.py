"""The project: its label config, its images, and the backend that is attached to it."""

import pytest

from prelabel.doctor import attachment, project
from prelabel.doctor.case import Case
from prelabel.labelstudio.templates import pose_config

BACKEND = "http://127.0.0.1:9090"


@pytest.fixture
def case(machine, signed_in, studio):
    made = Case(machine(), signed_in())
    yield made
    made.close()


@pytest.fixture
def upload(studio, picture):
    """Gives the project tasks with uploaded images, of which the first ones are lost."""

    def made(count, *, missing=0):
        studio.tasks = [
            {"id": number, "data": {"image": f"/data/upload/1/{number}.png"}}
            for number in range(1, count + 1)
        ]
        kept = range(1 + missing, count + 1)
        studio.files = {f"/data/upload/1/{number}.png": picture for number in kept}

    return made


def test_no_project_is_nothing_to_judge(machine, signed_in):
    diagnosis = project.project(Case(machine(), signed_in(project_id=None)))
    assert diagnosis.status == "skipped"
    assert "--project" in diagnosis.finding


def test_an_empty_project_is_a_warning_and_one_with_tasks_is_well(case, machine, signed_in, upload):
    assert project.project(case).status == "warning"
    upload(2)
    again = Case(machine(), signed_in())
    assert "2 tasks" in project.project(again).finding
    again.close()


def test_a_project_that_does_not_exist_is_a_failure(machine, signed_in):
    case = Case(machine(), signed_in(project_id=99))
    diagnosis = project.project(case)
    case.close()
    assert (diagnosis.status, diagnosis.finding) == ("failure", "99: Not found")


def predicted(label="body_distortion", control="label"):
    value = {"x": 1, "y": 1, "width": 5, "height": 5, "rectanglelabels": [label]}
    region = {"from_name": control, "to_name": "image", "type": "rectanglelabels", "value": value}
    return {"predictions": [{"model_version": "m", "result": [region]}]}


def test_where_nothing_is_predicted_yet_all_is_well(case):
    assert project.predictions(case).finding == "no task holds one yet"


def test_predictions_that_fit_the_label_config_are_well(case, studio, upload):
    upload(2)
    studio.tasks = [task | predicted() for task in studio.tasks]
    diagnosis = project.predictions(case)
    assert (diagnosis.status, diagnosis.finding) == (
        "ok",
        "those of 2 tasks looked at fit the label config",
    )


def test_predictions_for_an_earlier_label_config_are_told_with_the_mend(case, studio, upload):
    upload(2)
    studio.tasks[0] |= predicted(control="boxes")
    studio.tasks[1] |= predicted(label="hand")
    diagnosis = project.predictions(case)
    assert diagnosis.status == "warning"
    assert diagnosis.finding == (
        "those of 2 of 2 tasks looked at name the control 'boxes', the label 'hand', which the "
        "label config does not have any more"
    )
    assert diagnosis.mend.startswith("prelabel run --project 1 --force")


def test_what_an_earlier_version_left_beside_a_prediction_that_fits_is_no_concern(
    case, studio, upload
):
    upload(1)
    studio.tasks[0]["predictions"] = [
        *predicted(label="hand")["predictions"],
        *predicted()["predictions"],
    ]
    assert project.predictions(case).status == "ok"


def test_what_a_label_config_leaves_to_people_is_told(case):
    diagnosis = project.label_config(case)
    assert diagnosis.status == "ok"
    assert "boxes of body_distortion, with body_part" in diagnosis.finding
    assert diagnosis.finding.endswith("left to people: severity")


def test_keypoints_of_people_are_counted(case, studio):
    studio.label_config = pose_config("17")
    diagnosis = project.label_config(case)
    assert diagnosis.status == "ok"
    assert "17 keypoints of people in person boxes" in diagnosis.finding


VIDEO = """
<View><Labels name="l" toName="v"><Label value="car"/></Labels><Video name="v" value="$video"/>
<VideoRectangle name="box" toName="v"/></View>
"""


def test_a_video_is_well_and_no_model_looks_at_it(case, studio):
    studio.label_config = VIDEO
    studio.tasks = [{"id": 1, "data": {"video": "/data/upload/1/a.mp4"}}]
    diagnosis = project.label_config(case)
    assert (diagnosis.status, diagnosis.mend) == ("ok", "")
    assert diagnosis.finding == "box: tracks that people began, once trained"
    assert project.images(case).status == "skipped"


ODD_THRESHOLD = """
<View><Image name="i" value="$image"/><RectangleLabels name="r" toName="i"
model_score_threshold="high"><Label value="a"/></RectangleLabels></View>
"""


@pytest.mark.parametrize(("config", "status"), [("<View/>", "failure"), (ODD_THRESHOLD, "warning")])
def test_a_label_config_that_is_not_obeyed_is_told(case, studio, config, status):
    studio.label_config = config
    diagnosis = project.label_config(case)
    assert diagnosis.status == status
    assert "/projects/1/settings/labeling" in diagnosis.mend


@pytest.mark.parametrize(
    ("count", "missing", "status"),
    [(0, 0, "skipped"), (1, 0, "ok"), (5, 0, "ok"), (5, 1, "warning"), (2, 2, "failure")],
)
def test_the_images_of_the_first_tasks_are_fetched_and_decoded(
    case, upload, count, missing, status
):
    upload(count, missing=missing)
    diagnosis = project.images(case)
    assert diagnosis.status == status
    if status == "ok":
        assert f"{min(count, 3)} of {min(count, 3)}" in diagnosis.finding
        assert "40 x 30 px" in diagnosis.finding


def test_what_is_no_image_is_told_with_its_address(case, studio, upload):
    upload(1)
    studio.files = {"/data/upload/1/1.png": b"<html>no</html>"}
    diagnosis = project.images(case)
    assert diagnosis.status == "failure"
    assert "/data/upload/1/1.png" in diagnosis.finding


def test_a_project_without_a_backend_is_told_how_to_attach_one(case):
    diagnosis = attachment.attached(case)
    assert diagnosis.status == "warning"
    assert diagnosis.mend == f"prelabel connect --project-id 1 --backend-url {BACKEND}"
    assert attachment.events(case).status == "skipped"


def test_a_backend_that_is_connected_and_hears_of_events_is_well(case, studio):
    studio.attach(BACKEND)
    assert "model version m1" in attachment.attached(case).finding
    assert attachment.events(case).status == "ok"


def test_of_two_backends_the_second_is_never_asked(case, studio):
    studio.attach(BACKEND)
    studio.attach("http://127.0.0.1:9091")
    diagnosis = attachment.attached(case)
    assert diagnosis.status == "warning"
    assert "9091" in diagnosis.finding


REFUSED = (
    "HTTPConnectionPool(host='127.0.0.1', port=9090): Max retries exceeded with url: /s3cret/"
    'versions (Caused by NewConnectionError("[Errno 111] Connection refused"))'
)


@pytest.mark.parametrize(
    ("said", "finding", "mend"),
    [
        (REFUSED, "Connection refused", "prelabel serve"),
        ("401 Client Error: Unauthorized for url: http://x/s3cret", "401", "BASIC_AUTH_USER"),
        ("500 Server Error: E for url: http://x/s3cret", "500 Server Error: E", "prelabel serve"),
    ],
)
def test_why_label_studio_does_not_reach_the_backend_is_told_without_its_secret_path(
    case, studio, said, finding, mend
):
    studio.attach(f"{BACKEND}/s3cret", state="DI")
    studio.versions = (500, {"error": said})
    diagnosis = attachment.attached(case)
    assert diagnosis.status == "failure"
    assert diagnosis.finding.startswith(f"{BACKEND}/…: {finding}")
    assert mend in diagnosis.mend
    assert "s3cret" not in str(diagnosis)


def test_a_backend_on_a_blocked_address_is_told_with_the_variables_that_lift_it(case, studio):
    studio.attach(BACKEND, state="DI")
    studio.block("/api/ml/", "/api/webhooks/")
    diagnosis = attachment.attached(case)
    assert diagnosis.status == "failure"
    assert "reserved network address" in diagnosis.finding
    assert "ML_BLOCK_LOCAL_IP=false" in diagnosis.mend


def test_events_that_label_studio_would_not_send_are_a_warning(case, studio):
    studio.attach(BACKEND)
    studio.block("/api/webhooks/")
    assert "SSRF_PROTECTION_ENABLED=false" in attachment.events(case).mend


def test_a_host_name_without_a_dot_hears_of_nothing(case, studio):
    studio.attach("http://ml-backend:9090", webhook=False)
    diagnosis = attachment.events(case)
    assert diagnosis.status == "warning"
    assert "host name with a dot" in diagnosis.mend


@pytest.mark.parametrize("switched_off", [True, False])
def test_a_webhook_that_is_missing_or_switched_off_is_a_warning(case, studio, switched_off):
    studio.attach(BACKEND, webhook=switched_off)
    for hook in studio.webhooks:
        hook["is_active"] = False
    diagnosis = attachment.events(case)
    assert diagnosis.status == "warning"
    assert ("switched off" in diagnosis.finding) is switched_off
