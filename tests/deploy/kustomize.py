"""Renders the Kubernetes manifests with the real kustomize, for the tests beside this file."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
MANIFESTS = REPOSITORY / "deploy" / "kubernetes"
DOCS = (REPOSITORY / "docs" / "kubernetes.md").read_text("utf-8")
SECRET = yaml.safe_load((MANIFESTS / "base" / "secret.example.yaml").read_text("utf-8"))
VARIANTS = ["base", "overlays/cpu", "overlays/cuda", "overlays/own", "overlays/tls"]
SERVER = {"app.kubernetes.io/name": "prelabel", "app.kubernetes.io/component": "server"}
WORKER = {"app.kubernetes.io/name": "prelabel", "app.kubernetes.io/component": "worker"}


# As the docs say, and with what the overlay there leaves out.
WITH_TLS = """
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../cpu]
components: [../../components/service-monitor, ../../components/tls]
"""


@dataclass(frozen=True)
class Rendered:
    """What kustomize makes of a folder."""

    documents: list

    def of(self, kind):
        return [one for one in self.documents if one["kind"] == kind]

    def one(self, kind, name=None):
        found = [one for one in self.of(kind) if name in (None, one["metadata"]["name"])]
        assert len(found) == 1, f"{kind} {name}: {len(found)}"
        return found[0]

    def pod(self, deployment):
        return self.one("Deployment", deployment)["spec"]["template"]["spec"]

    def container(self, deployment):
        (container,) = self.pod(deployment)["containers"]
        return container


def own_overlay():
    """The overlay that the docs tell people to write."""
    (text,) = re.findall(r"```yaml\n(# deploy/kubernetes/overlays/own.*?)```", DOCS, re.DOTALL)
    return text


def kustomize_command():
    if program := shutil.which("kustomize"):
        return [program, "build"]
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("no kustomize; install kubectl 1.24 or newer, or kustomize")
    told = subprocess.run(
        [program, "version", "--client", "--output", "json"], capture_output=True, check=False
    )
    if b"kustomizeVersion" not in told.stdout:
        pytest.skip(f"{program} is older than 1.24; install a newer kubectl, or kustomize")
    return [program, "kustomize"]


@cache
def manifests(folder):
    """What kustomize makes of a folder among the manifests, with two overlays of users beside ours.

    Skips the test where there is no kustomize.
    """
    command = kustomize_command()
    with TemporaryDirectory() as place:
        copy = Path(place) / "kubernetes"
        shutil.copytree(MANIFESTS, copy)
        for name, text in (("own", own_overlay()), ("tls", WITH_TLS)):
            (copy / "overlays" / name).mkdir(exist_ok=True)
            (copy / "overlays" / name / "kustomization.yaml").write_text(text, "utf-8")
        made = subprocess.run(
            [*command, str(copy / folder)], capture_output=True, text=True, check=False
        )
    assert made.returncode == 0, made.stderr
    return Rendered([one for one in yaml.safe_load_all(made.stdout) if one])
