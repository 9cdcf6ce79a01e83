"""The report of a run: what stands in it, and what never may."""

import re
from base64 import b64encode
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from threading import Event

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prelabel.batch.report.contact_sheet import (
    LONGEST_SIDE_PX,
    MOST_BYTES,
    TILES_PER_GROUP,
    ContactSheet,
    Tile,
    contact_sheet,
)
from prelabel.batch.report.failures import MOST_REASONS, MOST_TASKS, TASKS_PER_REASON, reasons
from prelabel.batch.report.labels import FIRST_LABELS, MOST_LABELS
from prelabel.batch.report.page import page, write_report
from prelabel.batch.report.scores import Scored, by_label
from prelabel.batch.summary import STAGES, Counts, RunSummary, Sample, Stage
from prelabel.errors import ImageMissing, SettingsError
from prelabel.labelstudio.config import parse
from prelabel.labelstudio.templates import boxes_config
from prelabel.settings import Settings
from prelabel.store.journal import Failed
from prelabel.types import Image

IDLE = RunSummary(
    project=3,
    title="Walks",
    url="http://localhost:8080/ls",
    model_version="opencv-fallback",
    dry_run=False,
    interrupted=False,
    started_at="2026-11-22T09:35:12+00:00",
    finished_at="2026-11-22T09:35:13+00:00",
    seconds=1.0,
    counts=Counts(),
    skipped={},
    stages=tuple(Stage(name, 0, 0.0, 1, 0.0, 0.0) for name in STAGES),
    bottleneck="",
    failures=(),
    labels={},
    scores={},
)
NO_PICTURES = ContactSheet()
CONFIG = parse(boxes_config())
HOSTILE = """<script>alert(1)</script>"'><img src=x onerror=alert(2)>&lt;</style></title>{0}"""


class Reader(HTMLParser):
    """What a browser would make of a page: its elements, its words, its links."""

    def __init__(self, written):
        super().__init__()
        self.elements = Counter()
        self.attributes = []
        self.source = {"script": "", "style": ""}
        self.rows = []
        self._inside = ""
        self._in_cell = False
        self._words = []
        self.feed(written)
        self.close()
        self.words = re.sub(r"\s+", " ", " ".join(self._words))

    def handle_starttag(self, tag, attributes):
        self.elements[tag] += 1
        self.attributes += [(tag, name, value) for name, value in attributes]
        self._inside = tag
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag):
        self._inside = "" if tag == self._inside else self._inside
        self._in_cell = self._in_cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self._inside in self.source:
            self.source[self._inside] += data
        else:
            self._words.append(data)
            if self._in_cell:
                self.rows[-1][-1] += data

    def row(self, first):
        """The cells of the row that begins so."""
        return next(row for row in self.rows if row and row[0] == first)

    def values(self, attribute):
        return [value for _, name, value in self.attributes if name == attribute]


def summary(**fields):
    counts = replace(IDLE.counts, **fields.pop("counts", {}))
    return replace(IDLE, counts=counts, **fields)


def read(run, sheet=NO_PICTURES):
    return Reader(page(run, sheet))


def failure(task_id, thing="a.png", cause="answered 404. Check the file.", retry=False):
    return Failed(task_id, "ImageUnreachable", f"{thing}: {cause}", retry)


def region(score=0.5, label="body_distortion", **fields):
    value = {"x": 25, "y": 25, "width": 50, "height": 50, "rotation": 0, "rectanglelabels": [label]}
    size = {"original_width": 1920, "original_height": 1080}
    names = {"id": "a", "from_name": "label", "to_name": "image", "type": "rectanglelabels"}
    return {**names, **size, "value": value, "score": score, **fields}


def sample(task_id=7, result=None, **data):
    result = [region()] if result is None else result
    return Sample(task_id, data or {"image": "http://images/7.png"}, 0.5, result)


def grey(_uri, _task_id):
    return Image(np.full((1080, 1920, 3), 128, np.uint8))


def pixels(tile):
    return cv2.imdecode(np.frombuffer(tile.jpeg, np.uint8), cv2.IMREAD_COLOR)


def test_a_run_that_did_nothing_has_a_short_report():
    shown = read(IDLE)
    assert "Done" in shown.words
    for absent in ("Failures", "Labels", "What it looks like", "Where the time went", "Undo"):
        assert absent not in shown.words
    assert not shown.elements["script"]


def test_the_numbers_of_the_run_are_there():
    counts = {"predicted": 1621, "empty": 548, "failed": 31, "pushed": 2169, "skipped": 400}
    run = summary(counts=counts, seconds=361.0, skipped={"is annotated": 400})
    assert dict(re.findall("<dt>(.*?)</dt><dd>(.*?)</dd>", page(run, NO_PICTURES))) == {
        "Tasks with findings": "1,621",
        "Looked, found nothing": "548",
        "Failed": "31",
        "Pushed to Label Studio": "2,169",
        "Tasks per second": "6.1",
        "Skipped": "400",
    }
    shown = read(run)
    assert "400 tasks, as each is annotated" in shown.words
    assert "on 22 November 2026 at 09:35 UTC in 6 min 1 s" in shown.words


@pytest.mark.parametrize(
    ("fields", "verdict"),
    [
        ({}, "Done"),
        ({"counts": {"left": 9}}, "Done as far as it was told to, with 9 tasks left"),
        ({"counts": {"failed": 1}, "exit_code": 3}, "Done, but 1 task failed"),
        ({"exit_code": 4, "counts": {"failed": 1, "left": 2}}, "Ended early, with 2 tasks left"),
        ({"dry_run": True}, "Dry run: nothing was pushed to Label Studio"),
        ({"interrupted": True, "counts": {"left": 5}}, "Interrupted, with 5 tasks left"),
    ],
)
def test_how_the_run_ended_is_said_first(fields, verdict):
    (said,) = re.findall('class="verdict [a-z]+">(.*?)</p>', page(summary(**fields), NO_PICTURES))
    assert said == verdict


def test_every_stage_is_listed_and_the_slowest_is_named():
    stages = [Stage(name, 2000, 20.0, 4, 400.0, 0.05) for name in STAGES]
    stages[3] = Stage("predict", 2000, 349.0, 1, 5.73, 0.97)
    shown = read(summary(stages=tuple(stages), bottleneck="predict"))
    assert shown.row("Predict")[:6] == ["Predict", "2,000", "1", "5 min 49 s", "5.7/s", "97%"]
    assert shown.row("Fetch images")[4] == "400/s"
    assert "Predict set the pace." in shown.words
    assert "slowest" in shown.values("class")


@pytest.mark.parametrize("stage", STAGES)
def test_how_a_stage_gets_faster_names_settings_that_there_are(stage):
    words = read(summary(stages=(Stage(stage, 1, 1.0, 1, 1.0, 1.0),), bottleneck=stage)).words
    named = set(re.findall("[A-Z]{4,}[A-Z_]*", words)) - {"PostgreSQL", "SQL"}
    assert {name.lower() for name in named} <= set(Settings.model_fields)


def test_tasks_that_failed_alike_are_counted_together_the_most_frequent_first():
    failures = [
        failure(1, "http://a/1.png", "is gone. Look."),
        failure(2, "http://a/2.png", "is slow. Wait.", retry=True),
        failure(3, "http://b/3.png", "is slow. Wait.", retry=True),
        Failed(4, "ModelError", "no colon", retry=False),
    ]
    assert [(one.words, one.retry, one.task_ids) for one in reasons(failures)] == [
        ("Is slow. Wait.", True, (2, 3)),
        ("Is gone. Look.", False, (1,)),
        ("no colon", False, (4,)),
    ]


def test_a_reason_names_its_first_tasks_and_leads_to_them():
    run = summary(failures=tuple(failure(number) for number in range(1, 9)), counts={"failed": 8})
    shown = read(run)
    row = next(row for row in shown.rows if row[0] == "8")
    assert row[1] == "Answered 404. Check the file."
    assert row[2] == "1, 2, 3, 4, 5 and 3 more"
    links = [f"http://localhost:8080/ls/projects/3/data?task={number}" for number in range(1, 9)]
    assert set(links) <= set(shown.values("href"))
    assert TASKS_PER_REASON == 5


def test_the_list_of_failures_ends_and_says_so():
    failures = tuple(
        failure(number, cause=f"cause {number}.") for number in range(1, 2 * MOST_TASKS)
    )
    run = summary(failures=failures, counts={"failed": 5000}, failure_kinds={"ImageMissing": 5000})
    shown = read(run)
    assert "1,000 of 5,000 tasks" in shown.words
    assert "Of all: ImageMissing 5,000." in shown.words
    assert f"And {2 * MOST_TASKS - 1 - MOST_REASONS:,} further reasons." in shown.words
    assert shown.elements["tr"] == 2 + MOST_REASONS + MOST_TASKS


def test_a_label_has_its_count_its_median_and_a_chart_that_is_told_in_words():
    shown = read(summary(labels={"person": 1234}, scores={"person": (0.2, 0.6, 0.7)}))
    assert shown.row("person")[:4] == ["person", "1,234", "", "0.60"]
    assert "Scores of person: half are at least 0.60" in " ".join(shown.values("aria-label"))


def test_bars_are_as_high_as_their_share_of_the_scores():
    scores = (0.31, 0.32, 0.33, 0.34, 0.71, 0.72, 1.0)
    written = page(summary(labels={"a": 7}, scores={"a": scores}), NO_PICTURES)
    bars = re.findall(r'<rect data-from="(\d+)".*? height="([\d.]+)"', written)
    assert [(int(low), float(high)) for low, high in bars] == [(30, 64.0), (70, 32.0), (95, 16.0)]


scores_of_four_digits = st.lists(st.integers(0, 10_000).map(lambda score: score / 10_000))


@given(scores_of_four_digits, st.integers(0, 100))
def test_a_threshold_keeps_what_scores_at_least_as_much(scores, percent):
    wanted = sum(round(score * 10_000) >= percent * 100 for score in scores)
    assert Scored.of("a", len(scores), scores).kept([percent / 100]) == [wanted]


@given(scores_of_four_digits.filter(len))
def test_half_of_the_scores_reach_the_median(scores):
    label = Scored.of("a", len(scores), scores)
    assert sum(score >= label.median - 1e-6 for score in scores) >= len(scores) / 2
    assert sum(score <= label.median + 1e-6 for score in scores) >= len(scores) / 2


def test_of_a_sample_of_scores_the_share_counts():
    label = Scored.of("a", 4000, [0.8, 0.2, 0.6, 0.4])
    assert label.kept([0.0, 0.5, 0.8, 0.9]) == [4000, 2000, 1000, 0]


def test_regions_without_scores_are_kept_by_any_threshold():
    assert Scored.of("a", 9, []).kept([0.5]) == [9]
    assert read(summary(labels={"a": 9})).row("a")[3:] == ["-", "no scores"]


def test_labels_of_different_samples_weigh_what_they_count_for():
    both = Scored.of_all("both", [Scored.of("a", 100, [0.2]), Scored.of("b", 2, [0.7, 0.9])])
    assert (both.count, both.kept([0.0, 0.5, 0.8])) == (102, [102, 2, 1])
    assert both.median == pytest.approx(0.2)


def test_keypoints_are_summed_up_by_part_of_the_body():
    labels = {"person": 3, "nose": 3, "left_eye": 2, "left_big_toe": 1, "face-0": 3, "face-1": 1}
    found = by_label(summary(labels=labels))
    assert [(one.name, one.count) for one in found.alone] == [("person", 3), ("left_big_toe", 1)]
    assert [(one.name, one.count) for one in found.groups] == [
        ("body keypoints", 5),
        ("face keypoints", 4),
    ]
    assert [one.name for one in found.points] == ["nose", "left_eye", "face-0", "face-1"]
    shown = read(summary(labels=labels))
    assert shown.row("All labels")[1] == "13"
    assert "4 further labels" in shown.words


def test_without_the_script_a_table_says_what_thresholds_would_keep():
    scores = {"a": (0.25, 0.35, 0.95), "b": (0.55, 0.65)}
    shown = read(summary(labels={"a": 3, "b": 2}, scores=scores))
    assert shown.row("All labels")[1:] == ["5", "5", "4", "3", "3", "2", "1", "1", "1"]
    rows = [row for row in shown.rows if row[0] == "a"]
    assert rows[-1][1:] == ["3", "3", "2", "1", "1", "1", "1", "1", "1"]


def test_many_labels_are_folded_and_very_many_end():
    labels = {f"label {number}": 1000 - number for number in range(FIRST_LABELS + MOST_LABELS + 7)}
    shown = read(summary(labels=labels))
    assert shown.elements["details"] == 2
    assert f"{MOST_LABELS} further labels" in shown.words
    assert "And 7 further labels." in shown.words


def test_how_to_go_on_and_how_to_undo_are_said():
    run = summary(go_on="9 tasks left: go on.", counts={"pushed": 1}, model_version="a+b c")
    words = read(run).words
    assert "Go on 9 tasks left: go on." in words
    assert "prelabel predictions delete --project 3 --model-version 'a+b c'" in words


def test_where_nothing_was_pushed_there_is_nothing_to_undo():
    assert "Undo" not in read(summary(dry_run=True, counts={"predicted": 5})).words


def said_everywhere(words):
    """A run whose every text from outside is these words."""
    run = summary(
        title=words,
        url=f"http://host/{words}",
        model_version=words,
        go_on=words,
        bottleneck=words,
        warnings=(words,),
        skipped={words: 1},
        failures=(failure(1, words, words), failure(2, words, words, retry=True)),
        failure_kinds={words: 2},
        labels={words: 3},
        scores={words: (0.5,)},
        counts={"failed": 2, "pushed": 1},
        stages=(Stage(words, 1, 1.0, 1, 1.0, 1.0),),
    )
    return read(run, ContactSheet(surest=(Tile(1, 0.5, words), Tile(2, 0.5, words, b"jpeg"))))


@given(st.one_of(st.just(HOSTILE), st.text("<>&\"'/=! ax:\n\x00\ud800", min_size=1)))
def test_nothing_that_came_from_outside_becomes_markup(words):
    hostile, harmless = said_everywhere(words), said_everywhere("words")
    assert hostile.elements == harmless.elements
    assert [(tag, name) for tag, name, _ in hostile.attributes] == [
        (tag, name) for tag, name, _ in harmless.attributes
    ]


def test_every_link_leads_into_label_studio():
    links = said_everywhere(HOSTILE).values("href")
    assert links
    assert all(link.startswith("http://host/") for link in links)


def test_the_page_allows_its_own_style_and_script_and_nothing_else():
    shown = read(summary(labels={"a": 1}, scores={"a": (0.5,)}))
    (policy,) = (value for value in shown.values("content") if "default-src" in value)
    for kind, source in shown.source.items():
        digest = b64encode(sha256(source.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_the_page_loads_nothing():
    shown = read(
        summary(labels={"a": 1}, scores={"a": (0.5,)}),
        ContactSheet(surest=(Tile(1, 0.5, "a box", b"jpeg"),)),
    )
    assert all(source.startswith("data:image/jpeg;base64,") for source in shown.values("src"))
    assert not shown.values("srcset")
    assert not any(shown.elements[tag] for tag in ("link", "iframe", "object", "embed", "base"))
    assert "url(" not in shown.source["style"]
    assert "@import" not in shown.source["style"]


def test_every_table_has_heads_and_every_picture_says_what_it_shows():
    shown = said_everywhere("words")
    assert shown.elements["table"] == shown.elements["caption"] > 3
    assert all(value in ("col", "row") for value in shown.values("scope"))
    assert shown.elements["th"] == len(shown.values("scope"))
    assert shown.values("alt") == ["words"]


def test_a_report_is_written_whole_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "reports" / "run.html"
    write_report(path, summary(title="first"), NO_PICTURES)
    write_report(path, summary(title="half a pair: \ud800"), NO_PICTURES)
    assert "half a pair" in path.read_text("utf-8")
    assert list(path.parent.iterdir()) == [path]


def test_where_it_cannot_be_written_nothing_is_left_over(tmp_path):
    path = tmp_path / "run.html"
    path.mkdir()
    with pytest.raises(SettingsError, match=r"run\.html"):
        write_report(path, IDLE, NO_PICTURES)
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_without_samples_has_an_empty_sheet():
    assert contact_sheet(IDLE, CONFIG, grey) == NO_PICTURES


def test_a_picture_is_small_and_shows_what_was_found():
    run = summary(surest=(sample(),), empty=(sample(8, []),))
    sheet = contact_sheet(run, CONFIG, grey)
    (found,), (plain,) = sheet.surest, sheet.empty
    assert max(pixels(found).shape) == LONGEST_SIDE_PX
    assert (found.task_id, found.found) == (7, "1 body_distortion")
    assert (plain.task_id, plain.found) == (8, "nothing found")
    height, width = pixels(found).shape[:2]
    differs = np.abs(pixels(found).astype(int) - pixels(plain)).max(axis=2) > 40
    assert differs[height // 2, round(width / 4) - 1 : round(width / 4) + 2].any()
    assert not differs[height // 2, width // 2]


def test_where_there_are_few_tasks_none_is_shown_twice():
    run = summary(surest=(sample(1), sample(2)), least_sure=(sample(2), sample(3)))
    sheet = contact_sheet(run, CONFIG, grey)
    assert [tile.task_id for tile in sheet.surest + sheet.least_sure] == [1, 2, 3]


def test_keypoints_are_counted_together():
    point = {"type": "keypointlabels", "value": {"keypointlabels": ["nose"]}}
    run = summary(surest=(sample(result=[region(), point, point]),))
    (tile,) = contact_sheet(run, CONFIG, grey).surest
    assert tile.found == "1 body_distortion, 2 keypoints"


def test_of_several_pages_the_one_with_the_most_regions_is_shown():
    config = parse(
        '<View><Image name="image" valueList="$pages"/>'
        '<RectangleLabels name="label" toName="image"><Label value="a"/></RectangleLabels></View>'
    )
    result = [region(item_index=0), region(item_index=2), region(item_index=2)]
    asked = []
    run = summary(surest=(sample(result=result, pages=["p0", "p1", "p2"]),))
    contact_sheet(run, config, lambda uri, task: asked.append((uri, task)) or grey(uri, task))
    assert asked == [("p2", 7)]


def test_even_noise_becomes_a_picture_within_the_limit():
    noise = np.random.default_rng(0).integers(0, 255, (1000, 1000, 3), np.uint8)
    run = summary(surest=(sample(),))
    (tile,) = contact_sheet(run, CONFIG, lambda *_: Image(noise)).surest
    assert 0 < len(tile.jpeg) <= MOST_BYTES


def fails(*_):
    raise ImageMissing("a.png", "is gone", "Look.")


def breaks(*_):
    raise RuntimeError("a defect")


@pytest.mark.parametrize("load", [fails, breaks])
def test_an_image_that_cannot_be_had_again_leaves_its_words(load):
    run = summary(surest=(sample(),))
    sheet = contact_sheet(run, CONFIG, load)
    assert sheet.surest == (Tile(7, 0.5, "1 body_distortion"),)
    assert "could not be loaded again" in read(run, sheet).words


def test_slow_images_do_not_hold_up_the_report():
    written = Event()

    def slow(uri, task_id):
        if uri == "slow":
            written.wait()
        return grey(uri, task_id)

    run = summary(surest=(sample(1), sample(2, image="slow"), sample(3)))
    try:
        sheet = contact_sheet(run, CONFIG, slow, patience_s=3.0)
    finally:
        written.set()
    assert [bool(tile.jpeg) for tile in sheet.surest] == [True, False, True]


def test_the_largest_report_stays_within_five_megabytes():
    tiles = tuple(Tile(number, 0.5, "x" * 200, b"\xff" * MOST_BYTES) for number in range(12))
    assert len(tiles) == TILES_PER_GROUP
    labels = {f"a label with a name of some length {number}": 10**6 for number in range(500)}
    scores = tuple(np.linspace(0, 1, 200).tolist())
    run = summary(
        failures=tuple(
            failure(number, "http://host/" + "x" * 300, f"cause {number} " + "y" * 900)
            for number in range(2 * MOST_TASKS)
        ),
        counts={"failed": 2 * MOST_TASKS},
        labels=labels,
        scores=dict.fromkeys(labels, scores),
    )
    assert len(page(run, ContactSheet(tiles, tiles, tiles)).encode()) < 5_000_000
