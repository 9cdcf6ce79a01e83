"""What the log hears of something that is away for a while."""

import pytest
from structlog.testing import capture_logs

from prelabel.runtime.outage import Outage

GONE = ConnectionError("refused")


@pytest.fixture
def outage():
    return Outage("store away", "store back", thing="the store")


def test_what_answers_is_no_news(outage):
    with capture_logs() as logs:
        outage.ends()
    assert logs == []
    assert not outage.was_on_within(60)


def test_an_outage_is_told_once_and_its_end_once(outage):
    with capture_logs() as logs:
        for _ in range(3):
            outage.begins(GONE)
        for _ in range(3):
            outage.ends()
    assert [(one["event"], one["thing"]) for one in logs] == [
        ("store away", "the store"),
        ("store back", "the store"),
    ]
    assert logs[0]["reason"] == "refused"


def test_a_second_outage_is_told_again(outage):
    outage.begins(GONE)
    outage.ends()
    with capture_logs() as logs:
        outage.begins(GONE)
    assert [one["event"] for one in logs] == ["store away"]


def test_what_was_asked_in_vain_is_known_for_so_long_and_until_it_answers(outage):
    outage.begins(GONE)
    assert outage.was_on_within(60)
    assert not outage.was_on_within(0)
    outage.ends()
    assert not outage.was_on_within(60)
