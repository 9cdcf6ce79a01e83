import numpy as np
import pytest

from prelabel.predictors.body_parts import covering_part, named_by_parts
from prelabel.types import Detections


def parts(*rows):
    boxes = np.array([box for _, box in rows], np.float32).reshape(-1, 4)
    names = tuple(name for name, _ in rows)
    return Detections(boxes, np.ones(len(rows), np.float32), names, names, "test")


PERSON = ("full_body", (0, 0, 100, 200))
HAND = ("hand", (10, 10, 30, 30))


@pytest.mark.parametrize(
    ("located", "box", "part"),
    [
        (parts(), (0, 0, 10, 10), None),
        (parts(HAND), (50, 50, 60, 60), None),
        (parts(HAND), (12, 12, 20, 20), "hand"),
        (parts(HAND), (8, 8, 40, 40), "hand"),
        (parts(HAND), (0, 0, 100, 100), None),
        (parts(PERSON, HAND), (10, 10, 28, 28), "hand"),
        (parts(PERSON, HAND), (60, 60, 90, 90), "full_body"),
        (parts(HAND), (25, 25, 45, 45), None),
    ],
)
def test_a_box_is_named_after_the_tightest_part_that_covers_it(located, box, part):
    assert covering_part(np.array(box, np.float32), located) == part


@pytest.mark.parametrize(
    ("located", "said", "part"),
    [
        (parts(), "hand", "hand"),
        (parts(), None, None),
        (parts(PERSON), "hand", "hand"),
        (parts(PERSON), None, "full_body"),
        (parts(PERSON, HAND), "face", "hand"),
        (parts(PERSON, HAND), "full_body", "full_body"),
    ],
)
def test_a_phrases_part_stands_unless_a_smaller_part_is_located_there(located, said, part):
    box = np.array([[12, 12, 28, 28]], np.float32)
    found = Detections(box, np.ones(1, np.float32), ("bad",), (said,), "test")
    assert named_by_parts(found, located).body_parts == (part,)
