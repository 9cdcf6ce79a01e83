"""The scripts that write pages, as modules."""

import functools
import importlib.util
import sys
from types import ModuleType

from .pages import REPOSITORY


@functools.cache
def script(name: str) -> ModuleType:
    """A script of the folder `scripts`, imported and not run."""
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for the types of their fields
    spec.loader.exec_module(module)
    return module
