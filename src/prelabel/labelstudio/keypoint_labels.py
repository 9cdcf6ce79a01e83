"""Which of the 133 whole-body keypoints a label means, in the spellings that projects use."""

import re
from collections.abc import Iterable, Mapping, Sequence

from prelabel import keypoints
from prelabel.labelstudio.config import Label, LabelConfig, normalised

PERSON_WORDS = frozenset({"person", "people", "human", "man", "woman", "pose"})
"""Labels of a rectangle that holds a person's keypoints."""

_SIDES = {"left": "left", "l": "left", "right": "right", "r": "right"}
_FINGERS = {
    "thumb": "thumb",
    "index": "forefinger",
    "forefinger": "forefinger",
    "fore": "forefinger",
    "middle": "middle_finger",
    "ring": "ring_finger",
    "pinky": "pinky_finger",
    "little": "pinky_finger",
}
_FILLERS = {"finger", "kpt", "keypoint", "landmark", "point"}
_TOKENS = re.compile(
    r"[A-Z]+(?=[A-Z][a-z])|(?:[Ll]eft|[Rr]ight)(?=[a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+"
)
"""Words as in "left_eye", "leftEye", "LEye", "LEFT_EYE" and "lefteye", and numbers."""
_JOINTS_OF_A_FINGER = 4


def means_person(label: Label) -> bool:
    """Whether rectangles with this label hold a person's keypoints."""
    return bool(PERSON_WORDS & {normalised(name) for name in label.names})


def person_labels(config: LabelConfig) -> tuple[str, ...]:
    """The stored labels of all rectangles that hold a person's keypoints."""
    rectangles = (control for control in config.controls if control.tag == "RectangleLabels")
    people = (one.stored for control in rectangles for one in control.labels if means_person(one))
    return tuple(dict.fromkeys(people))


def keypoint_labels(labels: Sequence[Label]) -> dict[int, str]:
    """The labels that name a whole-body keypoint: its index and the label that is stored for it.

    A label's name decides: COCO-WholeBody's own ("left_eye", "face-0", "left_hand_root",
    "right_forefinger2"), also as "LeftEye", "leftEye" or "LEye", or numbered as in "face_0",
    "left_hand_20", "left_wrist_0", "left_thumb_1", "left_index_5", counted from 0 or, where the
    project's numbers say so, from 1.
    Where the name says nothing, for example in another language, the label's alias does, then its
    `predicted_values`, where all of them that are keypoints are the same one.
    Where no word says anything, its `model_index` does, if those of the other labels show that it
    counts these 133 keypoints. Of two labels for one keypoint the first counts.
    """
    first = _first_numbers(name for label in labels for name in label.names)
    by_name = [_index_of_words(label, first) for label in labels]
    by_number = [_model_index(label) for label in labels]
    numbers_count = _count_these_keypoints(by_name, by_number)
    found: dict[int, str] = {}
    for label, named, numbered in zip(labels, by_name, by_number, strict=True):
        index = numbered if named is None and numbers_count else named
        if index is not None:
            found.setdefault(index, label.stored)
    return found


def _count_these_keypoints(by_name: Sequence[int | None], by_number: Sequence[int | None]) -> bool:
    """Whether `model_index` counts whole-body keypoints, and not, say, those of one hand."""
    both = [
        (named, numbered)
        for named, numbered in zip(by_name, by_number, strict=True)
        if named is not None and numbered is not None
    ]
    if both:
        return all(named == numbered for named, numbered in both)
    return set(by_number) == set(range(len(keypoints.NAMES)))


def _first_numbers(names: Iterable[str]) -> dict[str, int]:
    """Whether a project counts the points of a "hand" and of a "face" from 0 or from 1."""
    numbers: dict[str, set[int]] = {"hand": set(), "face": set()}
    for name in names:
        _, words, number = _parsed(name)
        if len(words) == 1 and words[0] in numbers and number is not None:
            numbers[words[0]].add(number)
    counts = {"hand": len(keypoints.LEFT_HAND), "face": len(keypoints.FACE)}
    return {part: int(0 not in seen and counts[part] in seen) for part, seen in numbers.items()}


def _model_index(label: Label) -> int | None:
    written = label.attributes.get("model_index", "")
    is_number = re.fullmatch(r"[0-9]{1,3}", written) is not None
    return int(written) if is_number and int(written) < len(keypoints.NAMES) else None


def _index_of_words(label: Label, first: Mapping[str, int]) -> int | None:
    for name in (label.value, label.alias or ""):
        index = _index_of_name(name, first)
        if index is not None:
            return index
    meant = {_index_of_name(word, first) for word in label.predicted_values} - {None}
    return meant.pop() if len(meant) == 1 else None


def _index_of_name(name: str, first: Mapping[str, int]) -> int | None:
    side, words, number = _parsed(name)
    if side is None:
        if words == ["face"] and number is not None:
            return _within(keypoints.FACE, number - first["face"])
        return keypoints.INDEX["nose"] if words == ["nose"] and number is None else None
    if number is None or words == ["hand", "root"]:
        return keypoints.INDEX.get("_".join([side, *words]))
    hand = keypoints.LEFT_HAND if side == "left" else keypoints.RIGHT_HAND
    return _hand_point(hand, words, number, first)


def _hand_point(hand: range, words: list[str], number: int, first: Mapping[str, int]) -> int | None:
    if words == ["wrist"]:
        return hand.start if number == 0 else None
    if words == ["hand"]:
        return _within(hand, number - first["hand"])
    if len(words) == 1 and words[0] in _FINGERS:
        return _finger_point(hand, _FINGERS[words[0]], number)
    return None


def _finger_point(hand: range, finger: str, number: int) -> int | None:
    """A finger's joints are numbered 1 to 4, or on through the hand: thumb 1-4, index 5-8."""
    before = _JOINTS_OF_A_FINGER * keypoints.FINGERS.index(finger)
    joint = number if number <= _JOINTS_OF_A_FINGER else number - before
    if not 1 <= joint <= _JOINTS_OF_A_FINGER:
        return None
    return hand.start + before + joint


def _within(points: range, place: int) -> int | None:
    return points[place] if 0 <= place < len(points) else None


def _parsed(name: str) -> tuple[str | None, list[str], int | None]:
    """A name's side, its words without fillers, and the number at its end."""
    tokens = [token.lower() for token in _TOKENS.findall(name)]
    is_numbered = bool(tokens) and re.fullmatch(r"[0-9]{1,3}", tokens[-1]) is not None
    number = int(tokens.pop()) if is_numbered else None
    side = next((_SIDES[token] for token in tokens if token in _SIDES), None)
    words = [token for token in tokens if token not in _SIDES and token not in _FILLERS]
    return side, words, number
