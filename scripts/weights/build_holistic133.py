"""Build holistic133_256x192.onnx from MediaPipe's landmark nets; see README.md.

One graph, from a crop around a person to 133 keypoints: the body net twice, the second time on the
region that the first found, turned upright; from its wrists the two hands, cut out anew by a net
of their own; from its eyes and mouth the face mesh, twice. Out come Gaussians over bins, the form
in which RTMPose and RTMW answer.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from graph import Graph
from onnx import TensorProto
from tflite_graph import TfliteNet

WIDTH, HEIGHT = 192, 256
KEYPOINTS = 133
NETS = {
    "body": (
        "pose_landmark/pose_landmark_full.tflite",
        "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
    ),
    "recrop": (
        "holistic_landmark/hand_recrop.tflite",
        "67d996ce96f9d36fe17d2693022c6da93168026ab2f028f9e2365398d8ac7d5d",
    ),
    "hand": (
        "hand_landmark/hand_landmark_full.tflite",
        "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
    ),
    "face": (
        "face_landmark/face_landmark.tflite",
        "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
    ),
}
BODY_SIDE, HAND_SIDE, FACE_SIDE = 256, 224, 192  # of the nets' inputs, in pixels

# Landmarks of BlazePose (33 of a body, then the two that say where it lies) by COCO's order.
BODY = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)
FEET = (31, 31, 29, 32, 32, 30)  # big toe, small toe (there is none: the big one again), heel
SMALL_TOE_TRUST = 0.2
HIP_CENTRE, BODY_TOP = 33, 34
WRISTS, PINKIES, INDEX_FINGERS = (15, 16), (17, 18), (19, 20)
EYES, MOUTH = (2, 5), (9, 10)

# Vertices of MediaPipe's face mesh by the 68 points of iBUG's scheme.
FACE = (
    *(162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389),  # jaw
    *(71, 63, 105, 66, 107, 336, 296, 334, 293, 301),  # eyebrows
    *(168, 197, 5, 4, 75, 97, 2, 326, 305),  # nose
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),  # eyes
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),  # outer lip
    *(78, 82, 13, 312, 308, 317, 14, 87),  # inner lip
)
MESH_LEFT_EYE, MESH_RIGHT_EYE = 263, 33
SIGMAS = (4.9, 5.66)  # of the Gaussians on either axis, in bins, as RTMPose draws them


@dataclass(frozen=True, slots=True)
class Region:
    """A square part of the crop, which a net is shown: ONNX values, batch first.

    Attributes:
        centre: (batch, 2) in pixels of the crop.
        size: (batch, 1) in pixels of the crop.
        rotation: (batch, 2, 2), turns row vectors of the region into those of the crop.
    """

    centre: str
    size: str
    rotation: str


class Steps:
    """The graph, and the steps that are taken in it more than once."""

    def __init__(self, modules: Path) -> None:
        """Read the nets; `modules` is mediapipe/modules of the wheel."""
        self.graph = Graph()
        self._nets = {
            name: TfliteNet(modules / path, digest) for name, (path, digest) in NETS.items()
        }

    def pixels(self) -> str:
        """The input, turned back from RTMPose's normalisation to 0..1."""
        op, floats = self.graph.op, self.graph.floats
        mean = self._per_channel(123.675, 116.28, 103.53)
        deviation = self._per_channel(58.395, 57.12, 57.375)
        plain = op("Add", [op("Mul", ["input", deviation]), mean])
        scaled = op("Mul", [plain, floats(1 / 255.0)])
        limits = [floats(0.0), floats(1.0)]
        pixels = op("Clip", [scaled, *limits])
        self._crop_size = floats(float(WIDTH), float(HEIGHT))
        return pixels

    def run(self, net: str, image: str, outputs: list[str]) -> list[str]:
        """A net's outputs, flat, for an image of its input size."""
        return self._nets[net].copy_into(self.graph, image, outputs, net)

    def points_of(self, values: str, *indices: int) -> str:
        """Rows (batch, n, ...) of the given indices."""
        return self.graph.op("Gather", [values, self.graph.integers(*indices)], axis=1)

    def squeezed(self, value: str) -> str:
        """The value without its second axis."""
        return self.graph.op("Squeeze", [value, self.graph.integers(1)])

    def unsqueezed(self, value: str) -> str:
        """The value with a new second axis."""
        return self.graph.op("Unsqueeze", [value, self.graph.integers(1)])

    def point(self, values: str, index: int) -> str:
        """One row (batch, ...)."""
        return self.squeezed(self.points_of(values, index))

    def difference(self, values: str, index: int, other: int) -> str:
        """One row minus another."""
        rows = [self.points_of(values, index), self.points_of(values, other)]
        return self.squeezed(self.graph.op("Sub", rows))

    def mean_of(self, values: str, pair: tuple[int, int]) -> str:
        """The middle between two rows."""
        return self.graph.op("ReduceMean", [self.points_of(values, *pair)], axes=[1], keepdims=0)

    def scaled(self, value: str, factor: float) -> str:
        """The value times a number."""
        return self.graph.op("Mul", [value, self.graph.floats(factor)])

    def length(self, vectors: str) -> str:
        """Lengths (batch, 1) of vectors (batch, 2), never quite 0."""
        op = self.graph.op
        squares = op("Mul", [vectors, vectors])
        total = op("ReduceSum", [squares, self.graph.integers(-1)], keepdims=1)
        return op("Sqrt", [op("Add", [total, self.graph.floats(1e-6)])])

    def rotation(self, up: str) -> str:
        """The rotation of a region whose upward direction is `up` (batch, 2) in the crop."""
        graph = self.graph
        unit = graph.op("Div", [up, self.length(up)])
        sine, minus_cosine = graph.slice(unit, 0, 1, 1), graph.slice(unit, 1, 2, 1)
        cosine = graph.op("Neg", [minus_cosine])
        parts = [cosine, sine, graph.op("Neg", [sine]), cosine]
        joined = graph.op("Concat", parts, axis=1)
        return graph.op("Reshape", [joined, graph.integers(-1, 2, 2)])

    def look(self, image: str, region: Region, side: int) -> str:
        """The region of the image, resampled to `side` by `side` pixels."""
        graph, op = self.graph, self.graph.op
        steps = (np.arange(side) + 0.5) / side - 0.5
        columns, rows = np.meshgrid(steps, steps)
        grid = np.stack([columns, rows], -1).reshape(1, side * side, 2).astype(np.float32)
        places = self._in_crop(graph.constant(grid), region)
        doubled = op("Div", [self.scaled(places, 2.0), self._crop_size])
        normalised = op("Sub", [doubled, graph.floats(1.0)])
        shaped = op("Reshape", [normalised, graph.integers(-1, side, side, 2)])
        return op(
            "GridSample", [image, shaped], mode="bilinear", padding_mode="zeros", align_corners=0
        )

    def back(self, points: str, side: int, region: Region) -> str:
        """Points (batch, n, 2) in pixels of a region resampled to `side`, in pixels of the crop."""
        scaled = self.scaled(points, 1.0 / side)
        centred = self.graph.op("Sub", [scaled, self.graph.floats(0.5)])
        return self._in_crop(centred, region)

    def moved(self, region: Region, right: float, down: float) -> str:
        """The centre of a region moved along its own axes by shares of its size."""
        step = self.graph.constant(np.array([[[right, down]]], np.float32))
        turned = self.squeezed(self.graph.op("MatMul", [step, region.rotation]))
        return self.graph.op("Add", [region.centre, self.graph.op("Mul", [turned, region.size])])

    def _in_crop(self, points: str, region: Region) -> str:
        op = self.graph.op
        turned = op("MatMul", [points, region.rotation])
        sized = op("Mul", [turned, self.unsqueezed(region.size)])
        return op("Add", [sized, self.unsqueezed(region.centre)])

    def _per_channel(self, *values: float) -> str:
        return self.graph.constant(np.array(values, np.float32).reshape(1, 3, 1, 1))


def body(steps: Steps, pixels: str) -> tuple[str, str]:
    """BlazePose's landmarks (batch, 39, 2) in the crop, and their visibilities (batch, 39, 1)."""
    graph, op = steps.graph, steps.graph.op
    nothing = steps.scaled(op("ReduceMean", [pixels], axes=[1, 2, 3], keepdims=0), 0.0)
    nothing = steps.unsqueezed(nothing)
    ones = op("Add", [nothing, graph.floats(1.0)])
    centre = op("Mul", [ones, graph.floats(WIDTH / 2.0, HEIGHT / 2.0)])
    size = steps.scaled(ones, float(max(WIDTH, HEIGHT)))
    up = op("Mul", [ones, graph.floats(0.0, -1.0)])
    for last in (False, True):
        region = Region(centre, size, steps.rotation(up))
        image = steps.look(pixels, region, BODY_SIDE)
        flat, presence = steps.run("body", image, ["Identity", "Identity_1"])
        landmarks = op("Reshape", [flat, graph.integers(-1, 39, 5)])
        points = steps.back(graph.slice(landmarks, 0, 2, 2), BODY_SIDE, region)
        if not last:
            centre, top = steps.point(points, HIP_CENTRE), steps.point(points, BODY_TOP)
            up = op("Sub", [top, centre])
            size = steps.scaled(steps.length(up), 2 * 1.25)
    visible = op("Sigmoid", [graph.slice(landmarks, 3, 4, 2)])
    return points, op("Mul", [visible, steps.unsqueezed(presence)])


def hands(steps: Steps, pixels: str, points: str, seen: str) -> tuple[list[str], list[str]]:
    """Left and right hand: points (batch, 21, 2) and scores (batch, 21, 1) of each."""
    graph, op = steps.graph, steps.graph.op

    def both(left: int, right: int) -> str:
        """Left, then right hands along the batch."""
        rows = [steps.points_of(points, left), steps.points_of(points, right)]
        return steps.squeezed(op("Concat", rows, axis=0))

    wrist, pinky, index_finger = both(*WRISTS), both(*PINKIES), both(*INDEX_FINGERS)
    weighted = op("Add", [steps.scaled(index_finger, 2.0), pinky])
    knuckles = op("Div", [weighted, graph.floats(3.0)])
    up = op("Sub", [knuckles, wrist])
    size = steps.scaled(steps.length(up), 2.0)
    region = Region(knuckles, size, steps.rotation(up))
    centre = steps.moved(region, 0.0, -0.1)
    region = Region(centre, steps.scaled(size, 2.7), region.rotation)
    twice = op("Concat", [pixels, pixels], axis=0)

    (corners,) = steps.run("recrop", steps.look(twice, region, BODY_SIDE), ["output_crop"])
    corners = op("Reshape", [corners, graph.integers(-1, 2, 2)])
    corners = steps.back(corners, BODY_SIDE, region)
    centre, bottom = steps.point(corners, 0), steps.point(corners, 1)
    up = op("Sub", [centre, bottom])
    size = steps.scaled(steps.length(up), 2.0)
    region = Region(centre, size, steps.rotation(up))

    image = steps.look(twice, region, HAND_SIDE)
    flat, presence = steps.run("hand", image, ["Identity", "Identity_1"])
    landmarks = op("Reshape", [flat, graph.integers(-1, 21, 3)])
    places = steps.back(graph.slice(landmarks, 0, 2, 2), HAND_SIDE, region)
    hand_points = graph.op_of_two("Split", [places], axis=0)
    presences = graph.op_of_two("Split", [steps.scaled(steps.unsqueezed(presence), 1.0)], axis=0)
    ones = graph.constant(np.ones((1, 21, 1), np.float32))
    wrists_seen = [steps.points_of(seen, wrist_index) for wrist_index in WRISTS]
    scores = [
        op("Mul", [op("Mul", [present, op("Sqrt", [wrist_seen])]), ones])
        for present, wrist_seen in zip(presences, wrists_seen, strict=True)
    ]
    return list(hand_points), scores


def face(steps: Steps, pixels: str, points: str, seen: str) -> tuple[str, str]:
    """The face: points (batch, 68, 2) and scores (batch, 68, 1)."""
    graph, op = steps.graph, steps.graph.op
    eyes, mouth = steps.mean_of(points, EYES), steps.mean_of(points, MOUTH)
    up = op("Sub", [eyes, mouth])
    across = steps.difference(points, *EYES)
    longer = op("Max", [steps.length(up), steps.length(across)])
    size = steps.scaled(longer, 3.9)
    centre = steps.scaled(op("Add", [eyes, mouth]), 0.5)
    for last in (False, True):
        region = Region(centre, size, steps.rotation(up))
        image = steps.look(pixels, region, FACE_SIDE)
        flat, presence = steps.run("face", image, ["conv2d_21", "conv2d_31"])
        mesh = graph.slice(op("Reshape", [flat, graph.integers(-1, 468, 3)]), 0, 2, 2)
        places = steps.back(mesh, FACE_SIDE, region)
        if not last:
            low = op("ReduceMin", [mesh], axes=[1], keepdims=0)
            high = op("ReduceMax", [mesh], axes=[1], keepdims=0)
            middle = steps.unsqueezed(steps.scaled(op("Add", [low, high]), 0.5))
            centre = steps.squeezed(steps.back(middle, FACE_SIDE, region))
            extent = op("ReduceMax", [op("Sub", [high, low])], axes=[1], keepdims=1)
            size = op("Mul", [steps.scaled(extent, 1.5 / FACE_SIDE), size])
            across = steps.difference(places, MESH_LEFT_EYE, MESH_RIGHT_EYE)
            parts = [graph.slice(across, 1, 2, 1), op("Neg", [graph.slice(across, 0, 1, 1)])]
            up = op("Concat", parts, axis=1)
    face_points = steps.points_of(places, *FACE)
    present = steps.unsqueezed(op("Sigmoid", [presence]))
    trusted = op("Mul", [present, op("Sqrt", [steps.points_of(seen, 0)])])
    scores = op("Mul", [trusted, graph.constant(np.ones((1, 68, 1), np.float32))])
    return face_points, scores


def draw(steps: Steps, points: str, scores: str) -> None:
    """Outputs `simcc_x` and `simcc_y`: each keypoint as a Gaussian over the bins of either axis."""
    graph, op = steps.graph, steps.graph.op
    points = op("Sub", [points, graph.floats(0.5)])
    axes = [graph.slice(points, 0, 1, 2), graph.slice(points, 1, 2, 2)]
    inside = [
        _inside(graph, values, limit) for values, limit in zip(axes, (WIDTH, HEIGHT), strict=True)
    ]
    both = op("Mul", inside)
    # A keypoint outside the crop cannot be drawn where it is: it keeps a fifth of its score.
    trust = op("Add", [steps.scaled(both, 0.8), graph.floats(0.2)])
    scores = op("Mul", [scores, trust])
    for values, limit, sigma, name in zip(
        axes, (WIDTH, HEIGHT), SIGMAS, ("simcc_x", "simcc_y"), strict=True
    ):
        doubled = steps.scaled(values, 2.0)
        limits = [graph.floats(0.0), graph.floats(2.0 * limit - 1)]
        peak = op("Clip", [doubled, *limits])
        bins = graph.constant(np.arange(2 * limit, dtype=np.float32).reshape(1, 1, -1))
        distance = steps.scaled(op("Sub", [bins, peak]), 1 / sigma)
        exponent = steps.scaled(op("Mul", [distance, distance]), -0.5)
        op("Mul", [op("Exp", [exponent]), scores], name=name)


def build(modules: Path, path: Path) -> None:
    """Write the model.

    Args:
        modules: mediapipe/modules of the wheel.
        path: The file to write.
    """
    steps = Steps(modules)
    graph, op = steps.graph, steps.graph.op
    pixels = steps.pixels()
    points, seen = body(steps, pixels)
    body_points, body_scores = steps.points_of(points, *BODY), steps.points_of(seen, *BODY)
    feet_points, feet_seen = steps.points_of(points, *FEET), steps.points_of(seen, *FEET)
    trust = np.array([1, SMALL_TOE_TRUST, 1] * 2, np.float32).reshape(1, 6, 1)
    feet_scores = op("Mul", [feet_seen, graph.constant(trust)])
    hand_points, hand_scores = hands(steps, pixels, points, seen)
    face_points, face_scores = face(steps, pixels, points, seen)
    all_points = op("Concat", [body_points, feet_points, face_points, *hand_points], axis=1)
    all_scores = op("Concat", [body_scores, feet_scores, face_scores, *hand_scores], axis=1)
    draw(steps, all_points, all_scores)
    graph.share_constants()
    graph.share_casts()
    graph.save(
        path,
        name="mediapipe_holistic_as_simcc133",
        producer="holistic133",
        inputs={"input": ["batch", 3, HEIGHT, WIDTH]},
        outputs={
            "simcc_x": (TensorProto.FLOAT, ["batch", KEYPOINTS, 2 * WIDTH]),
            "simcc_y": (TensorProto.FLOAT, ["batch", KEYPOINTS, 2 * HEIGHT]),
        },
        notes={
            "source": "mediapipe 0.10.21 wheel (PyPI): pose_landmark_full, hand_recrop, "
            "hand_landmark_full, face_landmark .tflite",
            "license": "Apache-2.0",
            "input": "RGB, mean 123.675/116.28/103.53 std 58.395/57.12/57.375, NCHW",
            "keypoints": "COCO-WholeBody 133",
            "simcc_split_ratio": "2.0",
        },
    )


def _inside(graph: Graph, values: str, limit: int) -> str:
    """1 where a coordinate lies in the crop, else 0."""
    after = graph.op(
        "Cast", [graph.op("Greater", [values, graph.floats(-1.0)])], to=TensorProto.FLOAT
    )
    before = graph.op(
        "Cast", [graph.op("Less", [values, graph.floats(float(limit))])], to=TensorProto.FLOAT
    )
    return graph.op("Mul", [after, before])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", type=Path, help="mediapipe/modules of the wheel")
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    build(arguments.modules, arguments.output)
