"""Who is busy, and who sets the pace."""

import time

import pytest

from prelabel.batch.stages import StageClock
from prelabel.batch.summary import STAGES

IDLE = dict.fromkeys(STAGES, 0.0)


def test_a_clock_that_saw_nothing_names_no_bottleneck():
    clock = StageClock()
    assert clock.bottleneck(IDLE) == ""
    assert [stage.items for stage in clock.stages(0.0)] == [0] * 5


@pytest.mark.parametrize(
    ("busy_s", "expected"),
    [
        ({"predict": 5.0, "push": 4.0}, "predict"),
        ({"predict": 5.0, "push": 6.0}, "push"),
        ({"list": 7.0, "push": 6.0}, "list"),
        ({"predict": 5.0, "fetch": 16.0, "decode": 8.0}, "fetch"),
        ({"predict": 5.0, "fetch": 8.0, "decode": 16.0}, "decode"),
        ({"predict": 6.5, "fetch": 8.0, "decode": 16.0}, "predict"),
    ],
)
def test_the_slowest_sets_the_pace_and_those_who_load_share_their_workers(busy_s, expected):
    clock = StageClock({"fetch": 4, "decode": 4})
    assert clock.bottleneck(IDLE | busy_s) == expected


def test_writing_regions_is_a_part_of_predicting():
    clock = StageClock()
    with clock.busy("predict", 3):
        pass
    with clock.busy("write", 3):
        time.sleep(0.01)
    predict = clock.stages(1.0)[3]
    assert predict.items == 3
    assert predict.busy_s >= 0.01


def test_work_that_fails_takes_time_too():
    clock = StageClock()
    with pytest.raises(KeyError), clock.busy("fetch"):
        raise KeyError
    assert clock.stages(1.0)[1].items == 1


def test_rates_and_occupancy_follow_from_time_and_workers():
    clock = StageClock({"fetch": 4})
    clock._busy_s["fetch"], clock._items["fetch"] = 8.0, 40
    fetch = clock.stages(4.0)[1]
    assert (fetch.rate, fetch.occupancy) == (20.0, 0.5)
