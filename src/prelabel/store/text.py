"""Text as every database takes it, and what a database says."""

from prelabel.errors import first_line


def storable(text: str) -> str:
    """The text without NUL, which PostgreSQL refuses, and without halves of a character."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def said(error: Exception) -> str:
    """What the database itself said, in a line, without what SQLAlchemy adds."""
    return first_line(getattr(error, "orig", None) or error)
