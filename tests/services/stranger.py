"""A stranger's package with a predictor, for processes of their own."""


def install(folder, name, module):
    """Put a package into a folder.

    Args:
        folder: Where to; made where it is missing.
        name: Of the module and the predictor.
        module: What the module says; it has `build`.

    Returns:
        The settings that make a process use it, for boxes.
    """
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir(parents=True)
    (folder / f"{name}.py").write_text(module)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[prelabel.predictors]\n{name} = {name}:build\n")
    return {
        "PYTHONPATH": str(folder),
        "BOXES_PREDICTOR": name,
        "POSES_PREDICTOR": "embedded-pose",
    }
