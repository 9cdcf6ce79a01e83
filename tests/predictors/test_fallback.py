"""The second predictor answers where the first cannot be loaded, and only then."""

import threading
import time

import numpy as np
import pytest

from prelabel.errors import MissingPackage, SettingsError, WeightsUnavailable
from prelabel.predictors import registry
from prelabel.predictors.artifacts import ArtifactDetector
from prelabel.predictors.base import why_blind
from prelabel.predictors.fallback import Fallback
from prelabel.predictors.wrapping import Wrapping
from prelabel.types import Ask, Detections, Image, Phrase

PICTURE = Image(np.zeros((8, 8, 3), np.uint8))
NO_WEIGHTS = WeightsUnavailable("model", "is not here", "Download it.")


class Scripted:
    """Loads as it is told, and answers with its name."""

    fingerprint = ""
    wants_neighbours = False
    batch_size = 1

    def __init__(self, name, error=None, *, knows_early=False):
        self.name = name
        self.knows_early = knows_early
        self.error = error
        self.loads = 0

    def check(self):
        if self.error and self.knows_early:
            raise self.error

    def load(self):
        self.loads += 1
        if self.error:
            raise self.error

    def predict(self, images, ask):
        self.load()
        return [Detections.none(self.name) for _ in images]

    def health(self):
        return {"loaded": self.loads > 0}


def test_the_first_answers_while_it_can():
    fallback = Fallback(Scripted("first"), Scripted("second"))
    (answer,) = fallback.predict([PICTURE], Ask())
    assert answer.source == fallback.name == "first"
    assert "reason" not in fallback.health()


def test_the_second_answers_once_loading_failed_and_says_why():
    first = Scripted("first", NO_WEIGHTS)
    fallback = Fallback(first, Scripted("second"))
    assert fallback.name == "first"
    answers = [fallback.predict([PICTURE], Ask())[0].source for _ in range(3)]
    assert answers == ["second"] * 3
    assert first.loads == 1
    assert fallback.name == "second"
    assert "first cannot be used. model: is not here. Download it." in fallback.health()["reason"]


def test_why_the_second_runs_elsewhere_than_asked_is_told_too():
    class OnTheCpu(Scripted):
        def health(self):
            return {"reason": "no cuda; running on the CPU"}

    fallback = Fallback(Scripted("first", NO_WEIGHTS), OnTheCpu("second"))
    fallback.load()

    assert fallback.health()["reason"] == (
        "first cannot be used. model: is not here. Download it. no cuda; running on the CPU"
    )


def test_a_first_that_is_known_to_fail_is_given_up_before_it_is_asked():
    first = Scripted("first", NO_WEIGHTS, knows_early=True)
    fallback = Fallback(first, Scripted("second"))
    fallback.check()
    assert fallback.name == "second"
    fallback.check()
    assert fallback.predict([PICTURE], Ask())[0].source == "second"
    assert first.loads == 0


def settled(fallback, name):
    """Ask until this one answers, as requests do."""
    for _ in range(1000):
        if fallback.predict([PICTURE], Ask())[0].source == name:
            return
        time.sleep(0.01)
    pytest.fail(f"{name} never answered")


@pytest.mark.parametrize("knows_early", [True, False])
def test_weights_that_were_missing_are_looked_for_again_while_the_second_answers(knows_early):
    first = Scripted("first", NO_WEIGHTS, knows_early=knows_early)
    fallback = Fallback(first, Scripted("second"), retry_s=0)
    fallback.check()
    settled(fallback, "second")
    assert "The first request after" in fallback.health()["reason"]
    first.error = None

    settled(fallback, "first")

    assert fallback.name == "first"
    assert "reason" not in fallback.health()


def test_weights_are_not_looked_for_again_before_the_pause_is_over():
    first = Scripted("first", NO_WEIGHTS)
    fallback = Fallback(first, Scripted("second"), retry_s=3600)
    settled(fallback, "second")
    first.error = None
    assert [fallback.predict([PICTURE], Ask())[0].source for _ in range(3)] == ["second"] * 3
    assert first.loads == 1


def test_nobody_waits_for_weights_that_are_looked_for_again():
    class Slow(Scripted):
        def load(self):
            super().load()
            may_end.wait()

    may_end = threading.Event()
    first = Slow("first", NO_WEIGHTS, knows_early=True)
    fallback = Fallback(first, Scripted("second"), retry_s=0)
    fallback.check()
    first.error = None
    assert [fallback.predict([PICTURE], Ask())[0].source for _ in range(3)] == ["second"] * 3
    may_end.set()
    settled(fallback, "first")


def test_a_missing_package_is_not_looked_for_again():
    error = MissingPackage("torch", "is not installed", "Install it.")
    fallback = Fallback(Scripted("first", error), Scripted("second"), retry_s=0)
    settled(fallback, "second")
    assert "request after" not in fallback.health()["reason"]


def test_a_first_that_could_not_be_built_is_given_up_from_the_start():
    error = MissingPackage("torch", "is not installed", "Install it.")
    fallback = Fallback.given_up("grounding-dino", error, Scripted("second"))
    assert fallback.name == "second"
    assert "grounding-dino cannot be used" in fallback.health()["reason"]
    assert fallback.predict([PICTURE], Ask())[0].source == "second"


def test_where_the_second_cannot_be_loaded_either_the_error_comes_out():
    fallback = Fallback(Scripted("first", NO_WEIGHTS), Scripted("second", NO_WEIGHTS))
    for _ in range(2):
        with pytest.raises(WeightsUnavailable):
            fallback.predict([PICTURE], Ask())


def test_whoever_stands_in_says_what_it_cannot_find():
    cats, hands = Ask((Phrase("cat", "cat"),)), Ask((Phrase("distorted hand", "bad"),))
    fallback = Wrapping(Fallback(Scripted("first", NO_WEIGHTS), ArtifactDetector()))
    assert why_blind(fallback, cats) == ""
    fallback.load()
    assert "distortions only" in why_blind(fallback, cats)
    assert why_blind(fallback, hands) == ""


def test_built_ins_come_in_by_the_entry_point_door():
    assert {"grounding-dino", "opencv-fallback"} <= set(registry.names())
    assert registry.create("opencv-fallback", {}).name == "opencv-fallback"


def test_an_unknown_predictor_names_the_known_ones():
    with pytest.raises(SettingsError, match="opencv-fallback"):
        registry.create("nope", {})


def test_a_fingerprint_is_empty_for_defaults_and_changes_with_each_value():
    assert registry.fingerprint({"a": 1}, {"a": 1}) == ""
    one, other = registry.fingerprint({"a": 2}, {"a": 1}), registry.fingerprint({"a": 3}, {"a": 1})
    assert one != other
    assert one == registry.fingerprint({"a": 2, "b": 5}, {"a": 1, "b": 5})
