"""What the backends raise, said as errors of ours."""

from pathlib import Path

from prelabel.errors import (
    ModelError,
    OutOfMemory,
    PrelabelError,
    SettingsError,
    WeightsUnavailable,
    first_line,
)

_PLACES = ("Exception from ", "Check '", "OpenCV(")
"""What lines begin with in which OpenVINO and OpenCV say where in their source an error is."""


def run_error(path: Path, error: Exception) -> ModelError:
    """A run of an opened model failed."""
    text = cause(error)
    if any(sign in text.lower() for sign in ("out of memory", "failed to allocate", "bad alloc")):
        return OutOfMemory(path.name, text, "Use a smaller MODE, or give the machine more memory.")
    return ModelError(path.name, text, "Try another BACKEND or MODE, and report it if it stays.")


def not_a_model(path: Path, error: Exception) -> WeightsUnavailable:
    """The file cannot be opened."""
    return WeightsUnavailable(
        str(path),
        f"it cannot be opened as an ONNX model ({cause(error)})",
        "Delete it and run prelabel models download, or get it anew from where it came.",
    )


def not_supported(path: Path, backend: str, error: Exception) -> SettingsError:
    """The backend cannot run the model of the file."""
    step = "Set BACKEND=onnxruntime."
    if isinstance(error, OutOfMemory):
        step = error.next_step
    elif backend == "onnxruntime":
        step = "Use another model file."
    return SettingsError("BACKEND", f"{backend} cannot run {path.name} ({cause(error)})", step)


def cause(error: Exception) -> str:
    """What tells in an error of a backend, in one line."""
    if isinstance(error, PrelabelError):
        return error.cause
    lines = [line.strip().removeprefix("> ") for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith(_PLACES)]
    return first_line(RuntimeError(telling[0]) if telling else error)
