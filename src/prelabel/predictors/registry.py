"""How predictors come in: built-ins and other people's packages, through one entry-point door.

A package offers a predictor by an entry point in the group `prelabel.predictors` whose name is
the predictor's and whose object is a factory: it takes the settings, keyed by their environment
names, and returns a `Predictor` without loading anything.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any

from prelabel.errors import SettingsError
from prelabel.predictors.base import Predictor

GROUP = "prelabel.predictors"
Factory = Callable[[Mapping[str, Any]], Predictor]


def names() -> list[str]:
    """Names of all predictors that are installed."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def create(name: str, options: Mapping[str, Any]) -> Predictor:
    """Build a predictor by name, not yet loaded.

    Args:
        name: The entry point's name.
        options: Settings keyed by environment name, for example `GROUNDING_DINO_DEVICE`.

    Raises:
        SettingsError: No installed package offers this name.
    """
    for entry in entry_points(group=GROUP, name=name):
        factory: Factory = entry.load()
        return factory(options)
    raise SettingsError(
        f"predictor {name!r}",
        "no installed package offers it",
        f"Choose one of {', '.join(names())}, or install the package that brings it.",
    )


def fingerprint(values: Mapping[str, object], defaults: Mapping[str, object]) -> str:
    """A short text that is "" while `values` equal `defaults` and changes with each difference."""
    changed = {key: value for key, value in values.items() if value != defaults.get(key)}
    if not changed:
        return ""
    text = json.dumps(changed, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
