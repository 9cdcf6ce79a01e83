"""What a server error must say for itself: a reason, and when to come again."""

import json

import pytest

from prelabel.errors import CONSEQUENCES, Overloaded, StoreUnavailable
from prelabel.server.problems import MEDIA_TYPE, problem

from .test_routes import ROUTES

TEMPORARY = [kind for kind, told in CONSEQUENCES.items() if told.retry and told.http_status == 503]


@pytest.mark.parametrize("kind", TEMPORARY, ids=lambda kind: kind.__name__)
def test_every_temporary_refusal_says_when_to_come_again(kind):
    answer = problem(kind("a thing", "is away", "Wait."), "r1")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert answer.media_type == MEDIA_TYPE
    assert json.loads(answer.body)["detail"] == "a thing: is away. Wait."


def test_a_refusal_that_knows_its_time_says_that_one():
    answer = problem(Overloaded("queue", "is full", "Wait.").after(42), "r1")
    assert answer.headers["retry-after"] == "42"
    assert StoreUnavailable in TEMPORARY


@pytest.mark.parametrize("route", ROUTES)
def test_without_the_password_only_probes_are_answered(served, session, route):
    method, _, path = route.partition(" ")
    answer = session.request(method, served + path, timeout=30)
    if path in ("/live", "/ready"):
        assert answer.status_code in (200, 503)
        return
    assert answer.status_code == 401
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert "www-authenticate" in answer.headers
