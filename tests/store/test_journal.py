"""The journal: what is written down stays, wherever the process ends."""

import subprocess
import sys
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prelabel.errors import NotReady
from prelabel.store.journal import Campaign, Failed, Journal, Kept, State
from prelabel.store.ledger import failed_since
from prelabel.store.lock import held

CAMPAIGN = Campaign("http://studio.test", 7, "2026", "always@1")


@pytest.fixture
def journal(engine):
    return Journal(engine, CAMPAIGN)


@pytest.fixture
def failures(engine):
    return lambda: failed_since(engine, CAMPAIGN.url, CAMPAIGN.project, 0)


def kept(task, result=b"[]"):
    return Kept(task, 0.5, result)


def test_a_new_journal_knows_nothing(journal):
    assert journal.counts() == {}
    assert journal.waiting(10, 10) == []
    assert journal.in_doubt() == {}
    assert journal.entries(0, 10**9) == {}


def test_a_prediction_comes_out_as_it_went_in(engine):
    journal = Journal(engine, CAMPAIGN)

    @given(result=st.binary(max_size=200), score=st.floats(0, 1))
    def comes_out(result, score):
        journal.keep([Kept(1, score, result)])
        assert journal.waiting(1, 1) == [Kept(1, score, result)]

    comes_out()


def test_another_process_finds_what_was_written_down(journal, open_again):
    journal.keep([kept(1), kept(2)])
    journal.pushed([2])
    assert Journal(open_again(), CAMPAIGN).counts() == {State.PREDICTED: 1, State.PUSHED: 1}


def test_a_reason_with_what_a_database_refuses_is_kept_without_it(journal, failures):
    journal.fail([Failed(1, "ImageUnreachable", "a\0b \ud83d", retry=True)])
    assert failures() == [Failed(1, "ImageUnreachable", "ab ?", retry=True)]


@pytest.mark.parametrize(
    "other",
    [
        Campaign("http://elsewhere.test", 7, "2026", "always@1"),
        Campaign("http://studio.test", 8, "2026", "always@1"),
        Campaign("http://studio.test", 7, "2027", "always@1"),
        Campaign("http://studio.test", 7, "2026", "always@2"),
    ],
)
def test_campaigns_do_not_see_each_other(journal, engine, other):
    journal.keep([kept(1)])
    assert Journal(engine, other).counts() == {}


def test_what_waited_longest_goes_first_and_not_again_while_it_is_sent(journal):
    journal.keep([kept(5)])
    time.sleep(0.02)  # clocks may be coarse
    journal.keep([kept(3), kept(4)])
    assert {row.task_id for row in journal.waiting(2, 100)} == {5, 3}
    journal.sending([5, 3])
    assert {row.task_id for row in journal.waiting(2, 100)} == {4}
    assert journal.in_doubt().keys() == {3, 5}


def test_a_chunk_keeps_to_its_bytes_but_is_never_empty(journal):
    journal.keep([kept(1, b"x" * 60), kept(2, b"x" * 60), kept(3, b"x" * 500)])
    assert [row.task_id for row in journal.waiting(10, 130)] == [1, 2]
    journal.sending([1, 2])
    assert [row.task_id for row in journal.waiting(10, 130)] == [3]


def test_what_goes_back_waits_again_and_is_remembered_as_doubted(journal):
    journal.keep([kept(1), kept(2)])
    journal.sending([1, 2])
    journal.back([2])
    assert [row.task_id for row in journal.waiting(2, 100)] == [2]
    journal.pushed([1, 2])
    assert journal.doubted() == [2]


def test_what_is_pushed_takes_no_room_any_more(journal):
    journal.keep([kept(1)])
    journal.pushed([1])
    assert journal.results([1]) == []


def test_a_new_prediction_takes_the_place_of_a_failure_and_the_other_way_round(journal, failures):
    journal.fail([Failed(1, "ImageUnreachable", "gone", retry=False)])
    journal.keep([kept(1), kept(2)])
    assert journal.counts() == {State.PREDICTED: 2}
    journal.fail([Failed(2, "ModelError", "broke", retry=True)])
    assert failures() == [Failed(2, "ModelError", "broke", retry=True)]
    assert journal.entries(2, 2)[2].retry


def test_entries_are_those_between_two_ids(journal):
    journal.keep([kept(task) for task in (1, 5, 9)])
    assert journal.entries(5, 9).keys() == {5, 9}


def test_many_tasks_are_marked_at_once(journal):
    ids = list(range(1, 2002))
    journal.keep([kept(task) for task in ids])
    journal.pushed(ids)
    assert journal.counts() == {State.PUSHED: 2001}


def test_predicting_anew_begins_once_until_it_is_ended(journal, engine):
    begun = journal.anew_since()
    assert Journal(engine, CAMPAIGN).anew_since() == begun
    journal.anew_ended()
    time.sleep(0.002)
    assert journal.anew_since() > begun


def test_what_older_versions_brought_long_ago_is_forgotten_when_another_begins(
    engine, journal, monkeypatch
):
    elsewhere = Journal(engine, replace(CAMPAIGN, project=8))
    anew = Journal(engine, replace(CAMPAIGN, model_version="made anew"))
    anew.anew_since()
    for one in (journal, elsewhere, anew):
        one.keep([kept(1), kept(2), kept(3)])
        one.pushed([1, 2])
    journal.fail([Failed(4, "ImageMissing", "it is gone", retry=False)])
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 29 * 24 * 3600)
    Journal(engine, replace(CAMPAIGN, model_version="always@2"))
    assert journal.counts()[State.PUSHED] == 2
    monkeypatch.setattr(time, "time", lambda: now + 31 * 24 * 3600)
    Journal(engine, CAMPAIGN)
    assert journal.counts()[State.PUSHED] == 2
    Journal(engine, replace(CAMPAIGN, model_version="always@3"))
    assert journal.counts() == {State.PREDICTED: 1, State.FAILED: 1}
    assert elsewhere.counts()[State.PUSHED] == anew.counts()[State.PUSHED] == 2


HOLD = """
import sys, time
from pathlib import Path
from prelabel.store.lock import held
with held(Path(sys.argv[1]), "it"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_is_refused_while_another_process_holds_it_and_free_when_that_is_killed(tmp_path):
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(NotReady, match="another process"), held(path, "it"):
            pass
        holder.kill()
    with held(path, "it"):
        pass
