"""A whole run against a Label Studio with a memory: options, ends, and going on."""

import time
from dataclasses import replace
from itertools import pairwise
from threading import Event

import pytest
from structlog.testing import capture_logs

from prelabel.batch.push import Manners
from prelabel.batch.run import Options, Parts, run
from prelabel.batch.selection import FAILED_BEFORE, HAS_VERSION, Mode, Selection
from prelabel.errors import (
    ImageRefused,
    ImageUnavailable,
    ImageUnreachable,
    ImageUnreadable,
    LabelStudioUnreachable,
    OperatorError,
    SettingsError,
    StoreUnavailable,
)
from prelabel.labelstudio_api.listing import Which
from prelabel.pipeline import Prediction
from prelabel.settings import Settings
from prelabel.store.journal import Journal, Kept

REGION = {
    "id": "a", "type": "rectanglelabels", "score": 0.5, "value": {"rectanglelabels": ["cat"]},
}  # fmt: skip


class Seer:
    """Predicts whatever it is given; some tasks fail, some as often as is said."""

    def __init__(self):
        self.seen = []
        self.gone, self.refused, self.damaged = set(), set(), set()
        self.away = {}
        self.pause_s = 0.0
        self.breaks_at = None

    def __call__(self, tasks):
        for index, task in enumerate(tasks):
            time.sleep(self.pause_s)
            self.seen.append(task.id)
            if task.id == self.breaks_at:
                raise OperatorError("the device", "is gone", "Plug it in.")
            if task.id in self.gone:
                yield index, ImageUnreachable(f"task {task.id}", "is gone", "Find it.")
            elif task.id in self.refused:
                cause, step = "minio is at 10.0.0.7", "Set FETCH_ALLOWED_HOSTS=minio."
                yield index, ImageRefused(f"task {task.id}", cause, step)
            elif task.id in self.damaged:
                yield index, ImageUnreadable("a file", "is damaged", "Upload it again.")
            elif self.away.get(task.id, 0) > 0:
                self.away[task.id] -= 1
                yield index, ImageUnavailable(f"task {task.id}", "answered 503", "Wait.")
            else:
                result = [] if task.id % 10 == 0 else [{**REGION, "id": f"r{task.id}"}]
                yield index, Prediction(result, 0.5 if result else 0.0, "always@1")


@pytest.fixture
def seer():
    return Seer()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No pauses before another attempt."""
    for module in ("push", "predicting"):
        monkeypatch.setattr(f"prelabel.batch.{module}.backoff_s", lambda *_: 0.01)


@pytest.fixture
def go(target, journal, clock, seer, hasty):
    """A run to its end; options as `Selection` and `Options` have them."""

    def begin(*, interrupt=None, report=lambda _: None, manners=hasty, **given):
        whole = {name: given.pop(name) for name in ("dry_run", "max_failures") if name in given}
        parts = Parts(target, "Cats", seer, journal, clock)
        options = Options(Selection(**given), manners, **whole)
        return run(parts, options, interrupt or Event(), report)

    return begin


def test_an_empty_project_is_done_at_once(go, fake):
    summary = go()
    assert (summary.exit_code, summary.go_on, summary.counts.listed) == (0, "", 0)


def test_every_task_gets_one_prediction(go, fake):
    ids = fake.add_tasks(25)
    summary = go()
    assert fake.holding() == dict.fromkeys(ids, 1)
    counts = summary.counts
    assert (counts.listed, counts.predicted, counts.empty, counts.pushed) == (25, 23, 2, 25)
    assert (summary.exit_code, summary.go_on, counts.left) == (0, "", 0)
    assert summary.labels == {"cat": 23}


def test_a_second_run_finds_nothing_to_do(go, fake, seer):
    fake.add_tasks(25)
    go()
    seer.seen.clear()
    summary = go()
    assert seer.seen == []
    assert summary.skipped == {HAS_VERSION: 25}
    assert summary.exit_code == 0


def test_other_versions_stay_beside_the_new_one(go, fake):
    ids = fake.add_tasks(3)
    fake.hold(1, "always@1.seq1")
    go()
    assert fake.holding() == dict.fromkeys(ids, 1)
    assert fake.holding("always@1.seq1") == {1: 1}


def test_replacing_takes_the_place_of_other_versions(go, fake):
    ids = fake.add_tasks(3)
    fake.hold(1, "old")
    fake.hold(2, "old")
    go(mode=Mode.REPLACE)
    assert fake.holding() == dict.fromkeys(ids, 1)
    assert fake.holding("old") == {}


def test_predicting_anew_takes_the_place_of_the_same_version_only(go, fake):
    ids = fake.add_tasks(4)
    go()
    before = [row["id"] for row in fake.predictions]
    fake.hold(2, "other")
    summary = go(anew=True)
    assert fake.holding() == dict.fromkeys(ids, 1)
    assert fake.holding("other") == {2: 1}
    assert not {row["id"] for row in fake.predictions if row["model_version"] != "other"} & set(
        before[:1]
    )
    assert summary.counts.predicted == 4


def test_predicting_anew_goes_on_where_it_was_interrupted(go, fake, seer):
    fake.add_tasks(10)
    go()
    seer.seen.clear()
    go(anew=True, limit=4)
    go(anew=True)
    assert sorted(seer.seen) == list(range(1, 11))


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        (Which(after_id=7), [8, 9, 10]),
        (Which(ids=(2, 9, 99)), [2, 9]),
        (Which(filters=("data.camera=left",)), [11, 12]),
        (Which(filters=("id>8", "data.camera=left")), [11, 12]),
        (Which(view=3), [11, 12]),
        (Which(view=4, after_id=2), [11, 12]),
        (Which(after_id=11, ids=(1, 12)), [12]),
    ],
)
def test_only_the_tasks_that_are_asked_for_are_predicted(go, fake, seer, which, expected):
    fake.add_tasks(10)
    fake.add_tasks(2, camera="left")
    left = {"filter": "filter:tasks:data.camera", "operator": "equal", "type": "String"}
    conditions = {"conjunction": "and", "items": [{**left, "value": "left"}]}
    fake.views[3] = {"data": {"filters": conditions}}
    second = {"filter": "filter:tasks:id", "operator": "equal", "type": "Number", "value": 1}
    items = [*conditions["items"], second]
    fake.views[4] = {"data": {"filters": {"conjunction": "or", "items": items}}}
    go(which=which)
    if which.after_id == 7:
        expected = [*expected, 11, 12]
    assert sorted(seer.seen) == expected


def test_ids_are_asked_for_in_addresses_that_proxies_take(go, fake, seer):
    fake.add_tasks(900)
    summary = go(which=Which(ids=tuple(range(100, 851)), after_id=149), limit=600)
    assert sorted(seer.seen) == list(range(150, 750))
    assert summary.counts.left == 101


def test_a_limit_says_how_many_are_left_and_the_next_run_takes_the_next(go, fake, seer):
    ids = fake.add_tasks(12)
    first = go(limit=5)
    assert (first.counts.pushed, first.counts.left, first.exit_code) == (5, 7, 0)
    assert "7 tasks" in first.go_on
    second = go(limit=5)
    assert second.counts.left == 2
    third = go(limit=5)
    assert (third.counts.left, third.go_on) == (0, "")
    assert sorted(seer.seen) == ids


def test_failures_never_stop_the_others_and_wait_to_be_asked_for(go, fake, seer):
    fake.add_tasks(8)
    seer.gone = {3, 5}
    summary = go()
    assert fake.holding().keys() == {1, 2, 4, 6, 7, 8}
    assert summary.exit_code == 3
    assert [failure.task_id for failure in summary.failures] == [3, 5]
    assert "--retry-failed" in summary.go_on
    again = go()
    assert (again.skipped[FAILED_BEFORE], again.exit_code) == (2, 3)
    seer.gone = set()
    mended = go(retry_failed=True)
    assert (mended.counts.predicted, mended.exit_code) == (2, 0)


def test_what_may_pass_is_tried_again_in_the_same_run(go, fake, seer):
    ids = fake.add_tasks(5)
    seer.away = {2: 1, 4: 3}
    summary = go()
    assert fake.holding() == dict.fromkeys(ids, 1)
    assert (summary.counts.failed, summary.exit_code) == (0, 0)


def test_what_does_not_pass_fails_after_enough_attempts_and_the_next_run_tries_it(go, fake, seer):
    fake.add_tasks(5)
    seer.away = {2: 4}
    summary = go()
    assert (summary.counts.failed, summary.failures[0].retry) == (1, True)
    assert go().counts.failed == 0


def test_too_many_failures_end_the_run_at_once(go, fake, seer):
    fake.add_tasks(2000)
    seer.gone = set(range(1, 2001))
    summary = go(max_failures=5)
    assert summary.exit_code == 3
    assert (summary.counts.failed, summary.counts.left) == (6, 1994)


def test_a_run_whose_first_tasks_all_fail_for_one_same_reason_ends_and_says_it(go, fake, seer):
    ids = fake.add_tasks(2000)
    seer.refused = set(ids)
    summary = go()
    assert (summary.exit_code, summary.counts.failed, len(seer.seen)) == (1, 50, 50)
    (said,) = summary.warnings
    assert "the first 50 tasks: all failed in the same way: minio is at 10.0.0.7" in said
    assert "Set FETCH_ALLOWED_HOSTS=minio. Then run the same command again." in said
    assert "--retry-failed" not in summary.go_on, "the same command is enough"
    seer.refused = set()
    mended = go()
    assert (mended.exit_code, mended.counts.failed, mended.counts.left) == (0, 0, 0)
    assert fake.holding() == dict.fromkeys(ids, 1)


def test_whoever_says_how_many_failures_he_takes_gets_them(go, fake, seer):
    ids = fake.add_tasks(120)
    seer.refused = set(ids[:60])
    summary = go(max_failures=100)
    assert (summary.exit_code, summary.counts.failed, summary.counts.left) == (3, 60, 0)
    assert len(fake.holding()) == 60


@pytest.mark.parametrize("other", ["gone", "predicted", "damaged"])
def test_failures_that_are_not_all_alike_never_stop_the_others(go, fake, seer, other):
    ids = fake.add_tasks(120)
    seer.refused = set(ids) - {50}
    seer.gone = {50} if other == "gone" else set()
    if other == "damaged":  # an image is damaged by itself, however many there are
        seer.refused, seer.damaged = set(), set(ids)
    summary = go()
    assert (summary.exit_code, summary.counts.left) == (3, 0)
    assert summary.counts.failed == (119 if other == "predicted" else 120)
    assert "--retry-failed" in summary.go_on


def test_fewer_tasks_than_are_waited_for_fail_as_they_are(go, fake, seer):
    ids = fake.add_tasks(49)
    seer.refused = set(ids)
    summary = go()
    assert (summary.exit_code, summary.counts.failed) == (3, 49)
    assert go().skipped[FAILED_BEFORE] == 49


def test_a_host_of_images_that_is_away_for_a_moment_does_not_end_the_run(go, fake, seer):
    ids = fake.add_tasks(300)
    seer.away = dict.fromkeys(ids, 1)
    summary = go()
    assert (summary.exit_code, summary.counts.failed, summary.counts.left) == (0, 0, 0)
    assert fake.holding() == dict.fromkeys(ids, 1)


def test_an_interrupted_run_pushes_what_it_began_and_the_next_one_ends_it(go, fake, seer):
    ids = fake.add_tasks(300)
    seer.pause_s = 0.005
    interrupt = Event()
    first = go(interrupt=interrupt, report=lambda told: told.done > 5 and interrupt.set())
    assert (first.exit_code, first.interrupted) == (130, True)
    assert fake.holding().keys() == set(seer.seen)
    assert first.counts.left == 300 - len(seer.seen)
    assert "same command" in first.go_on
    assert go().exit_code == 0
    assert fake.holding() == dict.fromkeys(ids, 1)
    assert sorted(seer.seen) == ids


def test_what_is_listed_and_not_handed_out_counts_as_left(go, fake, seer):
    fake.add_tasks(1600)  # more than are kept ahead
    go(dry_run=True)
    seer.seen.clear()
    seer.pause_s = 0.005
    interrupt, totals = Event(), set()

    def report(told):
        if not interrupt.is_set():
            totals.add(told.total)
        if told.done > 5:
            interrupt.set()

    first = go(anew=True, interrupt=interrupt, report=report)
    assert first.counts.left == 1600 - len(seer.seen)
    assert totals <= {0, 1600}


def test_a_run_ends_with_code_4_when_label_studio_goes_away_and_then_goes_on(
    go, fake, seer, faults, hasty
):
    ids = fake.add_tasks(50)
    fake.faults = [("POST", "/import/predictions", faults.no_connection)] * 20
    with capture_logs() as logs:
        first = go(manners=replace(hasty, max_retries=1))
    assert first.exit_code == 4
    assert "no connection" in first.warnings[0]
    assert [line["log_level"] for line in logs if "go on" in line["event"]] == ["error"], "--quiet"
    again = "50 tasks left: run the same command again, it goes on where this one ended."
    assert first.go_on == again, "all were predicted, and none arrived"
    fake.faults = []
    second = go()
    assert second.counts.resumed == 50
    assert fake.holding() == dict.fromkeys(ids, 1)
    assert sorted(seer.seen) == ids


def test_a_listing_that_breaks_off_leaves_what_was_listed_done(go, fake, seer, faults):
    fake.add_tasks(1200)
    calls = []

    def second_page_fails(fake, request):
        calls.append(request)
        if len(calls) == 2:
            raise LabelStudioUnreachable("Label Studio", "is away", "Wait.")
        return fake.answer(request)

    fake.faults = [("GET", "/api/tasks/", second_page_fails)] * 2
    summary = go()
    assert summary.exit_code == 4
    assert len(fake.holding()) == 500
    assert go().exit_code == 0
    assert len(fake.holding()) == 1200


def test_a_predictor_that_breaks_ends_the_run_and_what_it_did_is_pushed(go, fake, seer):
    fake.add_tasks(30)
    seer.breaks_at = 21
    summary = go()
    assert summary.exit_code == 1
    assert "Plug it in." in summary.warnings[0]
    assert len(fake.holding()) == 20


def test_what_ends_two_stages_is_told_once(go, fake, journal, monkeypatch):
    fake.add_tasks(30)
    journal.keep([Kept(1, 0.5, b"[]")])
    error = StoreUnavailable("the database", "disk is full", "Make room.")

    def full(*_):
        raise error

    monkeypatch.setattr(Journal, "keep", full)
    monkeypatch.setattr(Journal, "waiting", full)
    assert go().warnings == (str(error),)


def test_a_dry_run_predicts_and_leaves_no_trace(go, fake, journal):
    fake.add_tasks(30)
    summary = go(dry_run=True, limit=20)
    assert (summary.counts.predicted + summary.counts.empty, summary.counts.pushed) == (20, 0)
    assert fake.predictions == []
    assert journal.counts() == {}
    assert "without --dry-run" in summary.go_on


def test_a_filter_that_cannot_be_joined_is_said(go, fake):
    either = '{"conjunction":"or","items":[%s,%s]}'
    one = '{"filter":"filter:tasks:id","operator":"equal","type":"Number","value":1}'
    summary = go(which=Which(filters=(either % (one, one), "id>3")))
    assert summary.exit_code == 2
    assert "OR" in summary.warnings[0]


def test_a_tab_of_another_project_is_refused(go, fake, seer):
    fake.add_tasks(3)
    fake.views[9] = {"id": 9, "project": 77, "data": {}}
    summary = go(which=Which(view=9))
    assert (summary.exit_code, seer.seen) == (2, [])
    assert "a tab of project 77" in summary.warnings[0]


def test_progress_reaches_the_end(go, fake):
    fake.add_tasks(25)
    told = []
    go(report=told.append)
    assert (told[-1].done, told[-1].total, told[-1].listed, told[-1].pushed) == (25, 25, True, 25)
    assert all(a.done <= b.done for a, b in pairwise(told))


def test_the_next_chunk_is_predicted_while_one_is_being_pushed(go, fake, seer):
    fake.add_tasks(120)
    seer.pause_s = 0.01
    pushing = []

    def slowly(fake, request):
        before = len(seer.seen)
        time.sleep(0.3)
        pushing.append(len(seer.seen) - before)
        return fake.answer(request)

    fake.faults = [("POST", "/import/predictions", slowly)]
    go()
    assert pushing[0] > 5


def test_manners_have_the_defaults_of_the_settings():
    fields = Settings.model_fields
    assert Manners() == Manners(
        fields["request_delay_seconds"].default,
        fields["max_retries"].default,
        fields["max_backoff_delay"].default,
    )


def test_a_setting_that_is_wrong_is_an_error_of_usage():
    with pytest.raises(SettingsError):
        Which(filters=("nonsense",)).conditions(None, 1)
