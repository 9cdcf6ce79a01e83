"""Whether a file can be an ONNX model, told from its outermost fields and not from its weights."""

from pathlib import Path
from typing import BinaryIO

GRAPH = 7
"""Number of the field of an ONNX model that holds all that it computes."""

_NUMBER, _COUNTED = 0, 2
_WIDTHS = {1: 8, 5: 4}
"""How fields of Protocol Buffers are written: a number, bytes after their count, or so many."""


def is_whole_model(path: Path) -> bool:
    """Whether a file is a message of Protocol Buffers with a graph, and nothing of it is cut off.

    What servers send in place of a model, such as an error in words, is none; nor is the beginning
    of a model whose length nobody told.
    """
    size = path.stat().st_size
    fields = set()
    with path.open("rb") as file:
        try:
            while file.tell() < size:
                fields.add(_skip_field(file))
        except ValueError:
            return False
        return GRAPH in fields and file.tell() == size


def _skip_field(file: BinaryIO) -> int:
    """Go to the end of a field, which may lie behind that of the file; returns its number.

    Raises:
        ValueError: This is none.
    """
    number, form = divmod(_variable_number(file), 8)
    if form == _NUMBER:
        _variable_number(file)
    elif form == _COUNTED:
        file.seek(_variable_number(file), 1)
    elif form in _WIDTHS:
        file.seek(_WIDTHS[form], 1)
    else:
        raise ValueError(f"a field of form {form}")
    if not number:
        raise ValueError("a field without a number")
    return number


def _variable_number(file: BinaryIO) -> int:
    """A number of one to ten bytes, seven bits of it in each, the last ones first."""
    number = 0
    for place in range(10):
        (byte,) = file.read(1) or (0,)
        number |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:  # noqa: PLR2004 - the eighth bit says that more follow
            return number
    raise ValueError("a number without end")
