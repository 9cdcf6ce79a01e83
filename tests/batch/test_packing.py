"""Images that travel: small on the way, of their own size again in the result."""

import base64

import cv2
import numpy as np
import pytest

from prelabel.batch.packing import Squeeze, first_picture, jpeg, pack, put_right
from prelabel.labelstudio.config import ImageTag
from prelabel.labelstudio.tasks import Task
from prelabel.types import Image

SQUEEZE = Squeeze(jpeg_quality=90, longest_side=100)


def image(height, width):
    return Image(np.full((height, width, 3), (200, 30, 60), np.uint8))


def decoded(uri):
    encoded = np.frombuffer(base64.b64decode(uri.partition(",")[2]), np.uint8)
    return cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


@pytest.mark.parametrize(
    ("size_hw", "sent_hw"),
    [((50, 80), (50, 80)), ((100, 100), (100, 100)), ((300, 200), (100, 67)), ((1, 900), (1, 100))],
)
def test_large_images_are_scaled_down_and_small_ones_stay(size_hw, sent_hw):
    encoded = np.frombuffer(jpeg(image(*size_hw).pixels_rgb, SQUEEZE), np.uint8)
    assert cv2.imdecode(encoded, cv2.IMREAD_COLOR).shape[:2] == sent_hw


def test_colours_are_those_of_the_original():
    packed = pack(
        Task(id=1, data={"image": "a.png"}),
        {ImageTag("image", "$image", is_list=False): [image(40, 40)]},
        SQUEEZE,
    )
    assert decoded(packed.task["data"]["image"])[20, 20] == pytest.approx([200, 30, 60], abs=4)


def test_a_task_travels_with_its_other_data_and_all_its_pages():
    data = {"shot": 3, "media": {"left": "l.png", "note": "x"}, "pages": ["a.png", "b.png"]}
    left = ImageTag("left", "$media.left", is_list=False)
    pages = ImageTag("pages", "$pages", is_list=True)
    images = {left: [image(10, 20)], pages: [image(30, 40), image(50, 60)]}
    packed = pack(Task(id=9, data=data), images, SQUEEZE)
    sent = packed.task["data"]
    assert (packed.task["id"], sent["shot"], sent["media"]["note"]) == (9, 3, "x")
    assert sent["media"]["left"].startswith("data:image/jpeg;base64,")
    assert [decoded(uri).shape[:2] for uri in sent["pages"]] == [(30, 40), (50, 60)]
    assert packed.sizes_hw == {"left": ((10, 20),), "pages": ((30, 40), (50, 60))}
    assert data["media"]["left"] == "l.png"


def test_regions_name_the_size_of_the_original_page():
    sizes = {"image": ((1080, 1920),), "pages": ((10, 20), (30, 40))}
    small = {"original_width": 100, "original_height": 56, "value": {"x": 50.0}}
    single, second = put_right(
        [{"to_name": "image", **small}, {"to_name": "pages", "item_index": 1, **small}], sizes
    )
    assert (single["original_width"], single["original_height"]) == (1920, 1080)
    assert (second["original_width"], second["original_height"]) == (40, 30)
    assert single["value"] == {"x": 50.0}


def test_a_server_can_warm_up_with_a_picture():
    assert decoded(first_picture(SQUEEZE)).shape == (75, 100, 3)
