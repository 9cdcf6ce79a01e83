"""A real Prometheus with the shipped configuration, and a real server that it watches."""

import base64
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import httpx2
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.services.names import ADDRESS, Names
from tests.services.prometheus import SHIPPED, Prometheus

from prelabel.launch.processes import Child, free_port

REPOSITORY = SHIPPED.parents[1]
PRELABEL = str(Path(sys.executable).parent / "prelabel")
LOGIN = {"BASIC_AUTH_USER": "o'neil", "BASIC_AUTH_PASS": "p'a$$ word"}
AUTH = tuple(LOGIN.values())
READY = 'prelabel_ready{job="prelabel"}'
OF_PROMETHEUS = {"up", "ALERTS"}
CONFIG = """
<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="label" toName="image"><Label value="body_distortion"/></RectangleLabels>
</View>
"""


def serving(folder, port=None, **settings):
    """A server, and its port."""
    port = port or free_port()
    folder.mkdir()
    environment = {
        "BOXES_PREDICTOR": "opencv-fallback",
        "POSES_PREDICTOR": "embedded-pose",
        "DATA_DIR": str(folder),
        **LOGIN,
        **settings,
    }
    command = [PRELABEL, "serve", "--port", str(port)]
    log_path = folder / "server.log"
    return Child.start("prelabel", command, log_path=log_path, environment=environment), port


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server that has predicted for two tasks, one of them without an image."""
    child, port = serving(tmp_path_factory.mktemp("watched") / "server")
    with child:
        child.wait_until_answers(f"http://127.0.0.1:{port}/ready", timeout_s=60)
        _, png = cv2.imencode(".png", np.zeros((64, 64, 3), np.uint8))
        picture = "data:image/png;base64," + base64.b64encode(png.tobytes()).decode()
        uris = (picture, "/data/local-files/?d=missing.png")
        tasks = [{"id": number, "data": {"image": uri}} for number, uri in enumerate(uris, 1)]
        answer = httpx2.post(
            f"http://127.0.0.1:{port}/predict",
            json={"tasks": tasks, "label_config": CONFIG},
            auth=AUTH,
            timeout=60,
        ).json()
        assert answer["results"][0]["model_version"].startswith("opencv-fallback")
        yield child, f"127.0.0.1:{port}"


@pytest.fixture(scope="module")
def prometheus(server, tmp_path_factory):
    _, target = server
    folder = tmp_path_factory.mktemp("prometheus")
    with Prometheus(folder, targets=[target], environment=LOGIN) as running:
        until(lambda: running.values(READY) == [1], "the server is seen")
        until(lambda: all(rule["lastEvaluation"][0] != "0" for rule in running.rules()), "all ran")
        yield running


def until(condition, what, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def panel_expressions():
    text = (SHIPPED / "grafana" / "dashboards" / "prelabel.json").read_text("utf-8")
    for panel in json.loads(text)["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"].replace("$__rate_interval", "1m")
            expression = expression.replace("$job", "prelabel").replace("$instance", ".*")
            yield expression


def documented():
    """The names of all series that a server can have, as the docs generate them."""
    path = REPOSITORY / "scripts" / "write_metrics_table.py"
    spec = importlib.util.spec_from_file_location("write_metrics_table", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return set(re.findall(r"^\| `(\w+)`", module.table(), re.MULTILINE))


def names_in(expression):
    """The names of the series in an expression, those of recording rules left out."""
    bare = re.sub(r'"[^"]*"|\b(by|on) \([^)]*\)|\[[^\]]*\]', "", expression)
    found = re.findall(r"(?<![\w:])([a-zA-Z_]\w*)(?=\{)", bare)
    found += re.findall(r"(?<![\w:])(?:prelabel|process)_\w+", bare)
    return set(found) - OF_PROMETHEUS


def samples(target):
    text = httpx2.get(f"http://{target}/metrics", auth=AUTH).text
    return [one for family in text_string_to_metric_families(text) for one in family.samples]


def test_the_target_is_up(prometheus, server):
    (target,) = prometheus.ask("targets", state="active")["activeTargets"]
    assert target["health"] == "up", target["lastError"]
    assert target["labels"] == {"instance": server[1], "job": "prelabel"}


def test_without_the_login_nothing_is_told(server):
    assert httpx2.get(f"http://{server[1]}/metrics").status_code == 401


def test_each_rule_is_evaluated_without_error(prometheus):
    rules = prometheus.rules()
    assert len(rules) > 25
    assert [(rule["name"], rule["lastError"]) for rule in rules if rule["health"] != "ok"] == []


def test_nothing_is_wrong_with_a_healthy_server_but_what_was_done_to_it(prometheus):
    # One of two tasks had no image; the disk is the machine's business.
    expected = {"PrelabelTasksFail", "PrelabelImagesNotFetched", "PrelabelDiskFilling"}

    def only_these_fire():
        alerts = [rule for rule in prometheus.rules() if rule["type"] == "alerting"]
        return {rule["name"] for rule in alerts if rule["state"] == "firing"} <= expected

    # Before the first look at the server none was known, and that is an alert, too.
    until(only_these_fire, "no other alert fires")


def test_rules_and_panels_name_only_series_that_a_server_has_or_will_have(prometheus, server):
    of_rules = [rule["query"] for rule in prometheus.rules()]
    named = {name for query in (*of_rules, *panel_expressions()) for name in names_in(query)}
    served = {sample.name for sample in samples(server[1])}
    assert len(named & served) > 25
    later = {re.sub(r"_(bucket|count|sum)$", "", name) for name in named - served}
    assert later <= documented()


def test_rules_and_panels_choose_by_labels_that_the_series_have(prometheus, server):
    labels = {}
    for sample in samples(server[1]):
        labels.setdefault(sample.name, {"job", "instance"}).update(sample.labels)
    of_rules = [rule["query"] for rule in prometheus.rules()]
    checked = 0
    for query in (*of_rules, *panel_expressions()):
        for name, chosen in re.findall(r"(\w+)\{([^}]*)\}", query):
            used = set(re.findall(r"(\w+)(?:=~|!~|!=|=)", chosen))
            if name in labels:
                checked += 1
                assert used <= labels[name], query
    assert checked > 50


def test_each_panel_can_be_drawn(prometheus):
    expressions = list(panel_expressions())

    def most_are_drawn():
        drawn = [one for one in expressions if prometheus.ask("query", query=one)["result"]]
        return len(drawn) > len(expressions) / 2

    # A rate wants two looks at the server; what is left waits for jobs, people, a Label Studio.
    until(most_are_drawn, "most panels are drawn")


def test_a_server_behind_tls_is_watched_with_the_configuration_for_it(tmp_path):
    script = REPOSITORY / "deploy" / "tls" / "make_certificates.sh"
    subprocess.run(
        ["sh", script, tmp_path / "tls", "ml-backend"], check=True, stdout=subprocess.DEVNULL
    )
    made = tmp_path / "tls" / "ml-backend"
    certificate = {"SSL_CERTFILE": str(made / "tls.crt"), "SSL_KEYFILE": str(made / "tls.key")}
    child, port = serving(tmp_path / "server", **certificate)
    (tmp_path / "prometheus").mkdir()
    with (
        child,
        Prometheus(
            tmp_path / "prometheus",
            environment=LOGIN,
            config="prometheus.tls.yml",
            targets=[f"127.0.0.1:{port}"],
            authority=made / "ca.crt",
        ) as running,
    ):
        until(lambda: running.values(READY) == [1], "it is seen")


def test_replicas_are_found_by_the_name_that_they_share(tmp_path):
    unshare = shutil.which("unshare")
    if not unshare or subprocess.run([unshare, "--mount", "true"], check=False).returncode:
        pytest.skip("a resolv.conf of its own needs unshare (Debian's util-linux), and root")
    (tmp_path / "resolv.conf").write_text(f"nameserver {ADDRESS}\n")
    (tmp_path / "prometheus").mkdir()
    private = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
    port = free_port("127.53.0.2")
    first, _ = serving(tmp_path / "first", port, BIND_ADDRESS="127.53.0.2")
    second, _ = serving(tmp_path / "second", port, BIND_ADDRESS="127.53.0.3")
    with (
        first,
        second,
        Names("ml-backend", ["127.53.0.2"]) as names,
        Prometheus(
            tmp_path / "prometheus",
            environment=LOGIN,
            within=("unshare", "--mount", "sh", "-c", private, str(tmp_path / "resolv.conf")),
            port=port,
        ) as running,
    ):
        ready = f"count({READY} == 1)"
        until(lambda: running.values(ready) == [1], "the first is found")
        names.addresses.append("127.53.0.3")
        until(lambda: running.values(ready) == [2], "the second is found")


def test_a_server_that_is_killed_is_told(prometheus, server):
    child, target = server
    os.killpg(os.getpgid(child.pid), signal.SIGKILL)
    alert = f'ALERTS{{alertname="PrelabelDown", alertstate="firing", instance="{target}"}}'
    until(lambda: prometheus.values(alert) == [1], "the alert fires")
