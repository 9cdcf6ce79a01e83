"""The doctor's checks of Label Studio, at a real one."""

import httpx2
import pytest
from pydantic import SecretStr

from prelabel.doctor.checks import CHECKS
from prelabel.doctor.examination import examine
from prelabel.doctor.machine import this_machine
from prelabel.settings import Settings

pytestmark = pytest.mark.e2e


def diagnoses(servers, **values):
    """What the doctor says about Label Studio and a project, by the name of the check."""
    settings = Settings(
        label_studio_url=servers.label_studio_url,
        **{"label_studio_api_key": SecretStr(servers.token), **values},
    )
    made = examine(this_machine(), CHECKS, lambda: settings, backend_url=servers.backend_url)
    wanted = {check.name for check in CHECKS if check.group in ("Label Studio", "Project")}
    return {one.name: one for one in made if one.name in wanted}


def test_a_project_that_works_is_well_in_every_respect(servers, project, demo_frames):
    project.upload(demo_frames.paths[:3])
    made = diagnoses(servers, project_id=project.id)
    assert {name: one.status for name, one in made.items()} == dict.fromkeys(made, "ok")
    assert made["images"].finding.startswith("3 of 3")


def test_predictions_for_an_earlier_label_config_are_found(servers, project, demo_frames):
    project.retrieve(project.upload(demo_frames.paths))
    fit = diagnoses(servers, project_id=project.id)["predictions"]
    assert fit.finding == f"those of {len(demo_frames.paths)} tasks looked at fit the label config"

    renamed = project.label_config.replace('"body_distortion"', '"distortion"')
    with httpx2.Client(auth=servers.client.auth, timeout=60) as http:
        url = f"{servers.label_studio_url}/api/projects/{project.id}/"
        http.patch(url, json={"label_config": renamed}).raise_for_status()
    gone = diagnoses(servers, project_id=project.id)["predictions"]
    assert gone.status == "warning"
    assert "name the label 'body_distortion', which the label config does not have" in gone.finding


def test_a_wrong_token_is_told_from_a_label_studio_that_is_away(servers, project):
    wrong = diagnoses(servers, project_id=project.id, label_studio_api_key=SecretStr("a" * 40))
    assert wrong["Label Studio"].status == "ok"
    assert wrong["token"].status == "failure"
    assert wrong["images"].status == "skipped"


def test_looking_attaches_nothing(servers, project):
    diagnoses(servers, project_id=project.id)
    assert len(servers.client.ml_backends(project.id)) == 1
    assert len(servers.client.webhooks(project.id)) == 1
