"""How large, how long and how far: the limits that every image is held to."""

from dataclasses import dataclass, fields

from prelabel.errors import ImageTooLarge


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on one image.

    Attributes:
        max_bytes: Of the file, counted after any transfer compression is undone.
        max_pixels: Width times height, known from the header before anything is decoded.
        min_side_px: A shorter side is no photo: a tracking pixel, a spacer, a damaged header.
        fetch_timeout_s: For everything up to the last byte, retries too; only a name server that
            does not answer can add its own time.
        connect_timeout_s: For each connection.
        max_redirects: For each fetch.
    """

    max_bytes: int = 64 * 1024 * 1024
    max_pixels: int = 50_000_000
    min_side_px: int = 8
    fetch_timeout_s: float = 30.0
    connect_timeout_s: float = 5.0
    max_redirects: int = 5

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value < 0 or (value == 0 and field.name != "max_redirects"):
                raise ValueError(f"{field.name}: expected a positive number, got {value}")

    def over_bytes(self, thing: str) -> ImageTooLarge:
        """The error for a file of more than `max_bytes`."""
        return ImageTooLarge(
            thing,
            f"it is over the limit of {self.max_bytes / 2**20:g} MB",
            "Shrink the image, or raise MAX_IMAGE_MB.",
        )
