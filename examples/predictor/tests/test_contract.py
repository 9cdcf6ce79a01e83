"""What prelabel expects of every predictor.

    pytest tests/test_contract.py --predictor NAME

looks at any that is installed. One whose weights are not here is looked at as far as that goes.
"""
# ruff: noqa: D103 - a test's name is its sentence

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from prelabel.errors import OperatorError, PrelabelError
from prelabel.predictors import registry
from prelabel.predictors.base import Predictor
from prelabel.settings import Settings
from prelabel.types import Ask, Detections, Image, Phrase, Poses

ASK = Ask((Phrase("red", "red"), Phrase("distorted hand", "hand", "hand")))
SIZES_HW = ((64, 48), (96, 160), (1, 1), (64, 48), (2000, 3))
CALLERS = 4


@pytest.fixture
def predictor(request: pytest.FixtureRequest) -> Predictor:
    """The predictor, built anew as prelabel builds it."""
    return build(request)


@pytest.fixture
def loaded(predictor: Predictor) -> Predictor:
    """The predictor, ready to be asked."""
    try:
        predictor.load()
    except OperatorError as error:
        pytest.skip(f"cannot be loaded here. {error}")
    return predictor


def build(request: pytest.FixtureRequest) -> Predictor:
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    return registry.create(request.config.getoption("--predictor"), settings.options())


def pictures() -> list[Image]:
    """Noise of several sizes with something red in it, and a 1 x 1 picture among them."""
    numbers = np.random.default_rng(1)
    made = []
    for place, (height, width) in enumerate(SIZES_HW):
        pixels = numbers.integers(0, 60, (height, width, 3), np.uint8)
        pixels[height // 4 : height // 2, width // 4 : width // 2] = (220, 20, 20)
        made.append(Image(pixels, f"picture {place}"))
    return made


def same(one: object, other: object) -> bool:
    """Whether two entries say the same."""
    if isinstance(one, PrelabelError):
        return type(one) is type(other) and str(one) == str(other)
    shown = [
        {name: np.asarray(getattr(entry, name)).tolist() for name in type(entry).__slots__}
        for entry in (one, other)
    ]
    return shown[0] == shown[1]


def test_building_it_twice_gives_the_same_name_and_fingerprint(
    request: pytest.FixtureRequest, predictor: Predictor
) -> None:
    again = build(request)
    assert (again.name, again.fingerprint) == (predictor.name, predictor.fingerprint)


def test_its_name_and_fingerprint_fit_into_a_model_version(predictor: Predictor) -> None:
    assert predictor.name
    for text in (predictor.name, predictor.fingerprint):
        assert text.isprintable()
        assert not set(text) & set(" +@")


def test_with_default_settings_its_fingerprint_is_empty(predictor: Predictor) -> None:
    assert predictor.fingerprint == ""


def test_it_says_how_it_wants_to_be_called(predictor: Predictor) -> None:
    assert predictor.batch_size >= 1
    assert predictor.wants_neighbours in (True, False)


def test_it_tells_of_its_health_before_it_is_loaded(predictor: Predictor) -> None:
    assert {"loaded", "device"} <= predictor.health().keys()


def test_it_can_be_loaded_twice_and_then_says_so(loaded: Predictor) -> None:
    loaded.load()
    assert loaded.health()["loaded"] is True


def test_a_check_that_passes_is_followed_by_a_load_that_passes(loaded: Predictor) -> None:
    loaded.check()


def test_no_images_have_no_answers(loaded: Predictor) -> None:
    assert list(loaded.predict([], ASK)) == []


def test_there_is_one_entry_for_each_image_and_it_is_findings_or_an_error(
    loaded: Predictor,
) -> None:
    images = pictures()
    answer = loaded.predict(images, ASK)
    assert len(answer) == len(images)
    assert all(isinstance(entry, Detections | Poses | PrelabelError) for entry in answer)


def test_boxes_lie_inside_their_image_and_come_best_first(loaded: Predictor) -> None:
    images = pictures()
    for image, entry in zip(images, loaded.predict(images, ASK), strict=True):
        if not isinstance(entry, PrelabelError):
            assert (entry.boxes_xyxy >= 0).all()
            assert (entry.boxes_xyxy <= [image.width, image.height] * 2).all()
            scores = entry.scores if isinstance(entry, Detections) else entry.box_scores
            assert (np.diff(scores) <= 0).all()


def test_only_labels_that_were_asked_for_are_given(loaded: Predictor) -> None:
    asked = {phrase.label for phrase in ASK.phrases}
    for entry in loaded.predict(pictures(), ASK):
        if isinstance(entry, Detections):
            assert set(entry.labels) <= asked


def test_an_image_has_the_same_answer_alone_as_among_others(loaded: Predictor) -> None:
    images = pictures()
    together = loaded.predict(images, ASK)
    alone = [loaded.predict([image], ASK)[0] for image in images]
    assert all(same(one, other) for one, other in zip(together, alone, strict=True))


def test_an_ask_without_phrases_is_answered_too(loaded: Predictor) -> None:
    assert len(loaded.predict(pictures(), Ask())) == len(SIZES_HW)


def test_a_higher_threshold_never_gives_more(loaded: Predictor) -> None:
    low, high = (
        loaded.predict(pictures(), Ask(ASK.phrases, min_score=score)) for score in (0.0, 1.0)
    )
    for surely, perhaps in zip(high, low, strict=True):
        if isinstance(surely, Detections) and isinstance(perhaps, Detections):
            assert len(surely) <= len(perhaps)


def test_what_it_is_given_stays_as_it_is(loaded: Predictor) -> None:
    images, before = pictures(), pictures()
    loaded.predict(images, ASK)
    for image, unchanged in zip(images, before, strict=True):
        assert np.array_equal(image.pixels_rgb, unchanged.pixels_rgb)


def test_callers_at_the_same_time_have_the_answers_that_they_have_one_by_one(
    loaded: Predictor,
) -> None:
    expected = loaded.predict(pictures(), ASK)
    with ThreadPoolExecutor(CALLERS) as callers:
        answers = list(callers.map(lambda _: loaded.predict(pictures(), ASK), range(CALLERS)))
    for answer in answers:
        assert all(same(one, other) for one, other in zip(answer, expected, strict=True))
