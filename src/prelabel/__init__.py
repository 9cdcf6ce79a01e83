"""Pre-annotation for Label Studio: boxes and whole-body keypoints before anyone draws."""

__version__ = "0.1.0"
