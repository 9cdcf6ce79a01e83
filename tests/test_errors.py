"""The error tree: each class has its consequences, and says three things."""

import inspect

import pytest

from prelabel import errors
from prelabel.errors import CONSEQUENCES, PrelabelError, consequence_of, first_line

CLASSES = [
    member
    for _, member in inspect.getmembers(errors, inspect.isclass)
    if issubclass(member, PrelabelError) and member is not PrelabelError
]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_has_a_row_of_its_own(kind):
    row = CONSEQUENCES[kind]
    assert consequence_of(kind("thing", "cause", "next step.")) == row
    assert 400 <= row.http_status < 600
    assert row.exit_code in {1, 2, 3, 4, 5}


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_stands_in_the_tree_at_the_top_of_the_module(kind):
    assert kind.__name__ in (errors.__doc__ or "")


def test_an_error_of_a_strangers_package_has_its_parents_row():
    class CameraUnplugged(errors.ImageUnreachable):
        pass

    assert consequence_of(CameraUnplugged("a", "b", "c.")) == CONSEQUENCES[errors.ImageUnreachable]


def test_the_text_names_the_thing_the_cause_and_the_next_step():
    assert str(errors.TaskError("task 3", "it broke", "Mend it.")) == "task 3: it broke. Mend it."


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(), "OSError"),
        (ValueError(" \n "), "ValueError"),
        (RuntimeError("\nno kernel for this.\n  at 0x1\n  at 0x2"), "no kernel for this"),
        (RuntimeError("x" * 1000), "x" * 200),
    ],
)
def test_what_another_library_says_is_cut_to_one_line(error, line):
    assert first_line(error) == line
