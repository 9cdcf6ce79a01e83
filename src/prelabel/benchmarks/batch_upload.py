"""How fast predictions go into Label Studio: a run's writer beside a plain bulk-import loop."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from prelabel.batch.push import MOST_PER_CHUNK, Manners, Target, Writer
from prelabel.batch.stages import StageClock
from prelabel.batch.tally import Tally
from prelabel.benchmarks.server import CONFIG
from prelabel.labelstudio.config import parse
from prelabel.labelstudio.regions.write import (
    Page,
    PersonBox,
    PointLabels,
    box_regions,
    pose_regions,
)
from prelabel.labelstudio.templates import pose_config
from prelabel.labelstudio_api.client import LabelStudio
from prelabel.store.database import open_database
from prelabel.store.journal import Campaign, Journal, Kept
from prelabel.types import Detections, Poses

BOXES, KEYPOINTS = 5, 133
TARGETS = {"boxes": 500, "keypoints": 120}
PAGE = Page(height=1080, width=1920)

Result = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _Kind:
    """What is uploaded: its label config, and the same regions for every task."""

    name: str
    label_config: str
    result: Result


def upload(studio: LabelStudio, tasks: int, runs: int) -> None:
    """Print predictions per second of both ways, each into a project of its own, in turns.

    Args:
        studio: Where to.
        tasks: Predictions of one run.
        runs: Timed runs of each way.
    """
    print(
        f"\nupload: {tasks} predictions, one a task, {runs} run(s) of each way in turns, each into "
        f"a new project\nprelabel: journal on disk -> chunks of {MOST_PER_CHUNK} -> journal, and "
        "the look for duplicates at the end; no pause between writes\nplain: json.dumps and POST "
        f"/api/projects/N/import/predictions, {MOST_PER_CHUNK} at a time"
    )
    for kind in (_boxes(), _keypoints()):
        rates: dict[str, list[float]] = {"prelabel": [], "plain": []}
        for _ in range(runs):
            rates["prelabel"].append(_by_writer(studio, kind, tasks))
            rates["plain"].append(_by_loop(studio, kind, tasks))
        ours, plain = (median(rates[way]) for way in ("prelabel", "plain"))
        size = len(json.dumps(kind.result, separators=(",", ":")))
        print(
            f"{kind.name}, {len(kind.result)} regions, {size / 1000:.1f} kB: prelabel "
            f"{ours:.0f}/s ({_spread(rates['prelabel'])}), plain {plain:.0f}/s "
            f"({_spread(rates['plain'])}), {ours / plain:.2f}x; wanted "
            f"{TARGETS[kind.name]}/s; 0 errors",
            flush=True,
        )


def _by_writer(studio: LabelStudio, kind: _Kind, tasks: int) -> float:
    project, ids = _new_project(studio, kind, tasks)
    with tempfile.TemporaryDirectory() as folder:
        database = open_database("", Path(folder))
        journal = Journal(database, Campaign(studio.url, project, "", "bench"))
        result = json.dumps(kind.result, separators=(",", ":")).encode()
        journal.keep([Kept(task_id, 0.5, result) for task_id in ids])
        target, manners = Target(studio, project, "bench"), Manners(request_delay_s=0.0)
        writer = Writer(target, journal, manners, StageClock(), Tally())
        writer.end()
        begin = perf_counter()
        writer.run()
        took = perf_counter() - begin
        database.dispose()
    _require_one_each(studio, project, tasks)
    return tasks / took


def _by_loop(studio: LabelStudio, kind: _Kind, tasks: int) -> float:
    project, ids = _new_project(studio, kind, tasks)
    path = f"/api/projects/{project}/import/predictions"
    begin = perf_counter()
    for start in range(0, tasks, MOST_PER_CHUNK):
        rows = [
            {"task": task_id, "score": 0.5, "model_version": "bench", "result": kind.result}
            for task_id in ids[start : start + MOST_PER_CHUNK]
        ]
        studio.object("POST", path, json=rows, timeout=300.0)
    took = perf_counter() - begin
    _require_one_each(studio, project, tasks)
    return tasks / took


def _new_project(studio: LabelStudio, kind: _Kind, tasks: int) -> tuple[int, list[int]]:
    project = studio.create_project(f"bench {kind.name}", kind.label_config)["id"]
    data = [{"data": {"image": f"http://127.0.0.1/{number}.jpg"}} for number in range(tasks)]
    return project, studio.import_tasks(project, data)


def _require_one_each(studio: LabelStudio, project: int, tasks: int) -> None:
    """A benchmark of predictions that are dropped would look fast."""
    stored = studio.model_versions(project)
    if stored != {"bench": tasks}:
        raise RuntimeError(f"{tasks} predictions were sent, and Label Studio holds {stored}")


def _boxes() -> _Kind:
    corners = np.linspace(100, 500, BOXES, dtype=np.float32)[:, None]
    boxes = np.concatenate([corners, corners, corners + 200, corners + 150], axis=1)
    nothing = (None,) * BOXES
    scores = np.full(BOXES, 0.5, np.float32)
    found = Detections(boxes, scores, ("body_distortion",) * BOXES, nothing, "bench")
    (control,) = parse(CONFIG).controls
    return _Kind("boxes", CONFIG, box_regions(found, control, None, PAGE))


def _keypoints() -> _Kind:
    config = pose_config("133")
    controls = {control.tag: control for control in parse(config).controls}
    keypoints = controls["KeyPointLabels"]
    people = Poses(
        np.array([[300, 100, 900, 1000]], np.float32),
        np.array([0.9], np.float32),
        np.random.default_rng(0).uniform(300, 900, (1, KEYPOINTS, 2)).astype(np.float32),
        np.full((1, KEYPOINTS), 0.5, np.float32),
        "bench",
    )
    points = {place: label.stored for place, label in enumerate(keypoints.labels)}
    parent = PersonBox(controls["RectangleLabels"], "person")
    return _Kind(
        "keypoints", config, pose_regions(people, [PointLabels(keypoints, points)], parent, PAGE)
    )


def _spread(rates: list[float]) -> str:
    return f"{min(rates):.0f} to {max(rates):.0f}"
