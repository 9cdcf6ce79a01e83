"""How far keypoints move when images are recompressed for `prelabel run --backend`.

The embedded pose model looks at each picture as it is and as it travels; the same person is the
one whose box overlaps most. Distances are in percent of the longer side of the person's box, over
keypoints that score at least 0.3 on the original.

    python scripts/measure_recompression.py FOLDER_OR_PICTURE … [--enlarge 3]
"""

import argparse
import os
import platform
from pathlib import Path

import cv2
import numpy as np

from prelabel.batch.packing import Squeeze, jpeg
from prelabel.geometry import pairwise_iou
from prelabel.predictors.base import Predictor
from prelabel.predictors.registry import create
from prelabel.settings import load
from prelabel.types import Ask, Image, Poses

QUALITIES = (95, 90, 80)
SIDES = (1280, 1024)
KINDS = (".jpg", ".jpeg", ".png")
LEAST_SCORE, LEAST_OVERLAP, NEAR_PCT = 0.3, 0.5, 5


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--enlarge", type=float, default=1.0, help="scale of the originals")
    options = parser.parse_args()
    paths = [
        path
        for given in options.pictures
        for path in (sorted(given.iterdir()) if given.is_dir() else [given])
        if path.suffix.lower() in KINDS
    ]
    model = create("embedded-pose", load().options())
    model.load()
    originals = [_read(path.read_bytes(), options.enlarge) for path in paths]
    sizes = sorted({f"{image.width} x {image.height}" for image in originals})
    seen = [_people(model, image) for image in originals]
    plain = sum(len(jpeg(image.pixels_rgb, Squeeze(95, 10**6))) for image in originals)
    print(f"method: {model.name}, {len(paths)} pictures ({', '.join(sizes)}), {platform.machine()}")
    print(f"cores {os.cpu_count()}, cv2 {cv2.__version__}, people {sum(map(len, seen))}")
    print("quality  side  size  people lost  new  median %  95th %  within 5 %")
    for side in SIDES:
        for quality in QUALITIES:
            squeeze = Squeeze(quality, side)
            files = [jpeg(image.pixels_rgb, squeeze) for image in originals]
            moved, lost, new = [], 0, 0
            for image, file, before in zip(originals, files, seen, strict=True):
                small = _read(file, 1.0)
                distances, missing, more = _moved(before, _people(model, small), small, image)
                moved += distances
                lost, new = lost + missing, new + more
            median, high = np.percentile(moved, [50, 95])
            near = 100 * np.mean(np.array(moved) <= NEAR_PCT)
            share = 100 * sum(map(len, files)) / plain
            print(
                f"{quality:7}  {side:4}  {share:3.0f}%  {lost:11}  {new:3}  {median:8.2f}  "
                f"{high:6.2f}  {near:9.1f}%"
            )


def _read(file: bytes, scale: float) -> Image:
    pixels = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR_RGB)
    if scale != 1:
        pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    return Image(pixels)


def _people(model: Predictor, image: Image) -> Poses:
    (found,) = model.predict([image], Ask())
    assert isinstance(found, Poses), found
    return found


def _moved(before: Poses, after: Poses, small: Image, image: Image) -> tuple[list[float], int, int]:
    """Distances of the points of the same people, and how many people were lost and found."""
    scale = np.array([image.width / small.width, image.height / small.height], np.float32)
    boxes = after.boxes_xyxy * np.tile(scale, 2)
    if not len(before) or not len(after):
        return [], len(before), len(after)
    overlap = pairwise_iou(before.boxes_xyxy, boxes)
    distances, matched = [], 0
    for person, row in enumerate(overlap):
        other = int(np.argmax(row))
        if row[other] < LEAST_OVERLAP:
            continue
        matched += 1
        x1, y1, x2, y2 = before.boxes_xyxy[person]
        sure = before.keypoint_scores[person] >= LEAST_SCORE
        shift = before.keypoints_xy[person] - after.keypoints_xy[other] * scale
        away = np.linalg.norm(shift, axis=1)[sure] / max(x2 - x1, y2 - y1)
        distances += [100 * float(distance) for distance in away]
    return distances, len(before) - matched, len(after) - matched


if __name__ == "__main__":
    main()
