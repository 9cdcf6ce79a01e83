"""A Label Studio with a memory that loses answers, drops predictions and comes late on demand."""

import json
import time
from collections import Counter
from dataclasses import dataclass, field
from threading import RLock
from urllib.parse import parse_qs

import httpx2
import pytest

from prelabel.batch.push import Manners, Target
from prelabel.batch.stages import StageClock
from prelabel.batch.tally import Tally
from prelabel.labelstudio_api.client import LabelStudio
from prelabel.store.database import open_database
from prelabel.store.journal import Campaign, Journal

LEGACY = "0123456789abcdef0123456789abcdef01234567"
VERSION = "always@1"
PROJECT = 7
CONFIG = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">'
    '<Label value="cat"/></RectangleLabels></View>'
)


@dataclass
class FakeLabelStudio(httpx2.BaseTransport):
    """What 1.23.2 does with the calls of a run; `faults` are used up one by one."""

    tasks: dict = field(default_factory=dict)  # id -> {"data", "annotations"}
    predictions: list = field(default_factory=list)  # {"id", "task", "model_version", "result"}
    faults: list = field(default_factory=list)  # (method, end of the path, what to do)
    refused: set = field(default_factory=set)  # tasks whose predictions a single POST refuses
    dropped: set = field(default_factory=set)  # tasks whose predictions an import drops
    late: list = field(default_factory=list)  # (how many looks away, what comes then)
    imports: list = field(default_factory=list)  # the tasks of each import that arrived
    requests: Counter = field(default_factory=Counter)
    views: dict = field(default_factory=dict)
    label_config: str = CONFIG
    forbidden: bool = False
    lock: RLock = field(default_factory=RLock)

    def add_tasks(self, number, **data):
        first = len(self.tasks) + 1
        for task in range(first, first + number):
            self.tasks[task] = {"data": {"image": f"{task}.png", **data}, "annotations": 0}
        return list(range(first, first + number))

    def hold(self, task, version=VERSION, result=()):
        number = 1 + max((row["id"] for row in self.predictions), default=0)
        row = {"id": number, "task": task, "model_version": version, "result": list(result)}
        self.predictions.append(row)

    def holding(self, version=VERSION):
        return Counter(row["task"] for row in self.predictions if row["model_version"] == version)

    def handle_request(self, request):
        with self.lock:
            path, method = request.url.path, request.method
            self.requests[method, path] += 1
            for fault in self.faults:
                if fault[0] == method and path.endswith(fault[1]):
                    self.faults.remove(fault)
                    return fault[2](self, request)
            return self.answer(request)

    def answer(self, request):  # noqa: C901, PLR0911 - the table of routes
        params = {name: values[0] for name, values in parse_qs(request.url.query.decode()).items()}
        parts = request.url.path.strip("/").split("/")[1:]
        content = request.read()
        body = json.loads(content) if content else None
        match request.method, parts:
            case "GET", ["projects", _]:
                project = {"id": PROJECT, "title": "Cats", "created_at": "2026"}
                return said(200, {**project, "label_config": self.label_config})
            case "GET", ["projects", _, "model-versions"]:
                return said(200, Counter(row["model_version"] for row in self.predictions))
            case "DELETE", ["projects", _, "model-versions"]:
                return said(
                    200, self.delete(lambda row: row["model_version"] == body["model_version"])
                )
            case "POST", ["projects", _, "import", "predictions"]:
                return said(403, {"detail": "no"}) if self.forbidden else self.imported(body)
            case "GET", ["dm", "views", number]:
                return said(200, self.views[int(number)])
            case "POST", ["dm", "actions"]:
                assert params["id"] == "delete_tasks_predictions"
                included = body["selectedItems"]["included"]
                return said(200, self.delete(lambda row: row["task"] in included))
            case "GET", ["tasks"]:
                return said(200, self.listed(params))
            case "GET", ["predictions"]:
                own = [row for row in self.predictions if row["task"] == int(params["task"])]
                return said(200, own)
            case "POST", ["predictions"]:
                if body["task"] in self.refused:
                    return said(400, {"detail": "label 'dog' is not known"})
                self.hold(body["task"], body["model_version"], body["result"])
                return said(201, self.predictions[-1])
            case "DELETE", ["predictions", number]:
                self.delete(lambda row: row["id"] == int(number))
                return httpx2.Response(204)
        return said(404, {"detail": f"no route {request.method} {request.url.path}"})

    def imported(self, body):
        ids = [row["task"] for row in body]
        unknown = set(ids) - self.tasks.keys()
        if unknown:
            return said(400, {"detail": f"task {min(unknown)} not found in project"})
        taken = [row for row in body if row["task"] not in self.dropped | self.refused]
        for row in taken:
            self.hold(row["task"], row["model_version"], row["result"])
        if body:
            self.imports.append(ids)
        return said(201, {"created": len(taken)})

    def delete(self, which):
        kept = [row for row in self.predictions if not which(row)]
        deleted, self.predictions = len(self.predictions) - len(kept), kept
        return {"deleted_predictions": deleted}

    def listed(self, params):
        for away, come in list(self.late):
            self.late.remove((away, come))
            if away > 1:
                self.late.append((away - 1, come))
            else:
                come()
        filters = json.loads(params["query"])["filters"]
        join = all if filters["conjunction"] == "and" else any
        found = [
            self.row(task)
            for task in sorted(self.tasks)
            if join(self.fits(task, item) for item in filters["items"])
        ]
        return {"total": len(found), "tasks": found[: int(params["page_size"])]}

    def row(self, task):
        stored = [row for row in self.predictions if row["task"] == task]
        held = [row["model_version"] for row in stored]
        return {
            "id": task,
            "data": self.tasks[task]["data"],
            "total_annotations": self.tasks[task]["annotations"],
            "total_predictions": len(held),
            "predictions_model_versions": ",".join(sorted(set(held))),
            "predictions": stored,
            "created_at": self.tasks[task].get("created_at", "2026-01-02T03:04:05.678901Z"),
        }

    def fits(self, task, item):
        child = item.get("child_filter")
        if child and not self.fits(task, child):
            return False
        column, wanted = item["filter"].removeprefix("filter:tasks:"), item["value"]
        row = self.row(task)
        value = row["data"].get(column[5:]) if column.startswith("data.") else row[column]
        match item["operator"]:
            case "greater":
                return value > wanted
            case "equal":
                return str(value) == str(wanted)
            case "in":
                return wanted["min"] <= value <= wanted["max"]
            case "in_list":
                return value in wanted
            case "contains" if column == "predictions_model_versions":
                return any(part in name for name in value.split(",") for part in wanted)
        raise AssertionError(item)


def said(status, body, **headers):
    return httpx2.Response(status, json=body, headers=headers)


class Faults:
    """What can go wrong with a request."""

    @staticmethod
    def status(code, **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return lambda fake, request: httpx2.Response(code, json={"detail": "busy"}, headers=named)

    @staticmethod
    def locked(fake, request):
        fake.answer(request)
        return said(500, {"detail": "database-is-locked-error"})

    @staticmethod
    def cut_after(fake, request):
        fake.answer(request)
        raise httpx2.ReadError("cut", request=request)

    @staticmethod
    def cut_before(fake, request):
        raise httpx2.ReadError("cut", request=request)

    @staticmethod
    def no_connection(fake, request):
        raise httpx2.ConnectError("refused", request=request)

    @staticmethod
    def twice(fake, request):
        """What Label Studio does by itself when its database was locked at the wrong moment."""
        fake.answer(request)
        return fake.answer(request)

    @staticmethod
    def late(looks):
        """Cut, and applied only after so many looks."""

        def fault(fake, request):
            request.read()
            fake.late.append((looks, lambda: fake.answer(request)))
            raise httpx2.ReadError("cut", request=request)

        return fault


@pytest.fixture
def faults():
    return Faults


@pytest.fixture
def fake():
    return FakeLabelStudio()


@pytest.fixture
def studio(fake):
    with LabelStudio("http://studio.test", token=LEGACY, transport=fake) as client:
        yield client


@pytest.fixture
def target(studio):
    return Target(studio, PROJECT, VERSION)


@pytest.fixture
def engine(tmp_path):
    opened = open_database("", tmp_path)
    yield opened
    opened.dispose()


@pytest.fixture
def campaign():
    return Campaign("http://studio.test", PROJECT, "2026", VERSION)


@pytest.fixture
def journal(engine, campaign):
    return Journal(engine, campaign)


@pytest.fixture
def tally():
    return Tally()


@pytest.fixture
def clock():
    return StageClock()


@pytest.fixture
def hasty():
    """Manners without pauses."""
    return Manners(request_delay_s=0.0, max_retries=3, max_backoff_s=60.0)


@pytest.fixture
def time_passes(monkeypatch):
    """Pauses end at once; they are remembered, and clocks go on by them."""
    pauses = []
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + sum(pauses))
    return pauses
