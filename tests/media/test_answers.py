"""Each refusal has its cause and what to do, by what was asked for and who refused."""

import pytest

from prelabel.media.answers import label_studio_said, label_studio_said_to_nobody, server_said

PERMISSION = "Give the user whose token is LABEL_STUDIO_API_KEY access to the project"
GENERAL = "Open the task in Label Studio to see whether the image shows there."


@pytest.mark.parametrize(
    ("status", "path", "step"),
    [
        (403, "/data/local-files/?d=a.png", "Start Label Studio with LOCAL_FILES_SERVING_ENABLED"),
        (404, "/data/local-files/?d=a.png", "Add a Local Files source storage that covers"),
        (403, "/tasks/1/resolve/?fileuri=x", PERMISSION),
        (403, "/api/projects/1/presign/?fileuri=x", PERMISSION),
        (404, "/tasks/1/resolve/?fileuri=x", "Add the bucket or container"),
        (404, "/tasks/1/presign/?fileuri=x", "Add the bucket or container"),
        (424, "/tasks/1/presign/?fileuri=x", "Check the storage's credentials"),
        (403, "/data/upload/1/a.png", PERMISSION),
        (404, "/data/upload/1/a.png", "Upload the file to Label Studio again"),
        (404, "/storage-data/uploaded/?filepath=a", "Upload the file to Label Studio again"),
        (500, "/storage-data/uploaded/?filepath=a", "Upload the file to Label Studio again"),
        (403, "/elsewhere.png", PERMISSION),
        (404, "/elsewhere.png", GENERAL),
        (500, "/tasks/1/resolve/?fileuri=x", GENERAL),
        (418, "/data/upload/1/a.png", GENERAL),
        (410, "/data/local-files/?d=a.png", GENERAL),
    ],
)
def test_what_label_studio_refuses_has_its_own_step(status, path, step):
    cause, said = label_studio_said(status, path, with_token=True)
    assert cause == f"Label Studio answered {status}"
    assert said.startswith(step)


@pytest.mark.parametrize(("with_token", "step"), [(True, "to a valid"), (False, "to a personal")])
def test_a_login_that_is_missing_is_told_from_a_wrong_one(with_token, step):
    cause, said = label_studio_said(401, "/data/upload/1/a.png", with_token=with_token)
    assert cause == "Label Studio answered 401"
    assert said.startswith(f"Set LABEL_STUDIO_API_KEY {step}")


def test_what_is_missing_where_no_token_is_sent_is_not_for_want_of_one():
    assert label_studio_said_to_nobody(404) == ("Label Studio answered 404", GENERAL)


@pytest.mark.parametrize(
    ("status", "with_login", "step"),
    [
        (401, True, "Correct the task data credentials in the project's settings."),
        (401, False, "Enter the task data credentials in the project's settings."),
        (403, True, "Make the image readable; a signed address may have expired."),
        (404, False, "Correct the address in the task's data: nothing is there."),
        (410, False, "Correct the address in the task's data: nothing is there."),
        (418, False, "Open the address in a browser to see what it answers."),
    ],
)
def test_what_another_server_refuses_has_its_own_step(status, with_login, step):
    said = server_said(status, "images.example.com", with_login=with_login)
    assert said == (f"images.example.com answered {status}", step)
