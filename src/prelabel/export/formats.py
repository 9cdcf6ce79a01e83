"""The formats of a dataset, by the names that the command line has for them."""

from enum import StrEnum


class Format(StrEnum):
    """What a dataset can be written as."""

    COCO_WHOLEBODY = "coco-wholebody"
    COCO_KEYPOINTS = "coco-keypoints"
    COCO_BOXES = "coco-boxes"
    YOLO_POSE = "yolo-pose"
