"""A process that is killed while it trains: nothing is lost, and nothing is half done."""

import json
import subprocess
import sys
import time

import pytest

from prelabel.jobs.learner import Learner
from prelabel.jobs.local import LocalRunner
from prelabel.jobs.requests import Trainings
from prelabel.jobs.training import Training, TrainingRequest
from prelabel.learning.sequence import Options
from prelabel.store.learned import Scope

URL = "http://studio.test"
SCOPE = Scope(URL, 7, 1_767_323_045)
LEASE_S = 1.5

CHILD = """
import json, sys, time
from pathlib import Path
from prelabel.jobs import local, training
from prelabel.learning.sequence import Options
from prelabel.store.database import open_database
from prelabel.store.jobs import Jobs
from prelabel.store.learned import LearnedVersions

folder, moment, lease_s = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
known = json.loads((folder / "studio.json").read_text())

def hang(*_, **__):
    (folder / "reached").touch()
    time.sleep(600)

class Studio:
    def project(self, project_id):
        return known["project"]

    def annotated_task_count(self, project_id):
        return len(known["tasks"])

    def tasks(self, project_id):
        return iter(known["tasks"])

    def annotated_tasks(self, project_id):
        yield from known["tasks"]
        if moment == "fetching":
            hang()

engine = open_database("", folder)
versions = LearnedVersions(engine)
if moment == "learning":
    training.learn = hang
if moment == "storing":
    versions.add = hang
if moment == "recording":
    Jobs.finish = hang
work = training.Training(
    versions, Studio(), sys.argv[4], options=Options(), default_box_pct=(6.0, 10.0)
)
local.LocalRunner(Jobs(engine), {"training": work}, 0.05, lease_s=lease_s).start()
time.sleep(600)
"""


@pytest.mark.parametrize("moment", ["fetching", "learning", "storing", "recording"])
def test_a_kill_in_mid_training_leaves_the_old_version_and_the_job_is_resumed(
    moment, tmp_path, table, versions, studio, task
):
    training = Training(versions, studio, URL, options=Options(), default_box_pct=(6.0, 10.0))
    trainings = Trainings(table, URL, can_fetch=True, delay_s=0)
    learner = Learner(versions, URL)
    training.train(TrainingRequest(7), lambda *_: None)
    studio.annotated.append(task(7))
    known = {"project": studio.project(7), "tasks": studio.annotated}
    (tmp_path / "studio.json").write_text(json.dumps(known))
    job = trainings.start(7)

    command = [sys.executable, "-c", CHILD, str(tmp_path), moment, str(LEASE_S), URL]
    child = subprocess.Popen(command)
    try:
        until((tmp_path / "reached").exists)
    finally:
        child.kill()
        child.wait()

    learner.refresh()
    answers = learner.of(7, SCOPE.created)
    # What was stored whole counts, even if the job could not say so any more.
    assert answers[0] == (2 if moment == "recording" else 1)
    assert trainings.status(job.id).status == "running"

    runner = LocalRunner(table, {"training": training}, 0.05, lease_s=LEASE_S)
    runner.start()
    until(lambda: trainings.status(job.id).finished)
    runner.stop()
    done = trainings.status(job.id)
    assert (done.status, done.attempts) == ("done", 2)
    assert done.result["status"] == ("unchanged" if moment == "recording" else "trained")
    assert versions.active_numbers() == {SCOPE: 2}
    assert [row.version for row in versions.history(SCOPE)] == [2, 1]


def until(condition, timeout_s=30.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)
