"""Make the demo clip: a short "AI video" of two portraits, with distortions planted in it.

    python scripts/make_demo_frames.py [--astronaut FILE] [--hopper FILE] [--out FOLDER]

The photos are in the public domain: NASA's portrait of Eileen Collins, which scikit-image ships
(`pip install scikit-image`), and the US Navy's of Grace Hopper, which matplotlib ships
(`pip install matplotlib`). The same photos give the same frames.
"""

import argparse
import importlib.util
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

FRAMES = 16
WIDTH, HEIGHT = 640, 480
JPEG_QUALITY = 82


@dataclass(frozen=True)
class Plant:
    """One distortion: its frame (1 is the first), its box on the scene, part and kind."""

    frame: int
    scene_xyxy: tuple[int, int, int, int]
    body_part: str
    kind: str


# Scene: both portraits side by side, 1032 x 600.
PLANTS = (
    Plant(3, (178, 100, 292, 205), "face", "melt"),
    Plant(5, (120, 320, 240, 440), "torso", "smear"),
    Plant(7, (290, 330, 400, 430), "torso", "double"),
    Plant(10, (690, 190, 860, 330), "face", "melt"),
    Plant(12, (560, 400, 690, 500), "arm", "double"),
    Plant(14, (730, 375, 860, 500), "torso", "smear"),
)


def main() -> None:
    """Write the frames and what was planted in them."""
    parser = argparse.ArgumentParser(description="Make the demo clip.")
    parser.add_argument("--astronaut", type=Path, help="default: the installed scikit-image's")
    parser.add_argument("--hopper", type=Path, help="default: the installed matplotlib's")
    parser.add_argument("--out", type=Path, default=Path("examples/demo"))
    given = parser.parse_args()
    astronaut = given.astronaut or installed("skimage", "data/astronaut.png", "scikit-image")
    hopper = given.hopper or installed(
        "matplotlib", "mpl-data/sample_data/grace_hopper.jpg", "matplotlib"
    )
    scene = side_by_side(read(astronaut), read(hopper))
    folder = given.out / "frames"
    folder.mkdir(parents=True, exist_ok=True)
    planted: dict[str, list[dict[str, object]]] = {}
    for number in range(1, FRAMES + 1):
        camera = camera_at(number)
        painted = scene.copy()
        name = f"frame_{number:04d}.jpg"
        for plant in PLANTS:
            if plant.frame == number:
                KINDS[plant.kind](painted, plant.scene_xyxy)
                planted[name] = [
                    {
                        "box_xyxy": seen_box(plant.scene_xyxy, camera),
                        "body_part": plant.body_part,
                        "kind": plant.kind,
                    }
                ]
        view = cv2.warpAffine(painted, camera, (WIDTH, HEIGHT), flags=cv2.INTER_AREA)
        cv2.imwrite(str(folder / name), view, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    text = json.dumps(planted, indent=2) + "\n"
    (given.out / "planted.json").write_text(text, encoding="utf-8")


def installed(package: str, path: str, distribution: str) -> Path:
    """A file of an installed package; ends the script where there is none."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None or not (Path(spec.origin).parent / path).is_file():
        sys.exit(f"{path} is not here: pip install {distribution}, or give the file's path.")
    return Path(spec.origin).parent / path


def read(path: Path) -> np.ndarray:
    """A photo as BGR pixels; ends the script where it cannot be read."""
    photo = cv2.imread(str(path))
    if photo is None:
        sys.exit(f"{path}: not an image that OpenCV can read. Give another path.")
    return photo


def side_by_side(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Both photos at a height of 600 pixels, the right one lying a little over the left."""
    left = cv2.resize(left, (600, 600), interpolation=cv2.INTER_CUBIC)
    right = cv2.resize(right, (512, 600), interpolation=cv2.INTER_AREA)
    return np.concatenate([left[:, :520], right], axis=1)


def camera_at(number: int) -> np.ndarray:
    """The affine map (2, 3) from scene to frame: a slow pan with a little zoom and rotation."""
    time = (number - 1) / (FRAMES - 1)
    ease = time * time * (3 - 2 * time)
    zoom = 0.88 + 0.05 * np.sin(np.pi * time)
    centre = (385 + 260 * ease, 294 + 5 * np.sin(2 * np.pi * time))
    camera = cv2.getRotationMatrix2D(centre, 0.8 * np.sin(2 * np.pi * time), zoom)
    camera[:, 2] += (WIDTH / 2 - centre[0], HEIGHT / 2 - centre[1])
    return camera


def seen_box(scene_xyxy: tuple[int, int, int, int], camera: np.ndarray) -> list[int]:
    """The box on the frame around a box of the scene."""
    x1, y1, x2, y2 = scene_xyxy
    corners = np.array([[x1, y1, 1], [x2, y1, 1], [x1, y2, 1], [x2, y2, 1]]) @ camera.T
    low = np.maximum(corners.min(0), 0)
    high = np.minimum(corners.max(0), (WIDTH, HEIGHT))
    return [round(float(edge)) for edge in (*low, *high)]


def soft_mask(height: int, width: int) -> np.ndarray:
    """(height, width, 1) in 0..1: a filled ellipse with a soft edge."""
    mask = np.zeros((height, width), np.float32)
    middle, axes = (width // 2, height // 2), (int(width * 0.46), int(height * 0.46))
    cv2.ellipse(mask, middle, axes, 0, 0, 360, 1, -1)
    return cv2.GaussianBlur(mask, (0, 0), min(height, width) / 24)[..., None]


def melt(scene: np.ndarray, scene_xyxy: tuple[int, int, int, int]) -> None:
    """Let what is in the box run down in waves, as video models melt faces."""
    x1, y1, x2, y2 = scene_xyxy
    patch = scene[y1:y2, x1:x2]
    height, width = patch.shape[:2]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    sideways = 0.10 * width * np.sin(rows / height * 7 + 0.5)
    down = 0.2 * height * (1.0 + np.sin(columns / width * 9))
    melted = cv2.remap(
        patch, columns + sideways, rows - down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    blend(patch, melted)


def double(scene: np.ndarray, scene_xyxy: tuple[int, int, int, int]) -> None:
    """Lay a shifted copy of the surroundings over the box, as a limb drawn twice."""
    x1, y1, x2, y2 = scene_xyxy
    patch = scene[y1:y2, x1:x2]
    shift = -(x2 - x1) // 2
    copy = np.roll(scene, (-shift // 2, shift), axis=(0, 1))[y1:y2, x1:x2]
    blend(patch, cv2.addWeighted(patch, 0.15, copy, 0.85, 0))


def smear(scene: np.ndarray, scene_xyxy: tuple[int, int, int, int]) -> None:
    """Drag what is in the box round its centre, as fabric that lost its texture."""
    x1, y1, x2, y2 = scene_xyxy
    patch = scene[y1:y2, x1:x2]
    height, width = patch.shape[:2]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    across, along = columns - width / 2, rows - height / 2
    turn = 2.6 * np.exp(-(across**2 + along**2) / (0.12 * width * height))
    swirled = cv2.remap(
        patch,
        (width / 2 + across * np.cos(turn) - along * np.sin(turn)).astype(np.float32),
        (height / 2 + across * np.sin(turn) + along * np.cos(turn)).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )
    blend(patch, swirled)


def blend(patch: np.ndarray, damaged: np.ndarray) -> None:
    """Put the damage into the patch, softly at its edge."""
    mask = soft_mask(*patch.shape[:2])
    patch[:] = np.round(patch * (1 - mask) + damaged * mask).astype(np.uint8)


KINDS = {"melt": melt, "double": double, "smear": smear}

if __name__ == "__main__":
    main()
