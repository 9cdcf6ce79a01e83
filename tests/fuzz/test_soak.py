"""The parts of `scripts/soak.py`: what it breaks is broken, and what it must notice it notices."""

import importlib
import sys
from types import SimpleNamespace

import httpx2
import pytest
from tests.conftest import REPOSITORY

from prelabel.errors import ImageUnreadable
from prelabel.media.decode import decode
from prelabel.media.limits import Limits


@pytest.fixture(scope="module")
def soak():
    """The modules of the script, which lie beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(REPOSITORY / "scripts"))
        names = ("soak_site", "soak_load", "soak")
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})
        for name in names:
            del sys.modules[name]


@pytest.fixture
def pictures(soak):
    with soak.soak_site.Pictures() as server:
        yield server


@pytest.fixture
def trial(soak):
    return soak.soak.Trial(*[None] * 6)


def test_pictures_are_as_their_addresses_say(pictures):
    status, good = pictures.answer("/good/1.jpg")
    assert status == 200
    assert decode(good, "good", Limits()).width == 640
    assert pictures.answer("/good/2.jpg")[1] != good
    with pytest.raises(ImageUnreadable):
        decode(pictures.answer("/broken/1.jpg")[1], "broken", Limits())
    assert pictures.answer("/missing/1.jpg")[0] == 404
    assert [pictures.answer("/flaky/1.jpg")[0] for _ in range(4)] == [503, 503, 200, 200]
    pictures.is_away = True
    assert pictures.answer("/good/1.jpg")[0] == 503


def test_a_gateway_breaks_what_it_is_told_to_and_nothing_else(soak, pictures):
    gateway = soak.soak_site.Gateway(pictures.url)
    with soak.soak_site.serving(pictures, gateway), httpx2.Client(base_url=gateway.url) as client:
        assert client.get("/good/1.jpg").status_code == 200
        gateway.fault = "429"
        refused = client.get("/good/1.jpg")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
        gateway.fault = "500"
        assert client.get("/good/1.jpg").status_code == 500
        gateway.fault = "cut after"
        with pytest.raises(httpx2.TransportError):
            client.get("/good/7.jpg")
        assert pictures.asked["/good/7.jpg"] == 1
        gateway.fault = ""
        assert client.get("/good/1.jpg").status_code == 200


@pytest.mark.parametrize(("mb_a_minute", "holds"), [(0.0, True), (10.0, False)])
def test_memory_that_grows_is_noticed(soak, trial, mb_a_minute, holds, capsys):
    life = [
        soak.soak_site.Vitals(60.0 * minute, 1, 200 + mb_a_minute * minute, 40, 20)
        for minute in range(10)
    ]
    soak.soak._check_growth(trial, life, life[4:])
    assert [row[:2] for row in trial.checks] == [
        (holds, "memory"),
        (True, "open files"),
        (True, "open threads"),
    ]
    assert f"slope {mb_a_minute:+.2f} MB a minute" in trial.checks[0][2]


def test_of_a_short_life_nothing_is_said_about_memory(soak, trial, capsys):
    life = [soak.soak_site.Vitals(60.0 * minute, 1, 100.0 * minute, 40, 20) for minute in range(3)]
    soak.soak._check_growth(trial, life, life)
    assert trial.checks[0][:2] == (True, "memory (too short to judge)")


def test_a_prediction_stored_twice_is_noticed_with_what_happened_then(soak, trial, capsys):
    trial.faults.append(("kill -9", 100.0, 110.0))

    def stored(version, second):
        return {"model_version": version, "created_at": f"1970-01-01T00:01:{second:02}Z"}

    rows = [
        {"id": 1, "predictions": [stored("a", 30), stored("b", 31)]},
        {"id": 2, "predictions": [stored("a", 45), stored("a", 58)]},
    ]
    assert soak.soak._doubled(trial, rows, "b") == (True, "0")
    assert soak.soak._doubled(trial, rows, "a") == (False, "1")
    told = capsys.readouterr().out
    assert "task 2, a: stored during 'kill -9', and again 13.0 s later" in told
    assert "8 s after 'kill -9'" in told


def test_silence_is_wrong_unless_the_server_was_away(soak, tmp_path):
    backend = soak.soak_site.Backend("http://127.0.0.1:9", {}, tmp_path / "log")
    seen = soak.soak_load.Seen()
    callers = soak.soak_load.Callers(backend, "", "", (1, 1), "1.1", "<View/>", {}, seen)
    with httpx2.Client(base_url=backend.url) as client:
        callers._ask("health", "GET", "/health", client)
        assert len(seen.wrong) == 1
        backend.away.append([0.0, float("inf")])
        callers._ask("health", "GET", "/health", client)
    assert len(seen.wrong) == 1
    assert seen.counts["health"]["away"] == 1
