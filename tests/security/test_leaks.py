"""No secret is told: a server full of recognisable ones is driven through all it can do and fail.

Everything that it wrote and answered is then searched for each of them.
"""

import base64
import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus

import cv2
import httpx2
import numpy as np
import pytest

from prelabel.labelstudio.templates import boxes_config
from prelabel.launch.processes import Child, free_port
from prelabel.settings import Settings

from .conftest import PRELABEL, QUICK
from .whole_suite import Listener

_CLAIMS = {"token_type": "refresh", "iat": 1, "exp": 2**31}
_JWT = "eyJhbGciOiJIUzI1NiJ9.{}.s1gnature-of-{}-7f3a"


def web_token(name):
    claims = base64.urlsafe_b64encode(json.dumps(_CLAIMS | {"jti": name}).encode()).decode()
    return _JWT.format(claims.rstrip("="), name)


SETTINGS = {
    "BASIC_AUTH_PASS": "b4sic-p4ss-91c2",
    "API_TOKEN": "4pi-t0ken-a82d",
    "SECRET_PATH": "s3cret-p4th-5b17",
    "LABEL_STUDIO_API_KEY": web_token("api-key"),
    "LABEL_STUDIO_PASSWORD": "stud1o-p4ss-cc01",
    "DATABASE_URL": "d4tabase-p4ss-3e9f",  # the password in it
    "REDIS_URL": "r3dis-p4ss-77aa",
}
"""What stands for the value of each secret setting."""

SENT = {
    "access token of /setup": "1ntroduced-t0ken-0d4e",
    "password of task data": "t4sk-d4ta-p4ss-e21b",
    "password in an address": "uri-p4ss-8a8a",
    "signature of an address": "51gnature-f00d",
    "token in an address": "uri-t0ken-1bad",
    "fragment of an address": "fr4gment-c0de",
    "wrong password of a caller": "wr0ng-p4ss-6d6d",
    "wrong token of a caller": "wr0ng-t0ken-4c4c",
    "body that does not parse": "br0ken-b0dy-2f2f",
    "cookie": "c00kie-5a5a",
    "data of a task": "pr1vate-n0te-9e9e",
}
"""What callers send that is nobody else's business."""


def spellings(secret):
    """A secret as it is, and as it could be found all the same."""
    pair = f"ann:{secret}".encode()
    return {
        secret,
        quote(secret, safe=""),
        quote_plus(secret),
        secret.rpartition(".")[2],
        base64.b64encode(secret.encode()).decode(),
        base64.b64encode(pair).decode(),
    }


@dataclass
class Testimony:
    """All that was said, by where it was said.

    Attributes:
        said: Text of each answer, log, file and command.
    """

    __test__ = False

    said: dict = field(default_factory=dict)

    def note(self, where, text):
        self.said[where] = self.said.get(where, "") + text

    def leaks(self, secrets) -> Iterator[str]:
        for name, secret in secrets.items():
            for where, text in self.said.items():
                if any(spelling in text for spelling in spellings(secret)):
                    yield f"{name} in {where}"


def environment(studio, **more):
    return {
        **QUICK,
        "LOG_LEVEL": "DEBUG",
        "LABEL_STUDIO_URL": studio.url,
        "LABEL_STUDIO_USERNAME": "ann",
        "BASIC_AUTH_USER": "ann",
        "FETCH_ALLOWED_HOSTS": "127.0.0.1",
        "FETCH_TIMEOUT_SECONDS": "3",
        **{name: SETTINGS[name] for name in SETTINGS if not name.endswith("_URL")},
        **more,
    }


def png():
    return cv2.imencode(".png", np.full((64, 64, 3), 90, np.uint8))[1].tobytes()


def hostile_uris(port):
    user, sign = SENT["password in an address"], SENT["signature of an address"]
    query = f"X-Amz-Signature={sign}&token={SENT['token in an address']}"
    tail = f"?{query}#{SENT['fragment of an address']}"
    return [
        f"http://ann:{user}@127.0.0.1:{port}/a.png{tail}",
        f"http://ann:{user}@unknown.invalid/a.png{tail}",
        f"http://127.0.0.1:{port}/good.png{tail}",
        f"http://127.0.0.1:{port}/missing.png{tail}",
        f"http://127.0.0.1:{port}/no-image.png{tail}",
        f"http://127.0.0.1:{port}/away.png{tail}",
        f"http://127.0.0.1:{port}/asks.png{tail}",
        f"http://127.0.0.1:1/closed.png{tail}",
        f"http://169.254.169.254/a.png{tail}",
        f"s3://ann:{user}@bucket/a.png{tail}",
        f"ftp://ann:{user}@host/a.png{tail}",
        f"//ann:{user}@host/a.png{tail}",
        f"http://ann:{user}@[::1/a.png{tail}",
        f"/data/upload/1/a.png{tail}",
        f"data:image/png;base64,{sign}!!!",
        f"data:text/plain,{sign}",
        "",
    ]


def drive(url, studio, testimony):
    """Ask for everything, rightly and wrongly."""
    right = httpx2.BasicAuth("ann", SETTINGS["BASIC_AUTH_PASS"])
    secret_path = f"{url}/{SETTINGS['SECRET_PATH']}"
    bearer = {"Authorization": f"Bearer {SETTINGS['API_TOKEN']}"}
    wrong = {"Authorization": f"Bearer {SENT['wrong token of a caller']}"}
    note = SENT["data of a task"]
    tasks = [
        {"id": n, "data": {"image": uri, "note": note}}
        for n, uri in enumerate(hostile_uris(studio.port))
    ]
    project = "1.1767323045"
    setup = {
        "project": project,
        "schema": boxes_config(),
        "hostname": studio.url,
        "access_token": SENT["access token of /setup"],
    }
    predict = {
        "tasks": tasks,
        "project": project,
        "label_config": boxes_config(),
        "params": {"login": "ann", "password": SENT["password of task data"]},
    }
    broken = SENT["body that does not parse"]
    bodies = {
        "/setup": setup,
        "/predict": predict,
        "/train": {"project": project},
        "/fit": {"event": "START_TRAINING", "data": {"project": {"id": 1}, "note": note}},
        "/webhook": {"action": "ANNOTATION_CREATED", "project": {"id": 1}, "task": tasks[0]},
        "/validate": {"config": boxes_config()},
        "/job_status": {"job": "1"},
        "/jobs/1/cancel": {},
        "/?cancel=1": {},
    }
    with httpx2.Client(timeout=120, cookies={"session": SENT["cookie"]}) as client:

        def ask(method, address, **content):
            answer = client.request(method, address, **content)
            testimony.note(f"the answer of {method} {address[len(url) :][:40]}", whole(answer))

        for path, body in bodies.items():
            ask("POST", url + path, json=body, auth=right)
            ask("POST", url + path, json=body, headers=bearer)
            ask("POST", url + path, json=body, headers=wrong)
            ask("POST", url + path, json=body, auth=("ann", SENT["wrong password of a caller"]))
            ask("POST", url + path, content=f'{{"tasks": "{broken}', auth=right)
            ask("POST", url + path, json={"tasks": broken, "project": [broken]}, auth=right)
            ask("POST", url + path, json={"label_config": f"<{broken}", "tasks": []}, auth=right)
            ask("POST", secret_path + path, json=body)
        for path in ("/", "/status", "/metrics", "/health", "/versions", "/openapi.json", "/no"):
            ask("GET", url + path, auth=right)
            ask("GET", secret_path + path)
            ask("GET", url + path, headers=wrong)
            ask("PUT", url + path, auth=right)
        ask("GET", f"{url}/{SETTINGS['SECRET_PATH']}x/health", headers=wrong)


def whole(answer):
    head = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
    return f"{answer.status_code}\n{head}\n\n{answer.text}\n"


def files_below(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes().decode("latin-1")
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def studio():
    """A Label Studio that knows no one; and servers of images that fail in each way."""
    from tests.media.conftest import serving  # noqa: PLC0415 - the fixture of it is for one test

    with serving("127.0.0.1") as server:
        server.answer("/good.png", png())
        server.answer("/no-image.png", b"<html>login</html>")
        server.answer(
            "/away.png", status=302, Location="http://169.254.169.254/?sig=51gnature-f00d"
        )
        server.answer("/asks.png", status=401)
        yield server


@pytest.fixture(scope="module")
def testimony(studio, tmp_path_factory):
    """What a server said, did and left behind while it was driven."""
    folder, found = tmp_path_factory.mktemp("leaks"), Testimony()
    with ExitStack() as stack:
        for style in ("console", "json"):
            port = free_port()
            child = stack.enter_context(
                Child.start(
                    "server",
                    [str(PRELABEL), "serve", "--port", str(port)],
                    log_path=folder / f"{style}.log",
                    environment=environment(studio, LOG_FORMAT=style, DATA_DIR=str(folder / style)),
                )
            )
            child.wait_until_answers(f"http://127.0.0.1:{port}/live", timeout_s=60)
            drive(f"http://127.0.0.1:{port}", studio, found)
    for name, text in files_below(folder).items():
        found.note(name, text)
    return found


def test_the_server_was_driven_through_right_and_wrong(testimony):
    answers = [said for where, said in testimony.said.items() if "answer" in where]
    statuses = {
        int(one) for said in answers for one in re.findall(r"^(\d{3})$", said, re.MULTILINE)
    }
    assert {200, 201, 400, 401, 404, 405, 410} <= statuses
    assert 500 not in statuses
    logs = [text for where, text in testimony.said.items() if where.endswith(".log")]
    assert len(logs) == 2
    for log in logs:
        assert "request" in log  # DEBUG: a line for each
        assert "169.254.169.254" in log or "failed" in log
    assert any(where.endswith(".db") or "sqlite" in where for where in testimony.said)


def test_no_secret_of_the_settings_is_in_an_answer_a_log_or_a_file(testimony):
    assert list(testimony.leaks(SETTINGS)) == []


def test_no_secret_that_a_caller_sent_is_in_an_answer_a_log_or_a_file(testimony):
    assert list(testimony.leaks(SENT)) == []


def test_the_search_finds_what_leaks():
    found = Testimony()
    found.note("a log", "Authorization: Basic " + base64.b64encode(b"ann:b4sic-p4ss-91c2").decode())
    found.note("a file", "d4tabase-p4ss-3e9f")
    assert list(found.leaks(SETTINGS)) == ["BASIC_AUTH_PASS in a log", "DATABASE_URL in a file"]


def test_every_secret_setting_is_searched_for():
    secret = {
        name.upper()
        for name, about in Settings.model_fields.items()
        if "SecretStr" in repr(about.annotation)
    }
    assert secret == SETTINGS.keys()


def said_by(tmp_path, *arguments, **settings):
    """Everything that a command says."""
    ended = subprocess.run(
        [PRELABEL, *arguments],
        env={**os.environ, "DATA_DIR": str(tmp_path / "data"), "LOG_LEVEL": "DEBUG", **settings},
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return f"{ended.stdout}\n{ended.stderr}"


def urls():
    database, redis = SETTINGS["DATABASE_URL"], SETTINGS["REDIS_URL"]
    return {
        "DATABASE_URL": f"postgresql+psycopg://ann:{database}@127.0.0.1:1/prelabel",
        "REDIS_URL": f"redis://:{redis}@127.0.0.1:1/0",
    }


@pytest.mark.parametrize(
    ("database", "redis"),
    [
        ("postgresql+psycopg://ann:{}@127.0.0.1:1/prelabel", "redis://:{}@127.0.0.1:1/0"),
        ("postgresql+psycopg://ann:{}@unknown.invalid/x", "rediss://ann:{}@unknown.invalid/0"),
        ("nonsense://ann:{}@host/x", "nonsense://:{}@host"),
        ("ann:{}@host", "{}"),
        ("postgresql+psycopg://ann:{}@[::1/x", "redis://:{}@[::1/0"),
        ("postgresql+psycopg://ann:{}@host:port/x?password={}", "redis://:{}@host:port/0"),
    ],
)
@pytest.mark.parametrize("command", ["serve", "worker"])
def test_a_database_or_redis_that_does_not_answer_is_named_without_its_password(
    tmp_path, command, database, redis
):
    pytest.importorskip("psycopg", reason="no PostgreSQL without it; pip install 'prelabel[scale]'")
    password, word = SETTINGS["DATABASE_URL"], SETTINGS["REDIS_URL"]
    given = {
        "DATABASE_URL": database.replace("{}", password),
        "REDIS_URL": redis.replace("{}", word),
    }
    options = ["--port", str(free_port())] if command == "serve" else []
    wrong = {"BASIC_AUTH_USER": "", "PORT": "0"}
    said = Testimony(
        {command: said_by_briefly(tmp_path, command, *options, **QUICK, **given, **wrong)}
    )
    assert said.said[command].strip()
    assert list(said.leaks(SETTINGS)) == []


def said_by_briefly(tmp_path, *arguments, **settings):
    """What a command says until it ends, or for some seconds."""
    log = tmp_path / "command.log"
    child = Child.start(
        "command",
        [str(PRELABEL), *arguments],
        log_path=log,
        environment={"DATA_DIR": str(tmp_path / "data"), "LOG_LEVEL": "DEBUG", **settings},
    )
    with child, suppress(subprocess.TimeoutExpired):
        child._process.wait(6)
    return log.read_text()


@pytest.mark.parametrize(
    "arguments", [("doctor",), ("doctor", "--json"), ("run",), ("learned", "list", "1")]
)
def test_no_command_tells_a_secret(tmp_path, studio, arguments):
    settings = environment(studio, PROJECT_ID="1", **urls())
    text = said_by(tmp_path, *arguments, **settings)
    assert len(text) > 20
    testimony = Testimony({" ".join(arguments): text, **files_below(tmp_path)})
    assert list(testimony.leaks(SETTINGS)) == []


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_a_secret_that_does_not_fit_is_refused_without_being_told(tmp_path, name):
    value = f"{SETTINGS[name]}/x\ny"
    said = said_by(tmp_path, "serve", **{name: value, "PORT": "none"})
    assert "PORT" in said or name in said
    assert list(Testimony({"serve": said}).leaks(SETTINGS)) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", False),
        (f"sent {SETTINGS['LABEL_STUDIO_API_KEY']}", True),
        ("Authorization: Bearer abcdef123", True),
        ("{'authorization': 'Basic YW5uOnB3'}", True),
        ("redis://:word@host/0", True),
        ("postgresql+psycopg://ann:word@host/x", True),
        ("http://host/a.png?X-Amz-Signature=abcdef123", True),
        ("http://host/a.png?X-Amz-Signature=…", False),
        ("redis://:***@host/0", False),
        ("http://127.0.0.1:9090/health at 12:30:01", False),
        ("Give the user and password, or the token, that the server was started with.", False),
    ],
)
def test_what_looks_like_a_secret_is_heard_wherever_the_suite_says_it(text, told, tmp_path):
    listener = Listener()
    (tmp_path / "server.log").write_text(text)
    (tmp_path / "label-studio.log").write_text("Authorization: Bearer abcdef123")
    listener.read(tmp_path)
    (tmp_path / "server.log").unlink()  # or the same would be heard at the end of the suite
    assert bool(listener.told) is told
    assert SETTINGS["LABEL_STUDIO_API_KEY"] not in str(listener.told)
