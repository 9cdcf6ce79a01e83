"""The `prelabel` command lines on a page, and what each would be refused for."""

import re
import shlex

from .pages import code_spans, command_lines
from .scripts import script

FINISHES = ("|", ">", ">>", "&&", "||", ";", "&")

COMMANDS = dict(script("write_cli_page").commands())
EVERYWHERE = {"--help": "", "--version": ""}


def commands_on(page):
    """The `prelabel` command lines in a page's blocks and in its text, and whether they are whole.

    Text may name an option without its value.
    """
    spans = [span for span in code_spans(page) if span.startswith("prelabel ")]
    lines = [(line, True) for line in command_lines(page)] + [(line, False) for line in spans]
    for line, is_whole in lines:
        try:
            words = shlex.split(line)
        except ValueError:  # a quote that ends on another line
            continue
        starts = [
            place
            for place, word in enumerate(words[:-1])
            if word == "prelabel" and (known(words[place + 1 :]) or is_first(words[:place]))
        ]
        if starts:
            yield line, words[starts[-1] + 1 :], is_whole


def is_first(before):
    """Whether nothing but variables stands before a word."""
    return all(re.fullmatch(r"[A-Z_]+=.*", word) for word in before)


def known(words):
    """The command at the beginning of these words, or None."""
    for count in (2, 1):
        typed = " ".join(["prelabel", *words[:count]])
        if len(words) >= count and typed in COMMANDS:
            return typed
    return None


def is_group(words):
    """Whether it is a command with others below it, named as such."""
    return len(words) == 1 and any(one.startswith(f"prelabel {words[0]} ") for one in COMMANDS)


def wrong_with(words, *, is_whole):
    """What the command line of these words would be refused for; "" where it would not be."""
    typed = known(words)
    if typed is None:
        named = words[0] in EVERYWHERE or words[0].isupper() or is_group(words)
        return "" if named else "there is no such command"
    rows = list(script("write_cli_page").given_to(COMMANDS[typed]))
    takes = {name: row.values for row in rows for name in row.names if name.startswith("-")}
    takes |= EVERYWHERE
    may_stand_alone = any(not name.startswith("-") for row in rows for name in row.names)
    rest = iter(words[len(typed.split()) - 1 :])
    for word in rest:
        if word in FINISHES:
            break
        name, _, value = word.partition("=")
        if not word.startswith("-"):
            if not may_stand_alone:
                return f"it takes no {word}"
        elif name not in takes:
            return "" if typed == "prelabel studio" else f"there is no {name}"
        elif takes[name]:
            value = value or next(rest, "")
            choices = takes[name].split("\\|")
            if (is_whole or value) and not (value in choices if choices[1:] else value):
                return f"{name} takes {takes[name]}"
    return ""
