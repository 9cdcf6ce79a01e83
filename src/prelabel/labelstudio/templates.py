"""The label configs that come with prelabel, ready to paste into a project."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Literal
from xml.sax.saxutils import quoteattr

from prelabel import keypoints

PointSet = Literal["133", "17", "hands"]

_POINTS: dict[PointSet, Sequence[int]] = {
    "133": range(len(keypoints.NAMES)),
    "17": keypoints.BODY,
    "hands": [*keypoints.LEFT_HAND, *keypoints.RIGHT_HAND],
}


@cache
def boxes_config() -> str:
    """The label config for body distortions: boxes with body part and severity."""
    return files("prelabel").joinpath("label_configs/body_distortion.xml").read_text("utf-8")


def pose_config(points: PointSet) -> str:
    """A label config with a box per person and these keypoints under it.

    `model_index` counts the keypoints of this config from 0, which Label Studio's own exports
    need; the names are COCO-WholeBody's.
    """
    group_of = {index: group for group, indices in keypoints.GROUPS.items() for index in indices}
    labels = "\n".join(
        f"    <Label value={quoteattr(keypoints.NAMES[index])} "
        f'background="{keypoints.GROUP_COLOURS[group_of[index]]}" model_index="{place}"/>'
        for place, index in enumerate(_POINTS[points])
    )
    return f"""<View>
  <Image name="image" value="$image" zoom="true" zoomControl="true"/>
  <RectangleLabels name="person" toName="image" smart="true">
    <Label value="person" background="#D55E00"/>
  </RectangleLabels>
  <KeyPointLabels name="keypoints" toName="image" smart="true" opacity="0.9">
{labels}
  </KeyPointLabels>
</View>
"""
