"""Numbers and times as people read them."""

import pytest

from prelabel.batch.words import counted, duration, rate


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 tasks"), (1, "1 task"), (2, "2 tasks"), (12345, "12,345 tasks")]
)
def test_what_is_counted_is_named_in_its_number(number, words):
    assert counted(number, "task") == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.44, "0.4 s"),
        (5, "5 s"),
        (9.96, "10 s"),
        (10, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3599.7, "1 h"),
        (7500, "2 h 5 min"),
        (97_200, "1 d 3 h"),
    ],
)
def test_a_time_is_said_in_its_two_largest_units(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("per_second", "words"),
    [(0, "0"), (0.347, "0.35"), (0.999, "1"), (4.24, "4.2"), (9.97, "10"), (1804.4, "1,804")],
)
def test_a_rate_has_as_many_digits_as_it_deserves(per_second, words):
    assert rate(per_second) == words
