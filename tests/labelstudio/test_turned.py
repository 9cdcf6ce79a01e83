"""Rectangles at an angle, to and fro."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prelabel.geometry import within_image
from prelabel.labelstudio.config import parse
from prelabel.labelstudio.regions.check import problems
from prelabel.labelstudio.regions.turned import drawn_box, turned_rectangle, upright_box
from prelabel.labelstudio.regions.write import Page, box_regions
from prelabel.types import Detections

HW = (200, 400)
CONFIG = parse("""
<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="label" toName="image"><Label value="car"/></RectangleLabels>
</View>
""")
PERCENT, SIDES, ANGLES = st.floats(0, 100), st.floats(1, 60), st.floats(-400, 400)
DRAWN = st.fixed_dictionaries(
    {"x": PERCENT, "y": PERCENT, "width": SIDES, "height": SIDES, "rotation": ANGLES}
)


def corners(value):
    """The corners of a region's value in pixels, as Label Studio draws it, in any order."""
    origin = complex(value["x"] / 100 * HW[1], value["y"] / 100 * HW[0])
    turn = complex(
        math.cos(math.radians(value["rotation"])), math.sin(math.radians(value["rotation"]))
    )
    across = value["width"] / 100 * HW[1] * turn
    down = value["height"] / 100 * HW[0] * turn * 1j
    found = [origin, origin + across, origin + down, origin + across + down]
    return sorted(((c.real, c.imag) for c in found), key=lambda c: (round(c[0]), round(c[1])))


def nearest(points, others):
    """For each point how far the nearest of the others is."""
    apart = np.array(points)[:, None] - np.array(others)
    return np.hypot(apart[..., 0], apart[..., 1]).min(1)


@given(DRAWN)
def test_what_is_drawn_is_written_again_where_it_was(value):
    box, turn = drawn_box(value, HW)
    assert -180 <= turn <= 180
    written = turned_rectangle(box, turn, HW)
    if written is not None:
        assert max(written[key] for key in ("x", "y", "width", "height")) <= 100
        assert nearest(corners(written), corners(value)).max() < 0.01


@given(DRAWN)
def test_the_upright_box_is_around_all_corners(value):
    points = np.array(corners(value))
    around = np.concatenate([points.min(0), points.max(0)])
    assert upright_box(value, HW) == pytest.approx(around, abs=0.01)


@given(st.floats(0, 400), st.floats(0, 200), ANGLES)
def test_a_square_inside_has_a_corner_that_label_studio_imports(x, y, turn):
    box = np.array([x - 20, y - 20, x + 20, y + 20], np.float32)
    assert turned_rectangle(box, turn, HW) is not None


def one(box, turn):
    boxes = np.array([box], np.float32)
    found = Detections(boxes, np.array([0.5], np.float32), ("car",), (None,), "test")
    return replace(found, turns=(turn,))


def test_a_turned_box_is_a_region_with_its_angle():
    (region,) = box_regions(one((100, 50, 200, 150), 30.0), CONFIG.controls[0], None, Page(*HW))
    assert problems([region], CONFIG) == []
    assert region["value"]["rotation"] == 30
    box, turn = drawn_box(region["value"], HW)
    assert (turn, box.tolist()) == (30, pytest.approx([100, 50, 200, 150], abs=0.01))


@given(DRAWN)
def test_whatever_shows_in_the_image_is_imported(value):
    box, turn = drawn_box(value, HW)
    _, visible = within_image(box[None], turn, HW)
    if (visible >= 1).all():
        regions = box_regions(one(box, turn), CONFIG.controls[0], None, Page(*HW))
        assert problems(regions, CONFIG) == []


def test_where_no_corner_will_do_the_box_around_is_upright():
    """All corners of a thin one across the lower right corner lie beyond one edge or the other."""
    regions = box_regions(one((340, 192, 440, 194), 135.0), CONFIG.controls[0], None, Page(*HW))
    assert problems(regions, CONFIG) == []
    assert regions[0]["value"]["rotation"] == 0
    assert upright_box(regions[0]["value"], HW) == pytest.approx([354, 157, 400, 200], abs=1)
