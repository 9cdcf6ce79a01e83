"""What a run does with predictions of tasks that Label Studio lost and gave their ids away."""

import time
from datetime import UTC, datetime

from prelabel.batch.leftovers import forget_lost_tasks
from prelabel.labelstudio_api.client import IDS_PER_QUERY
from prelabel.store.journal import Kept, State


def kept(tasks):
    return [Kept(task, 0.5, b"[]") for task in tasks]


def at(seconds):
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def test_where_nothing_waits_label_studio_is_not_asked(target, journal, fake):
    forget_lost_tasks(target, journal)
    assert not fake.requests


def test_what_was_predicted_of_tasks_that_are_there_waits_on(target, journal, fake):
    ids = fake.add_tasks(IDS_PER_QUERY + 1)
    journal.keep(kept(ids))
    journal.sending([1])
    forget_lost_tasks(target, journal)
    assert journal.counts() == {State.PREDICTED: IDS_PER_QUERY, State.SENDING: 1}


def test_what_was_predicted_of_lost_tasks_is_forgotten(target, journal, fake):
    fake.add_tasks(4)
    journal.keep(kept([1, 2, 3, 4]))
    journal.sending([3])
    journal.pushed([4])
    del fake.tasks[1]
    for task in (3, 4):
        fake.tasks[task]["created_at"] = at(time.time() + 60)
    forget_lost_tasks(target, journal)
    assert set(journal.entries(0, 10)) == {2, 4}
