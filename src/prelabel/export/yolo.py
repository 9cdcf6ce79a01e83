"""YOLO pose datasets: a label file per image, and the `data.yaml` that describes them.

Format: https://docs.ultralytics.com/datasets/pose/. Everything is a share of the image's width or
height; what is drawn has visibility 2, what is not drawn is 0 0 0.
"""

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from prelabel import keypoints
from prelabel.export.pictures import Picture, Schema, everyone

_SUFFIXES = frozenset({
    ".avif", ".bmp", ".dng", ".heic", ".heif", ".jp2", ".jpeg",
    ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp",
})  # fmt: skip
_PERSON = 0
_DRAWN = 2


def keypoints_of(schema: Schema) -> tuple[int, ...]:
    """Indices of the keypoints in each row: all groups that the project has labels of.

    Both hands where it has one: a mirrored picture turns one into the other.
    """
    groups = {
        name
        for name, group in keypoints.GROUPS.items()
        if not set(group).isdisjoint(schema.keypoints)
    }
    if groups & {"left_hand", "right_hand"}:
        groups |= {"left_hand", "right_hand"}
    return tuple(
        index for name, group in keypoints.GROUPS.items() if name in groups for index in group
    )


def image_name(picture: Picture) -> str:
    """A picture's `file_name` with the suffix of an image, without which it is passed over.

    What kind of image it is, is read from the file, whatever the suffix says.
    """
    path = PurePosixPath(picture.file_name)
    return str(path if path.suffix.lower() in _SUFFIXES else path.with_suffix(".jpg"))


def label_path(picture: Picture) -> PurePosixPath:
    """Where the label file of a picture lies, below the dataset's folder.

    It is looked for under the image's path with `labels` for the last folder of the name `images`,
    which is a folder of the bucket where that has one.
    """
    *folders, name = PurePosixPath("images", picture.file_name).parts
    last = max(place for place, folder in enumerate(folders) if folder == "images")
    folders[last] = "labels"
    return PurePosixPath(*folders, name).with_suffix(".txt")


def label_files(folder: Path) -> Iterator[Path]:
    """The label files that a dataset's folder holds, wherever `label_path` may have put them."""
    yield from (folder / "labels").glob("**/*.txt")
    yield from (folder / "images").glob("**/labels/**/*.txt")


def label_text(picture: Picture, schema: Schema) -> str:
    """The label file of a picture: class, box and keypoints of one person a line."""
    height, width = picture.image_hw
    side = np.array([width, height], np.float32)
    indices = list(keypoints_of(schema))
    people = everyone(picture, schema)
    boxes = people.boxes_xyxy.reshape(-1, 2, 2) / side
    lines = []
    for row, (low, high) in enumerate(boxes):
        numbers = [*((low + high) / 2), *(high - low)]
        words = [str(_PERSON), *(f"{number:.6f}" for number in numbers)]
        for index in indices:
            if people.keypoint_scores[row, index] > 0:
                x, y = np.clip(people.keypoints_xy[row, index] / side, 0, 1)
                words.append(f"{x:.6f} {y:.6f} {_DRAWN}")
            else:
                words.append("0 0 0")
        lines.append(" ".join(words) + "\n")
    return "".join(lines)


def data_yaml(schema: Schema) -> str:
    """The description of the dataset, with which keypoints change places in a mirrored picture."""
    indices = keypoints_of(schema)
    mirror = {index: index for index in indices}
    for left, right in keypoints.SWAP_PAIRS:
        if left in mirror and right in mirror:
            mirror[left], mirror[right] = right, left
    flip = [indices.index(mirror[index]) for index in indices]
    names = [keypoints.NAMES[index] for index in indices]
    return f"""\
# Paths are relative to this file. Split the images for validation as you see fit.
train: images
val: images
kpt_shape: [{len(indices)}, 3]
flip_idx: {json.dumps(flip)}
names:
  {_PERSON}: person
kpt_names:
  {_PERSON}: {json.dumps(names)}
"""
