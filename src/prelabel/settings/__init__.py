"""All settings in one place: flag > environment > `.env` > `prelabel.toml` > default.

Each setting has one name: upper case in the environment and `.env`, lower case in
`prelabel.toml`. Nothing else reads the environment.
"""

from prelabel.settings.fields import Settings
from prelabel.settings.sources import given_names, hand_down, known_names, load

__all__ = ["Settings", "given_names", "hand_down", "known_names", "load"]
