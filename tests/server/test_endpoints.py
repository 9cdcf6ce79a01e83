"""All other endpoints, and what stands in front of them."""

import asyncio
import re
import time
from threading import Thread

import pytest
from structlog.testing import capture_logs

from prelabel.server.problems import unusable

from .conftest import CONFIG, basic

PROJECT = {"id": 1, "label_config": "<View></View>"}


def test_health_tells_what_answers(client):
    health = client.get("/health").json()
    assert health["status"] == "ok"
    assert health["model_loaded"] is True
    assert health["predictors"]["boxes"]["name"] == "fake"


@pytest.mark.parametrize("path", ["/", "/health", "/versions", "/metrics", "/live", "/ready"])
def test_what_is_only_looked_at_answers(client, path):
    assert client.get(path).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"project": "1.1699999999", "schema": CONFIG, "hostname": "http://ls:8080",
         "access_token": "x", "extra_params": None},
        {"project": 1, "schema": CONFIG, "extra_params": '{"a": 1}'},
        {"project": 1, "schema": CONFIG, "extra_params": {"a": 1}, "unknown": [1, 2]},
        {"project": "1", "schema": "<View></View>"},
        {"project": "1", "schema": '<View><Text name="t" value="$t"/>'
         '<Choices name="c" toName="t"><Choice value="a"/></Choices></View>'},
        {"project": "1", "schema": "not xml"},
    ],
)  # fmt: skip
def test_setup_accepts_every_project(client, body):
    answer = client.post("/setup", json=body)
    assert answer.status_code == 200
    assert isinstance(answer.json()["model_version"], str)


@pytest.mark.parametrize("path", ["/health", "/live", "/ready"])
def test_monitors_may_ask_with_head(client, path):
    answer = client.head(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")


def test_the_status_page_may_be_asked_for_with_head(client):
    answer = client.head("/")
    assert (answer.status_code, answer.content) == (200, b"")


def test_a_slash_at_the_end_leads_nowhere_else(serve):
    client = serve(secret_path="sesame", basic_auth_user="ann", basic_auth_pass="pw")
    answer = client.post("/sesame/setup/", json={}, follow_redirects=False)
    assert answer.status_code == 200
    assert client.post("/setup/", json={}, follow_redirects=False).status_code == 401


def test_setup_accepts_an_empty_form(client):
    assert client.post("/setup", data={}).status_code == 200


def test_setup_says_where_nothing_can_be_filled(client):
    answer = client.post("/setup", json={"schema": "<View></View>"}).json()
    assert answer["model_version"] == "no-predictor"
    assert "nothing to fill" in answer["warnings"][0]


def test_versions_names_what_setup_names(client):
    version = client.post("/setup", json={"project": 1, "schema": CONFIG}).json()["model_version"]
    assert version in client.get("/versions").json()["versions"]


@pytest.mark.parametrize(
    "event",
    [
        {"action": "START_TRAINING", "project": PROJECT},
        {"action": "ANNOTATION_CREATED", "project": PROJECT},
        {"action": "ANNOTATION_UPDATED", "project": PROJECT, "annotation": {"id": 1}, "task": {}},
        {"action": "ANNOTATIONS_CREATED", "project": PROJECT, "annotation": [], "task": []},
        {"action": "ANNOTATIONS_DELETED", "project": PROJECT, "annotations": [{"id": 1}]},
        {"action": "ANNOTATION_DELETED", "project": 1},
        {"action": "PROJECT_UPDATED", "project": PROJECT},
        {"action": "SOMETHING_NEW", "project": None},
    ],
)
def test_every_event_is_taken_with_201(client, event):
    answer = client.post("/webhook", json=event)
    assert answer.status_code == 201
    assert answer.json()["status"] == "ok"


def test_fit_and_train_are_taken_too(client):
    assert client.post("/fit", json={"event": "START_TRAINING", "data": {}}).status_code == 201
    assert client.post("/train", json={"project": 1}).status_code == 201
    assert client.post("/train").status_code == 201


def test_an_unknown_job_is_gone(client):
    assert client.post("/job_status", json={"job": "x"}).status_code == 410


def test_validate_says_whether_a_config_can_be_filled(client):
    assert client.post("/validate", json={"config": CONFIG}).json()["valid"] is True
    assert client.post("/validate", json={"config": "<View/>"}).json()["valid"] is False
    assert client.post("/validate", json={"config": "<View"}).status_code == 400


def test_errors_are_problems_with_the_request_id(client):
    answer = client.post("/predict", content=b"{", headers={"X-Request-ID": "abc-1"})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == "abc-1"
    problem = answer.json()
    assert problem["request_id"] == "abc-1"
    assert "Traceback" not in answer.text


def test_a_harmful_request_id_is_replaced(client):
    answer = client.get("/health", headers={"X-Request-ID": "a b\tc" * 40})
    assert " " not in answer.headers["x-request-id"]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/no", 404), ("GET", "/fit", 405)])
def test_wrong_paths_and_methods_are_problems(client, method, path, status):
    answer = client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["title"] == "HTTPError"
    step = {404: "Check the address", 405: "that `Allow` names"}[status]
    assert step in answer.json()["detail"]
    assert answer.headers.get("allow") == {404: None, 405: "POST"}[status]


def test_what_an_address_lacks_is_named_in_a_problem(client):
    answer = client.post("/")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["title"] == "InvalidRequest"
    assert problem["detail"].startswith("the query parameter 'cancel': it is missing. ")
    assert problem["request_id"]


def test_what_an_address_says_wrongly_is_named_in_a_problem():
    # No route reads a number from its address yet; one that does is answered the same way.
    error = unusable(
        [{"type": "int_parsing", "loc": ("query", "n"), "msg": "Input should be a valid integer"}]
    )
    assert str(error).startswith(
        "the query parameter 'n': it cannot be used (Input should be a valid integer). "
    )


def test_everything_but_the_probes_wants_the_password(serve):
    client = serve(basic_auth_user="ann", basic_auth_pass="pw", api_token="t0ken")
    for path in ("/health", "/", "/metrics", "/versions", "/status", "/docs", "/openapi.json"):
        assert client.get(path).status_code == 401, path
        assert client.get(path, headers=basic("ann", "pw")).status_code == 200, path
        assert client.get(path, headers={"Authorization": "Bearer t0ken"}).status_code == 200
    for wrong in (basic("ann", "no"), basic("", ""), {"Authorization": "Bearer pw"},
                  {"Authorization": "Basic !"}, {"Authorization": "Basic /w=="}):  # fmt: skip
        answer = client.get("/health", headers=wrong)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic")
    assert client.get("/live").status_code == client.get("/ready").status_code == 200


def test_a_secret_path_stands_for_the_password(serve):
    client = serve(basic_auth_user="ann", basic_auth_pass="pw", secret_path="/s3cret/")
    event = {"action": "ANNOTATION_CREATED", "project": PROJECT}
    assert client.post("/webhook", json=event).status_code == 401
    assert client.post("/s3cret/webhook", json=event).status_code == 201
    assert client.get("/s3cret").status_code == 200
    assert client.get("/s3cretx/health").status_code == 401


def test_a_caller_over_the_rate_is_told_when_to_come_again(serve):
    client = serve(rate_limit="2/minute")
    codes = [client.post("/setup", json={}).status_code for _ in range(3)]
    assert codes == [200, 200, 429]
    answer = client.post("/setup", json={})
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    for path in ("/health", "/versions"):
        assert [client.get(path).status_code for _ in range(5)] == [200] * 5


def test_a_body_over_the_limit_is_refused(serve):
    client = serve(max_body_mb=1)
    big = b'{"tasks": [], "pad": "' + b"x" * 1_100_000 + b'"}'
    assert client.post("/predict", content=big).status_code == 413

    def stream():  # without a Content-Length
        for start in range(0, len(big), 65536):
            yield big[start : start + 65536]

    assert client.post("/predict", content=stream()).status_code == 413


def test_pages_of_other_origins_may_call_only_where_they_are_named(serve, client):
    origin = {"Origin": "http://pages.example", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in client.options("/predict", headers=origin).headers
    named = serve(cors_origins="http://pages.example", basic_auth_user="a", basic_auth_pass="b")
    answer = named.options("/predict", headers=origin)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "http://pages.example"


def test_the_status_page_tells_what_failed_and_why(client):
    body = {"tasks": [{"id": 5, "data": {"image": "missing<b>"}}], "project": 9,
            "label_config": CONFIG}  # fmt: skip
    client.post("/predict", json=body)
    page = client.get("/").text
    assert "task 5" in page
    assert "answered 404" in page
    assert "<b>missing" not in page
    assert "missing&lt;b&gt;" in page


def test_metrics_count_tasks_by_outcome(client):
    tasks = [{"data": {"image": uri}} for uri in ("a", "blank", "missing")]
    client.post("/predict", json={"tasks": tasks, "label_config": CONFIG})
    text = client.get("/metrics").text
    for outcome in ("predicted", "empty", "failed"):
        assert f'prelabel_predictions_total{{outcome="{outcome}"}} 1.0' in text
    assert 'prelabel_request_seconds_count{route="/predict",status="200"} 1.0' in text


def test_health_and_setup_answer_while_a_prediction_waits(serve, predictor):
    predictor.may_go_on.clear()
    client = serve(deadline_s=5)
    body = {"tasks": [{"data": {"image": "a"}}], "label_config": CONFIG}
    busy = Thread(target=lambda: client.post("/predict", json=body))
    busy.start()
    time.sleep(0.1)
    assert client.get("/health").status_code == 200
    assert client.post("/setup", json={"schema": CONFIG}).status_code == 200
    assert busy.is_alive(), "the prediction waits still"
    predictor.may_go_on.set()
    busy.join()


def test_the_openapi_description_names_every_endpoint_and_body(client):
    schema = client.get("/openapi.json").json()
    assert {"/predict", "/setup", "/fit", "/webhook", "/train", "/versions", "/job_status",
            "/validate", "/metrics", "/health", "/live", "/ready", "/status", "/"} <= set(
        schema["paths"]
    )  # fmt: skip
    text = str(schema)
    assert "HTTPValidationError" not in text, "what FastAPI would answer is answered otherwise"
    for reference in set(re.findall(r"#/components/schemas/(\w+)", text)):
        assert reference in schema["components"]["schemas"], reference


def test_a_caller_that_hangs_up_while_sending_is_no_crash(client):
    messages = iter([{"type": "http.request", "body": b"{", "more_body": True}])
    sent = []

    async def receive():
        return next(messages, {"type": "http.disconnect"})

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/predict", "raw_path": b"/predict",
        "query_string": b"", "headers": [], "client": ("127.0.0.1", 1), "server": ("x", 80),
        "scheme": "http", "root_path": "", "http_version": "1.1", "app": client.app,
    }  # fmt: skip
    with capture_logs() as logs:
        asyncio.run(client.app(scope, receive, send))
    assert sent == []
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == []
