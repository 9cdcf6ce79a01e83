"""rtmlib's three modes of whole-body pose: which two model files each is made of.

The table is that of `Wholebody.MODE` in rtmlib 0.0.16 (Tau-J/rtmlib, Apache-2.0), which also names
the mirror. The files are OpenMMLab's: YOLOX trained on Human-Art, and RTMW.
"""

from dataclasses import dataclass

from prelabel.predictors.weights import WeightsFile

OPENMMLAB = "https://download.openmmlab.com/mmpose/v1/projects/"
MIRROR = "https://huggingface.co/Tau-J/RTMPose/resolve/main/"

_YOLOX_M = "rtmposev1/onnx_sdk/yolox_m_8xb8-300e_humanart-c2c7a14a.zip"
_YOLOX_TINY = "rtmposev1/onnx_sdk/yolox_tiny_8xb8-300e_humanart-6f3252f9.zip"
_RTMW_L_384 = "rtmw/onnx_sdk/rtmw-dw-x-l_simcc-cocktail14_270e-384x288_20231122.zip"
_RTMW_L_256 = "rtmw/onnx_sdk/rtmw-dw-x-l_simcc-cocktail14_270e-256x192_20231122.zip"
_RTMW_M_256 = "rtmw/onnx_sdk/rtmw-dw-l-m_simcc-cocktail14_270e-256x192_20231122.zip"


@dataclass(frozen=True, slots=True)
class Mode:
    """One pair of models.

    Attributes:
        detector: Path of the detector's file under the host or its mirror.
        detector_side: Side of the detector's square input.
        pose: Path of the pose model's file.
        pose_input_hw: Height and width of the pose model's input.
    """

    detector: str
    detector_side: int
    pose: str
    pose_input_hw: tuple[int, int]


MODES: dict[str, Mode] = {
    "performance": Mode(_YOLOX_M, 640, _RTMW_L_384, (384, 288)),
    "balanced": Mode(_YOLOX_M, 640, _RTMW_L_256, (256, 192)),
    "lightweight": Mode(_YOLOX_TINY, 416, _RTMW_M_256, (256, 192)),
}


def weights_file(path: str, mirror: str = "") -> WeightsFile:
    """A file of the table, with where it can be had.

    Args:
        path: As in `Mode`.
        mirror: Address of a mirror of one's own that is asked first, or "".
    """
    hosts = [mirror.rstrip("/") + "/"] if mirror else []
    return WeightsFile(tuple(host + path for host in (*hosts, OPENMMLAB, MIRROR)))
