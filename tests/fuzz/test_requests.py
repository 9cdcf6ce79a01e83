"""Requests in the shapes of Label Studio's with anything inside: answered, and never with a 5xx."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from . import shapes
from .conftest import AUTH, tried

PAGES_CONFIG = """<View>
  <Image name="image" valueList="$images"/>
  <RectangleLabels name="label" toName="image"><Label value="a"/></RectangleLabels>
</View>"""
CONFIGS = st.sampled_from([shapes.WHOLE_CONFIG, PAGES_CONFIG])
STUDIO = {"User-Agent": "heartex/1.23.2"}
PREDICT = st.fixed_dictionaries(
    {"tasks": st.lists(shapes.TASKS, max_size=4) | shapes.TASKS | shapes.JSON},
    optional={
        "project": shapes.PROJECTS,
        "label_config": CONFIGS | shapes.ANY_CONFIG | shapes.JSON,
        "params": st.fixed_dictionaries(
            {}, optional={"context": shapes.CONTEXTS, "login": shapes.TEXT, "password": shapes.TEXT}
        )
        | shapes.JSON,
    },
)
SETUP = st.fixed_dictionaries(
    {},
    optional={
        "project": shapes.PROJECTS,
        "schema": shapes.ANY_CONFIG | shapes.JSON,
        "hostname": shapes.URIS | shapes.JSON,
        "access_token": shapes.TEXT | shapes.JSON,
        "extra_params": shapes.JSON,
    },
)
EVENT = st.fixed_dictionaries(
    {"action": shapes.ACTIONS},
    optional={
        "project": shapes.PROJECTS,
        "annotation": shapes.ANNOTATIONS | st.lists(shapes.ANNOTATIONS, max_size=2) | shapes.JSON,
        "task": shapes.TASKS | shapes.JSON,
    },
)
FIT = st.fixed_dictionaries(
    {"event": shapes.ACTIONS},
    optional={"data": st.fixed_dictionaries({"project": shapes.PROJECTS}) | shapes.JSON},
)
TRAIN = st.fixed_dictionaries(
    {},
    optional={
        "project": shapes.PROJECTS,
        "label_config": CONFIGS | shapes.ANY_CONFIG,
        "tasks": st.lists(shapes.TASKS, max_size=3) | shapes.JSON,
        "annotations": st.lists(shapes.TASKS, max_size=3) | shapes.JSON,
    },
)
JOB = st.fixed_dictionaries({"job": shapes.TEXT | shapes.INTEGERS | shapes.JSON})
BODIES = {
    "/predict": (PREDICT, 200),
    "/setup": (SETUP, 200),
    "/webhook": (EVENT, 201),
    "/fit": (FIT, 201),
    "/train": (TRAIN, 201),
    "/job_status": (JOB, 200),
}

# Jobs of the server in this process draw their pauses by chance, beside the strategies.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Do not use the `random` module"),
    pytest.mark.filterwarnings("ignore:Generating overly large repr"),  # to say so
]


def said(body: object) -> bytes:
    """The body as JSON, with the NaN and the lone surrogates that Python's json writes, too."""
    return json.dumps(body).encode()


@pytest.mark.parametrize("path", BODIES)
def test_any_request_is_answered_or_refused_with_a_reason(served, session, path):
    bodies, usual = BODIES[path]

    @tried(25)
    @given(bodies)
    def holds(body):
        answer = session.post(served + path, data=said(body), headers=AUTH | STUDIO, timeout=30)
        told = answer.json()
        if answer.status_code == usual:
            assert isinstance(told, dict)
        else:
            assert answer.status_code in (400, 410)
            assert answer.headers["content-type"] == "application/problem+json"
            assert told["status"] == answer.status_code
            assert told["detail"]
        if path == "/predict" and answer.status_code == usual:
            tasks = body["tasks"]
            assert len(told["results"]) == (len(tasks) if isinstance(tasks, list) else 1)

    holds()


@tried(25)
@given(st.sampled_from(sorted(BODIES)), st.binary(max_size=200))
def test_bytes_that_are_no_json_are_refused_with_a_reason(served, session, path, body):
    answer = session.post(served + path, data=body, headers=AUTH, timeout=30)
    assert answer.status_code in (200, 201, 400, 410)


@tried(15)
@given(st.integers(1, 100_000), st.sampled_from(["[", '{"a":', '{"tasks":[']))
def test_nesting_without_end_is_refused(served, session, depth, opening):
    answer = session.post(f"{served}/predict", data=opening * depth, headers=AUTH, timeout=30)
    assert answer.status_code == 400
