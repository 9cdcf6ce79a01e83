#!/usr/bin/env python3
"""Write the tables of settings, from the settings themselves.

All of them into docs/settings.md, the ones that are set most into README.md.
"""

from collections.abc import Sequence
from pathlib import Path

from pydantic import SecretStr

from prelabel.settings import Settings

REPOSITORY = Path(__file__).resolve().parent.parent
BEGIN = "<!-- settings: written by scripts/write_settings_table.py -->\n"
END = "<!-- end of settings -->"

MOST_USED = (
    "label_studio_url",
    "label_studio_api_key",
    "bind_address",
    "basic_auth_user",
    "basic_auth_pass",
    "secret_path",
    "boxes_predictor",
    "grounding_dino_device",
    "grounding_dino_box_threshold",
    "poses_predictor",
    "mode",
    "device",
    "confidence_threshold",
    "fetch_allowed_hosts",
    "data_dir",
)
"""What a team sets in its first week; the README has these."""

PAGES: dict[str, Sequence[str]] = {
    "README.md": MOST_USED,
    "docs/settings.md": tuple(Settings.model_fields),
}
"""Which page has which settings."""


def table(names: Sequence[str]) -> str:
    """Settings as a Markdown table, in the order given."""
    lines = ["| name | default | what it does |", "|---|---|---|"]
    for name in names:
        field = Settings.model_fields[name]
        lines.append(f"| `{name.upper()}` | {_shown(field.default)} | {field.description} |")
    return "\n".join(lines) + "\n"


def with_table(page: str, names: Sequence[str]) -> str:
    """A page with the table between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table(names) + END + after


def _shown(default: object) -> str:
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    if default in (None, "", ()):
        return ""
    if isinstance(default, tuple):
        default = ",".join(map(str, default))
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


if __name__ == "__main__":
    for page_name, page_settings in PAGES.items():
        page_path = REPOSITORY / page_name
        page_path.write_text(with_table(page_path.read_text("utf-8"), page_settings), "utf-8")
