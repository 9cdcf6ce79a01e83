"""prelabel on a GPU of Modal's: the same server, behind an HTTPS address.

    modal deploy deploy/modal/app.py

docs/cloud_gpu.md says what to set up before, and how to attach Label Studio.
"""  # noqa: INP001 - a script, in no package

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import modal

if TYPE_CHECKING:
    from fastapi import FastAPI

GPU = "T4"
"""One of Modal's kinds. Grounding DINO tiny and the pose models need a few GB of its memory."""

MIN_CONTAINERS = 0
"""Containers that run, and cost, whether somebody asks or not. Label Studio gives a server one
second to say that it is there, and none starts that fast: set it to 1 while people annotate."""

MAX_CONTAINERS = 1
"""With DATABASE_URL in the secret any number; without it, each would learn for itself."""

IDLE_S = 20 * 60
"""How long a container outlives the last request."""

ANSWER_S = 150
"""Modal's own limit for one request; prelabel answers within 85 s, Label Studio waits 100 s."""

EXTRAS = "grounding-dino,pose,scale"
TORCH_VERSION = "2.13.0"
MODELS = "/app/models"

SETTINGS = {
    "BIND_ADDRESS": "0.0.0.0",  # noqa: S104 - so that a server without a password is refused
    "DATA_DIR": "/tmp/prelabel",  # noqa: S108 - a container has no disk that lasts
    "DEVICE": "cuda",
    "GROUNDING_DINO_DEVICE": "cuda",
    "LOG_FORMAT": "json",
    "MODEL_DIR": MODELS,
}

# Where this file runs on Modal there is no checkout around it, and nothing of it is looked at.
REPOSITORY = Path(__file__).resolve().parent.parent.parent

image = (
    modal.Image.debian_slim(python_version="3.12")
    # What the container image for GPUs installs, by the same script as in the Dockerfile.
    .add_local_file(REPOSITORY / "pyproject.toml", "/requirements/pyproject.toml", copy=True)
    .add_local_file(
        REPOSITORY / "deploy" / "docker" / "requirements.py", "/requirements/write.py", copy=True
    )
    .workdir("/requirements")
    .run_commands(
        f"python write.py --variant cuda --extras {EXTRAS} --torch-version {TORCH_VERSION}",
        "pip install --only-binary :all: -r torch.txt",
        "pip install --only-binary :all: -r others.txt",
        # ONNX Runtime finds the CUDA libraries in their wheels like any other library.
        "find / -xdev -type d -path '*/nvidia/*' -name lib > /etc/ld.so.conf.d/prelabel.conf",
        "ldconfig",
    )
    .add_local_file(REPOSITORY / "pyproject.toml", "/source/pyproject.toml", copy=True)
    .add_local_file(REPOSITORY / "README.md", "/source/README.md", copy=True)
    .add_local_file(REPOSITORY / "LICENSE", "/source/LICENSE", copy=True)
    .add_local_dir(REPOSITORY / "src", "/source/src", copy=True, ignore=["**/__pycache__"])
    .run_commands("pip install --no-deps /source")
    .env({**SETTINGS, "HF_HOME": f"{MODELS}/huggingface"})
    .workdir("/root")
)

app = modal.App("prelabel")


@app.function(
    image=image,
    gpu=GPU,
    cpu=2.0,
    memory=8192,
    volumes={MODELS: modal.Volume.from_name("prelabel-models", create_if_missing=True)},
    secrets=[modal.Secret.from_name("prelabel", required_keys=["API_TOKEN", "SECRET_PATH"])],
    min_containers=MIN_CONTAINERS,
    max_containers=MAX_CONTAINERS,
    scaledown_window=IDLE_S,
    timeout=ANSWER_S,
    startup_timeout=600,
)
@modal.concurrent(max_inputs=100)
@modal.asgi_app()
def serve() -> FastAPI:
    """What Modal calls in each container."""
    return protected_server()


def protected_server() -> FastAPI:
    """The server, from the settings in the image and in the secret.

    Raises:
        SettingsError: It would be open to all, on an address that everybody can reach.
    """
    from prelabel.assembly import server  # noqa: PLC0415 - it is installed in the image
    from prelabel.errors import SettingsError  # noqa: PLC0415
    from prelabel.settings import load  # noqa: PLC0415

    if load().open_to_all:
        raise SettingsError(
            "API_TOKEN and SECRET_PATH",
            "are empty, and this server would answer everybody",
            "Set them in the secret `prelabel` and deploy again.",
        )
    return server.app()
