import time
from threading import Event

import pytest
from structlog.testing import capture_logs

from prelabel.errors import StoreUnavailable
from prelabel.jobs.learner import Learner
from prelabel.labelstudio.config import parse
from prelabel.learning.archive import dumps
from prelabel.learning.lessons import lessons
from prelabel.learning.sequence import Options, learn
from prelabel.store.learned import LearnedVersions, Scope

URL = "http://studio.test"
CREATED = 1_767_323_045


@pytest.fixture
def learned(studio):
    taught = lessons(studio.annotated, parse(studio.project(7)["label_config"]), (6.0, 10.0))
    return learn(taught.frames, Options()).learned


@pytest.fixture
def add(versions, learned):
    """Stores a version; `what` makes its digest differ from others'."""

    def store(project=7, created=CREATED, url=URL, what="a", model=None):
        scope = Scope(url, project, created)
        blob = dumps(learned) if model is None else model
        return versions.add(scope, blob, what, {}, activate=True)

    return store


@pytest.fixture
def learner(versions):
    return Learner(versions, URL, poll_s=0.05)


def version_of(learner, project=7, created=CREATED):
    found = learner.of(project, created)
    return None if found is None else found[0]


def test_nothing_was_learnt_at_first(learner):
    learner.refresh()
    assert learner.of(7, CREATED) is None
    assert learner.of(7) is None


def test_what_the_store_has_answers_after_a_refresh(learner, add, learned):
    add()
    assert learner.of(7, CREATED) is None
    learner.refresh()
    version, known = learner.of(7, CREATED)
    assert (version, known.digest) == (1, learned.digest)


def test_a_new_version_comes_by_itself_and_what_is_in_use_stays_whole(learner, add):
    add()
    learner.start()
    before = until(lambda: learner.of(7, CREATED))
    add(what="b")
    until(lambda: version_of(learner) == 2)
    assert before[0] == 1
    assert before[1].frames
    learner.stop()


def test_going_back_to_an_earlier_version_is_followed(learner, add, versions):
    add()
    add(what="b")
    versions.activate(Scope(URL, 7, CREATED), 1)
    learner.refresh()
    assert version_of(learner) == 1


@pytest.mark.parametrize(
    ("learnt", "asked", "version"),
    [
        ([CREATED], CREATED, 1),
        ([CREATED], CREATED + 1, None),  # made anew since, nothing learnt for it
        ([CREATED, CREATED + 1], CREATED + 1, 1),
        ([CREATED, CREATED + 1], None, 1),  # an event tells the number alone: the newest
        ([0], CREATED, 1),  # learnt from a request that did not say when the project was made
    ],
)
def test_the_project_that_is_meant_is_told_by_when_it_was_made(
    learner, add, learnt, asked, version
):
    for created in learnt:
        add(created=created)
    learner.refresh()
    assert version_of(learner, created=asked) == version


def test_projects_of_another_label_studio_are_not_mixed_in(learner, add):
    add(url="http://other.test")
    learner.refresh()
    assert learner.of(7, CREATED) is None


def test_what_cannot_be_read_is_told_once_and_passed_over(learner, add, versions):
    add()
    add(project=8, what="b")
    learner.refresh()
    add(what="c", model=b"damaged")
    fetched = []
    active = versions.active
    versions.active = lambda scope: fetched.append(scope.project) or active(scope)
    with capture_logs() as logs:
        for _ in range(3):
            learner.refresh()
    assert fetched.count(7) == 1  # a model is megabytes, and the next look comes in a second
    (said,) = logs
    assert said["event"] == "learnt version cannot be read"
    assert (said["project"], said["version"]) == (7, 2)
    assert said["reason"] not in ("", "None")
    assert version_of(learner) == 1  # the last that could be
    assert version_of(learner, 8) == 1


def test_of_very_many_projects_those_asked_for_last_are_held(versions, add):
    learner = Learner(versions, URL, most=2)
    for project in (1, 2, 3):
        add(project)
    learner.refresh()
    held = [project for project in (1, 2, 3) if learner.of(project, CREATED)]
    assert len(held) == 2
    (missing,) = {1, 2, 3} - set(held)
    learner.of(missing, CREATED)
    learner.refresh()
    assert version_of(learner, missing) == 1


class Interrupted(LearnedVersions):
    """Versions whose database can be taken away."""

    away = False

    def active_numbers(self):
        if self.away:
            raise StoreUnavailable("the database", "does not answer", "Wait.")
        return super().active_numbers()


class Counted(LearnedVersions):
    """Versions that know how often they were looked at."""

    looks = 0

    def active_numbers(self):
        self.looks += 1
        return super().active_numbers()


def test_without_the_store_what_is_loaded_goes_on(engine, add):
    versions = Interrupted(engine)
    learner = Learner(versions, URL)
    add()
    learner.refresh()
    versions.away = True
    with capture_logs() as logs:
        learner.refresh()
        learner.refresh()
    assert [entry["event"] for entry in logs] == ["learnt versions wait for the database"]
    assert version_of(learner) == 1


def test_a_store_that_went_away_again_is_told_again(engine):
    versions = Interrupted(engine)
    learner = Learner(versions, URL)
    with capture_logs() as logs:
        for versions.away in (True, True, False, True, True):
            learner.refresh()
    assert [entry["reason"] for entry in logs] == ["the database: does not answer. Wait."] * 2


def test_what_cannot_be_read_is_not_looked_for_with_every_request(engine, add):
    versions = Counted(engine)
    learner = Learner(versions, URL, poll_s=60)
    add(model=b"damaged")
    with capture_logs() as logs:
        learner.start()
        until(lambda: logs)
    looked = versions.looks
    for _ in range(20):
        assert learner.of(7, CREATED) is None
    add(project=8)
    learner.stop()
    assert versions.looks == looked


def test_what_is_asked_for_and_not_loaded_is_loaded_at_once(engine, add):
    learner = Learner(LearnedVersions(engine), URL, poll_s=60, most=1)
    add(project=1)
    add(project=2)
    learner.start()
    for project in (1, 2, 1):
        assert until(lambda project=project: version_of(learner, project)) == 1
    learner.stop()


def test_a_defect_is_told_and_the_next_look_goes_on(engine, add):
    class Defective(LearnedVersions):
        failing = True

        def active_numbers(self):
            if self.failing:
                self.failing = False
                raise ZeroDivisionError
            return super().active_numbers()

    add()
    learner = Learner(Defective(engine), URL, poll_s=0.01)
    with capture_logs() as logs:
        learner.start()
        until(lambda: learner.of(7, CREATED))
    learner.stop()
    assert [(entry["event"], entry["thing"]) for entry in logs] == [("defect", "learnt versions")]


def test_histories_are_those_of_the_projects_with_the_highest_numbers(learner, add):
    add(project=9, url="http://other.test")
    for project, created in ((1, CREATED), (3, CREATED), (2, CREATED), (3, CREATED + 1)):
        add(project, created)
    add(project=3, created=CREATED + 1, what="b")
    found = learner.histories(3)
    assert [(scope.project, scope.created) for scope in found] == [
        (3, CREATED + 1),
        (3, CREATED),
        (2, CREATED),
    ]
    assert [version.version for version in found[Scope(URL, 3, CREATED + 1)]] == [2, 1]


def test_what_the_store_forgot_answers_no_more(learner, add, versions, engine):
    add()
    learner.refresh()
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM learned")
    learner.refresh()
    assert learner.of(7, CREATED) is None


def test_an_answer_does_not_wait_for_a_store_that_hangs(engine, add, monkeypatch):
    versions = LearnedVersions(engine)
    learner = Learner(versions, URL, poll_s=0.01)
    add()
    learner.refresh()
    hangs = versions.active_numbers
    asked, may_answer = Event(), Event()
    monkeypatch.setattr(
        versions, "active_numbers", lambda: asked.set() or (may_answer.wait(10) and hangs())
    )
    learner.start()
    assert asked.wait(10)
    started = time.monotonic()
    assert version_of(learner) == 1
    assert time.monotonic() - started < 8
    may_answer.set()
    learner.stop()


def until(condition, timeout_s=10.0):
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.005)
    return found
