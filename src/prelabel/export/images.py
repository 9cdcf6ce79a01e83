"""The images of a dataset: how large they are, and copies of them."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from prelabel.errors import TaskError
from prelabel.export.pictures import Picture, Skipped
from prelabel.media.decode import decode
from prelabel.media.limits import Limits
from prelabel.media.references import ImageReference, Origin, shown

_THREADS = 8


@dataclass(frozen=True, slots=True)
class Images:
    """Fetches the images that tasks name. Threads may share one.

    Attributes:
        fetch: The bytes of an image; raises a `TaskError`.
        limits: What each image is held to.
        origin: The Label Studio that the tasks are from, or None.
    """

    fetch: Callable[[ImageReference], bytes]
    limits: Limits
    origin: Origin | None = None

    def size(self, uri: str, task_id: int) -> tuple[int, int]:
        """Height and width in pixels of the upright image.

        Raises:
            TaskError: It cannot be fetched or read.
        """
        image = decode(self._bytes(uri, task_id), shown(uri), self.limits)
        return image.height, image.width

    def copy(self, pictures: Sequence[Picture], folder: Path) -> list[Skipped]:
        """Write the images below a folder under their `file_name`, as they are, orientation too.

        Returns:
            Those that could not be fetched, and why.

        Raises:
            OSError: The folder cannot be written to.
        """

        def copied(picture: Picture) -> Skipped | None:
            try:
                content = self._bytes(picture.uri, picture.task_id)
            except TaskError as error:
                why = f"{error.cause}. {error.next_step}"
                return Skipped(picture.task_id, f"its image is not copied: {why}")
            path = folder / picture.file_name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            return None

        with ThreadPoolExecutor(_THREADS, thread_name_prefix="copy") as threads:
            return [failed for failed in threads.map(copied, pictures) if failed]

    def _bytes(self, uri: str, task_id: int) -> bytes:
        return self.fetch(ImageReference(uri, task_id, label_studio=self.origin))
