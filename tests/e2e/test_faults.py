"""A batch run through a gateway that breaks its writes, against a real Label Studio."""

import io
import os
from collections import Counter
from dataclasses import replace
from threading import Event

import pytest
from PIL import Image
from tests.e2e.faulty_proxy import KINDS, faulty_proxy

from prelabel.assembly.run import batch_run
from prelabel.batch.run import Options, run
from prelabel.labelstudio.templates import boxes_config
from prelabel.labelstudio_api import predictions
from prelabel.settings import load

pytestmark = pytest.mark.e2e

SEEDS = [int(seed) for seed in os.environ.get("FAULT_SEEDS", "1").split(",")]
"""One in the suite, as each takes more than a minute; `FAULT_SEEDS=1,2,3` for more."""
TASKS, CHUNK, ROUNDS = 300, 10, 2
VERSION = "opencv-fallback"


@pytest.fixture
def hasty(monkeypatch):
    """The same waits, short enough for a test; each still outlasts what it waits for."""
    monkeypatch.setattr(predictions, "IMPORT_TIMEOUT_S", 3.0)
    monkeypatch.setattr(predictions, "_CUT_SETTLES_S", 3.0)
    monkeypatch.setattr(predictions, "_GATEWAY_SETTLES_S", 6.0)


@pytest.fixture
def new_tasks(servers, tmp_path):
    """A project with small grey pictures; its id and those of its tasks."""
    drawn = io.BytesIO()
    Image.new("RGB", (64, 64), "grey").save(drawn, "JPEG")
    paths = [tmp_path / f"{number:03}.jpg" for number in range(TASKS)]
    for path in paths:
        path.write_bytes(drawn.getvalue())
    project = servers.client.create_project("faults", boxes_config())["id"]
    return project, servers.client.upload_files(project, paths)


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_a_gateway_breaks_each_task_has_one_prediction_in_the_end(
    servers, new_tasks, hasty, tmp_path, seed
):
    project, ids = new_tasks
    with faulty_proxy(servers.label_studio_url, seed, rounds=ROUNDS, slow_s=5.0) as proxy:
        settings = load(
            label_studio_url=proxy.url,
            label_studio_api_key=servers.token,
            project_id=project,
            boxes_predictor=VERSION,
            data_dir=tmp_path / "data",
            request_delay_seconds=0.0,
            max_retries=8,
            max_backoff_delay=2.0,
        )
        with batch_run(settings, backend=None, anew=False, dry_run=False) as ready:
            options = Options(manners=replace(ready.manners, chunk=CHUNK))
            summary = run(ready.parts, options, Event())
    print(f"seed {seed}: {dict(proxy.met)}; {summary.counts}; {summary.seconds} s")  # noqa: T201 - to go by
    stored = Counter(
        (row["id"], held["model_version"])
        for row in servers.client.tasks(project, annotations=True)
        for held in row["predictions"]
    )
    assert stored == {(task, VERSION): 1 for task in ids}
    assert (summary.exit_code, summary.warnings, summary.counts.failed) == (0, (), 0)
    assert proxy.met == dict.fromkeys(KINDS, ROUNDS)
    assert proxy.spent
