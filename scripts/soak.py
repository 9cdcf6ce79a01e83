"""Everything at once for some minutes, with faults, and then a look at what must always hold.

Starts a Label Studio and a server of its own. People click, open tasks, annotate and train;
scripts and monitors ask beside them; and in turn pictures fail, Label Studio answers 500 or 429,
hangs or cuts connections, the database is locked, and the server is killed with -9 and ended with
SIGTERM. In the end every task that can be predicted must hold exactly one prediction of the last
model version, no other task may hold any, and the server must not have grown.

    python scripts/soak.py --minutes 10 --label-studio .venv-labelstudio/bin/label-studio
"""

import argparse
import math
import re
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path

import httpx2
from soak_load import HOPELESS, Callers, Seen
from soak_site import MUST_END_IN_S, Backend, Gateway, Pictures, Vitals, serving

from prelabel.benchmarks import sleeping
from prelabel.benchmarks.own_studio import own_studio
from prelabel.labelstudio.templates import boxes_config
from prelabel.labelstudio_api.client import LabelStudio
from prelabel.labelstudio_api.session import Json
from prelabel.launch.processes import ending_on_signals, free_port

KINDS = {"good": 86, "slow": 4, "flaky": 4, "broken": 3, "missing": 3}
"""Percent of tasks by what their image is."""

FAULT_S, PAUSE_S = 10.0, 15.0
KILL_AT, END_AT = 0.05, 0.15
"""Shares of the time; the process that lives from the second on is the one whose growth counts."""

SETTLE_S = 400.0
WARM_SHARE = 0.4
"""So much of a process' life fills its caches and its allocator; what comes then is growth."""
MOST_HEALTH_S = 1.0
"""So long Label Studio waits for /health."""
MOST_MB_A_MINUTE = 3.0
LEAST_MINUTES = 3.0
"""Over less time a slope says nothing."""

MOST_MORE = 12
"""Files and threads at the end over those once the process was warm."""


@dataclass
class Trial:
    """What is under test, and what was seen of it."""

    studio: LabelStudio
    backend: Backend
    gateway: Gateway
    pictures: Pictures
    callers: Callers
    kinds: dict[int, str]
    vitals: list[Vitals] = field(default_factory=list)
    faults: list[tuple[str, float, float]] = field(default_factory=list)
    checks: list[tuple[bool, str, str]] = field(default_factory=list)

    def check(self, name: str, holds: bool, figure: str) -> None:
        """Note an invariant."""
        self.checks.append((holds, name, figure))


def main() -> None:
    """Soak, print the table, and end with exit code 1 if something does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--tasks", type=int, default=500)
    parser.add_argument("--log", type=Path, help="where the log of the server goes")
    parser.add_argument("--label-studio", type=Path, help="the label-studio program")
    options = parser.parse_args()
    with (
        ending_on_signals(),
        tempfile.TemporaryDirectory() as folder,
        _trial(Path(folder), options) as trial,
    ):
        try:
            _soak(trial, 60 * options.minutes)
            _settle(trial)
            _look(trial)
        finally:
            trial.backend.end(again=False)
        _look_at_ends(trial)
        _tell(trial)
    if not all(holds for holds, _, _ in trial.checks):
        sys.exit(1)


def _soak(trial: Trial, seconds: float) -> None:
    """All callers, and one fault after the other."""
    begin = time.monotonic()
    once = {KILL_AT: ("kill -9", trial.backend.kill)}
    once[END_AT] = ("SIGTERM", partial(trial.backend.end, again=True))
    with _watched(trial), trial.callers.asking():
        for name, fault in _in_turn(trial):
            share = (time.monotonic() - begin) / seconds
            if share >= 1:
                return
            due = [at for at in once if share >= at]
            what, act = once.pop(due[0]) if due else (name, fault)
            print(f"  {share * seconds / 60:4.1f} min: {what}", flush=True)
            began = time.time()
            act()
            trial.faults.append((what, began, time.time()))
            time.sleep(PAUSE_S)


def _in_turn(trial: Trial) -> Iterator[tuple[str, Callable[[], object]]]:
    """Faults that last for a while each, for ever."""

    def gateway(fault: str) -> None:
        trial.gateway.fault = fault
        time.sleep(FAULT_S)
        trial.gateway.fault = ""

    def no_pictures() -> None:
        trial.pictures.is_away = True
        time.sleep(FAULT_S)
        trial.pictures.is_away = False

    faults: list[tuple[str, Callable[[], object]]] = [
        (f"Label Studio: {fault}", partial(gateway, fault))
        for fault in ("500", "429", "hangs", "cut after")
    ]
    faults.insert(1, ("database locked", partial(trial.backend.lock_database, FAULT_S)))
    faults.insert(3, ("no pictures", no_pictures))
    while True:
        yield from faults


@contextmanager
def _watched(trial: Trial) -> Iterator[None]:
    """Look at the server's process each second."""
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(1.0):
            seen = trial.backend.vitals()
            if seen is not None:
                trial.vitals.append(seen)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _settle(trial: Trial) -> None:
    """One last click, and then nobody does anything until no job is left."""
    project, _ = trial.callers.project
    _wait_for_jobs(trial, ("training", "backfill"))
    trial.studio.retrieve_predictions(project)
    wanted = sum(kind not in HOPELESS for kind in trial.kinds.values())
    begin = time.monotonic()
    while time.monotonic() < begin + SETTLE_S:
        version = _version(trial)
        if trial.studio.model_versions(project).get(version, 0) >= wanted:
            break
        time.sleep(2)
    _wait_for_jobs(trial, ("backfill",))
    print(f"settled {time.monotonic() - begin:.0f} s after the last click", flush=True)


def _wait_for_jobs(trial: Trial, kinds: Sequence[str]) -> None:
    deadline = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline:
        told = httpx2.get(f"{trial.backend.url}/status", timeout=30).json()
        if not any(job["can_cancel"] for job in told["jobs"] if job["kind"] in kinds):
            return
        time.sleep(1)


def _version(trial: Trial) -> str:
    body = {"project": trial.callers.uid, "schema": trial.callers.label_config}
    answer = httpx2.post(f"{trial.backend.url}/setup", json=body, timeout=30)
    return str(answer.json()["model_version"])


def _look(trial: Trial) -> None:
    """What Label Studio holds in the end."""
    version, project = _version(trial), trial.callers.project[0]
    rows = list(trial.studio.tasks(project, annotations=True))
    held = {row["id"]: Counter(one["model_version"] for one in row["predictions"]) for row in rows}
    hopeless = {task for task, kind in trial.kinds.items() if kind in HOPELESS}
    good = [versions for task, versions in held.items() if task not in hopeless]
    lost = sum(versions[version] == 0 for versions in good)
    doubled = sum(count > 1 for versions in held.values() for count in versions.values())
    invented = sum(1 for task in hopeless if held[task])
    total = sum(versions.total() for versions in held.values())
    trial.check("tasks without a prediction", lost == 0, f"{lost} of {len(good)} ({version})")
    trial.check("predictions stored twice", doubled == 0, f"{doubled} of {total}")
    trial.check("of them of the last version", *_doubled(trial, rows, version))
    trial.check("predictions of no image", invented == 0, f"{invented} of {len(hopeless)}")


def _doubled(trial: Trial, rows: Sequence[Json], version: str) -> tuple[bool, str]:
    """Print when predictions were stored twice; whether none of the last version was, and more."""
    latest = 0
    for row in rows:
        of: dict[str, list[float]] = {}
        for one in row["predictions"]:
            made = datetime.fromisoformat(one["created_at"]).timestamp()
            of.setdefault(one["model_version"], []).append(made)
        for name, times in of.items():
            if len(times) > 1:
                first, second = sorted(times)[:2]
                latest += name == version
                print(
                    f"  task {row['id']}, {name}: stored {_beside(trial, first)}, and again "
                    f"{second - first:.1f} s later, {_beside(trial, second)}"
                )
    return latest == 0, str(latest)


def _beside(trial: Trial, at: float) -> str:
    """Which fault there was at a time, or how long ago the last one had ended."""
    for name, begin, end in trial.faults:
        if begin <= at <= end:
            return f"during {name!r}"
    before = [(at - end, name) for name, _, end in trial.faults if end < at]
    return f"{min(before)[0]:.0f} s after {min(before)[1]!r}" if before else "before all faults"


def _look_at_ends(trial: Trial) -> None:
    """What callers, the process and its log say."""
    seen = trial.callers.seen
    trial.check("answers that must not be", not seen.wrong, str(len(seen.wrong)))
    waits = sorted(seen.seconds["health"])
    p99 = waits[math.ceil(0.99 * len(waits)) - 1]
    figure = f"p50 {waits[len(waits) // 2] * 1e3:.0f} ms, p99 {p99 * 1e3:.0f} ms, "
    trial.check("/health", p99 < MOST_HEALTH_S, f"{figure}max {waits[-1] * 1e3:.0f} ms")
    crashes = re.findall(
        r"Traceback|request crashed|predict crashed|defect", trial.backend.log.read_text()
    )
    trial.check("crashes in the log", not crashes, str(dict(Counter(crashes))))
    slowest = max(seconds for seconds, _ in trial.backend.endings)
    codes = {code for _, code in trial.backend.endings}
    trial.check(
        "SIGTERM", slowest <= MUST_END_IN_S, f"ended within {slowest:.1f} s, codes {sorted(codes)}"
    )
    last = [one for one in trial.vitals if one.pid == trial.vitals[-1].pid]
    cold_s = WARM_SHARE * (last[-1].at_s - last[0].at_s)
    warm = [one for one in last if one.at_s >= last[0].at_s + cold_s]
    _check_growth(trial, last, warm)


def _check_growth(trial: Trial, last: Sequence[Vitals], warm: Sequence[Vitals]) -> None:
    minutes = (warm[-1].at_s - warm[0].at_s) / 60
    slope = statistics.linear_regression(
        [one.at_s / 60 for one in warm], [one.resident_mb for one in warm]
    ).slope
    is_long = minutes >= LEAST_MINUTES
    trial.check(
        "memory" if is_long else "memory (too short to judge)",
        slope <= MOST_MB_A_MINUTE or not is_long,
        f"{last[0].resident_mb:.0f} MB at first, {warm[0].resident_mb:.0f} MB once warm, "
        f"{warm[-1].resident_mb:.0f} MB at the end, {max(v.resident_mb for v in last):.0f} MB at "
        f"most; slope {slope:+.2f} MB a minute over the last {minutes:.1f} min",
    )
    by_minute = {int((one.at_s - last[0].at_s) / 60): one.resident_mb for one in last}
    print(f"memory by minute: {', '.join(f'{mb:.0f}' for mb in by_minute.values())} MB")
    quarter = max(len(warm) // 4, 1)
    for name in ("files", "threads"):
        early = statistics.median(getattr(one, name) for one in warm[:quarter])
        late = statistics.median(getattr(one, name) for one in warm[-quarter:])
        most = max(getattr(one, name) for one in warm)
        figure = f"{early:.0f} once warm, {late:.0f} at the end, {most} at most"
        trial.check(f"open {name}", late <= early + MOST_MORE, figure)


def _tell(trial: Trial) -> None:
    seen = trial.callers.seen
    faults = Counter(name for name, _, _ in trial.faults)
    print(f"\nfaults: {dict(faults)}; requests that met one: {dict(trial.gateway.met)}")
    for who in sorted(seen.counts):
        times = sorted(seen.seconds[who]) or [math.nan]
        p99 = times[math.ceil(0.99 * len(times)) - 1]
        print(
            f"  {who:12} {dict(seen.counts[who])}; p50 {times[len(times) // 2]:.3f} s, "
            f"p99 {p99:.3f} s"
        )
    for words in seen.wrong[:20]:
        print(f"  must not be: {words}")
    print()
    for holds, name, figure in trial.checks:
        print(f"{'holds' if holds else 'FAILS':6} {name:28} {figure}", flush=True)


@contextmanager
def _trial(folder: Path, options: argparse.Namespace) -> Iterator[Trial]:
    with (
        sleeping.offered_in(folder) as offered,
        own_studio(folder, options.label_studio) as (url, token),
        serving(pictures := Pictures(), gateway := Gateway(url)),
    ):
        environment = {
            **offered,
            "LABEL_STUDIO_URL": gateway.url,
            "LABEL_STUDIO_API_KEY": token,
            "LABEL_STUDIO_ALIASES": url,
            "FETCH_ALLOWED_HOSTS": "127.0.0.1",
            "DATA_DIR": str(folder / "data"),
            "PREDICT_DEADLINE_SECONDS": "8",
            "IMAGE_CACHE_MB": "32",
            "FETCH_TIMEOUT_SECONDS": "10",
            "REQUEST_DELAY_SECONDS": "0.2",
            "POSES_PREDICTOR": "embedded-pose",
            "LOG_LEVEL": "INFO",
        }
        log = options.log or folder / "server.log"
        backend = Backend(f"http://127.0.0.1:{free_port()}", environment, log)
        with LabelStudio(url, token=token, timeout_s=600, attempts=3) as studio:
            kinds, callers = _project(studio, backend, pictures, options.tasks)
            print(
                f"method: Label Studio {studio.version()}, {options.tasks} tasks "
                f"({', '.join(f'{share} % {kind}' for kind, share in KINDS.items())}), a model "
                f"that sleeps {1000 * sleeping.batch_s(8):.0f} ms for 8 images, "
                f"{options.minutes:g} min",
                flush=True,
            )
            yield Trial(studio, backend, gateway, pictures, callers, kinds)


def _project(
    studio: LabelStudio, backend: Backend, pictures: Pictures, tasks: int
) -> tuple[dict[int, str], Callers]:
    """A project whose tasks are frames of a few clips, and the server attached to it."""
    kinds = [kind for kind, share in KINDS.items() for _ in range(round(share * tasks / 100))]
    data = [
        {"image": f"{pictures.url}/{kind}/{n}.jpg", "video": f"clip {n % 5}", "frame": n // 5}
        for n, kind in enumerate(kinds)
    ]
    made = studio.create_project("soak", boxes_config())
    ids = studio.import_tasks(made["id"], [{"data": one} for one in data])
    backend.start()
    attached = studio.add_ml_backend(made["id"], backend.url)
    created = _seconds(str(made["created_at"]))
    callers = Callers(
        backend,
        studio.url,
        str(backend.environment["LABEL_STUDIO_API_KEY"]),
        (made["id"], attached["id"]),
        f"{made['id']}.{created}",
        boxes_config(),
        dict(zip(ids, (one["image"] for one in data), strict=True)),
        Seen(),
    )
    return dict(zip(ids, kinds, strict=True)), callers


def _seconds(iso: str) -> int:
    return int(datetime.fromisoformat(iso).timestamp())


if __name__ == "__main__":
    main()
