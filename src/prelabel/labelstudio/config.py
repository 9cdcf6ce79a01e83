"""The project's label config: XML in, checked tags out."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from prelabel.errors import ImageMissing, InvalidRequest

_CHOICE_TAGS = ("Label", "Choice")


@dataclass(frozen=True, slots=True)
class Label:
    """One `<Label>` or `<Choice>` of a control.

    Attributes:
        value: Its `value` attribute, as the annotator reads it.
        alias: Its `alias` attribute, or None.
        attributes: All its attributes, prelabel's own and other backends' among them.
    """

    value: str
    alias: str | None
    attributes: Mapping[str, str]

    @property
    def stored(self) -> str:
        """The string that Label Studio stores in results: the alias where there is one."""
        return self.alias or self.value

    @property
    def predicted_values(self) -> tuple[str, ...]:
        """Comma-separated `predicted_values`: model classes or phrases that mean this label."""
        listed = self.attributes.get("predicted_values", "").split(",")
        return tuple(word.strip() for word in listed if word.strip())

    @property
    def names(self) -> tuple[str, ...]:
        """All that says what it means: value, alias, and `predicted_values`."""
        alias = (self.alias,) if self.alias else ()
        return (self.value, *alias, *self.predicted_values)


@dataclass(frozen=True, slots=True)
class Control:
    """A control tag: something an annotator can draw or choose.

    Attributes:
        tag: Its XML name, for example "RectangleLabels".
        name: What results call `from_name`.
        to_name: The object tag that it works on.
        labels: Its labels or choices, in order.
        attributes: All its attributes.
    """

    tag: str
    name: str
    to_name: str
    labels: tuple[Label, ...]
    attributes: Mapping[str, str]

    @property
    def result_type(self) -> str:
        """What results of this control call `type`."""
        return self.tag.lower()

    @property
    def stored_labels(self) -> frozenset[str]:
        """Its labels or choices as they stand in results."""
        return frozenset(label.stored for label in self.labels)

    @property
    def per_region(self) -> bool:
        """Whether it describes a region rather than the whole task."""
        return self.attributes.get("perRegion", "").lower() == "true"

    def only_for(self, attribute: str) -> frozenset[str]:
        """The comma-separated names in `whenTagName` or `whenLabelValue`; empty means any."""
        listed = self.attributes.get(attribute, "").split(",")
        return frozenset(name.strip() for name in listed if name.strip())


@dataclass(frozen=True, slots=True)
class ImageTag:
    """An `<Image>` tag.

    Attributes:
        name: What results call `to_name`.
        value: The `value` or `valueList` attribute, for example "$image" or "$views[0].url".
        is_list: Whether the task holds a list of images (`valueList`).
    """

    name: str
    value: str
    is_list: bool

    def uris(self, data: Mapping[str, object]) -> tuple[str, ...]:
        """The image URIs that a task's data holds for this tag, in page order.

        Raises:
            ImageMissing: The data has no text under the key that the tag names.
        """
        found: object = data
        for key in _keys(self.value):
            found = _by_index(found).get(key)
        if not self.value.startswith("$"):
            found = self.value
        pages = found if isinstance(found, list) else [found]
        uris = tuple(page for page in pages if isinstance(page, str) and page.strip())
        if not uris or len(uris) != len(pages) or (len(uris) > 1 and not self.is_list):
            raise self._missing(data, pages)
        return uris

    def _missing(self, data: Mapping[str, Any], pages: Sequence[object]) -> ImageMissing:
        key = f"task data key {self.value!r}"
        if pages == [None]:
            keys = ", ".join(data) or "none"
            step = "Let the value of <Image> in the label config name the key that holds it."
            return ImageMissing(key, f"holds no image address (the data has the keys {keys})", step)
        if len(pages) > 1 and not self.is_list:
            step = 'Give the <Image> valueList="…" in place of value="…".'
            return ImageMissing(key, f"holds {len(pages)} values where one is shown", step)
        cause = "holds no image address: it is empty, or no text"
        return ImageMissing(key, cause, "Put the address of the image there.")

    def with_uris(self, data: Mapping[str, Any], uris: Sequence[str]) -> dict[str, Any]:
        """A task's data in which `uris` finds these; only the first where it is no list."""
        return _with(data, _keys(self.value), list(uris) if self.is_list else uris[0])


@dataclass(frozen=True, slots=True)
class VideoTag:
    """A `<Video>` tag.

    Attributes:
        name: What results call `to_name`.
        value: The `value` attribute, for example "$video".
    """

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class LabelConfig:
    """All image, video and control tags of a project, in document order.

    Those in a `<Repeater>` are left out: which names they get is known to the editor alone.

    Attributes:
        repeats: Whether there is a `<Repeater>`.
    """

    images: tuple[ImageTag, ...]
    controls: tuple[Control, ...]
    videos: tuple[VideoTag, ...] = ()
    repeats: bool = False

    def image(self, name: str) -> ImageTag | None:
        """The image tag of this name."""
        return next((tag for tag in self.images if tag.name == name), None)

    def control(self, name: str) -> Control | None:
        """The control of this name."""
        return next((control for control in self.controls if control.name == name), None)

    def labels_beside(self, control: Control) -> Control | None:
        """The `<Labels>` that name what a control without labels of its own draws."""
        return next(
            (c for c in self.controls if c.tag == "Labels" and c.to_name == control.to_name), None
        )


def parse(xml: str) -> LabelConfig:
    """Read a label config.

    Raises:
        InvalidRequest: It is not well-formed XML, or defines XML entities.
    """
    try:
        root = fromstring(xml, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise InvalidRequest(
            "label config", f"is not XML that can be read ({error})", "Correct it in the project."
        ) from error
    images, controls, videos = [], [], []
    repeated = {element for repeater in root.iter("Repeater") for element in repeater.iter()}
    for element in root.iter():
        if element in repeated:
            continue
        name = element.get("name")
        if name and element.tag == "Image":
            listed = element.get("valueList")
            value = listed or element.get("value") or ""
            images.append(ImageTag(name, value, is_list=listed is not None))
        elif name and element.tag == "Video":
            videos.append(VideoTag(name, element.get("value", "")))
        elif name and element.get("toName"):
            controls.append(_control(element))
    return LabelConfig(tuple(images), tuple(controls), tuple(videos), bool(repeated))


def normalised(text: str) -> str:
    """A label in the form in which labels are compared: lower case, words joined by "_"."""
    return "_".join(text.lower().replace("-", " ").replace("_", " ").split())


def _control(element: Element) -> Control:
    labels = tuple(
        Label(child.get("value", ""), child.get("alias"), dict(child.attrib))
        for child in element.iter()
        if child.tag in _CHOICE_TAGS and child.get("value", "").strip()
    )
    return Control(
        tag=element.tag,
        name=element.get("name", ""),
        to_name=element.get("toName", ""),
        labels=labels,
        attributes=dict(element.attrib),
    )


def _keys(value: str) -> list[str]:
    """The keys that lead to what a tag shows: "$views[0].url" is views, 0, url."""
    return [key.removesuffix("]") for key in re.split(r"[.[]", value.removeprefix("$"))]


def _by_index(data: object) -> Mapping[str, Any]:
    """Data by its keys; a list by its indices, and what holds nothing as empty."""
    if isinstance(data, list):
        return {str(index): one for index, one in enumerate(data)}
    return data if isinstance(data, Mapping) else {}


def _with(data: Mapping[str, Any], keys: list[str], value: object) -> dict[str, Any]:
    """Data with another value under a path of keys."""
    first, *rest = keys
    if rest:
        value = _with(_by_index(data.get(first)), rest, value)
    return {**data, first: value}
