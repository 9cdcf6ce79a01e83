"""All checks, in the order in which they are made and printed."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from prelabel.doctor import models, packages, surroundings
from prelabel.doctor.finding import Finding, failed, ok
from prelabel.doctor.machine import Machine
from prelabel.errors import PrelabelError, SettingsError
from prelabel.settings import Settings, load

Check = Callable[[Machine, Settings], Finding]
"""A small function; a `PrelabelError` that it raises counts as a failed check."""

CHECKS: Mapping[str, Check] = {
    "Python": packages.python,
    "OpenCV packages": packages.opencv_builds,
    "OpenCV import": packages.opencv_import,
    "ONNX Runtime": packages.onnxruntime,
    "boxes: packages": models.boxes_packages,
    "boxes: weights": models.boxes_weights,
    "poses: weights": models.pose_weights,
    "poses: embedded": models.embedded_weights,
    "disk space": models.disk_space,
    "setting names": surroundings.setting_names,
    "address": surroundings.open_door,
    "port": surroundings.port,
    "Label Studio": surroundings.label_studio,
}


def examine(
    machine: Machine,
    read_settings: Callable[[], Settings] = load,
    checks: Mapping[str, Check] = CHECKS,
) -> Iterator[Finding]:
    """Make every check; where the settings cannot be read, with the defaults."""
    try:
        settings = read_settings()
        yield replace(ok("readable"), name="settings")
    except SettingsError as error:
        settings = Settings.model_construct()
        why = "prelabel does not start; the other checks go by the defaults."
        yield replace(
            failed(f"{error.thing}: {error.cause}", why, error.next_step), name="settings"
        )
    for name, check in checks.items():
        try:
            finding = check(machine, settings)
        except PrelabelError as error:
            why = "prelabel cannot work with it."
            finding = failed(f"{error.thing}: {error.cause}", why, error.next_step)
        yield replace(finding, name=name)
