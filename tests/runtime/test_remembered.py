"""A model looks at an image once, and at one that breaks it twice; and what makes it look again."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import count
from threading import Barrier
from types import SimpleNamespace

import numpy as np
import pytest
from structlog.testing import capture_logs

from prelabel.errors import MissingPackage, ModelError, NotReached, OutOfMemory
from prelabel.predictors.fallback import Fallback
from prelabel.runtime import noted as module
from prelabel.runtime.batch_queue import BatchQueue
from prelabel.runtime.batcher import Batcher, at, waiting
from prelabel.runtime.callers import Caller, Priority
from prelabel.runtime.isolation import answer_each
from prelabel.runtime.memory import Memory
from prelabel.runtime.noted import Noted
from prelabel.runtime.remembered import REFUSED_S, Remembered
from prelabel.store.database import open_database
from prelabel.store.findings import Findings
from prelabel.types import Ask, Detections, Image, Phrase, Poses

PIXELS = np.zeros((2, 2, 3), np.uint8)
CATS = Ask((Phrase("cat", "cat"),))
NUMBERS = count()


def image(name, digest=None, **more):
    return Image(PIXELS, name, digest=name if digest is None else digest, **more)


class Finder:
    """Finds one box, names what it saw, and breaks by the image's name."""

    def __init__(self, name="finder", device="cpu"):
        self.name = name
        self.fingerprint = ""
        self.wants_neighbours = False
        self.batch_size = 8
        self.calls_at_once = 3
        self.device = device
        self.seen = []
        self.batches = []

    def check(self):
        self.is_checked = True

    def load(self):
        self.is_loaded = True

    def health(self):
        return {"loaded": True, "device": self.device}

    def predict(self, images, ask):
        self.batches.append(len(images))
        self.seen += [image.name for image in images]
        if any("deadly" in image.name for image in images):
            raise ZeroDivisionError("a defect")
        return [self._find(image, ask) for image in images]

    def _find(self, image, ask):
        for word, kind in (("poison", ModelError), ("heavy", OutOfMemory), ("late", NotReached)):
            if word in image.name:
                return kind(image.name, f"is {word}", "Throw it away.")
        box = np.array([[1, 2, 3, 4]], np.float32)
        label = ask.phrases[0].label if ask.phrases else "none"
        return Detections(box, np.array([0.5], np.float32), (label,), (None,), self.name)


@pytest.fixture
def clock():
    return SimpleNamespace(now=1_800_000_000.0)


@pytest.fixture
def findings(tmp_path):
    engine = open_database("", tmp_path)
    yield Findings(engine, 2**20)
    engine.dispose()


@pytest.fixture
def memory(findings, clock):
    memory = Memory(findings, clock=lambda: clock.now)
    yield memory
    memory.close()


@pytest.fixture
def finder():
    return Finder()


def remember(predictor, memory):
    return Remembered(Noted(predictor, memory), memory)


@pytest.fixture
def remembered(finder, memory):
    return remember(finder, memory)


def reason(entry):
    assert isinstance(entry, ModelError)
    return str(entry)


def test_no_images_are_no_question(remembered, finder):
    assert remembered.predict([], CATS) == []
    assert finder.batches == []


def test_each_image_is_looked_at_once_whatever_it_is_called(remembered, finder, memory):
    first = remembered.predict([image("a"), image("b")], CATS)
    again = remembered.predict([image("c"), image("b"), image("a"), image("z", digest="a")], CATS)
    assert finder.seen == ["a", "b", "c"]
    assert [one.labels for one in (*first, *again)] == [("cat",)] * 6
    assert (memory.counts().hits, memory.counts().misses) == (3, 3)


def test_the_same_image_twice_in_one_batch_is_looked_at_once(remembered, finder):
    asked = [image("a"), image("b"), image("c", digest="a"), image("d", digest=""), image("b")]
    answer = remembered.predict([*asked, image("e", digest="")], CATS)
    assert finder.seen == ["a", "b", "d", "e"]
    assert [one.labels for one in answer] == [("cat",)] * 6


def test_it_is_the_same_after_a_restart(remembered, finder, memory, findings):
    (before,) = remembered.predict([image("a")], CATS)
    memory.close()
    (after,) = remember(finder, Memory(findings)).predict([image("a")], CATS)
    findings.close()
    assert finder.seen == ["a"]
    assert after.boxes_xyxy.tolist() == before.boxes_xyxy.tolist()
    assert (after.labels, after.source) == (before.labels, before.source)


def test_nothing_found_is_an_answer_that_is_remembered(remembered, finder):
    finder._find = lambda image, ask: Poses.none(133, "finder")
    for _ in range(2):
        (entry,) = remembered.predict([image("a")], Ask())
        assert len(entry) == 0
    assert finder.seen == ["a"]


@pytest.mark.parametrize(
    "ask",
    [
        Ask((Phrase("dog", "dog"),)),
        Ask((Phrase("cat", "cat"),), min_score=0.5),
        Ask((Phrase("cat", "dog"),)),
        Ask((Phrase("cat", "cat", "face"),)),
        Ask(),
    ],
)
def test_another_question_is_asked_anew(remembered, finder, ask):
    remembered.predict([image("a")], CATS)
    remembered.predict([image("a")], ask)
    assert finder.seen == ["a", "a"]


@pytest.mark.parametrize(
    "change",
    [{"name": "other"}, {"fingerprint": "1234abcd"}, {"device": "cuda:0"}],
)
def test_another_model_or_other_settings_look_anew(remembered, finder, change):
    remembered.predict([image("a")], CATS)
    vars(finder).update(change)
    remembered.predict([image("a")], CATS)
    assert finder.seen == ["a", "a"]


def test_another_device_of_the_same_kind_need_not_look_again(remembered, finder):
    finder.device = "cuda:0"
    remembered.predict([image("a")], CATS)
    finder.device = "cuda:1"
    remembered.predict([image("a")], CATS)
    assert finder.seen == ["a"]


def test_another_version_of_prelabel_or_of_the_weights_looks_anew(finder, memory, monkeypatch):
    finder.fingerprint = "may"
    remember(finder, memory).predict([image("a")], CATS)
    finder.fingerprint = "june"
    remember(finder, memory).predict([image("a")], CATS)
    monkeypatch.setattr(module, "__version__", "99.0")
    remember(finder, memory).predict([image("a")], CATS)
    assert finder.seen == ["a"] * 3


def test_where_neighbours_are_looked_at_other_neighbours_are_another_image(remembered, finder):
    finder.wants_neighbours = True
    alone = image("a")
    beside = image("a", before=image("x"), after=image("y"))
    for frame in (
        *(alone, beside, beside),
        *(image("a", before=image("y"), after=image("x")), image("a", before=image("x"))),
    ):
        remembered.predict([frame], CATS)
    assert finder.seen == ["a"] * 4


def test_where_they_are_not_looked_at_they_make_no_difference(remembered, finder):
    for frame in (
        image("a"),
        image("a", before=image("x")),
        image("a", after=image("", digest="")),
    ):
        remembered.predict([frame], CATS)
    assert finder.seen == ["a"]


@pytest.mark.parametrize("frame", [image("a", digest=""), image("a", before=image("x", digest=""))])
def test_an_image_of_unknown_content_is_never_remembered(remembered, finder, memory, frame):
    finder.wants_neighbours = True
    for _ in range(2):
        remembered.predict([frame, image("b")], CATS)
    assert finder.seen == ["a", "b", "a"]
    assert (memory.counts().hits, memory.counts().misses) == (1, 1)


@pytest.mark.parametrize(
    "ask", [replace(CATS, within_xyxy=((0.0, 0.0, 1.0, 1.0),)), replace(CATS, at_xy=((0.0, 0.0),))]
)
def test_where_a_person_points_the_model_looks_each_time(remembered, finder, ask):
    for _ in range(2):
        remembered.predict([image("a")], ask)
    assert finder.seen == ["a", "a"]


def test_a_second_predictor_does_not_answer_in_the_name_of_the_first(memory):
    class Missing(Finder):
        def load(self):
            raise MissingPackage("torch", "is not installed", "Install it.")

    second = Finder("second")
    fallback = Fallback(Missing("first"), second)
    remembered = remember(fallback, memory)
    remembered.predict([image("a")], CATS)  # it is given up while it is asked
    assert fallback.name == "second"
    remembered.predict([image("a")], CATS)
    remembered.predict([image("a")], CATS)
    assert second.seen == ["a", "a"]
    first = Finder("first")
    remember(first, memory).predict([image("a")], CATS)
    assert first.seen == ["a"]


def test_damage_in_the_store_is_looked_over_and_mended(
    remembered, finder, memory, findings, tmp_path
):
    remembered.predict([image("a")], CATS)
    assert memory.flush()
    with closing(sqlite3.connect(tmp_path / "prelabel.db")) as connection:
        connection.execute("UPDATE prediction_store SET content = x'01' || x'44' || x'ff'")
        connection.commit()
    for _ in range(2):
        later = Memory(findings)  # of another process
        with capture_logs() as logs:
            (entry,) = remember(finder, later).predict([image("a")], CATS)
        later.close()
        assert entry.labels == ("cat",)
        assert logs == []
    assert finder.seen == ["a", "a"]


def test_a_store_that_is_gone_costs_nobody_a_prediction(
    remembered, finder, findings, memory, tmp_path
):
    remembered.predict([image("a")], CATS)
    assert memory.flush()
    findings.close()
    for file in tmp_path.glob("prelabel.db*"):
        file.unlink()
    (tmp_path / "prelabel.db").mkdir()
    for name in "abc":
        (entry,) = remembered.predict([image(name)], CATS)
        assert entry.labels == ("cat",)
    assert finder.seen == ["a", "b", "c"]  # this process still knows what it found lately


# Images that break a model


def broken(remembered, times, *names):
    """Ask for these images so often, each time with one that the model can do."""
    return [
        remembered.predict([image(f"good {next(NUMBERS)}"), *map(image, names)], CATS)[1:]
        for _ in range(times)
    ]


@pytest.mark.parametrize("name", ["poison", "deadly"])
def test_what_breaks_a_model_twice_is_not_given_to_it_again(
    remembered, finder, memory, clock, name
):
    answers = broken(remembered, 5, name)
    assert (
        finder.seen.count(name) == {"poison": 2, "deadly": 4}[name]
    )  # with the good one, and alone
    assert memory.counts().refused == 3
    told = reason(answers[-1][0])
    assert told.startswith(f"{name}: was left out because it broke finder 2 times: ")
    assert {"poison": "is poison", "deadly": "ZeroDivisionError"}[name] in told
    assert "tried again after 09:00 UTC, or when the model changes" in told
    assert clock.now % 86400 == 8 * 3600


def test_after_an_hour_it_is_tried_again_and_one_more_break_is_enough(remembered, finder, clock):
    broken(remembered, 2, "poison")
    clock.now += REFUSED_S - 1
    broken(remembered, 1, "poison")
    assert finder.seen.count("poison") == 2
    clock.now += 1
    broken(remembered, 3, "poison")
    assert finder.seen.count("poison") == 3
    assert "3 times" in reason(broken(remembered, 1, "poison")[0][0])


def test_what_breaks_once_and_then_does_not_is_forgiven(remembered, finder):
    broken(remembered, 1, "poison")
    find, finder._find = finder._find, lambda _, ask: Detections.none("finder")
    broken(remembered, 2, "poison")
    assert finder.seen.count("poison") == 2
    finder._find = find
    (entry,) = remembered.predict([image("poison")], CATS)
    assert len(entry) == 0


def test_another_model_and_another_question_are_not_told_of_it(remembered, finder):
    broken(remembered, 2, "poison")
    remembered.predict([image("poison")], Ask())
    finder.fingerprint = "abcd"
    remembered.predict([image("poison")], CATS)
    assert finder.seen.count("poison") == 4


def test_other_processes_know_what_is_poison(remembered, memory, findings, clock):
    broken(remembered, 2, "poison")
    memory.close()
    other, elsewhere = Finder(), Memory(findings, clock=lambda: clock.now)
    (entry,) = remember(other, elsewhere).predict([image("poison")], CATS)
    elsewhere.close()
    assert "broke finder 2 times" in reason(entry)
    assert other.seen == []


@pytest.mark.parametrize("name", ["heavy", "late"])
def test_want_of_memory_or_time_is_no_fault_of_the_image(remembered, finder, name):
    broken(remembered, 4, name)
    assert finder.seen.count(name) == 4


def test_want_of_the_machines_memory_is_not_either(remembered, finder):
    def fail(image, ask):
        raise MemoryError

    broken(remembered, 1, "a")
    finder._find = fail
    (entry,) = answer_each(lambda images: finder.predict(images, CATS), [image("b")])
    assert isinstance(entry, OutOfMemory)


def test_a_model_that_cannot_be_had_is_no_fault_of_the_image_either(remembered, finder, memory):
    def missing(images, ask):
        raise MissingPackage("torch", "is not installed", "Install it.")

    works, finder.predict = finder.predict, missing
    for _ in range(3):
        (entry,) = remembered.predict([image("a")], CATS)
        assert isinstance(entry, MissingPackage)
    finder.predict = works
    (entry,) = remembered.predict([image("a")], CATS)
    assert entry.labels == ("cat",)


def test_a_device_that_is_lost_makes_no_image_suspicious(remembered, finder):
    def lost(image, ask):
        return ModelError(image.name, "met a lost device", "Restart.")

    works, finder._find = finder._find, lost
    for _ in range(4):
        remembered.predict([image("a"), image("b")], CATS)
    assert finder.seen.count("a") == 4
    finder._find = works
    for entry in remembered.predict([image("a"), image("b")], CATS):
        assert entry.labels == ("cat",)


def test_who_broke_it_before_needs_no_proof_that_it_works(remembered, finder):
    broken(remembered, 1, "poison")
    for _ in range(3):
        remembered.predict([image("poison")], CATS)
    assert finder.seen.count("poison") == 2


def test_alone_in_its_batch_it_counts_once_the_model_has_done_another(remembered, finder):
    for _ in range(3):
        remembered.predict([image("poison")], CATS)
    assert finder.seen.count("poison") == 3
    remembered.predict([image("good")], CATS)
    assert "broke finder 3 times" in reason(remembered.predict([image("poison")], CATS)[0])
    assert finder.seen.count("poison") == 3


def test_one_poison_image_costs_no_other_its_answer_and_later_no_halving(remembered, finder):
    names = [f"{n}" for n in range(7)]
    for turn in range(3):
        finder.batches.clear()
        asked = [image(f"{name} {turn}") for name in names]
        asked.insert(3, image("deadly"))
        entries = remembered.predict(asked, CATS)
        assert [isinstance(entry, Detections) for entry in entries] == [n != 3 for n in range(8)]
    assert finder.batches == [7]


# As a predictor among others


def test_it_is_as_its_predictor_is(remembered, finder):
    finder.fingerprint = "f"
    assert (remembered.name, remembered.fingerprint) == ("finder", "f")
    assert (remembered.wants_neighbours, remembered.batch_size) == (False, 8)
    assert remembered.calls_at_once == 3
    assert remembered.health() == {"loaded": True, "device": "cpu"}
    remembered.check()
    remembered.load()
    assert finder.is_checked
    assert finder.is_loaded
    assert remembered.waiting() is None


def test_a_caller_stands_in_the_queue_behind_it(finder, memory):
    remembered = Remembered(Batcher(BatchQueue(Noted(finder, memory))), memory)
    caller = Caller(Priority.PERSON)
    view = at(remembered, caller)
    assert view.predict([image("a")], CATS)[0].labels == ("cat",)
    caller.leave()
    (known,) = view.predict([image("a")], CATS)
    assert known.labels == ("cat",)  # for that nobody need wait
    assert sum(waiting(remembered).images.values()) == 0
    assert finder.seen == ["a"]


def test_callers_who_ask_for_the_same_images_at_once_have_them_looked_at_once(finder, memory):
    remembered = Remembered(Batcher(BatchQueue(Noted(finder, memory))), memory)
    finder.batch_size = 2
    finder.calls_at_once = 1  # batches beside each other do not know of each other
    names = [f"{n}" for n in range(40)]
    together = Barrier(4)

    def ask(_):
        view = at(remembered, Caller(Priority.BULK))
        together.wait(10)
        return [
            entry
            for n in range(0, 40, 4)
            for entry in view.predict([*map(image, names[n : n + 4])], CATS)
        ]

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(4)))
    assert sorted(finder.seen) == sorted(names)
    assert [[entry.labels for entry in answer] for answer in answers] == [[("cat",)] * 40] * 4


def test_a_batch_that_failed_is_halved_by_the_queue_and_its_memory_learnt_from(finder, memory):
    remembered = Remembered(Batcher(BatchQueue(Noted(finder, memory))), memory)
    predict = finder.predict

    def small(images, ask):
        if len(images) > 2:
            raise OutOfMemory("cuda", "is full", "Take less.")
        return predict(images, ask)

    finder.predict = small
    assert all(
        isinstance(one, Detections) for one in remembered.predict([*map(image, "abcd")], CATS)
    )
    assert remembered.batch_size == 2


def test_a_predictor_that_gives_too_few_answers_is_told_so_and_costs_no_other(remembered, finder):
    predict = finder.predict
    finder.predict = lambda images, ask: predict(images, ask)[: 1 if len(images) == 1 else 0]
    for entry in remembered.predict([image("a"), image("b")], CATS):
        assert entry.labels == ("cat",)
