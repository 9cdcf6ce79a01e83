"""What Prometheus is told: a series moves when what it counts happens, and no caller adds any."""

import importlib.util
import re
import time
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from prelabel.assembly import server
from prelabel.errors import ImageRefused, LabelStudioUnreachable, StoreUnavailable
from prelabel.labelstudio_api.client import LabelStudio
from prelabel.media.cache import CacheCounts
from prelabel.media.references import ImageReference
from prelabel.runtime.batch_queue import BatchQueue
from prelabel.runtime.batcher import Batcher
from prelabel.server.agreement import Remembered, review
from prelabel.server.bounded import Bounded
from prelabel.server.confidences import Confidences
from prelabel.server.gauges import OfCache, OfPredictors
from prelabel.server.metrics import Metrics
from prelabel.server.records import Recorded, Records
from prelabel.settings import Settings
from prelabel.types import Ask, Image

from .conftest import CONFIG
from .test_learning import ended, train

REPOSITORY = Path(__file__).resolve().parents[2]


def series(text: str) -> dict:
    """Value by name and labels, `name{label=value}`."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def of(client) -> dict:
    return series(client.get("/metrics").text)


def counted(metrics) -> dict:
    return series(metrics.exposition().decode())


def predict(client, *uris, **more):
    tasks = [{"id": n, "data": {"image": uri}} for n, uri in enumerate(uris, 1)]
    return client.post("/predict", json={"tasks": tasks, "label_config": CONFIG, **more})


def script(name):
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_series_is_up_to_date():
    page = (REPOSITORY / "docs" / "metrics.md").read_text("utf-8")
    assert script("write_metrics_table").with_table(page) == page, (
        "run scripts/write_metrics_table.py"
    )


def test_every_series_of_a_server_is_in_the_table(client):
    table = script("write_metrics_table").table()
    names = set(re.findall(r"^# TYPE (\S+)", client.get("/metrics").text, re.MULTILINE))
    names = {name for name in names if not name.endswith("_created")}
    assert len(names) >= 25
    assert [name for name in names if f"`{name}`" not in table] == []


def test_every_series_in_the_examples_of_the_docs_exists():
    page = (REPOSITORY / "docs" / "metrics.md").read_text("utf-8")
    table = script("write_metrics_table").table()
    for name in re.findall(r"\bprelabel_[a-z_]+", page.replace(table, "")):
        assert f"`{re.sub('_(count|sum|bucket)$', '', name)}`" in table, name


def test_a_request_moves_the_series_of_its_way(client):
    predict(client, "a", "blank", "missing")
    told = of(client)
    assert told["prelabel_tasks_asked_total"] == 3
    assert told["prelabel_predictions_total{outcome=failed}"] == 1
    assert told["prelabel_task_failures_total{kind=ImageUnreachable}"] == 1
    assert told["prelabel_predictions_by_version_total{model_version=fake}"] == 2
    assert told["prelabel_region_score_count{label=body_distortion}"] == 1
    assert told["prelabel_region_score_bucket{label=body_distortion,le=0.5}"] == 1
    assert told["prelabel_region_score_bucket{label=body_distortion,le=0.4}"] == 0
    assert told["prelabel_prediction_regions_count"] == 2
    assert told["prelabel_request_seconds_count{route=/predict,status=200}"] == 1
    assert told["prelabel_requests_in_flight"] == 1  # the one that asks
    assert told["prelabel_stage_seconds_count{stage=queue}"] == 1
    assert told["prelabel_stage_seconds_count{stage=predict}"] >= 1
    assert told["prelabel_stage_seconds_count{stage=write}"] >= 1
    assert told["prelabel_database_up"] == 1
    assert told["prelabel_predictor_loaded{device=none,finds=boxes,predictor=fake}"] == 1
    assert told["prelabel_threads"] > 1
    assert [name for name in told if name.startswith("prelabel_build_info{")]


def test_what_is_turned_away_is_counted(serve):
    client = serve(rate_limit="1/minute")
    for _ in range(3):
        client.post("/setup", json={})
    assert counted(client.app.state.service.metrics)[
        "prelabel_dropped_requests_total{reason=rate limit}"
    ] == 2  # fmt: skip


def test_a_real_server_counts_fetched_images_and_the_cache(tmp_path):
    settings = Settings(
        _env_file=None, data_dir=tmp_path, boxes_predictor="opencv-fallback",
        poses_predictor="embedded-pose", local_files_document_root=tmp_path,
    )  # fmt: skip
    service = server.service(settings)
    picture = (REPOSITORY / "examples" / "demo" / "frames" / "frame_0001.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(picture)
    for _ in range(2):
        service._studio.images.load(ImageReference("/data/local-files/?d=a.jpg"))
    with pytest.raises(ImageRefused):
        service._studio.images.load(ImageReference("ftp://x/a.jpg"))
    told = counted(service.metrics)
    service.close()
    assert told["prelabel_images_fetched_total{outcome=ok}"] == 1
    assert told["prelabel_images_fetched_total{outcome=ImageRefused}"] == 1
    assert told["prelabel_fetched_bytes_total"] == len(picture)
    assert told["prelabel_image_cache_total{outcome=hit}"] == 1
    assert told["prelabel_image_cache_total{outcome=miss}"] == 2
    assert told["prelabel_image_cache_bytes"] > len(picture)
    assert told["prelabel_stage_seconds_count{stage=fetch}"] == 2
    assert told["prelabel_stage_seconds_count{stage=decode}"] == 1


def test_calls_to_label_studio_are_counted_with_their_outcome():
    metrics = Metrics()
    with LabelStudio(
        "http://127.0.0.1:9", token="0" * 40, attempts=2, first_pause_s=0.01,
        observe=metrics.called,
    ) as studio, pytest.raises(LabelStudioUnreachable):  # fmt: skip
        studio.object("GET", "/api/version")
    assert counted(metrics)[
        "prelabel_label_studio_call_seconds_count{method=GET,outcome=ConnectError}"
    ] == 2  # fmt: skip


def test_queues_say_how_many_wait_and_for_how_long(predictor):
    metrics, predictor.batch_size = Metrics(), 1
    queue = Batcher(BatchQueue(predictor, lambda *ran: metrics.ran("fake", *ran)))
    metrics.watch(OfPredictors({"boxes": queue}))
    predictor.may_go_on.clear()
    images = [Image(np.zeros((8, 8, 3), np.uint8), f"blank {n}") for n in range(3)]
    asking = Thread(target=queue.predict, args=(images, Ask()))
    asking.start()
    until = time.monotonic() + 5
    while counted(metrics)["prelabel_batches_running{finds=boxes}"] != 1:
        assert time.monotonic() < until
    time.sleep(0.05)
    told = counted(metrics)
    assert told["prelabel_queue_images{finds=boxes,priority=bulk}"] == 2
    assert told["prelabel_queue_oldest_seconds{finds=boxes}"] > 0.04
    predictor.may_go_on.set()
    asking.join()
    told = counted(metrics)
    assert told["prelabel_queue_images{finds=boxes,priority=bulk}"] == 0
    assert told["prelabel_batch_images_bucket{le=1.0,predictor=fake}"] == 3
    assert told["prelabel_batch_seconds_count{predictor=fake}"] == 3


def test_labels_beyond_the_limit_share_one_series():
    bounded = Bounded(2)
    assert [bounded.name(one) for one in "abcab"] == ["a", "b", "other", "a", "b"]
    confidences = Confidences()
    for number in range(200):
        confidences.add([region(f"{number}", f"label {number}", score=0.5)])
    (family,) = confidences.collect()
    labels = {sample.labels["label"] for sample in family.samples}
    assert len(labels) == 51
    assert "other" in labels


def test_unknown_events_and_routes_make_no_series(client):
    for number in range(20):
        client.post("/webhook", json={"action": f"MADE UP {number}"})
        client.get(f"/made/up/{number}")
    told = of(client)
    assert told["prelabel_events_total{action=other}"] == 20
    assert told["prelabel_request_seconds_count{route=(no route),status=404}"] == 20
    assert not [name for name in told if "made" in name.lower()]


def test_jobs_and_learnt_versions_are_told(serve, tmp_path):
    learning = server.learning(Settings(_env_file=None, data_dir=tmp_path / "data"))
    client = serve(learning=learning)
    ended(client, train(client)["job"])
    time.sleep(0.6)  # what is known is new for half a second
    told = of(client)
    assert told["prelabel_jobs{kind=training,status=done}"] == 1
    assert told["prelabel_job_last_seconds{kind=training}"] > 0
    assert told["prelabel_learner_version{project=7}"] == 1
    assert 0 <= told["prelabel_learner_mean_iou{project=7,way=learner}"] <= 1


def test_the_database_is_not_waited_for_and_the_last_answer_stays():
    may_answer, answers = Event(), [Recorded(jobs=("a job",))]

    def read():
        if not answers:
            may_answer.wait(10)
            raise StoreUnavailable("the database", "is away", "Start it.")
        return answers.pop()

    records = Records(read, patience_s=0.1, fresh_s=0)
    assert records.latest().jobs == ("a job",)
    began = time.monotonic()
    late = records.latest()
    assert time.monotonic() - began < 8
    assert (late.jobs, bool(late.trouble)) == (("a job",), True)
    may_answer.set()
    time.sleep(0.05)
    assert "Start it." in records.latest().trouble
    records.close()


def test_a_defect_in_what_was_stored_takes_nothing_away():
    records = Records(lambda: 1 // 0)
    assert "see the log" in records.latest().trouble
    records.close()


def test_counting_is_safe_for_several_threads():
    metrics, rounds = Metrics(), 500

    def work():
        for _ in range(rounds):
            with metrics.busy("predict"):
                metrics.called("GET", "200", 0.1)

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = counted(metrics)
    assert told["prelabel_stage_seconds_count{stage=predict}"] == 4 * rounds


def test_the_cache_tells_how_it_is_used():
    metrics = Metrics()
    metrics.watch(OfCache(lambda: CacheCounts(hits=3, misses=1, images=1, bytes=1024)))
    assert counted(metrics)["prelabel_image_cache_total{outcome=hit}"] == 3


def region(name, label="hand", origin=None, **more):
    value = {"x": 1, "y": 1, "width": 1, "height": 1, "rectanglelabels": [label]}
    made = {"id": name, "type": "rectanglelabels", "value": value, **more}
    return made if origin is None else {**made, "origin": origin}


def annotation(*result, **more):
    return {"id": 1, "task": 5, "result": list(result), **more}


@pytest.fixture
def remembered():
    made = Remembered()
    made.add(5, [region("a"), region("b", "arm"), region("c", "arm")])
    return made


@pytest.mark.parametrize(
    ("given", "source", "verdicts"),
    [
        ({}, "scratch", []),
        (annotation(), "scratch", []),
        (annotation(was_cancelled=True, parent_prediction=9), "skipped", []),
        (annotation(region("n", origin="manual")), "scratch", []),
        (annotation(parent_prediction=9), "prediction",
         [("hand", "removed"), ("arm", "removed"), ("arm", "removed")]),
        (annotation(region("a", origin="prediction"), region("b", "arm", "prediction-changed"),
                    region("n", "leg", "manual"), parent_prediction=9), "prediction",
         [("hand", "kept"), ("arm", "changed"), ("leg", "added"), ("arm", "removed")]),
        # Its label was changed: Label Studio keeps the id.
        (annotation(region("a", "leg", "prediction-changed"), region("b", "arm", "prediction"),
                    region("c", "arm", "prediction")), "prediction",
         [("leg", "changed"), ("arm", "kept"), ("arm", "kept")]),
        # Begun from another prediction than the one remembered: what was removed is not known.
        (annotation(region("x", origin="prediction"), parent_prediction=8), "prediction",
         [("hand", "kept")]),
    ],
)  # fmt: skip
def test_what_people_keep_of_a_prediction(remembered, given, source, verdicts):
    found = review(given, remembered)
    assert found.source == source
    assert found.verdicts == verdicts


def test_a_prediction_that_label_studio_sends_along_goes_before_what_is_remembered(remembered):
    prediction = {"id": 9, "result": [region("a"), region("z", "leg")]}
    given = annotation(region("a", origin="prediction"), parent_prediction=9, prediction=prediction)
    assert review(given, remembered).verdicts == [("hand", "kept"), ("leg", "removed")]


@pytest.mark.parametrize(
    "broken",
    [
        {"result": "text"},
        {"result": [None, 3, {"type": 7}]},
        {"result": [{"type": "rectanglelabels", "value": {"rectanglelabels": 3}}]},
        {"result": [{"type": "rectanglelabels", "value": None, "origin": "prediction"}]},
        {"prediction": 4, "parent_prediction": []},
        {"task": {"id": 5}, "parent_prediction": 1},
        {"result": [{**region("a"), "origin": ["prediction"]}]},
        {"result": [{**region("a"), "id": ["a"], "origin": "prediction"}]},
    ],
)
def test_events_of_any_shape_are_taken(client, broken):
    event = {"action": "ANNOTATION_CREATED", "project": {"id": 7}, "annotation": broken}
    assert client.post("/webhook", json=event).status_code == 201


def test_the_oldest_predictions_are_forgotten_first():
    remembered = Remembered(most=3)
    for task in (1, 2, 3):
        remembered.add(task, [region(f"{task}a"), region(f"{task}b")])
    assert [len(remembered.of(task)) for task in (1, 2, 3)] == [0, 0, 2]
    remembered.add(3, [region("again")])
    assert remembered.of(3) == {"again": "hand"}


def test_a_submitted_annotation_is_compared_with_the_prediction_that_was_answered(client):
    (answer,) = predict(client, "a").json()["results"]
    kept = [{**one, "origin": "prediction"} for one in answer["result"]]
    for action, result in (
        ("ANNOTATION_CREATED", kept),
        ("ANNOTATION_CREATED", []),
        ("ANNOTATION_UPDATED", []),
    ):
        made = {"task": 1, "parent_prediction": 3, "result": result}
        client.post("/webhook", json={"action": action, "project": 7, "annotation": made})
    told = of(client)
    assert told["prelabel_annotations_total{source=prediction}"] == 2
    assert told["prelabel_reviewed_regions_total{label=body_distortion,verdict=kept}"] == 1
    assert told["prelabel_reviewed_regions_total{label=body_distortion,verdict=removed}"] == 1
