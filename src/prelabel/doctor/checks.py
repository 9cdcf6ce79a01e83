"""All checks, in the order in which they are made and printed."""

from prelabel.doctor import (
    attachment,
    hardware,
    label_studio,
    models,
    packages,
    project,
    surroundings,
)
from prelabel.doctor.examination import Check

_IMPORT_LIMIT_S = 150.0
"""For checks that import torch: from a cold disk it takes half a minute and more."""
_DIGEST_LIMIT_S = 60.0
_CALLS_LIMIT_S = 40.0
"""For a few calls of Label Studio, each of 10 s at most, in which it calls the backend."""
_FETCH_LIMIT_S = 100.0
"""Three images, each within FETCH_TIMEOUT_SECONDS as it is by default."""

_HERE = "This machine"
_MODELS = "Models"
_BACKEND = "Backend"
_STUDIO = "Label Studio"
_PROJECT = "Project"

CHECKS = (
    Check("setting names", _HERE, surroundings.setting_names),
    Check("Python", _HERE, packages.python),
    Check("OpenCV packages", _HERE, packages.opencv_builds),
    Check("OpenCV import", _HERE, packages.opencv_import, limit_s=_IMPORT_LIMIT_S),
    Check("ONNX Runtime", _HERE, packages.onnxruntime),
    Check("memory", _HERE, hardware.memory),
    Check("threads", _HERE, hardware.threads),
    Check("disk space", _HERE, hardware.disk_space),
    Check("database", _HERE, surroundings.database),
    Check("Redis", _HERE, surroundings.redis),
    Check("boxes: packages", _MODELS, packages.grounding_dino),
    Check("boxes: device", _MODELS, hardware.boxes_device, limit_s=_IMPORT_LIMIT_S),
    Check("boxes: weights", _MODELS, models.boxes_weights, limit_s=_DIGEST_LIMIT_S),
    Check("poses: device", _MODELS, hardware.poses_device, limit_s=_IMPORT_LIMIT_S),
    Check("poses: weights", _MODELS, models.pose_weights, limit_s=_DIGEST_LIMIT_S),
    Check("poses: embedded", _MODELS, models.embedded_weights),
    Check("address", _BACKEND, surroundings.open_door),
    Check("port", _BACKEND, surroundings.port),
    Check("backend", _BACKEND, surroundings.backend),
    Check("sign-in", _STUDIO, label_studio.sign_in),
    Check("Label Studio", _STUDIO, label_studio.answers),
    Check("clock", _STUDIO, label_studio.clock, ("Label Studio",)),
    Check("token", _STUDIO, label_studio.token, ("sign-in", "Label Studio")),
    Check("private addresses", _STUDIO, label_studio.private_addresses, ("token",)),
    Check("project", _PROJECT, project.project, ("token",)),
    Check("label config", _PROJECT, project.label_config, ("project",)),
    Check("predictions", _PROJECT, project.predictions, ("label config",)),
    Check("images", _PROJECT, project.images, ("label config", "OpenCV import"), _FETCH_LIMIT_S),
    Check("attached backend", _PROJECT, attachment.attached, ("project",), _CALLS_LIMIT_S),
    Check("events", _PROJECT, attachment.events, ("attached backend",), _CALLS_LIMIT_S),
)
