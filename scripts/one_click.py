"""One click on Retrieve Predictions for a whole project, and who has a prediction in the end.

Starts a Label Studio and a server of its own. The model sleeps; the click asks for far more tasks
than it can do before the deadline. Then nobody clicks any more, and with `--kills` the server is
killed with -9 and started again. In the end each task must hold exactly one prediction.

    python scripts/one_click.py --tasks 10000 --kills 1
"""

import argparse
import base64
import io
import json
import os
import subprocess
import sysconfig
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx2
from PIL import Image

from prelabel.benchmarks.own_studio import USER, own_studio
from prelabel.labelstudio.templates import boxes_config
from prelabel.labelstudio_api.client import LabelStudio
from prelabel.launch.processes import answers, ending_on_signals, free_port

PROGRAM = str(Path(sysconfig.get_path("scripts")) / "prelabel")
_TELL_EVERY_S = 10.0
PREDICTOR = '''
"""A predictor that sleeps and always finds one box."""
import os
import time

import numpy as np

from prelabel.types import Detections


class Sleepy:
    name, fingerprint, wants_neighbours, batch_size = "sleepy", "", False, 1

    def check(self): ...
    def load(self): ...
    def health(self):
        return {"loaded": True}

    def predict(self, images, ask):
        with open(os.environ["SLEEPY_COUNTS"], "ab") as counts:
            counts.write(b"." * len(images))
        time.sleep(float(os.environ["SLEEPY_S"]) * len(images))
        label = ask.phrases[0].label
        box = np.array([[1, 1, 8, 9]], np.float32)
        found = Detections(box, np.array([0.5], np.float32), (label,), (None,), self.name)
        return [found for _ in images]


def build(options):
    return Sleepy()
'''


@dataclass
class Trial:
    """A project, the server behind it, and what is asked of both.

    Attributes:
        studio: Label Studio.
        project: The project.
        url: Where the server answers.
        environment: The settings of the server.
        log: Where its output goes.
    """

    studio: LabelStudio
    project: int
    url: str
    environment: dict[str, str]
    log: Path

    def start(self) -> subprocess.Popen:
        """Start the server, and wait until it answers."""
        command = [PROGRAM, "serve", "--port", str(httpx2.URL(self.url).port)]
        environment = {**os.environ, **self.environment}
        with self.log.open("ab") as output:
            server = subprocess.Popen(  # noqa: S603 - our own program
                command, env=environment, stdout=output, stderr=subprocess.STDOUT
            )
        while not answers(f"{self.url}/health"):
            if server.poll() is not None:
                raise SystemExit(self.log.read_text())
            time.sleep(0.2)
        return server

    def stored(self) -> int:
        """How many predictions Label Studio holds."""
        return sum(self.studio.model_versions(self.project).values())

    def jobs(self) -> list[dict]:
        """The backfills, newest first."""
        told = httpx2.get(f"{self.url}/status", timeout=30).raise_for_status().json()
        return [job for job in told["jobs"] if job["kind"] == "backfill"]

    def answered_within_s(self) -> float:
        """How long the server took for its predict requests, together."""
        series = httpx2.get(f"{self.url}/metrics", timeout=30).raise_for_status().text
        sums = [line for line in series.splitlines() if "request_seconds_sum" in line]
        return sum(float(line.split()[-1]) for line in sums if 'route="/predict"' in line)

    def predicted_images(self) -> int:
        """How often the model looked at an image."""
        return Path(self.environment["SLEEPY_COUNTS"]).stat().st_size

    def wait_for(self, number: int, timeout_s: float) -> None:
        """Wait until Label Studio holds so many predictions, and say how it goes."""
        begin = told_at = time.monotonic()
        while (stored := self.stored()) < number:
            now = time.monotonic()
            if now - begin > timeout_s:
                raise SystemExit(f"{stored} of {number} predictions after {timeout_s:.0f} s")
            if now - told_at > _TELL_EVERY_S:
                told_at = now
                latest = next(iter(self.jobs()), None)
                said = latest and f"{latest['status']}: {latest['message']}"
                print(f"  {now - begin:5.0f} s: {stored} stored; job {said}", flush=True)
            time.sleep(1)

    def wait_for_rest(self) -> None:
        """Wait until no backfill waits or runs."""
        while any(job["status"] in ("queued", "running") for job in self.jobs()):
            time.sleep(1)

    def verdict(self, task_ids: list[int]) -> dict[str, int]:
        """How many tasks hold no prediction, one, or several."""
        held = {
            row["id"]: len(row["predictions"])
            for row in self.studio.tasks(self.project, annotations=True)
        }
        counts = [held[task_id] for task_id in task_ids]
        return {
            "tasks": len(task_ids),
            "none": counts.count(0),
            "one": counts.count(1),
            "several": sum(count > 1 for count in counts),
        }


def main() -> None:
    """Do it and say how it went; exit code 1 if a task has no prediction, or several."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--model-ms", type=float, default=20.0, help="what the model takes")
    parser.add_argument("--deadline", type=float, default=20.0, help="PREDICT_DEADLINE_SECONDS")
    parser.add_argument("--kills", type=int, default=0, help="how often the server is killed")
    parser.add_argument("--clicks", type=int, default=1, help="how often the button is pressed")
    parser.add_argument("--log", type=Path, help="where the log of the server goes")
    parser.add_argument("--label-studio", type=Path, help="the label-studio program")
    options = parser.parse_args()
    print(
        f"method: {options.tasks} tasks, {options.clicks} click, a model of {options.model_ms:g} "
        f"ms, a deadline of {options.deadline:g} s, {options.kills} kill -9",
        flush=True,
    )
    with (
        ending_on_signals(),
        tempfile.TemporaryDirectory() as folder,
        own_studio(Path(folder), options.label_studio) as (url, token),
        LabelStudio(url, token=token, timeout_s=3600, attempts=1) as studio,
    ):
        trial, task_ids = _trial(studio, Path(folder), options)
        verdict = _go(trial, task_ids, options)
    if verdict["one"] != verdict["tasks"]:
        raise SystemExit(1)


def _go(trial: Trial, task_ids: list[int], options: argparse.Namespace) -> dict[str, int]:
    server = trial.start()
    try:
        trial.studio.add_ml_backend(trial.project, trial.url)
        for _ in range(options.clicks):
            begin = time.monotonic()
            said = trial.studio.retrieve_predictions(trial.project)
            seconds = time.monotonic() - begin
            print(f"clicked: {said.get('detail')} after {seconds:.1f} s", flush=True)
            print(f"/predict answered after {trial.answered_within_s():.1f} s", flush=True)
            print(f"stored then: {trial.stored()}", flush=True)
        begin = time.monotonic()
        for number in range(options.kills):
            share = (number + 1) / (options.kills + 1)
            trial.wait_for(round(share * len(task_ids)), timeout_s=3600)
            server.kill()
            server.wait()
            print(f"killed with {trial.stored()} stored; starting again", flush=True)
            server = trial.start()
        trial.wait_for(len(task_ids), timeout_s=3600)
        print(f"all stored {time.monotonic() - begin:.1f} s after the click", flush=True)
        trial.wait_for_rest()
        verdict = trial.verdict(task_ids)
        print(f"{json.dumps(verdict)}, images predicted: {trial.predicted_images()}", flush=True)
        for job in reversed(trial.jobs()):
            print(f"job {job['status']}, attempts {job['attempts']}: {job['message']}")
        return verdict
    finally:
        server.terminate()
        server.wait()


def _trial(
    studio: LabelStudio, folder: Path, options: argparse.Namespace
) -> tuple[Trial, list[int]]:
    _install_predictor(folder / "predictor")
    project = studio.create_project("one click", boxes_config())["id"]
    tasks = [{"data": {"image": _picture(number)}} for number in range(options.tasks)]
    task_ids = studio.import_tasks(project, tasks)
    counts = folder / "counts"
    counts.touch()
    environment = {
        "DATA_DIR": str(folder / "data"),
        "PYTHONPATH": os.pathsep.join(
            [str(folder / "predictor"), os.environ.get("PYTHONPATH", "")]
        ),
        "LABEL_STUDIO_URL": studio.url,
        "LABEL_STUDIO_USERNAME": USER.username,
        "LABEL_STUDIO_PASSWORD": USER.password,
        "LABEL_STUDIO_API_KEY": "",
        "BOXES_PREDICTOR": "sleepy",
        "POSES_PREDICTOR": "embedded-pose",
        "PREDICT_DEADLINE_SECONDS": str(options.deadline),
        "PREDICTION_STORE_MB": "0",  # all tasks have one picture, and each is to be predicted
        "SLEEPY_S": str(options.model_ms / 1000),
        "SLEEPY_COUNTS": str(counts),
    }
    url = f"http://127.0.0.1:{free_port()}"
    return Trial(studio, project, url, environment, options.log or folder / "server.log"), task_ids


def _picture(number: int) -> str:
    """A picture like no other: what is known of one need not be predicted again."""
    drawn = io.BytesIO()
    colour = (number & 255, number >> 8 & 255, number >> 16 & 255)
    Image.new("RGB", (16, 16), colour).save(drawn, "PNG")
    return "data:image/png;base64," + base64.b64encode(drawn.getvalue()).decode()


def _install_predictor(folder: Path) -> None:
    """Lay the predictor down as an installed package would be."""
    described = folder / "sleepy-1.dist-info"
    described.mkdir(parents=True)
    (folder / "sleepy.py").write_text(PREDICTOR)
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: sleepy\nVersion: 1\n")
    entry = "[prelabel.predictors]\nsleepy = sleepy:build\n"
    (described / "entry_points.txt").write_text(entry)


if __name__ == "__main__":
    main()
