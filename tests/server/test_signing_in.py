"""A login that Label Studio refuses is told from the start."""

import pytest
from structlog.testing import capture_logs

from prelabel.errors import LabelStudioUnreachable, LoginRefused
from prelabel.server import signing_in as module
from prelabel.server.signing_in import SigningIn

from .conftest import until

REFUSED = LoginRefused("the token", "Label Studio refuses it", "Make a new one.")
AWAY = LabelStudioUnreachable("http://studio", "does not answer", "Start it.")


@pytest.fixture
def signing_in(monkeypatch):
    """Signs in with these outcomes, one after the other, without a pause."""
    monkeypatch.setattr(module, "LOOK_AGAIN_S", 0)
    made = []

    def make(*outcomes):
        left = iter(outcomes)

        def sign_in():
            if error := next(left, None):
                raise error

        made.append(SigningIn(sign_in))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def lines(logs):
    return [(line["log_level"], line["event"]) for line in logs]


def test_a_refused_token_is_told_once_until_it_is_taken(signing_in):
    looks = signing_in(AWAY, REFUSED, REFUSED)
    with capture_logs() as logs:
        looks.start()
        until(lambda: ("info", "signed in to Label Studio") in lines(logs))
    assert lines(logs) == [
        ("info", "not signed in to Label Studio"),
        ("warning", "not signed in to Label Studio"),
        ("info", "signed in to Label Studio"),
    ]
    assert "Make a new one." in logs[1]["reason"]
    assert looks.trouble == ""


def test_a_login_that_works_is_no_news(signing_in):
    looks = signing_in()
    with capture_logs() as logs:
        looks._look()
    assert (logs, looks.trouble) == ([], "")


def test_health_and_the_page_tell_it(serve, signing_in, monkeypatch):
    monkeypatch.setattr(module, "LOOK_AGAIN_S", 3600)
    client = serve(signing_in=signing_in(REFUSED))
    until(lambda: "refuses it" in client.get("/health").json()["label_studio_trouble"])
    page = client.get("/").text
    assert "Not signed in to Label Studio" in page
    assert "the token: Label Studio refuses it. Make a new one." in page
