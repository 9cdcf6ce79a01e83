"""How much people keep, as a real Label Studio tells it when its editor's button is pressed."""

import re
import time
from collections.abc import Iterator

import httpx2
import pytest

from .test_browser import QUIET, log_in

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

PATIENCE_MS = 30_000


@pytest.fixture
def page(playwright_driver, chromium) -> Iterator:
    with playwright_driver() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        page.set_default_timeout(PATIENCE_MS)
        yield page
        browser.close()


def reviewed(servers) -> dict[str, float]:
    """Regions by verdict, and annotations by source, since the backend started."""
    text = httpx2.get(f"{servers.backend_url}/metrics").raise_for_status().text
    found = re.findall(
        r'^prelabel_(?:reviewed_regions|annotations)_total\{.*(?:verdict|source)="(\w+)"\} (\S+)',
        text,
        re.MULTILINE,
    )
    return {name: sum(float(v) for n, v in found if n == name) for name, _ in found}


def test_what_an_annotator_submits_is_compared_with_its_prediction(project, demo_frames, page):
    servers = project.servers
    task_ids = project.upload(demo_frames.paths)
    project.retrieve()
    [task_id] = [
        one
        for one, [prediction] in zip(task_ids, project.predictions(task_ids), strict=True)
        if len({r["id"] for r in prediction["result"]}) > 1
    ][:1]
    [[prediction]] = project.predictions([task_id])
    count = len([r for r in prediction["result"] if r["type"] == "rectanglelabels"])
    before = reviewed(servers)

    log_in(page, servers)
    page.goto(f"{servers.label_studio_url}/projects/{project.id}/data?task={task_id}")
    regions = page.locator(".lsf-outliner-item")
    page.wait_for_load_state("networkidle")
    regions.nth(count - 1).wait_for()
    regions.nth(0).click()
    page.keyboard.press("Backspace")
    page.get_by_role("button", name="Submit").click()

    until = time.monotonic() + 20
    while reviewed(servers).get("prediction", 0) == before.get("prediction", 0):
        assert time.monotonic() < until, reviewed(servers)
        time.sleep(0.2)
    after = reviewed(servers)
    change = {name: after[name] - before.get(name, 0) for name in after}
    assert change["kept"] == count - 1
    assert change["removed"] == 1
