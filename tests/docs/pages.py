"""The pages of the documentation, as tests read them: commands, links, headings, names."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md")))
BESIDE = (
    *(page for name in ("CHANGELOG.md", "SECURITY.md") if (page := REPOSITORY / name).is_file()),
    *sorted((REPOSITORY / "examples").glob("*/README.md")),
)
"""What is written for readers and is no page of the documentation."""

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
_NOTE = re.compile(r"<!-- (not run|may end with (\d+)): (.+?) -->")


@dataclass(frozen=True, slots=True)
class Block:
    """Commands that a reader copies, or something that a reader does by hand.

    Attributes:
        page: The page's path from the root of the repository.
        commands: The commands as they stand; empty for what is done by hand.
        not_run: Why the walk leaves them out; "" where it does not.
        by_hand: What is done by hand.
        exit_codes: How the last command may end.
    """

    page: str
    commands: str = ""
    not_run: str = ""
    by_hand: str = ""
    exit_codes: tuple[int, ...] = (0,)

    def __str__(self) -> str:
        return f"{self.page}: {self.by_hand or self.commands.splitlines()[0]}"


def path_of(page: Path) -> str:
    """A page's path from the root of the repository."""
    return page.relative_to(REPOSITORY).as_posix()


def blocks(page: Path) -> list[Block]:
    """What a reader of a page does, in order. A note above a block says how it is walked."""
    text, name = page.read_text("utf-8"), path_of(page)
    found = [
        (match.start(), Block(name, by_hand=match[1]))
        for match in re.finditer(r"^<!-- walk: (.+?) -->$", text, re.MULTILINE)
    ]
    for fence in _FENCE.finditer(text):
        if fence[2] == "console":
            above = text[: fence.start()].rstrip().rpartition("\n")[2]
            note = _NOTE.fullmatch(above)
            code = note[2] if note else None
            block = Block(
                name,
                fence[3],
                not_run=note[3] if note and not code else "",
                exit_codes=(0, int(code)) if code else (0,),
            )
            found.append((fence.start(), block))
    return [block for _, block in sorted(found, key=lambda one: one[0])]


def console_count(page: Path) -> int:
    """How many blocks of commands a page has, however they are marked."""
    return len(re.findall(r"^ *```console$", page.read_text("utf-8"), re.MULTILINE))


def prose(page: Path) -> str:
    """A page without its fenced blocks and comments."""
    text = _FENCE.sub("", page.read_text("utf-8"))
    return re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    made: set[str] = set()
    without_blocks = _FENCE.sub("", page.read_text("utf-8"))
    for heading in re.findall(r"^#{1,6} +(.+?) *$", without_blocks, re.MULTILINE):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        number = 0
        while (again := f"{anchor}-{number}" if number else anchor) in made:
            number += 1
        made.add(again)
    return made


def links(page: Path) -> list[tuple[str, str]]:
    """Path and anchor of each link of a page that leads into the repository."""
    targets = re.findall(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)", prose(page))
    return [
        (path, anchor)
        for path, _, anchor in (target.partition("#") for target in targets)
        if not re.match(r"[a-z]+:", path)
    ]


def code_spans(page: Path) -> list[str]:
    """What stands in backticks in a page's text."""
    return [span.strip() for span in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose(page))]


def command_lines(page: Path) -> Iterator[str]:
    """Every line of commands in a page's blocks, continued lines as one and comments left out."""
    for block in _FENCE.finditer(page.read_text("utf-8")):
        if block[2] == "console":
            for line in block[3].replace("\\\n", " ").splitlines():
                command = re.sub(r"(^|\s+)#\s.*$", "", line).strip()
                if command:
                    yield command
