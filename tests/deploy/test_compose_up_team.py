"""The deployment for a team, as a real container engine runs docker-compose.prod.yml.

Commands are copied from docs/containers.md; what is other than there is said where it is so.
The images beside prelabel's own are stand-ins: see tests/deploy/stand_ins.py.
"""

import json
import re
import tarfile

import pytest

from .compose import NEEDED
from .containers_page import (
    PATIENCE_S,
    asked,
    assert_all_is_well,
    assert_no_trouble,
    block,
    in_the_text,
    until,
)

pytestmark = pytest.mark.deploy

TEAM = "docker compose -f docker-compose.prod.yml "
CHECK = block(f"{TEAM}cp nginx:/tls/ca.crt")


@pytest.fixture(scope="module")
def for_a_team(deployable, types):
    """Started as the page has it, with passwords of its `openssl` command in .env."""
    copy, password, up = block("cp .env.example .env").splitlines()
    types(copy)
    secrets = {name: types(password).strip() for name in NEEDED}
    names = {
        name: NEEDED[name] for name in ("PUBLIC_HOST", "LABEL_STUDIO_USERNAME", "BASIC_AUTH_USER")
    }
    given = "".join(f"{name}={value}\n" for name, value in (secrets | names).items())
    with (deployable / ".env").open("a", encoding="utf-8") as file:
        file.write(given)
    types(f"chmod 600 .env\n{up} || {{ {TEAM}logs; exit 1; }}")
    yield secrets | names
    types(f"{TEAM}down --volumes\nrm .env ca.crt")


def test_for_a_team_all_is_well(for_a_team, types):
    assert_all_is_well(types(CHECK))
    services = types(f"{TEAM}ps --format '{{{{.Service}}}} {{{{.Health}}}}'").splitlines()
    assert services.count("ml-backend healthy") == 3


def test_nothing_goes_wrong_at_the_start_for_a_team(for_a_team, types):
    assert_no_trouble(types(f"{TEAM}logs --no-color ml-backend worker certificates"))


ASK = """
import base64, json, ssl, sys, threading, urllib.error, urllib.request
url, login, picture = sys.argv[1:]
trusted = ssl.create_default_context(cafile="ca.crt")
config = ('<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">'
          '<Label value="body_distortion"/></RectangleLabels></View>')
uri = "data:image/jpeg;base64," + base64.b64encode(open(picture, "rb").read()).decode()
body = {"project": "1.1700000000", "label_config": config,
        "tasks": [{"id": 1, "data": {"image": uri}}]}
headers = {"Content-Type": "application/json",
           "Authorization": "Basic " + base64.b64encode(login.encode()).decode()}
answered, refused, over = [], [], threading.Event()

def ask():
    while not over.is_set():
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, context=trusted, timeout=100) as answer:
                (one,) = json.load(answer)["results"]
                answered.append(one["model_version"])
        except (OSError, ValueError, KeyError) as error:
            refused.append(repr(error))
        if len(answered) >= 3:
            print("asking", flush=True)

threads = [threading.Thread(target=ask) for _ in range(3)]
for thread in threads: thread.start()
sys.stdin.read()
over.set()
for thread in threads: thread.join()
print(json.dumps({"answered": len(answered), "refused": refused}))
"""


def test_a_replica_that_is_killed_while_it_is_asked_loses_no_prediction(for_a_team, machine, built):
    login = f"{for_a_team['BASIC_AUTH_USER']}:{for_a_team['BASIC_AUTH_PASS']}"
    picture = min((built / "examples/demo/frames").glob("*.jpg"))
    asking = machine.start(
        "python", "-c", ASK, "https://localhost:9090/predict", login, picture, folder=built
    )
    try:
        assert asking.stdout.readline() == "asking\n"
        replica = machine.run("docker", "ps", "-q", "--filter", "name=ml-backend").split()[0]
        # Not by `docker kill`, after which an engine starts nothing again.
        machine.run("kill", "-KILL", asked(machine, "{{.State.Pid}}", replica))
        until(machine, "{{.State.Status}} {{.RestartCount}}", replica, "running 1")
        said, _ = asking.communicate(timeout=PATIENCE_S)
    finally:
        asking.kill()
    told = json.loads(said.splitlines()[-1])
    assert told["refused"] == []
    assert told["answered"] > 3


def test_more_replicas_are_found_and_asked(for_a_team, machine, types):
    types(in_the_text(f"{TEAM}up -d --scale").replace(" -d ", " -d --wait "))
    services = types(f"{TEAM}ps --format '{{{{.Service}}}} {{{{.Health}}}}'").splitlines()
    assert services.count("ml-backend healthy") == 5
    assert services.count("worker healthy") == 2
    types(f"{TEAM}up -d")


def test_certificates_are_renewed_as_the_page_has_it(for_a_team, machine, types):
    served = "python -c 'import ssl; print(ssl.get_server_certificate((\"localhost\", 9090)))'"
    before = types(served)
    machine.run(
        "docker", "run", "--rm", "-u", "0", "-v", "prelabel_tls-nginx:/tls", "prelabel",
        "rm", "/tls/tls.crt",
    )  # fmt: skip
    types(block(f"{TEAM}up -d --force-recreate certificates"))
    logs = types(f"{TEAM}logs --no-color certificates")
    assert re.search(r"\bnginx: made for ", logs)
    assert re.search(r"\bpostgres: still good", logs)
    assert_all_is_well(types(CHECK))
    assert types(served) != before


def test_the_back_ups_of_the_page_hold_what_was_there(for_a_team, built, types):
    types(block(f"{TEAM}exec -T postgres pg_dump"))
    listed = "exec -T postgres pg_restore --list <"
    assert " TABLE public task " in types(f"{TEAM}{listed} labelstudio.dump")
    assert " TABLE public jobs " in types(f"{TEAM}{listed} prelabel.dump")
    with tarfile.open(built / "uploads.tar") as uploads:
        assert "./media" in uploads.getnames()
    types("rm labelstudio.dump prelabel.dump uploads.tar")
