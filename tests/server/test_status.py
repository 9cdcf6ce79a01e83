"""The status page and its JSON: the truth, escaped, and nobody cancels in another's name."""

import re

import pytest
from structlog.testing import capture_logs

from prelabel.assembly import parts, server
from prelabel.errors import StoreUnavailable
from prelabel.settings import Settings
from prelabel.store.jobs import Jobs

from .conftest import CONFIG, basic

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def settings(tmp_path):
    return Settings(_env_file=None, data_dir=tmp_path / "data")


@pytest.fixture
def learning(settings):
    return server.learning(settings)


@pytest.fixture
def client(serve, learning):
    return serve(learning=learning)


@pytest.fixture
def job(settings):
    """A job that some other worker is at."""
    jobs = Jobs(parts.database(settings))
    jobs.submit("rehearsal", "http://ls#3")  # no runner of this server's does such a thing
    job = jobs.claim("another machine", ("rehearsal",), lease_s=600)
    jobs.renew(job.id, job.owner, 600, progress=0.42, message=f"at {HOSTILE}")
    return job


def predict(client, *uris, project=9):
    tasks = [{"id": n, "data": {"image": uri}} for n, uri in enumerate(uris, 1)]
    body = {"tasks": tasks, "label_config": CONFIG, "project": project}
    assert client.post("/predict", json=body).status_code == 200


def test_a_new_server_has_a_page_and_says_what_to_do(client):
    page = client.get("/").text
    assert "asked for nothing since the start" in page
    assert "Start Training" in page
    assert client.get("/status").json()["projects"] == []


def test_failures_are_counted_by_kind_with_an_example_and_the_request(client):
    predict(client, "a", "missing 1", "missing 2", "poison")
    report = client.get("/status").json()
    (project,) = report["projects"]
    assert (project["asked"], project["predicted"], project["failed"]) == (4, 1, 3)
    reasons = {one["kind"]: one["tasks"] for one in project["reasons"]}
    assert reasons == {"ImageUnreachable": 2, "ModelError": 1}
    assert "answered 404" in project["reasons"][0]["example"]
    assert {one["task_id"] for one in report["failures"]} == {2, 3, 4}
    assert all(len(one["request_id"]) == 32 for one in report["failures"])


def test_the_request_of_a_failure_is_in_the_log(client):
    with capture_logs() as logs:
        predict(client, "missing")
    (failure,) = client.get("/status").json()["failures"]
    (line,) = [line for line in logs if line["event"] == "tasks without prediction"]
    assert line["request_id"] == failure["request_id"]


def test_a_retrieve_that_is_refused_as_a_whole_says_why(serve, learning):
    client = serve(learning=learning, max_body_mb=1)
    for size in (2, 3):
        answer = client.post("/predict", content=b" " * size * 1024 * 1024)
        assert answer.status_code == 413
    assert client.post("/predict", content=b"{").status_code == 400
    assert client.post("/validate", content=b"{").status_code == 400
    told = client.get("/status").json()
    reasons = {failure["kind"]: failure["reason"] for failure in told["failures"]}
    assert len(told["failures"]) == len(reasons) == 2
    assert "raise MAX_BODY_MB" in reasons["BodyTooLarge"]
    assert "tasks" not in reasons["InvalidRequest"]
    page = client.get("/").text
    assert "raise MAX_BODY_MB" in page
    assert "has asked for nothing" in page


@pytest.mark.parametrize("local", [False, True])
def test_the_page_links_to_what_describes_the_endpoints_here(serve, learning, local):
    url = {"label_studio_url": "http://ls:8080"} if local else {}
    client = serve(learning=learning, local_data_only=local, **url)
    (link,) = re.findall(r'<a href="([^"]*)">the API</a>', client.get("/").text)
    assert client.get(link).status_code == 200


def test_all_that_comes_from_outside_is_escaped(client, job):
    predict(client, f"missing {HOSTILE}", project=HOSTILE)
    page = client.get("/").text
    assert HOSTILE not in page
    assert page.count("&lt;script&gt;") >= 3


def test_the_page_may_run_its_own_script_only(client):
    answer = client.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'sha256-" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["cache-control"] == "no-store"


def test_no_secret_is_on_the_page(serve, learning):
    secrets = {"basic_auth_user": "ann", "basic_auth_pass": "pw-1", "api_token": "tok-2"}
    client = serve(learning=learning, secret_path="path-3", **secrets)
    for path in ("/", "/status", "/metrics"):
        told = client.get(path, headers=basic("ann", "pw-1")).text
        assert not [one for one in ("pw-1", "tok-2", "path-3") if one in told]


def test_page_and_status_answer_where_the_database_is_away(client, learning, monkeypatch):
    def away(*_):
        raise StoreUnavailable("the database", "does not answer", "Start it again.")

    monkeypatch.setattr(learning.jobs.__class__, "recent", away)
    report = client.get("/status")
    assert report.status_code == 200
    assert "Start it again." in report.json()["database_trouble"]
    assert "Predictions go on" in client.get("/").text


def test_a_running_job_shows_how_far_it_is_and_can_be_cancelled(client, job, settings):
    page = client.get("/").text
    assert '<progress max="100" value="42"' in page
    assert f'action="?cancel={job.id}"' in page
    answer = client.post(f"/jobs/{job.id}/cancel")
    assert answer.json() == {"job": job.id, "job_status": "cancelled"}
    assert Jobs(parts.database(settings)).get(job.id).status == "cancelled"
    assert client.post(f"/jobs/{job.id}/cancel").status_code == 410


def test_the_button_without_javascript_leads_back_to_the_page(client, job, settings):
    assert "running</span>" in client.get("/").text
    answer = client.post(f"/?cancel={job.id}", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "?")
    assert "cancelled</span>" in client.get("/").text  # at once, for it does not renew itself
    assert Jobs(parts.database(settings)).get(job.id).status == "cancelled"


@pytest.mark.parametrize("path", ["/jobs/{}/cancel", "/?cancel={}"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, {200, 303}),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://testserver"}, {200, 303}),
        ({"Sec-Fetch-Site": "none"}, {200, 303}),
        ({"Origin": "http://testserver"}, {200, 303}),
        # Behind a proxy that names the host anew, the browser's own word counts.
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://public.example"}, {200, 303}),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://evil.example"}, {403}),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://testserver"}, {403}),
        ({"Origin": "http://evil.example"}, {403}),
        ({"Origin": "http://testserver.evil.example"}, {403}),
        ({"Origin": "http://testserver:81"}, {403}),
        ({"Origin": "null"}, {403}),
    ],
)
def test_pages_of_other_sites_cancel_nothing(client, job, settings, path, headers, status):
    answer = client.post(path.format(job.id), headers=headers, follow_redirects=False)
    assert answer.status_code in status
    was = Jobs(parts.database(settings)).get(job.id).status
    assert was == ("running" if status == {403} else "cancelled")


def test_cancelling_needs_the_password(serve, learning, job):
    client = serve(learning=learning, basic_auth_user="ann", basic_auth_pass="pw")
    assert client.post(f"/jobs/{job.id}/cancel").status_code == 401
    headers = basic("ann", "pw")
    assert client.post(f"/jobs/{job.id}/cancel", headers=headers).status_code == 200


def test_without_a_learner_there_is_nothing_to_cancel(serve):
    assert serve().post("/jobs/abc/cancel").status_code == 410


def test_links_lead_to_label_studio_where_it_is_known_and_to_numbers_only(serve):
    client = serve()
    predict(client, "missing")
    assert '<a href="http' not in client.get("/").text
    from prelabel.server.page.sections import failures_section  # noqa: PLC0415

    failure = {"time": "2026-11-22T10:00:00+00:00", "project": "9", "task": "task 1", "task_id": 1,
               "kind": "X", "reason": "r", "request_id": "q"}  # fmt: skip
    shown = {"label_studio": "http://ls/sub", "failures": [failure]}
    assert 'href="http://ls/sub/projects/9/data?task=1"' in failures_section(shown)
    shown["failures"] = [{**failure, "project": "../x"}]
    assert "href" not in failures_section(shown)
