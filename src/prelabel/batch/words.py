"""Numbers and times of a run, as people read them."""

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400
_FINE_UNTIL = 10


def counted(number: int, one: str) -> str:
    """A number with what it counts: "1 task", "2,000 tasks"."""
    return f"{number:,} {one if number == 1 else one + 's'}"


def duration(seconds: float) -> str:
    """A time in its two largest units: "0.4 s", "40 s", "3 min 20 s", "2 h 5 min", "1 d 3 h"."""
    if seconds < _FINE_UNTIL:
        return f"{round(seconds, 1):g} s"
    whole = round(seconds)
    for size, unit, part, part_unit in (
        (_DAY_S, "d", _HOUR_S, "h"),
        (_HOUR_S, "h", _MINUTE_S, "min"),
        (_MINUTE_S, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit}" + (f" {rest} {part_unit}" if rest else "")
    return f"{whole} s"


def rate(per_second: float) -> str:
    """A rate with as many digits as it deserves: "0.35", "4.2", "1,800"."""
    if per_second >= _FINE_UNTIL:
        return f"{per_second:,.0f}"
    return f"{round(per_second, 2 if per_second < 1 else 1):g}"
