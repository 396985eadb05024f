"""Draws bars and lines as SVG text. No library: a scorecard needs three kinds of picture."""

from collections.abc import Sequence
from html import escape
from typing import Final

import msgspec

COLOURS: Final = ("#2f6f9f", "#e08a2c", "#7a9e4b", "#9a5c8f")
_PAIR: Final = (COLOURS[1], COLOURS[0])
"""Before and after."""
_INK: Final = "#222222"
_GREY: Final = "#d8d8d8"
_FONT: Final = 'font-family="Helvetica, Arial, sans-serif"'


class Canvas:
    """Collects shapes. Units are pixels from the upper left corner."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.width, self.height, self.title = width, height, title
        self._shapes: list[str] = []
        self.text(16, 24, title, size=15, bold=True)

    def rectangle(self, x: float, y: float, width: float, height: float, *, colour: str) -> None:
        self._shapes.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}" fill="{colour}"/>')

    def line(self, points: Sequence[tuple[float, float]], colour: str, width: float = 1.0, dash: str = "") -> None:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self._shapes.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{dashed}/>')

    def dot(self, x: float, y: float, radius: float, colour: str) -> None:
        self._shapes.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{colour}"/>')

    def text(self, x: float, y: float, text: str, *, size: int = 12, anchor: str = "start", bold: bool = False) -> None:
        weight = ' font-weight="bold"' if bold else ""
        self._shapes.append(
            f'<text x="{x:.1f}" y="{y:.1f}" {_FONT} font-size="{size}" text-anchor="{anchor}" fill="{_INK}"{weight}>{escape(text)}</text>'
        )

    def legend(self, x: float, y: float, names: Sequence[str]) -> None:
        for name, colour in zip(names, COLOURS, strict=False):
            self.rectangle(x, y - 9, 11, 11, colour=colour)
            self.text(x + 16, y, name)
            x += 34 + 7 * len(name)

    def __str__(self) -> str:
        shapes = "\n".join(self._shapes)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{self.height}" '
            f'viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{escape(self.title)}">\n'
            f'<rect width="100%" height="100%" fill="white"/>\n{shapes}\n</svg>\n'
        )


class Axes(msgspec.Struct, frozen=True):
    """A plotting area; `x_top` is the right end of the horizontal axis, the vertical one goes from 0 to 1."""

    canvas: Canvas
    left: float
    top: float
    width: float
    height: float
    x_top: float

    def at(self, x: float, y: float) -> tuple[float, float]:
        return self.left + self.width * x / self.x_top, self.top + self.height * (1 - y)

    def frame(self, x_ticks: Sequence[float], x_label: str, y_label: str) -> None:
        canvas = self.canvas
        for tenth in range(0, 11, 2):
            x, y = self.at(0, tenth / 10)
            canvas.line([(x, y), (x + self.width, y)], _GREY)
            canvas.text(x - 6, y + 4, f"{tenth / 10:.1f}", size=11, anchor="end")
        for tick in x_ticks:
            x, y = self.at(tick, 0)
            canvas.text(x, y + 16, f"{tick:g}", size=11, anchor="middle")
        canvas.text(self.left + self.width / 2, self.top + self.height + 34, x_label, anchor="middle")
        canvas.text(self.left - 30, self.top - 10, y_label)


def bars(title: str, groups: Sequence[tuple[str, Sequence[float | None]]], series: Sequence[str]) -> str:
    """Groups of upright bars of values from 0 to 1."""
    width = 90 + (26 * len(series) + 12) * len(groups)
    canvas = Canvas(max(width, 420), 300, title)
    axes = Axes(canvas, 50, 66, max(width, 420) - 70, 180, len(groups))
    canvas.legend(50, 46, series)
    axes.frame((), "", "")
    for number, (name, values) in enumerate(groups):
        share = 0.8 / len(series)
        for place, value in enumerate(values):
            if value is None:
                continue
            x, y = axes.at(number + 0.1 + share * place, value)
            wide = axes.width / len(groups) * share - 2
            canvas.rectangle(x, y, wide, axes.top + axes.height - y, colour=COLOURS[place])
            canvas.text(x + wide / 2, y - 3, f"{value:.2f}", size=10, anchor="middle")
        canvas.text(axes.at(number + 0.5, 0)[0], axes.top + axes.height + 18, name, size=11, anchor="middle")
    return str(canvas)


def rows(title: str, values: Sequence[tuple[str, float, float]], series: tuple[str, str], note: str = "") -> str:
    """Lying bars, two to a name: values from 0 to 1."""
    canvas = Canvas(650, 80 + 22 * (len(values) + bool(note)), title)
    canvas.text(210, 76 + 22 * len(values), note, size=11)
    canvas.legend(210, 46, series)
    for number, (name, first, second) in enumerate(values):
        y = 64 + 22 * number
        canvas.text(200, y + 12, name, size=11, anchor="end")
        canvas.rectangle(210, y, 360, 17, colour="#f3f3f3")
        canvas.rectangle(210, y, 360 * first, 8, colour=COLOURS[0])
        canvas.rectangle(210, y + 9, 360 * second, 8, colour=COLOURS[1])
        canvas.text(578, y + 12, f"{first:.2f} / {second:.2f}", size=11)
    return str(canvas)


def reliability(title: str, series: Sequence[Sequence[tuple[float, float, int]]], notes: Sequence[str]) -> str:
    """Values against the share that was right; the area of a dot stands for how many findings it is."""
    canvas = Canvas(420, 430, title)
    axes = Axes(canvas, 56, 100, 330, 270, 1.0)
    for place, note in enumerate(notes):
        canvas.rectangle(56, 38 + 18 * place, 11, 11, colour=_PAIR[place])
        canvas.text(73, 48 + 18 * place, note, size=11)
    axes.frame([tenth / 10 for tenth in range(0, 11, 2)], "strength or score", "share that was right")
    canvas.line([axes.at(0, 0), axes.at(1, 1)], _INK, dash="4 4")
    most = max((count for points in series for _, _, count in points), default=1)
    for points, colour in zip(series, _PAIR, strict=False):
        canvas.line([axes.at(x, right) for x, right, _ in points], colour, 1.5)
        for x, right, count in points:
            canvas.dot(*axes.at(x, right), 2 + 8 * (count / most) ** 0.5, colour)
    return str(canvas)


def curves(title: str, lines: Sequence[tuple[str, Sequence[tuple[float, float]]]], x_top: float, x_label: str, y_label: str) -> str:
    """Lines of values from 0 to 1."""
    canvas = Canvas(520, 340, title)
    axes = Axes(canvas, 56, 80, 430, 200, x_top)
    canvas.legend(56, 48, [name for name, _ in lines])
    axes.frame([x_top * fifth / 5 for fifth in range(6)], x_label, y_label)
    for (_, points), colour in zip(lines, COLOURS, strict=False):
        canvas.line([axes.at(x, y) for x, y in points], colour, 2)
    return str(canvas)
