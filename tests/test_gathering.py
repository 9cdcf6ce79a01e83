"""How tasks whose turn did not come are told."""

import pytest

from prelabel.gathering import not_reached
from prelabel.labelstudio.tasks import Task
from prelabel.runtime.deadline import Deadline


@pytest.mark.parametrize(
    ("left_s", "cause"), [(0, "the time budget of 0 s"), (60, "the server stopped")]
)
def test_a_task_whose_turn_did_not_come_says_what_ended_before(left_s, cause):
    assert not_reached(Task(id=7), Deadline.after(left_s)).cause.startswith(cause)
