"""Who asks the server during the soak, all at once, and what each of them saw."""

import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx2
from soak_site import Backend

from prelabel.errors import LabelStudioError
from prelabel.labelstudio_api.client import LabelStudio

STUDIO_AGENT = "heartex/1.23.2"
HOPELESS = ("broken", "missing")
"""Images that nobody ever sees."""

SOME_TASKS = 150
SCRIPT_TASKS = 20
PATIENCE_S = 60.0
OVERLOADED = (429, 503)


@dataclass
class Seen:
    """What the callers saw, kept under a lock.

    Attributes:
        counts: Answers by caller and status; "away" where there was none and none was due.
        seconds: How long answers took, by caller.
        wrong: What must not be, in words.
    """

    counts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    wrong: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def saw(self, who: str, what: str, seconds: float | None = None) -> None:
        """Count one answer."""
        with self._lock:
            self.counts[who][what] += 1
            if seconds is not None:
                self.seconds[who].append(seconds)

    def note(self, words: str) -> None:
        """Keep something that must not be."""
        with self._lock:
            self.wrong.append(words)


@dataclass(frozen=True)
class Callers:
    """Everybody who asks.

    Attributes:
        backend: The server under test.
        studio_url: Label Studio, asked directly.
        token: Signs in to it.
        project: The project and the backend's number in it.
        uid: The project as Label Studio names it to backends.
        label_config: Its label config.
        tasks: Image address by task id.
        seen: Where it is noted what came back.
    """

    backend: Backend
    studio_url: str
    token: str
    project: tuple[int, int]
    uid: str
    label_config: str
    tasks: dict[int, str]
    seen: Seen
    stop: threading.Event = field(default_factory=threading.Event)
    _luck: random.Random = field(default_factory=lambda: random.Random(0))  # noqa: S311 - no secret

    @contextmanager
    def asking(self) -> Iterator[None]:
        """All of them meanwhile, each in a thread."""
        of_server: list[tuple[float, Callable[[httpx2.Client], object]]] = [
            (0.1, partial(self._ask, "health", "GET", "/health")),
            (0.5, self._set_up),
            (3.0, partial(self._ask, "metrics", "GET", "/metrics")),
            (4.0, partial(self._ask, "status page", "GET", "/")),
            (4.0, partial(self._ask, "status", "GET", "/status")),
            (2.0, self._script),
            (1.0, self._interactive),
        ]
        in_studio = [
            (12.0, self._click), (1.5, self._open), (4.0, self._annotate), (45.0, self._train)
        ]  # fmt: skip
        threads = [threading.Thread(target=self._repeat, args=row) for row in of_server]
        threads += [threading.Thread(target=self._repeat_in_studio, args=row) for row in in_studio]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stop.set()
            for thread in threads:
                thread.join()

    def _repeat(self, pause_s: float, ask: Callable[[httpx2.Client], object]) -> None:
        with httpx2.Client(
            base_url=self.backend.url, headers={"User-Agent": "soak"}, timeout=PATIENCE_S
        ) as client:
            while not self.stop.wait(pause_s):
                ask(client)

    def _repeat_in_studio(self, pause_s: float, act: Callable[[LabelStudio], object]) -> None:
        who = act.__name__.strip("_")
        with LabelStudio(self.studio_url, token=self.token, timeout_s=300, attempts=1) as studio:
            while not self.stop.wait(pause_s):
                began = time.monotonic()
                try:
                    act(studio)
                except LabelStudioError as error:  # its SQLite is locked now and then
                    self.seen.saw(who, type(error).__name__)
                else:
                    self.seen.saw(who, "ok", time.monotonic() - began)

    def _ask(self, who: str, method: str, path: str, client: httpx2.Client, **content: Any) -> Any:
        """Ask the server, and note what must not come back; gives the answer's JSON if any."""
        began = time.monotonic()
        try:
            answer = client.request(method, path, **content)
        except httpx2.TransportError as error:
            if self.backend.is_away(began, time.monotonic()):
                self.seen.saw(who, "away")
            else:
                self.seen.saw(who, type(error).__name__)
                self.seen.note(f"{who}: {type(error).__name__}: {error}, and it was not away")
            return None
        seconds = time.monotonic() - began
        self.seen.saw(who, str(answer.status_code), seconds)
        explained = answer.status_code in OVERLOADED and "retry-after" in answer.headers
        if answer.is_server_error and not explained:
            self.seen.note(f"{who}: {answer.status_code} without a reason: {answer.text[:200]}")
        is_json = answer.headers.get("content-type", "") == "application/json"
        return answer.json() if answer.is_success and is_json else None

    def _set_up(self, client: httpx2.Client) -> None:
        body = {
            "project": self.uid,
            "schema": self.label_config,
            "hostname": "",
            "extra_params": "",
        }
        self._ask("setup", "POST", "/setup", client, json=body)

    def _script(self, client: httpx2.Client) -> None:
        """A program of somebody's that asks the server itself, with tasks that nobody stores."""
        uris = self._luck.sample(sorted(self.tasks.values()), SCRIPT_TASKS)
        self._predict("script", client, [{"data": {"image": uri}} for uri in uris], "another")

    def _interactive(self, client: httpx2.Client) -> None:
        task = self._luck.choice(sorted(self.tasks))
        drawn = {
            "id": "drawn", "type": "rectanglelabels", "from_name": "label", "to_name": "image",
            "original_width": 640, "original_height": 360,
            "value": {"x": 5, "y": 5, "width": 50, "height": 50, "rectanglelabels": ["a"]},
        }  # fmt: skip
        asked = [{"id": task, "data": {"image": self.tasks[task]}}]
        params = {"context": {"result": [drawn]}}
        found = self._predict("interactive", client, asked, self.uid, params=params)
        if found is not None and not isinstance(found[0], dict):
            self.seen.note(f"interactive: {found[0]!r} is no object, as the editor needs")

    def _predict(
        self, who: str, client: httpx2.Client, tasks: Sequence[Any], project: str, **more: Any
    ) -> list[Any] | None:
        body = {"tasks": tasks, "project": project, "label_config": self.label_config, **more}
        agent = {"User-Agent": STUDIO_AGENT if more else "soak"}
        told = self._ask(who, "POST", "/predict", client, json=body, headers=agent)
        if told is None:
            return None
        if len(told["results"]) != len(tasks):
            self.seen.note(f"{who}: {len(told['results'])} entries for {len(tasks)} tasks")
        found: list[Any] = told["results"]
        return found

    def _click(self, studio: LabelStudio) -> None:
        """Retrieve Predictions, for all tasks or for some."""
        number, _ = self.project
        some = sorted(self._luck.sample(sorted(self.tasks), min(SOME_TASKS, len(self.tasks))))
        studio.retrieve_predictions(number, self._luck.choice([None, some]))

    def _open(self, studio: LabelStudio) -> None:
        """An annotator opens a task; Label Studio asks for it where it has no prediction."""
        studio.task(self._luck.choice(sorted(self.tasks)))

    def _annotate(self, studio: LabelStudio) -> None:
        """An annotator submits a box; Label Studio sends its webhooks."""
        shown = [task for task, uri in self.tasks.items() if uri.split("/")[3] not in HOPELESS]
        task = self._luck.choice(shown)
        box = {
            "id": f"by-hand-{time.monotonic_ns()}", "type": "rectanglelabels",
            "from_name": "label", "to_name": "image", "original_width": 640,
            "original_height": 360, "image_rotation": 0, "origin": "manual",
            "value": {"x": self._luck.uniform(1, 40), "y": self._luck.uniform(1, 40),
                      "width": 20, "height": 20, "rotation": 0,
                      "rectanglelabels": ["body_distortion"]},
        }  # fmt: skip
        studio.object("POST", f"/api/tasks/{task}/annotations/", json={"result": [box]})

    def _train(self, studio: LabelStudio) -> None:
        """Start Training."""
        studio.start_training(self.project[1])
