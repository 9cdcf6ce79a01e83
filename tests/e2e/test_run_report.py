"""The report of a run, as a headless Chromium shows it."""

from collections.abc import Iterator

import pytest

from prelabel.batch.report.contact_sheet import contact_sheet
from prelabel.batch.report.page import write_report
from prelabel.batch.summary import Counts, RunSummary, Sample, Stage
from prelabel.labelstudio.config import parse
from prelabel.labelstudio.templates import boxes_config
from prelabel.media.decode import decode
from prelabel.media.limits import Limits
from prelabel.store.journal import Failed

pytestmark = pytest.mark.browser

HOSTILE = "<img src=http://127.0.0.1:1/x onerror=alert(1)>"
WIDE, NARROW = 1280, 390


@pytest.fixture
def browser(playwright_driver, chromium) -> Iterator:
    with playwright_driver() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def report(demo_frames, tmp_path):
    """A report with pictures, failures and text that would be markup if it could."""
    path = tmp_path / "report.html"
    run = summary(demo_frames.paths)
    sheet = contact_sheet(
        run, parse(boxes_config()), lambda uri, _: decode(frame(demo_frames, uri), uri, Limits())
    )
    write_report(path, run, sheet)
    return path


def frame(demo_frames, name):
    return demo_frames.path(name).read_bytes()


def summary(paths):
    value = {"x": 30, "y": 30, "width": 20, "height": 30, "rotation": 0}
    region = {
        "id": "a", "from_name": "label", "to_name": "image", "type": "rectanglelabels",
        "original_width": 1280, "original_height": 720, "score": 0.6,
        "value": {**value, "rectanglelabels": ["body_distortion"]},
    }  # fmt: skip
    samples = tuple(
        Sample(number, {"image": path.name}, 0.6, [region])
        for number, path in enumerate(paths[:6], 1)
    )
    return RunSummary(
        project=3,
        title=f"Walks {HOSTILE}",
        url="http://localhost:8080",
        model_version="opencv-fallback",
        dry_run=False,
        interrupted=False,
        started_at="2026-11-22T09:35:12+00:00",
        finished_at="2026-11-22T09:41:12+00:00",
        seconds=361.0,
        counts=Counts(predicted=1621, empty=548, failed=31, pushed=2169),
        skipped={},
        stages=(Stage("predict", 2200, 349.0, 1, 6.3, 0.97),),
        bottleneck="predict",
        failures=(Failed(4, "ImageMissing", f"{HOSTILE}: is gone. Look.", retry=False),),
        labels={"body_distortion": 1000, HOSTILE: 4},
        scores={"body_distortion": (0.2, 0.4, 0.6, 0.8), HOSTILE: (0.9,)},
        surest=samples,
        go_on="31 tasks failed: run again with --retry-failed.",
    )


def open_page(browser, path, **looks):
    """The page, and what the browser complained of or asked the network for."""
    troubles = []
    page = browser.new_page(**looks)
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("dialog", lambda dialog: troubles.append(dialog.message))
    page.on("request", lambda request: troubles.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_load_state("networkidle")
    own = {path.as_uri()}
    return page, [one for one in troubles if one not in own and not one.startswith("data:")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_it_says_its_numbers_without_an_error_or_a_request(
    browser, report, artefacts, scheme, width
):
    page, troubles = open_page(
        browser, report, color_scheme=scheme, viewport={"width": width, "height": 900}
    )
    assert troubles == []
    said = page.inner_text("body")
    for words in ("1,621", "2,169", "Done, but 31 tasks failed", "Predict set the pace", HOSTILE):
        assert words in said
    pictures = page.locator("ul.sheet img")
    assert pictures.count() == 6
    assert pictures.evaluate_all("found => found.every(one => one.naturalWidth > 100)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    name = f"run-report-{scheme}-{width}.png"
    page.screenshot(path=artefacts / "screenshots" / name, full_page=True)


def test_moving_the_threshold_counts_what_would_be_kept(browser, report):
    page, _ = open_page(browser, report)
    kept = page.locator("[data-kept]").first
    assert kept.inner_text() == "500"
    page.locator("#threshold").fill("70")
    assert page.inner_text("#chosen") == "0.70"
    assert kept.inner_text() == "250"
    assert page.locator("rect.below").count() == 3


def test_without_javascript_the_table_of_thresholds_is_there_and_no_slider(browser, report):
    page, _ = open_page(browser, report, java_script_enabled=False)
    assert not page.locator("#threshold").is_visible()
    assert not page.locator("[data-kept]").first.is_visible()
    assert "What higher thresholds would keep" in page.inner_text("body")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(browser, report, scheme):
    page, _ = open_page(browser, report, color_scheme=scheme)
    weakest = page.evaluate(CONTRAST)
    assert weakest["ratio"] >= 4.5, weakest  # WCAG 2.2, 1.4.3, for text of any size


CONTRAST = """() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = numbers(colour).map((part) => part / 255)
      .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if (numbers(colour)[3] !== 0) return colour;
    }
  };
  const found = [...document.querySelectorAll("body *")]
    .filter((one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
    .filter((one) => one.offsetParent)
    .map((one) => {
      const [low, high] = [light(getComputedStyle(one).color), light(behind(one))]
        .sort((a, b) => a - b);
      return { ratio: (high + 0.05) / (low + 0.05), text: one.textContent.slice(0, 40) };
    });
  return found.reduce((least, one) => one.ratio < least.ratio ? one : least);
}"""
