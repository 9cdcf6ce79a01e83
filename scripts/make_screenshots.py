"""Make the pictures of the README and the docs: Label Studio with tasks that prelabel filled.

    python scripts/make_screenshots.py [--out docs/images] [--label-studio PROGRAM]

Starts the demo on free ports with new data, opens tasks of it in a headless Chromium, and ends
it. Needs playwright (`make dev-install`), a Chromium and the demo's Label Studio
(`make .venv-labelstudio`); no browser is downloaded.
"""

import argparse
import io
import shutil
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from prelabel.labelstudio_api.backends import Connection
from prelabel.labelstudio_api.client import LabelStudio
from prelabel.launch.demo import USER, Demo, bring_up
from prelabel.launch.demo_projects import Showcase, boxes_showcase, picture_name, poses_showcase
from prelabel.launch.label_studio import find_executable
from prelabel.launch.processes import ending_on_signals, free_port
from prelabel.logs import configure

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "demo"
WINDOW = {"width": 1400, "height": 900}
SHADES = 26  # of each primary colour; a palette would take the small points' colours away
PATIENCE_MS = 60_000
SETTLE_MS = 1500  # fonts, thumbnails and the editor's first fit of the image


@dataclass(frozen=True)
class Shot:
    """A task to open and the file that its picture is written to."""

    file_name: str
    showcase: Showcase
    connection: Connection
    picture: str


def main() -> None:
    """Write each picture."""
    parser = argparse.ArgumentParser(description="Make the screenshots of the docs.")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--chromium", default=shutil.which("chromium"), help="the browser")
    parser.add_argument("--label-studio", type=Path, help="default: as `prelabel demo` finds it")
    given = parser.parse_args()
    if given.chromium is None:
        sys.exit("No chromium here: apt-get install chromium, or name one with --chromium.")
    given.out.mkdir(parents=True, exist_ok=True)
    configure("WARNING", "console")
    with ending_on_signals(), TemporaryDirectory() as data_dir, ExitStack() as started:
        demo = new_demo(Path(data_dir), find_executable(given.label_studio))
        running = bring_up(demo, started, print)
        browser = started.enter_context(sync_playwright()).chromium.launch(
            executable_path=given.chromium,
            args=["--no-sandbox"],  # there is none for root
        )
        page = browser.new_page(viewport=WINDOW)
        page.set_default_timeout(PATIENCE_MS)
        log_in(page, demo.label_studio_url)
        for shot in (
            Shot("task.png", demo.boxes, running.boxes, "frame_0003.jpg"),
            Shot("pose.png", demo.poses, running.poses, "astronaut.jpg"),
        ):
            task_id = find_task(shot, running.client)
            screenshot = open_task(page, f"{shot.connection.project_url}?task={task_id}")
            write(screenshot, given.out / shot.file_name)
        browser.close()


def new_demo(data_dir: Path, label_studio: Path) -> Demo:
    """The demo as `make demo` shows it, on free ports and new data."""
    return Demo(
        boxes=boxes_showcase(EXAMPLES / "frames"),
        poses=poses_showcase(EXAMPLES / "people"),
        data_dir=data_dir,
        logs_dir=data_dir / "logs",
        label_studio=label_studio,
        label_studio_url=f"http://localhost:{free_port()}",
        backend_url=f"http://127.0.0.1:{free_port()}",
    )


def log_in(page: Page, label_studio_url: str) -> None:
    """Sign in as the demo's user."""
    page.goto(f"{label_studio_url}/user/login/")
    page.fill("input[name=email]", USER.username)
    page.fill("input[name=password]", USER.password)
    page.click("button[type=submit]")
    page.wait_for_url(lambda url: "/login" not in url)


def find_task(shot: Shot, client: LabelStudio) -> int:
    """The task that shows the wanted picture."""
    pictures = shot.showcase.pictures()
    return next(
        int(task["id"])
        for task in client.tasks(shot.connection.project_id)
        if picture_name(task, pictures) == shot.picture
    )


def open_task(page: Page, address: str) -> bytes:
    """A screenshot, as PNG, of a task with its first region selected."""
    page.goto(address)
    first = page.locator(".lsf-outliner-item").first
    first.wait_for()
    page.wait_for_timeout(SETTLE_MS)
    first.click()
    page.get_by_test_id("detailed-region").wait_for()
    page.mouse.move(0, 0)
    page.wait_for_timeout(SETTLE_MS)
    return page.screenshot()


def write(screenshot: bytes, path: Path) -> None:
    """Write it in fewer shades: half the size, and hardly a difference to the eye."""
    step = 255 / (SHADES - 1)
    rounded = [round(round(shade / step) * step) for shade in range(256)]
    picture = Image.open(io.BytesIO(screenshot)).convert("RGB")
    picture.point(rounded * 3).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
