"""A real Prometheus, started as the shipped script starts it, with the shipped rules."""

import re
import shutil
from pathlib import Path

import httpx2
import pytest

from prelabel.errors import OperatorError
from prelabel.launch.processes import Child, free_port

SHIPPED = Path(__file__).resolve().parents[2] / "deploy" / "monitoring"
WHY = "install Debian's package prometheus, or another one that holds both programs"


def program(name):
    """The path of `prometheus` or `promtool`."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name}; {WHY}")
    return found


def quick_rules(folder):
    """A copy of the shipped rules whose alerts do not wait before they fire."""
    rules = folder / "rules"
    rules.mkdir()
    for shipped in (SHIPPED / "rules").glob("*.yml"):
        text = re.sub(r"for: \d+m\b", "for: 1s", shipped.read_text("utf-8"))
        (rules / shipped.name).write_text(text)
    return rules


def adapted(shipped, rules, *, targets=None, port=9090, authority="/tls/ca.crt"):
    """The shipped configuration, at one look a second.

    Args:
        shipped: Its file.
        rules: The folder of rules.
        targets: Addresses of servers; None: they are found by name.
        port: Where they listen, where they are found by name.
        authority: Whose certificates are trusted.
    """
    text = shipped.read_text("utf-8")
    if targets is not None:
        addresses = ", ".join(f'"{target}"' for target in targets)
        static = f"static_configs: [{{targets: [{addresses}]}}]\n"
        text, found = re.subn(r"dns_sd_configs:\n(?: {6,}.*\n)+", static, text)
        assert found == 1
    for old, new in (
        ("/etc/prometheus/rules", str(rules)),
        ("_interval: 15s", "_interval: 1s"),
        ('targets: ["localhost:9090"]', "targets: []"),
    ):
        assert old in text
        text = text.replace(old, new)
    return text.replace("port: 9090", f"port: {port}").replace("/tls/ca.crt", str(authority))


class Prometheus:
    """Runs within its context.

    Args:
        folder: An empty one of its own.
        environment: What the login of the servers is.
        config: Name of the shipped configuration.
        within: A command that it is to be started by.
        how: What is adapted in the configuration.
    """

    def __init__(self, folder, *, environment, config="prometheus.yml", within=(), **how):
        program("prometheus")
        text = adapted(SHIPPED / config, quick_rules(folder), **how)
        (folder / "shipped.yml").write_text(text)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._child = Child.start(
            "Prometheus",
            [
                *(*within, "sh", str(SHIPPED / "start_prometheus.sh")),
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            log_path=folder / "prometheus.log",
            environment={
                "PROMETHEUS_CONFIG": str(folder / "shipped.yml"),
                "PROMETHEUS_WORK": str(folder),
                **environment,
            },
        )
        try:
            self._child.wait_until_answers(f"{self.url}/-/ready", timeout_s=60)
        except OperatorError:
            self._child.stop()
            raise
        self._client = httpx2.Client(base_url=f"{self.url}/api/v1/", timeout=30)

    def ask(self, what, **parameters):
        """What its API answers."""
        answer = self._client.get(what, params=parameters).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def values(self, query):
        """The values of an expression now."""
        return [float(one["value"][1]) for one in self.ask("query", query=query)["result"]]

    def rules(self):
        """All rules, as it evaluates them."""
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._client.close()
        self._child.stop()
