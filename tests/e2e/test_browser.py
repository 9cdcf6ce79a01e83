"""What an annotator sees: a headless Chromium opens a pre-annotated task."""

import colorsys
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from prelabel.labelstudio.config import parse
from prelabel.labelstudio.templates import pose_config

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

QUIET = (
    "--no-sandbox",  # there is none for root, and CI is root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS = 60_000
SETTLE_MS = 1_500
SAME_HUE = 0.06  # of the circle; from the yellow of the face's points to skin it is 0.1


@pytest.fixture
def page(playwright_driver, chromium) -> Iterator:
    """A page of a new browser with an empty profile."""
    with playwright_driver() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        page.set_default_timeout(PATIENCE_MS)
        yield page
        browser.close()


def log_in(page, servers):
    page.goto(f"{servers.label_studio_url}/user/login/")
    page.fill("input[name=email]", servers.user.username)
    page.fill("input[name=password]", servers.user.password)
    page.click("button[type=submit]")
    page.wait_for_url(lambda url: "/login" not in url)


def parts_by_box(prediction):
    """The body part of each rectangle, in the order of the result."""
    choices = {
        region["id"]: region["value"]["choices"][0]
        for region in prediction["result"]
        if region["from_name"] == "body_part"
    }
    return [
        choices[region["id"]]
        for region in prediction["result"]
        if region["type"] == "rectanglelabels"
    ]


def test_an_annotator_finds_the_boxes_with_label_and_body_part(
    project, demo_frames, page, artefacts
):
    task_ids = project.upload(demo_frames.paths)
    project.retrieve()
    predictions = [found[0] for found in project.predictions(task_ids)]
    task_id, prediction = max(
        zip(task_ids, predictions, strict=True), key=lambda pair: len(pair[1]["result"])
    )
    parts = parts_by_box(prediction)
    assert parts, "no demo frame has a box to look for"

    log_in(page, project.servers)
    page.goto(f"{project.servers.label_studio_url}/projects/{project.id}/data?task={task_id}")
    regions = page.locator(".lsf-outliner-item")
    page.wait_for_load_state("networkidle")  # the editor draws its outliner anew until then
    regions.nth(len(parts) - 1).wait_for()
    seen = []
    for number in range(len(parts)):
        regions.nth(number).click()
        details = page.get_by_test_id("detailed-region")
        details.wait_for()
        text = details.inner_text()
        assert "body_distortion" in text
        seen.append(next(part for part in parts if part in text))
        page.screenshot(path=artefacts / "screenshots" / f"task-box-{number + 1}.png")
    assert sorted(seen) == sorted(parts)


def test_an_annotator_sees_a_person_with_its_points(new_project, demo_photos, page, artefacts):
    project = new_project(pose_config("133"))
    [task_id] = project.upload([demo_photos.path("astronaut.jpg")])
    project.retrieve()
    [[prediction]] = project.predictions([task_id])
    points = [one for one in prediction["result"] if one["type"] == "keypointlabels"]
    assert len(points) > 68

    log_in(page, project.servers)
    page.goto(f"{project.servers.label_studio_url}/projects/{project.id}/data?task={task_id}")
    listed = page.locator(".lsf-outliner-item")
    listed.first.wait_for()
    page.wait_for_timeout(SETTLE_MS)
    picture = artefacts / "screenshots" / "task-pose.png"
    page.screenshot(path=picture)
    seen = hues_at(points, picture, page.get_by_alt_text("image", exact=True).bounding_box())
    hue_of = hues_of_labels(project.label_config)
    wanted = [hue_of[point["value"]["keypointlabels"][0]] for point in points]
    in_colour = np.abs(np.subtract(seen, wanted)) < SAME_HUE  # points are drawn translucent
    assert in_colour.mean() > 0.9  # a few lie under others

    names = listed.all_inner_texts()
    assert "person" in names[0]
    for name, point in zip(names[1:], points, strict=False):  # the list shows what fits in it
        assert point["value"]["keypointlabels"][0] in name
    page.locator(".lsf-tree-switcher").first.click()
    listed.nth(1).wait_for(state="detached")  # the points fold into the person
    assert listed.count() == 1


def hues_of_labels(label_config):
    """The hue, 0..1, that each label is to be drawn in."""
    return {
        label.value: hue(bytes.fromhex(label.attributes["background"].lstrip("#")))
        for control in parse(label_config).controls
        for label in control.labels
    }


def hues_at(points, screenshot, shown):
    """The hue of a screenshot in the place of each keypoint, given where it shows the image."""
    pixels = np.asarray(Image.open(screenshot).convert("RGB"))
    return [
        hue(
            pixels[
                round(shown["y"] + point["value"]["y"] / 100 * shown["height"]),
                round(shown["x"] + point["value"]["x"] / 100 * shown["width"]),
            ]
        )
        for point in points
    ]


def hue(rgb):
    return colorsys.rgb_to_hsv(*(float(byte) / 255 for byte in rgb))[0]
