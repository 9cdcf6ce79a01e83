"""A new Label Studio on SQLite, for as long as something is measured against it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prelabel.labelstudio_api.login import login_with_password
from prelabel.launch import label_studio
from prelabel.launch.processes import free_port

USER = label_studio.FirstUser("bench@example.com", "a-long-password")


@contextmanager
def own_studio(folder: Path, executable: Path | None) -> Iterator[tuple[str, str]]:
    """Start one on a free port, with its data and its log in a folder.

    Args:
        folder: Where its data and its log go.
        executable: The label-studio program; None: looked for.

    Yields:
        Its address, and a token that signs `USER` in.
    """
    program = label_studio.find_executable(executable)
    data = folder / "label-studio"
    data.mkdir()
    url = f"http://127.0.0.1:{free_port()}"
    installation = label_studio.Installation(program, data_dir=data, first_user=USER)
    with installation.running(url, log_path=folder / "label-studio.log"):
        yield url, login_with_password(url, USER.username, USER.password)
