"""Kill `prelabel run` at random points, then let it end, and look for what was lost or doubled.

Starts a Label Studio of its own. Every second kill is aimed at a moment in which a chunk is being
sent. After each kill the journal is read: what it holds then must be in Label Studio in the end,
region by region, once.

    python scripts/kill_run.py --kills 50 --label-studio .venv-labelstudio/bin/label-studio
"""

import argparse
import io
import json
import os
import random
import signal
import sqlite3
import subprocess
import sysconfig
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from prelabel.benchmarks import paced
from prelabel.benchmarks.own_studio import USER, own_studio
from prelabel.labelstudio.templates import boxes_config
from prelabel.labelstudio_api.client import LabelStudio

PROGRAM = str(Path(sysconfig.get_path("scripts")) / "prelabel")


@dataclass
class Trial:
    """One project that is run, killed and run again."""

    project: int
    environment: dict[str, str]
    promised: dict[int, list[dict]] = field(default_factory=dict)
    moments: Counter[str] = field(default_factory=Counter)

    @property
    def database(self) -> Path:
        """The journal's file."""
        return Path(self.environment["DATA_DIR"]) / "prelabel.db"

    def start(self) -> subprocess.Popen:
        """Start the command."""
        command = [PROGRAM, "run", "--project", str(self.project), "--quiet"]
        return subprocess.Popen(command, env=self.environment)  # noqa: S603 - our own program

    def kill_at(self, kill_after_s: float, *, while_sending: bool) -> bool:
        """Start the command and kill it after so long, or then in the next push.

        Returns:
            False where it ended before.
        """
        process = self.start()
        begin = time.monotonic()
        while process.poll() is None:
            is_due = time.monotonic() - begin > kill_after_s
            if is_due and (self.is_sending() or not while_sending):
                break
            time.sleep(0.01)
        if while_sending:
            time.sleep(random.uniform(0, 0.3))  # noqa: S311 - chance is all that is wanted
        was_running = process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        if was_running:
            self.note()
        return was_running

    def is_sending(self) -> bool:
        """Whether a chunk is on its way."""
        return bool(self.rows("select 1 from run_tasks where state = 'sending' limit 1"))

    def note(self) -> None:
        """Remember what the journal holds after a kill."""
        held = self.rows("select task, state, result from run_tasks where result is not null")
        self.promised |= {task: json.loads(zlib.decompress(packed)) for task, _, packed in held}
        states = {state for _, state, _ in held}
        self.moments["sending" if "sending" in states else "otherwise"] += 1

    def rows(self, query: str) -> list[tuple]:
        """What the journal says; nothing while there is none."""
        try:
            with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as database:
                return database.execute(query).fetchall()
        except sqlite3.OperationalError:
            return []

    def verdict(self, studio: LabelStudio, task_ids: Sequence[int]) -> dict[str, int]:
        """How many tasks have no prediction, several, or another than was promised."""
        stored = {
            row["id"]: [prediction["result"] for prediction in row["predictions"]]
            for row in studio.tasks(self.project, annotations=True)
        }
        kept = {task: _ids(result) for task, result in self.promised.items()}
        return {
            "tasks": len(task_ids),
            "missing": sum(not stored[task] for task in task_ids),
            "duplicate": sum(len(stored[task]) > 1 for task in task_ids),
            "promised": len(kept),
            "lost": sum(
                ids not in [_ids(one) for one in stored[task]] for task, ids in kept.items()
            ),
        }


def main() -> None:
    """Do it and say how it went; exit code 1 if anything was lost or doubled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--tasks", type=int, default=1500, help="tasks of each project")
    parser.add_argument("--label-studio", type=Path, help="the label-studio program")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random.seed(options.seed)
    print(f"method: {options.kills} kill -9, {options.tasks} tasks a project, seed {options.seed}")
    with (
        tempfile.TemporaryDirectory() as folder,
        own_studio(Path(folder), options.label_studio) as (url, token),
        LabelStudio(url, token=token, timeout_s=120) as studio,
        paced.offered_in(Path(folder)) as offered,
    ):
        verdicts, kills = [], 0
        while kills < options.kills:
            trial, task_ids = _new_trial(studio, Path(folder), offered, options.tasks)
            while kills < options.kills:
                kill_after_s = random.uniform(0.5, 8.0)  # noqa: S311 - as above
                if not trial.kill_at(kill_after_s, while_sending=kills % 2 == 1):
                    break
                kills += 1
                print(f"kill {kills}: {dict(trial.moments)}", flush=True)
            code = trial.start().wait()
            if code != 0:
                raise SystemExit(f"project {trial.project}: the last run ended with {code}")
            verdict = trial.verdict(studio, task_ids)
            print(f"project {trial.project}: {verdict}", flush=True)
            verdicts.append(verdict)
    total = {name: sum(one[name] for one in verdicts) for name in verdicts[0]}
    print(f"{kills} kills: {total}")
    if total["missing"] or total["duplicate"] or total["lost"]:
        raise SystemExit(1)


def _new_trial(
    studio: LabelStudio, folder: Path, offered: dict[str, str], tasks: int
) -> tuple[Trial, list[int]]:
    pictures = folder / "pictures"
    pictures.mkdir(exist_ok=True)
    drawn = io.BytesIO()
    Image.new("RGB", (64, 64), "grey").save(drawn, "JPEG")
    paths = [pictures / f"{number:05}.jpg" for number in range(tasks)]
    for path in paths:
        path.write_bytes(drawn.getvalue())
    project = studio.create_project("killed", boxes_config())["id"]
    task_ids = studio.upload_files(project, paths)
    environment = {
        **os.environ,
        **offered,
        "DATA_DIR": str(folder / f"data-{project}"),
        "LABEL_STUDIO_URL": studio.url,
        "LABEL_STUDIO_USERNAME": USER.username,
        "LABEL_STUDIO_PASSWORD": USER.password,
        "LABEL_STUDIO_API_KEY": "",
        "BOXES_PREDICTOR": paced.INSTANT,
        "REQUEST_DELAY_SECONDS": "0",
        "PREDICTION_STORE_MB": "0",  # all pictures are one, and each is to be predicted
    }
    return Trial(project, environment), task_ids


def _ids(result: list[dict]) -> tuple[str, ...]:
    return tuple(sorted(region["id"] for region in result))


if __name__ == "__main__":
    main()
