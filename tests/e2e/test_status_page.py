"""What an operator sees: a headless Chromium looks at the status page of a working server."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx2
import pytest

from prelabel.labelstudio.templates import boxes_config
from prelabel.launch import backend as backends
from prelabel.launch.processes import free_port
from prelabel.store.database import open_database
from prelabel.store.jobs import Job, Jobs

from .conftest import DEMO
from .test_run_report import CONTRAST, HOSTILE

pytestmark = pytest.mark.browser

LABEL_STUDIO = "http://label-studio.example:8080"
PROJECT, BUSY_PROJECT = 7, 3
WIDE, NARROW = 1280, 390
PASSWORD = "never shown"


@dataclass(frozen=True)
class Site:
    """A server with something of everything to show."""

    url: str
    jobs: Jobs
    running: Job
    login: tuple[str, str] = ("ann", PASSWORD)

    def post(self, path: str, body: dict) -> dict:
        answer = httpx2.post(f"{self.url}{path}", json=body, auth=self.login, timeout=60)
        return answer.raise_for_status().json()

    def status(self) -> dict:
        return httpx2.get(f"{self.url}/status", auth=self.login).raise_for_status().json()


@pytest.fixture(scope="module")
def site(artefacts, tmp_path_factory) -> Iterator[Site]:
    folder, url = tmp_path_factory.mktemp("status"), f"http://127.0.0.1:{free_port()}"
    settings = {
        "LABEL_STUDIO_URL": LABEL_STUDIO,
        "BOXES_PREDICTOR": "grounding-dino",  # there are no weights, so the second choice answers
        "GROUNDING_DINO_MODEL_ID": str(folder / "no-such-model"),
        "POSES_PREDICTOR": "embedded-pose",
        "DATA_DIR": str(folder),
        "LOCAL_FILES_DOCUMENT_ROOT": str(DEMO),
        "BASIC_AUTH_USER": "ann",
        "BASIC_AUTH_PASS": PASSWORD,
    }
    jobs = Jobs(open_database("", folder))
    site = Site(url, jobs, running(jobs))
    with backends.start(url, log_path=artefacts / "status.log", environment=settings):
        for spacing in (6, 4, 3, 2):
            train(site, spacing)
        predict(site)
        yield site


def running(jobs: Jobs) -> Job:
    """A training that some other worker is at."""
    jobs.submit("training", f"{LABEL_STUDIO}#{BUSY_PROJECT}")
    job = jobs.claim("another machine", ("training",), lease_s=600)
    assert job is not None
    say(jobs, job, 0.42, "fetching annotated task 42 of 100")
    return job


def say(jobs: Jobs, job: Job, progress: float, message: str) -> None:
    assert jobs.renew(job.id, "another machine", 600, progress=progress, message=message)


def train(site: Site, spacing: int) -> None:
    """Learn an object that swings to and fro, from every so many-th frame."""
    tasks = [task(f, annotations=[{"result": [swinging(f)]}]) for f in range(0, 72, spacing)]
    body = {"project": PROJECT, "label_config": boxes_config(), "tasks": tasks}
    job = site.post("/train", body)["job"]
    until = time.monotonic() + 60
    while site.post("/job_status", {"job": job})["job_status"] in ("queued", "running"):
        assert time.monotonic() < until
        time.sleep(0.1)


def task(frame: int, **more) -> dict:
    data = {"image": f"/data/upload/7/swing_{frame:04}.png"}
    return {"id": 1000 + frame, "data": data, **more}


def swinging(frame: int) -> dict:
    place = abs((frame * 3) % 120 - 60)
    value = {"x": 10 + place, "y": 40.0, "width": 12.0, "height": 20.0, "rotation": 0}
    return {
        "id": f"r{frame}", "from_name": "label", "to_name": "image", "type": "rectanglelabels",
        "original_width": 640, "original_height": 360, "image_rotation": 0,
        "value": {**value, "rectanglelabels": ["body_distortion"]},
    }  # fmt: skip


def predict(site: Site) -> None:
    """Frames that are there, and images that cannot be had."""
    frames = [f"/data/local-files/?d=frames/{one.name}" for one in (DEMO / "frames").iterdir()]
    lost = ["/nowhere/a.png", "ftp://old/b.png", f"/nowhere/{HOSTILE}.png", ""]
    tasks = [{"id": n, "data": {"image": uri}} for n, uri in enumerate(frames[:6] + lost, 1)]
    site.post("/predict", {"project": 4, "label_config": boxes_config(), "tasks": tasks})


@pytest.fixture
def browser(playwright_driver, chromium) -> Iterator:
    with playwright_driver() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


def open_page(browser, site, **looks):
    """The page, and what the browser complained of or asked others for."""
    troubles = []
    user, password = site.login
    page = browser.new_page(http_credentials={"username": user, "password": password}, **looks)
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("dialog", lambda dialog: troubles.append(dialog.message))
    page.on(
        "request",
        lambda request: request.url.startswith(site.url) or troubles.append(request.url),
    )
    page.goto(site.url)
    return page, troubles


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_it_shows_all_that_matters_without_an_error_or_a_foreign_request(
    browser, site, artefacts, scheme, width
):
    page, troubles = open_page(
        browser, site, color_scheme=scheme, viewport={"width": width, "height": 900}
    )
    page.wait_for_timeout(2500)  # over one refresh
    said = page.text_content("body")  # what is folded away, too
    for words in ("opencv-fallback", "embedded-pose", "cannot be used", "42 %", HOSTILE[:20],
                  "ImageMissing", "Project 7: version", "task 10"):  # fmt: skip
        assert words in said, words
    assert PASSWORD not in page.content()
    link = page.get_by_role("link", name="task 10")
    assert link.get_attribute("href").startswith(f"{LABEL_STUDIO}/projects/4/data?task=")
    assert page.locator("svg.plot .learner circle").count() >= 3
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    failed = page.locator("#projects thead th", has_text="Failed").bounding_box()
    assert failed["x"] + failed["width"] <= width
    assert page.evaluate(CONTRAST)["ratio"] >= 4.5  # WCAG 2.2, 1.4.3
    assert troubles == []
    name = f"status-{scheme}-{width}.png"
    page.screenshot(path=artefacts / "screenshots" / name, full_page=True)


def test_numbers_change_in_place(browser, site):
    page, troubles = open_page(browser, site)
    page.locator("details").first.locator("summary").click()
    page.evaluate("window.seen = document.querySelector('progress')")
    say(site.jobs, site.running, 0.57, "learning")
    page.get_by_text("57 %").wait_for(timeout=10_000)
    assert page.locator("progress").get_attribute("value") == "57"
    assert page.evaluate("window.seen === document.querySelector('progress')")
    assert page.locator("details").first.get_attribute("open") is not None
    assert troubles == []
    say(site.jobs, site.running, 0.42, "fetching annotated task 42 of 100")


@pytest.mark.parametrize("script", [True, False])
def test_a_click_cancels_a_job(browser, site, script):
    job = site.jobs.submit("training", f"{LABEL_STUDIO}#{90 + script}", delay_s=600)
    page, troubles = open_page(browser, site, java_script_enabled=script)
    row = page.locator(f"#job-{job.id}")
    row.get_by_role("button", name="Cancel").click()
    row.get_by_text("cancelled", exact=True).wait_for()
    assert site.jobs.get(job.id).status == "cancelled"
    assert row.get_by_role("button").count() == 0
    assert page.url.rstrip("?/") == site.url
    assert troubles == []


def test_a_server_that_is_gone_is_said(browser, site):
    page, _ = open_page(browser, site)
    page.route("**/*", lambda route: route.abort())
    page.get_by_text("No answer from the server").wait_for(timeout=10_000)
    page.unroute("**/*")
    page.get_by_text("No answer from the server").wait_for(state="hidden", timeout=10_000)
