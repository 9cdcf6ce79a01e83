"""Make the demo's photos: three people, and a cup of coffee that nobody sits beside.

    python scripts/make_demo_people.py [--photos FOLDER] [--out FOLDER]

The photos are in the public domain or CC0; scikit-image and matplotlib ship them
(`pip install scikit-image matplotlib`). The same photos give the same files.
"""

import argparse
from pathlib import Path

from make_demo_frames import installed
from PIL import Image

LONGEST_SIDE = 640
JPEG_QUALITY = 85
PHOTOS = (
    ("skimage", "data/astronaut.png", "scikit-image"),
    ("skimage", "data/camera.png", "scikit-image"),
    ("skimage", "data/coffee.png", "scikit-image"),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg", "matplotlib"),
)
"""Package, file in it, and the distribution that brings the package."""


def main() -> None:
    """Write each photo as a JPEG file."""
    parser = argparse.ArgumentParser(description="Make the demo's photos of people.")
    parser.add_argument("--photos", type=Path, help="default: in the packages that ship them")
    parser.add_argument("--out", type=Path, default=Path("examples/demo/people"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for package, path, distribution in PHOTOS:
        name = Path(path).name
        source = given.photos / name if given.photos else installed(package, path, distribution)
        photo = Image.open(source).convert("RGB")
        photo.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
        target = (given.out / name).with_suffix(".jpg")
        photo.save(target, quality=JPEG_QUALITY, optimize=True)
        print(f"{target}: {photo.width} x {photo.height}, {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
