"""Every route of the server, asked by schemathesis for what its OpenAPI promises and forbids."""

import pytest
import schemathesis
from hypothesis import given
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from .conftest import AUTH, tried

ROUTES = [
    *("GET /", "POST /", "GET /health", "GET /live", "GET /ready", "GET /metrics", "GET /status"),
    *("GET /versions", "POST /setup", "POST /validate", "POST /predict", "POST /webhook"),
    *("POST /fit", "POST /train", "POST /job_status", "POST /jobs/{job_id}/cancel"),
]
LOOK_THINGS_UP = [
    *("POST /", "POST /jobs/{job_id}/cancel", "POST /job_status"),  # no such job
    *("POST /predict", "POST /validate"),  # a label config that is no XML
]
"""Routes that say no to some of what fits their description, and say so in it."""
TAKING_A_BODY = [
    route for route in ROUTES if route.startswith("POST ") and route not in LOOK_THINGS_UP[:2]
]

# Jobs of the server in this process draw their pauses by chance, beside the strategies.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Do not use the `random` module"),
    pytest.mark.filterwarnings("ignore:Generating overly large repr"),  # to say so
]


@pytest.fixture(scope="module")
def api(served):
    return schemathesis.openapi.from_url(f"{served}/openapi.json", headers=AUTH)


def test_no_route_is_left_out(api):
    described = [result.ok() for result in api.get_all_operations()]
    assert sorted(f"{one.method.upper()} {one.path}" for one in described) == sorted(ROUTES)


@pytest.mark.parametrize("route", ROUTES)
def test_what_is_described_gets_an_answer_that_is_described(api, session, route):
    method, _, path = route.partition(" ")
    operation = api[path][method]
    excluded = [positive_data_acceptance] if route in LOOK_THINGS_UP else []

    @tried(8)
    @given(operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
    def holds(case):
        case.call_and_validate(session=session, headers=AUTH, excluded_checks=excluded)

    holds()


@pytest.mark.parametrize("route", TAKING_A_BODY)
def test_what_is_not_described_gets_an_answer_that_is_described(api, session, route):
    method, _, path = route.partition(" ")
    operation = api[path][method]

    @tried(8)
    @given(operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def holds(case):
        # What does not fit may count as not given: Label Studio and its users send odd things.
        excluded = [negative_data_rejection]
        case.call_and_validate(session=session, headers=AUTH, excluded_checks=excluded)

    holds()
