"""The predictor of the example finds colours, and says what is wrong with its settings."""
# ruff: noqa: D103 - a test's name is its sentence

from pathlib import Path

import numpy as np
import pytest
from prelabel_example_colour_blobs.predictor import ColourBlobs, build

from prelabel.errors import ModelError, SettingsError, WeightsUnavailable
from prelabel.types import Ask, Detections, Image, Phrase

RED, BLUE = (220, 20, 20), (20, 40, 220)
BOTH = Ask((Phrase("red car", "car"), Phrase("blue", "sky")))


def picture(*spots: tuple[tuple[int, int, int, int], tuple[int, int, int]]) -> Image:
    """Grey, 200 x 100, with spots: box x1, y1, x2, y2 and colour."""
    pixels = np.full((100, 200, 3), 128, np.uint8)
    for (x1, y1, x2, y2), colour in spots:
        pixels[y1:y2, x1:x2] = colour
    return Image(pixels)


def found(image: Image, ask: Ask, predictor: ColourBlobs | None = None) -> Detections:
    (entry,) = (predictor or ColourBlobs()).predict([image], ask)
    assert isinstance(entry, Detections)
    return entry


def test_nothing_is_found_in_a_grey_picture() -> None:
    assert len(found(picture(), BOTH)) == 0


def test_each_colour_is_boxed_under_the_label_that_names_it() -> None:
    image = picture(((10, 20, 50, 60), RED), ((100, 10, 180, 90), BLUE))
    answer = found(image, BOTH)
    boxes = dict(zip(answer.labels, answer.boxes_xyxy.tolist(), strict=True))
    assert boxes == {"car": [10, 20, 50, 60], "sky": [100, 10, 180, 90]}
    assert answer.scores.tolist() == [1, 1]


def test_a_label_without_a_colour_is_not_looked_for() -> None:
    assert len(found(picture(((10, 20, 50, 60), RED)), Ask((Phrase("car", "car"),)))) == 0


def test_only_what_lies_in_a_drawn_box_is_looked_at() -> None:
    image = picture(((10, 20, 50, 60), RED), ((100, 10, 180, 90), RED))
    answer = found(image, Ask(BOTH.phrases, within_xyxy=((90.0, 0.0, 200.0, 100.0),)))
    assert answer.boxes_xyxy.tolist() == [[100, 10, 180, 90]]


def test_only_what_was_pointed_at_is_given() -> None:
    image = picture(((10, 20, 50, 60), RED), ((100, 10, 180, 90), RED))
    assert found(image, Ask(BOTH.phrases, at_xy=((30.0, 40.0),))).boxes_xyxy.tolist() == [
        [10, 20, 50, 60]
    ]


def test_a_picture_that_is_too_small_fails_alone() -> None:
    tiny = Image(np.zeros((4, 4, 3), np.uint8), "tiny.png")
    failed, fine = ColourBlobs().predict([tiny, picture(((10, 20, 50, 60), RED))], BOTH)
    assert isinstance(failed, ModelError)
    assert "tiny.png" in str(failed)
    assert isinstance(fine, Detections)
    assert len(fine) == 1


def test_other_colours_are_another_fingerprint(tmp_path: Path) -> None:
    palette = tmp_path / "colours.toml"
    palette.write_text("crimson = [171, 8]\n")
    mine = ColourBlobs(palette)
    assert mine.fingerprint not in ("", ColourBlobs(min_area=0.5).fingerprint)
    crimson = Ask((Phrase("crimson", "car"),))
    assert len(found(picture(((10, 20, 50, 60), RED)), crimson, mine)) == 1


def test_a_palette_that_is_missing_is_known_before_the_first_image(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match="COLOUR_BLOBS_PALETTE"):
        ColourBlobs(tmp_path / "none.toml").check()


@pytest.mark.parametrize("written", ["red", "red = 5", "red = ['a', 'b']", "red = [1]"])
def test_a_palette_that_is_not_one_says_what_a_line_looks_like(
    tmp_path: Path, written: str
) -> None:
    palette = tmp_path / "colours.toml"
    palette.write_text(written)
    with pytest.raises(WeightsUnavailable, match="Write lines such as"):
        ColourBlobs(palette).load()


@pytest.mark.parametrize("written", ["many", "0", "1", "-0.5", "nan"])
def test_an_area_that_is_no_share_is_refused(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    monkeypatch.setenv("COLOUR_BLOBS_MIN_AREA", written)
    with pytest.raises(SettingsError, match="COLOUR_BLOBS_MIN_AREA"):
        build({})


def test_its_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLOUR_BLOBS_MIN_AREA", "0.2")
    image = picture(((10, 20, 50, 60), RED), ((100, 10, 180, 90), RED))  # 0.08 and 0.32
    assert found(image, BOTH, build({})).boxes_xyxy.tolist() == [[100, 10, 180, 90]]
