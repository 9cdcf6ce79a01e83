"""The commands of docs/operate.md that need no cluster and no container engine, as they stand."""

import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import yaml

from prelabel.store.database import open_database
from prelabel.store.jobs import Jobs

REPOSITORY = Path(__file__).resolve().parents[2]


def command(word):
    """The block of commands on the page that has this word."""
    page = (REPOSITORY / "docs" / "operate.md").read_text("utf-8")
    (block,) = [one for one in re.findall(r"```console\n(.+?)```", page, re.DOTALL) if word in one]
    return block


def run(script, *, succeeds=True, **how):
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], check=False, capture_output=True, text=True,
        **how,
    )  # fmt: skip
    assert (done.returncode == 0) is succeeds, done.stderr
    return done.stdout


def test_a_backup_has_what_a_running_server_has_written(tmp_path):
    data = tmp_path / "data"
    in_use = open_database("", data)
    job = Jobs(in_use).submit("training", "7")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {"DATA_DIR": str(data), "PATH": path}
    run(command("VACUUM"), cwd=tmp_path, env=environment)
    restored = tmp_path / "restored"
    restored.mkdir()
    (tmp_path / "prelabel-backup.db").rename(restored / "prelabel.db")
    with closing(sqlite3.connect(restored / "prelabel.db")) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    opened = open_database("", restored)
    assert [one.id for one in Jobs(opened).recent()] == [job.id]
    opened.dispose()
    in_use.dispose()


def test_where_there_is_no_database_nothing_passes_for_its_backup(tmp_path):
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {"DATA_DIR": str(tmp_path), "PATH": path}
    run(command("VACUUM"), succeeds=False, cwd=tmp_path, env=environment)
    assert not list(tmp_path.iterdir())


def test_the_rules_become_a_resource_of_the_prometheus_operator(tmp_path):
    (tmp_path / "kubectl").write_text('#!/bin/sh\necho "# $*"\ncat\n')
    (tmp_path / "kubectl").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    applied = run(command("PrometheusRule"), cwd=REPOSITORY, env={"PATH": path})
    assert applied.startswith("# apply --namespace prelabel -f -")
    resource = yaml.safe_load(applied)
    assert resource["kind"] == "PrometheusRule"
    shipped = REPOSITORY / "deploy" / "monitoring" / "rules" / "prelabel.yml"
    assert resource["spec"] == yaml.safe_load(shipped.read_text("utf-8"))


def test_the_operator_gives_targets_the_name_of_the_job_that_the_rules_count_on():
    base = REPOSITORY / "deploy" / "kubernetes"
    monitor = base / "components" / "service-monitor" / "service-monitor.yaml"
    # Without a jobLabel the job is called after the service.
    assert "jobLabel" not in yaml.safe_load(monitor.read_text("utf-8"))["spec"]
    service = yaml.safe_load((base / "base" / "service.yaml").read_text("utf-8"))
    assert service["metadata"]["name"] == "prelabel"
