"""What an annotator sees: a headless Chromium opens a pre-annotated task."""

from collections.abc import Iterator

import pytest

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
