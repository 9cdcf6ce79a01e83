"""Text as every database takes it."""


def storable(text: str) -> str:
    """The text without NUL, which PostgreSQL refuses, and without halves of a character."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()
