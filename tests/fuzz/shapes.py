"""What Label Studio, its users and strangers may send, in more shapes than anyone would list."""

from xml.etree.ElementTree import Element, SubElement, tostring

from hypothesis import strategies as st

TEXT = st.text(max_size=12) | st.sampled_from(["", " ", "0", "\x00", "é", "\ufb01", "💀", "\u202e"])
INTEGERS = st.integers() | st.sampled_from([0, -1, 2**31, 2**63, 2**64, 10**30, 10**400])
NUMBERS = INTEGERS | st.floats() | st.booleans()
JSON = st.recursive(
    st.none() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)

NAMES = st.sampled_from(["image", "image2", "label", "keypoints", "part", "a b", "ü", ""]) | TEXT
LABELS = st.sampled_from(
    ["body_distortion", "person", "nose", "left_eye", "face-0", "left_hand_root", "face", "other",
     "Person", "no", "", "  ", "left thumb 1", "a,b", "nose 2"]
) | TEXT  # fmt: skip
TAGS = st.sampled_from(
    ["Image", "Video", "Text", "RectangleLabels", "KeyPointLabels", "PolygonLabels", "Rectangle",
     "Choices", "TextArea", "VideoRectangle", "Labels", "BrushLabels", "Relations", "Repeater",
     "View", "Style", "Taxonomy", "EllipseLabels", "Label", "Choice", "{urn:x}RectangleLabels"]
)  # fmt: skip
ATTRIBUTES = st.dictionaries(
    st.sampled_from(
        ["value", "valueList", "alias", "perRegion", "whenTagName", "whenLabelValue", "frameRate",
         "predicted_values", "model_index", "model_skip", "model_score_threshold", "smart",
         "model_point_threshold", "on", "{urn:x}name", "xml:lang"]
    ),
    st.sampled_from(
        ["$image", "$video", "$images", "$a.b", "{{x}}", "$images[{{idx}}]", "true", "false", "1",
         "-1", "nan", "1e400", "0.5", "left_eye", "person, nose", ",", "$"]
    ) | TEXT,
    max_size=3,
)  # fmt: skip


def xml_text(text: str) -> str:
    """The text less what XML cannot hold."""
    return "".join(c for c in text if c in "\t\n\r" or (c >= " " and c not in "\ufffe\uffff"))


@st.composite
def label_configs(draw, depth: int = 3) -> str:
    """A tree of real tags, nested as no editor would nest them, names given twice or not at all."""
    root = Element("View")

    def grow(parent: Element, left: int) -> None:
        for _ in range(draw(st.integers(0, 3))):
            given = draw(ATTRIBUTES)
            if draw(st.booleans()):
                given |= {"name": draw(NAMES), "toName": draw(NAMES)}
            held = {key.replace("xml:", ""): xml_text(value) for key, value in given.items()}
            child = SubElement(parent, draw(TAGS), held)
            child.text = xml_text(draw(TEXT))
            for label in draw(st.lists(LABELS, max_size=3)):
                kind = draw(st.sampled_from(["Label", "Choice"]))
                SubElement(child, kind, {**child.attrib, "value": xml_text(label)})
            if left:
                grow(child, left - 1)

    grow(root, depth)
    return tostring(root, encoding="unicode")


ANY_CONFIG = label_configs() | TEXT | st.sampled_from(
    ["<View/>", "<View", '<?xml version="1.0" encoding="utf-16"?><View/>', "<a>" * 2000,
     '<!DOCTYPE a [<!ENTITY b "c">]><View>&b;</View>', "<View>" * 900 + "</View>" * 900]
)  # fmt: skip

USUAL = st.floats(-20, 120) | st.integers(-20, 120)
ODD = USUAL | NUMBERS | st.none() | st.sampled_from(["1", "12.5", "NaN", ""]) | JSON
GEOMETRY = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("x", "y", "width", "height", "rotation"), ODD)
)
LABELLING = st.fixed_dictionaries(
    {},
    optional={
        key: st.lists(LABELS, max_size=2) | JSON
        for key in ("rectanglelabels", "keypointlabels", "choices", "labels", "text")
    },
)
IDS = st.sampled_from(["a", "b", "c", "a#1", ""]) | JSON
SIZES = st.sampled_from([1, 100, 1920]) | NUMBERS | st.none() | st.just("100")
TYPES = st.sampled_from(
    ["rectanglelabels", "keypointlabels", "choices", "textarea", "relation", "polygonlabels",
     "brushlabels", "ellipselabels", "rectangle", "videorectangle", "number", "taxonomy"]
)  # fmt: skip


@st.composite
def regions(draw) -> dict:
    """A region of Label Studio's with any of its parts missing, or of another kind."""
    whole = {
        "id": IDS,
        "type": TYPES | JSON,
        "from_name": st.sampled_from(["label", "keypoints", "part", "gone"]) | JSON,
        "to_name": st.sampled_from(["image", "gone"]) | JSON,
        "original_width": SIZES,
        "original_height": SIZES,
        "image_rotation": NUMBERS,
        "parentID": IDS,
        "from_id": IDS,
        "to_id": IDS,
        "item_index": st.integers(0, 2) | JSON,
        "score": st.floats(0, 1) | JSON,
        "meta": JSON,
        "readonly": JSON,
        "is_positive": JSON,
        "origin": JSON,
        "value": st.builds(lambda a, b: a | b, GEOMETRY, LABELLING) | JSON,
    }
    return draw(st.fixed_dictionaries({}, optional=whole))


WHOLE_REGION = st.fixed_dictionaries(
    {
        "id": st.sampled_from("abcd"),
        "type": st.sampled_from(["rectanglelabels", "keypointlabels"]),
        "from_name": st.sampled_from(["label", "keypoints"]),
        "to_name": st.just("image"),
        "original_width": st.sampled_from([100, 400]),
        "original_height": st.sampled_from([100, 300]),
        "value": st.fixed_dictionaries(
            dict.fromkeys(("x", "y", "width", "height", "rotation"), USUAL)
            | {
                "rectanglelabels": st.just(["person"]),
                "keypointlabels": st.sampled_from([["nose"], ["left_eye"]]),
            }
        ),
    }
)
"""A region as Label Studio sends it, for the rest to break."""


@st.composite
def broken_regions(draw) -> dict:
    """A whole region with one thing in it changed or taken away."""
    region = draw(WHOLE_REGION)
    part = region["value"] if draw(st.booleans()) else region
    key = draw(st.sampled_from(sorted(part)))
    if draw(st.booleans()):
        del part[key]
    else:
        part[key] = draw(ODD | IDS)
    return region


RESULTS = st.lists(broken_regions() | regions() | JSON, max_size=4)
ANNOTATIONS = st.fixed_dictionaries(
    {},
    optional={
        "id": INTEGERS | JSON,
        "task": INTEGERS | JSON,
        "result": RESULTS | JSON,
        "was_cancelled": st.booleans() | JSON,
        "prediction": st.fixed_dictionaries({"id": INTEGERS, "result": RESULTS}) | JSON,
        "parent_prediction": INTEGERS | JSON,
    },
)
URIS = st.sampled_from(
    ["a.png", "/data/upload/1/a.png", "s3://b/c", "http://127.0.0.1/", "http://[::1]:1/", "data:,",
     "http://2130706433/", "file:///etc/passwd", "data:image/png;base64,iVBORw0KGgo="]
) | TEXT  # fmt: skip
DATA = st.dictionaries(
    st.sampled_from(["image", "images", "video", "frame", "a"]) | TEXT,
    URIS | st.lists(URIS, max_size=2) | JSON,
    max_size=3,
)
TASKS = st.fixed_dictionaries(
    {},
    optional={
        "id": st.integers(1, 5) | INTEGERS | JSON,
        "inner_id": INTEGERS | JSON,
        "project": INTEGERS | JSON,
        "data": DATA | JSON,
        "annotations": st.lists(ANNOTATIONS | JSON, max_size=2) | JSON,
        "predictions": JSON,
        "drafts": JSON,
        "meta": JSON,
    },
)
PROJECTS = st.one_of(
    st.integers(1, 3),
    st.integers(1, 3).map(lambda number: f"{number}.1700000000"),
    INTEGERS,
    INTEGERS.map(str),
    INTEGERS.map(lambda number: f"1.{number}"),
    st.just("9" * 5000),
    st.just("1." + "9" * 5000),
    st.fixed_dictionaries({"id": INTEGERS | JSON, "label_config": TEXT}),
    JSON,
)
CONTEXTS = st.none() | st.fixed_dictionaries({"result": RESULTS | JSON}) | JSON
ACTIONS = st.sampled_from(
    ["ANNOTATION_CREATED", "ANNOTATIONS_DELETED", "START_TRAINING", "TASKS_CREATED", "TRAIN",
     "PROJECT_UPDATED", "ANNOTATION_UPDATED"]
) | TEXT  # fmt: skip

WHOLE_CONFIG = """<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="label" toName="image"><Label value="person"/></RectangleLabels>
  <KeyPointLabels name="keypoints" toName="image">
    <Label value="nose"/><Label value="left_eye"/>
  </KeyPointLabels>
  <Choices name="part" toName="image" perRegion="true"><Choice value="face"/></Choices>
</View>"""
"""What `WHOLE_REGION` is drawn with."""
