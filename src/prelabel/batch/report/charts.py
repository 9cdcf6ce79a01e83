"""The report's charts: inline SVG, drawn by plain functions of numbers."""

import html

import numpy as np

from prelabel.batch.report.scores import Scored

BINS = 20
"""Bars of a histogram; scores lie in 0..1."""

_WIDTH, _HEIGHT, _BELOW = 432, 64, 16  # of the bars, and of the axis' numbers under them
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


def bar(share: float) -> str:
    """How much of something: a bar that is filled from the left by a share of 0..1."""
    filled = 100 * min(max(share, 0.0), 1.0)
    return (
        '<svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="track" width="100" height="6"/>'
        f'<rect width="{filled:.1f}" height="6"/></svg>'
    )


def histogram(scored: Scored) -> str:
    """How the scores of some regions, at least one, are spread over 0..1."""
    scores, weights = scored.scores, scored.weights
    counts, _ = np.histogram(np.clip(scores, 0, 1), bins=BINS, range=(0, 1), weights=weights)
    wide, most, total = _WIDTH / BINS, counts.max(), counts.sum()
    bars = "".join(
        _bin(number, count / most * _HEIGHT, wide, count / total)
        for number, count in enumerate(counts.tolist())
        if count
    )
    ticks = "".join(_tick(tick) for tick in _TICKS)
    words = (
        f"Scores of {scored.name}: half are at least {scored.median:.2f}, the lowest is "
        f"{scores[0]:.2f}, the highest {scores[-1]:.2f}"
    )
    return (
        f'<svg class="histogram" viewBox="0 0 {_WIDTH} {_HEIGHT + _BELOW}" role="img" '
        f'aria-label="{html.escape(words)}">'
        f'{bars}<path class="axis" d="M0 {_HEIGHT}.5H{_WIDTH}"/>{ticks}</svg>'
    )


def _bin(number: int, high: float, wide: float, share: float) -> str:
    high = max(high, 1.5)  # one among thousands is still to be seen
    percent = round(100 * number / BINS)
    return (
        f'<rect data-from="{percent}" x="{number * wide + 1:.1f}" y="{_HEIGHT - high:.1f}" '
        f'width="{wide - 2:.1f}" height="{high:.1f}">'
        f"<title>{number / BINS:.2f} to {(number + 1) / BINS:.2f}: {share:.1%}</title></rect>"
    )


def _tick(tick: float) -> str:
    anchor = {0.0: "start", 1.0: "end"}.get(tick, "middle")
    return (
        f'<text x="{tick * _WIDTH:g}" y="{_HEIGHT + _BELOW - 3}" text-anchor="{anchor}">'
        f"{tick:g}</text>"
    )
