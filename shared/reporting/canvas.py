"""Text on a picture: the shipped font, wrapping, and a pen that writes downward."""

from __future__ import annotations

from functools import lru_cache

import font_roboto
from PIL import ImageDraw, ImageFont

Colour = tuple[int, int, int]
INK: Colour = (232, 236, 240)


@lru_cache(maxsize=16)
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Roboto, which has Cyrillic, in pixels."""
    files = font_roboto.font_files
    # the basic layout is the same on every machine; raqm is not there on all
    return ImageFont.truetype(
        files["RobotoBold" if bold else "Roboto"], size, layout_engine=ImageFont.Layout.BASIC
    )


def haloed(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    face: ImageFont.FreeTypeFont,
    fill: Colour,
    anchor: str,
) -> None:
    """Text that reads on white and on black."""
    draw.text(at, text, font=face, fill=fill, anchor=anchor, stroke_width=2, stroke_fill=(0, 0, 0))


def fit(text: str, width: int, size: int) -> ImageFont.FreeTypeFont:
    """The largest font up to ``size`` in which the text is not wider than ``width``."""
    while size > 9 and font(size).getlength(text) > width:
        size -= 1
    return font(size)


class Pen:
    """Writes lines of text downward in the panel."""

    def __init__(self, draw: ImageDraw.ImageDraw, x: int, y: int, width: int, limit: int) -> None:
        self.draw, self.x, self.y, self.width, self.limit = draw, x, y, width, limit

    def line(self, text: str, size: int = 16, *, bold: bool = False, colour: Colour = INK) -> bool:
        """Write a paragraph, wrapped; False when there is no room for it."""
        face = font(size, bold)
        lines = wrap(text, face, self.width)
        step = size + 6
        if self.y + step * len(lines) > self.limit:
            return False
        for one in lines:
            self.draw.text((self.x, self.y), one, font=face, fill=colour, anchor="la")
            self.y += step
        return True

    def gap(self, pixels: int = 10) -> None:
        """Leave room."""
        self.y += pixels


def wrap(text: str, face: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """Lines that are not wider than ``width``; a single longer word stays whole."""
    lines: list[str] = []
    current = ""
    for word in text.split():
        longer = f"{current} {word}" if current else word
        if current and face.getlength(longer) > width:
            lines.append(current)
            current = word
        else:
            current = longer
    return [*lines, current] if current else lines
