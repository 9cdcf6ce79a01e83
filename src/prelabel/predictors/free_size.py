"""ONNX files that fix the size of their input, with its height and width left free."""

from pathlib import Path


def with_free_size(path: Path) -> tuple[bytes, tuple[int, int]] | None:
    """The model of a file, said to take inputs (batch, 3, H, W) of any height and width.

    Exporters write down the size that they happened to trace. Whether the model really runs at
    others is for the caller to try: where a number in its graph depends on the size, it does not.

    Returns:
        The model, with weights that lie in files of their own, and the height and width that its
        file fixes. None where the file leaves the size free itself, or answers several arrays: then
        it does more than convolve, and what it says of another size cannot be checked.

    Raises:
        ImportError: The package onnx is not installed.
        OSError: The file cannot be read.
    """
    import onnx  # noqa: PLC0415 - 11 MB, for few files

    model = onnx.load(str(path))
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    image = next(entry for entry in graph.input if entry.name not in weights)
    sides = image.type.tensor_type.shape.dim[2:]
    if len(graph.output) > 1 or not any(side.HasField("dim_value") for side in sides):
        return None
    height, width = (side.dim_value for side in sides)
    for side, name in zip(sides, ("height", "width"), strict=True):
        side.dim_param = name
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    del graph.value_info[:]
    content: bytes = model.SerializeToString()
    return content, (height or width, width or height)
