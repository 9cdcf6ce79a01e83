"""What the tables look like."""

from io import StringIO

import pytest
from rich.console import Console

from prelabel.evaluation.report import evaluate, show


@pytest.fixture
def printed(make):
    def lines(scenes, subject=(), width=80, *, each_image=False):
        written = StringIO()
        report = evaluate(scenes, dict(subject))
        show(report, Console(file=written, width=width), each_image=each_image)
        return [line.rstrip() for line in written.getvalue().splitlines()]

    return lines


def test_no_images_have_no_tables(printed):
    assert printed([]) == [
        "images: 0",
        "people: 0 annotated, 0 predicted",
        "area for OKS: annotated for 0, the box's for 0",
    ]


def test_a_subject_is_told_in_words(printed):
    subject = {"model_versions": {"v1": 2, "v2": 1}, "left_out": {}, "predictor": "[x]"}

    assert printed([], subject)[:3] == [
        "model versions: 2 v1, 1 v2",
        "left out: none",
        "predictor: [x]",
    ]


def test_each_annotated_part_has_a_line_that_fits_a_narrow_terminal(printed, make):
    people = make.people(make.spread_out())
    scene = make.scene(people, make.poses(people.keypoints_xy))

    lines = printed([scene])

    rows = [line.split() for line in lines if line.startswith(("body", "left hand"))]
    whole = ["1", "1", "1", "1.000", "1.000", "1.000", "1.000", "1.000", "1.000"]
    assert rows == [["body", *whole], ["left", "hand", *whole]]
    assert max(len(line) for line in lines) <= 80


def test_a_long_name_is_folded_and_the_figures_stay_whole(printed, make):
    name = "a_label_that_is_far_longer_than_anybody_would_think_of"
    box = (0, 0, 10, 10, name)

    lines = printed([make.scene(annotated=[(*box, False)], predicted=[(*box, 0.9)])], width=60)

    (row,) = (line for line in lines if "1.000" in line)
    assert row.split()[1:] == ["1", "1", "1", "1.000", "1.000", "1.000", "1.000"]
    assert max(len(line) for line in lines) <= 60


def test_what_nobody_annotated_has_no_precision(printed, make):
    lines = printed([make.scene(predicted=[(0, 0, 10, 10, "hat", 0.9)])], each_image=True)

    assert "hat        0          1      0   -     -     -   -" in lines
    assert any(line.split() == ["image", "0", "0", "0", "1"] for line in lines)
