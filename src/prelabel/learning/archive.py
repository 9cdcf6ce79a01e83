"""What the learner knows as bytes, and back: NumPy's npz of what people marked, never a pickle.

Stored is what was learnt from, not what was made of it: the tracks are linked anew when it is
read, in a fraction of a second, so that nothing derived can disagree with its source.
"""

import io
import json
import zipfile
import zlib
from dataclasses import asdict

import numpy as np

from prelabel.learning.packing import unpack
from prelabel.learning.sequence import TODAY, Learned, Options

FORMAT = "prelabel sequence learner 1"


def dumps(learned: Learned) -> bytes:
    """Everything that `loads` needs to answer as `learned` does."""
    about = json.dumps({"format": FORMAT, "options": asdict(learned.options)})
    file = io.BytesIO()
    arrays = {"about": np.frombuffer(about.encode(), np.uint8), **learned.packed()}
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return file.getvalue()


def loads(blob: bytes) -> Learned:
    """The learner that `dumps` stored.

    Raises:
        ValueError: The bytes are damaged, or not something that `dumps` made.
    """
    try:
        with np.load(io.BytesIO(blob), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}  # each read once
            about = json.loads(arrays["about"].tobytes())
            if about["format"] != FORMAT:
                raise ValueError(f"expected {FORMAT!r}, got {about['format']!r}")
            today = {
                name.removeprefix(TODAY): array
                for name, array in arrays.items()
                if name.startswith(TODAY)
            }
            return Learned(
                unpack(arrays), Options(**about["options"]), unpack(today) if today else None
            )
    except (
        *(ValueError, KeyError, IndexError, TypeError, AttributeError),
        *(OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError),
    ) as error:
        raise ValueError(f"not a stored sequence learner, or a damaged one: {error}") from error
