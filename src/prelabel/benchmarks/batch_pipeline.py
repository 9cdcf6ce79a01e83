"""How much of a model's time a batch run uses, beside the plain way, and its memory."""

import json
import re
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any
from urllib.request import urlopen

import numpy as np

from prelabel.benchmarks import image_server, paced
from prelabel.benchmarks.server import CONFIG
from prelabel.labelstudio.config import parse
from prelabel.labelstudio.regions.write import Page, box_regions
from prelabel.labelstudio_api.client import LabelStudio
from prelabel.launch.processes import Child, free_port
from prelabel.types import Ask, Detections, Image, Phrase

LATENCY_MS = 50
FULL_HD, SMALL = (1920, 1080), (960, 540)
WANTED_SHARE = 0.9
FEW = 1000
WANTED_GROWTH_MB = 50
_POLL_S = 0.1
_ASK = Ask((Phrase("body_distortion", "body_distortion"),))


@dataclass(frozen=True, slots=True)
class Site:
    """Where runs find what they need.

    Attributes:
        studio: Label Studio.
        token: Signs in to it.
        folder: For logs and journals.
        settings: That let runs use the models of `paced`.
    """

    studio: LabelStudio
    token: str
    folder: Path
    settings: Mapping[str, str]

    def new_project(self, tasks: int, images_url: str) -> tuple[int, list[int]]:
        """A project with tasks of different images; its id and theirs."""
        project = self.studio.create_project("bench run", CONFIG)["id"]
        data = [{"data": {"image": f"{images_url}/{number}.jpg"}} for number in range(tasks)]
        return project, self.studio.import_tasks(project, data)

    @contextmanager
    def images(self, size_wh: tuple[int, int], latency_ms: int) -> Iterator[str]:
        """Serve pictures meanwhile, from a process of its own; yields their address."""
        port = free_port()
        command = [sys.executable, "-m", image_server.__name__]
        command += map(str, (port, *size_wh, latency_ms))
        log_path = self.folder / "images.log"
        with Child.start("images", command, log_path=log_path, environment={}) as server:
            url = f"http://127.0.0.1:{port}"
            server.wait_until_answers(f"{url}/0.jpg", timeout_s=30)
            yield url

    def run(self, project: int, model: str, *arguments: str) -> "Ran":
        """`prelabel run` to its end.

        Raises:
            RuntimeError: It did not end with a prediction of each task.
        """
        log_path = self.folder / "run.log"
        command = [str(Path(sysconfig.get_path("scripts")) / "prelabel"), "run", "--json"]
        command += ["--project", str(project), *arguments]
        environment = {
            **self.settings,
            "LABEL_STUDIO_URL": self.studio.url,
            "LABEL_STUDIO_API_KEY": self.token,
            "DATA_DIR": str(self.folder / "data"),
            "BOXES_PREDICTOR": model,
            "FETCH_ALLOWED_HOSTS": "127.0.0.1",
            "PREDICTION_STORE_MB": "0",  # each run is to predict the same pictures
        }
        peak_mb = 0.0
        with Child.start("run", command, log_path=log_path, environment=environment) as child:
            while child.running:
                peak_mb = max(peak_mb, _peak_mb(child.pid))
                time.sleep(_POLL_S)
        if child.exit_code:
            raise RuntimeError(f"prelabel run ended with {child.exit_code}: {child.last_lines()}")
        told = next(line for line in log_path.open() if line.startswith("{"))
        return Ran(json.loads(told), peak_mb)


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run told, and the most memory that it took."""

    summary: Mapping[str, Any]
    peak_mb: float

    @property
    def rate(self) -> float:
        """Tasks a second from the first listing to the last push; imports and sign-in aside."""
        return float(self.summary["counts"]["pushed"] / self.summary["seconds"])


def pipeline(site: Site, tasks: int, runs: int) -> None:
    """Print tasks per second of the model alone, of `prelabel run` and of the plain way, in turns.

    Args:
        site: Where it happens.
        tasks: Of one run; the plain way does a quarter of them, as it takes longer.
        runs: Timed runs of each way.
    """
    width, height = FULL_HD
    size = len(image_server.pictures(width, height)[0])
    print(
        f"\npipeline: JPEGs of {width} x {height} ({size / 1000:.0f} kB), each over loopback HTTP "
        f"after {LATENCY_MS} ms; {tasks} tasks, {runs} run(s) of each way in turns"
        "\nmodel alone: predict() on decoded images, one after the other"
        "\nprelabel: `prelabel run` with default settings, from the first listing to the last push"
        f"\nplain: {tasks // 4} tasks, one at a time: download, decode, predict, POST "
        "/api/predictions/"
        f"\nsleeping: {1000 * paced.SLEEP_S:.0f} ms an image without a core, as with a GPU; "
        f"computing: {paced.ROUNDS:,} rounds of SHA-256 an image on one core"
    )
    with site.images(FULL_HD, LATENCY_MS) as url:
        for model in (paced.SLEEPING, paced.COMPUTING):
            rates: dict[str, list[float]] = {"alone": [], "prelabel": [], "plain": []}
            for _ in range(runs):
                rates["alone"].append(_alone(model, tasks // 4))
                project, _ = site.new_project(tasks, url)
                ran = site.run(project, model)
                rates["prelabel"].append(ran.rate)
                rates["plain"].append(_plainly(site, model, tasks // 4, url))
            alone, ours, plain = map(median, rates.values())
            print(
                f"{model}: model alone {alone:.2f}/s ({1000 / alone:.0f} ms), prelabel "
                f"{ours:.2f}/s, {ours / alone:.1%} of it (wanted {WANTED_SHARE:.0%}); plain "
                f"{plain:.2f}/s, prelabel is {ours / plain:.2f}x as fast; 0 errors; "
                f"{ran.summary['bottleneck']} sets the pace",
                flush=True,
            )


def memory(site: Site, tasks: int) -> None:
    """Print the peak memory of a run of 1,000 tasks and of one of many more.

    Args:
        site: Where it happens.
        tasks: Of the longer run.
    """
    width, height = SMALL
    print(
        f"\nmemory: peak resident memory of `prelabel run`, once {FEW:,} and once {tasks:,} tasks; "
        f"JPEGs of {width} x {height} over loopback HTTP, a model that takes no time"
    )
    with site.images(SMALL, 0) as url:
        project, _ = site.new_project(FEW + tasks, url)
        few = site.run(project, paced.INSTANT, "--limit", str(FEW))
        many = site.run(project, paced.INSTANT)
    growth_mb = many.peak_mb - few.peak_mb
    print(
        f"{few.summary['counts']['pushed']:,} tasks: {few.peak_mb:.0f} MB ({few.rate:.0f}/s); "
        f"{many.summary['counts']['pushed']:,} tasks: {many.peak_mb:.0f} MB ({many.rate:.0f}/s); "
        f"{growth_mb:+.0f} MB (wanted at most +{WANTED_GROWTH_MB} MB); 0 errors",
        flush=True,
    )


def _alone(model: str, images: int) -> float:
    predictor = paced.MAKERS[model]({})
    image = Image(np.zeros((*FULL_HD[::-1], 3), np.uint8))
    return _rate(images, lambda _: predictor.predict([image], _ASK))


def _plainly(site: Site, model: str, tasks: int, url: str) -> float:
    """Tasks a second of a loop as people write it."""
    import cv2

    predictor, (control,) = paced.MAKERS[model]({}), parse(CONFIG).controls
    project, ids = site.new_project(tasks, url)

    def one(place: int) -> None:
        with urlopen(f"{url}/{place}.jpg") as answer:  # noqa: S310 - our own server
            encoded = np.frombuffer(answer.read(), np.uint8)
        pixels = cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        (found,) = predictor.predict([Image(pixels)], _ASK)
        assert isinstance(found, Detections), "it always finds a box"
        page = Page(*pixels.shape[:2])
        result = box_regions(found, control, None, page)
        body = {"task": ids[place], "result": result, "score": 0.5, "model_version": model}
        site.studio.object("POST", "/api/predictions/", json=body)

    rate = _rate(tasks, one)
    if site.studio.model_versions(project) != {model: tasks}:
        raise RuntimeError("predictions of the plain way are missing")
    return rate


def _rate(times: int, call: Callable[[int], object]) -> float:
    begin = perf_counter()
    for number in range(times):
        call(number)
    return times / (perf_counter() - begin)


def _peak_mb(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:  # it has ended meanwhile
        return 0.0
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(found.group(1)) / 1024 if found else 0.0
