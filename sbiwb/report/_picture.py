"""Pictures inside the page: each file is an image of its own, where no script of it can run."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from markupsafe import Markup

from sbiwb.report._html import tag

TYPES = {".svg": "image/svg+xml", ".png": "image/png"}
VIEW_BOX = re.compile(rb'viewBox="0 0 ([\d.]+) ([\d.]+)"')
HEAD = 1000  # bytes of an SVG file that hold its view box
PIXELS = 96 / 72  # of a point
TALL, WIDE = 1300, 640  # pixels from which a picture is folded, and scrolled on a phone


@dataclass(frozen=True)
class Picture:
    """A picture file.

    Args:
        name: Its name without suffix.
        suffix: `.svg` or `.png`.
        data: Its bytes.
    """

    name: str
    suffix: str
    data: bytes

    @property
    def file_name(self) -> str:
        return self.name + self.suffix

    @property
    def address(self) -> str:
        """The picture itself, as a `data:` address."""
        content = base64.b64encode(self.data).decode()
        return f"data:{TYPES[self.suffix]};base64,{content}"

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height of an SVG in CSS pixels; None where they are not known."""
        box = VIEW_BOX.search(self.data[:HEAD])
        if self.suffix != ".svg" or box is None:
            return None
        width, height = map(float, box.groups())
        return round(width * PIXELS), round(height * PIXELS)


def image(picture: Picture, alternative: str) -> Markup:
    """The picture as an element of the page.

    Args:
        picture: What to show.
        alternative: What it shows, in words.
    """
    width, height = picture.size or (None, None)
    return tag("img", src=picture.address, alt=alternative, width=width, height=height)


def figure(picture: Picture, *, alternative: str, caption: object = None) -> Markup:
    """A picture with its caption, folded where it is taller than a screen."""
    width, height = picture.size or (0, 0)
    box = _box(image(picture, alternative), is_wide=width > WIDE)
    captions = [] if caption is None else [tag("figcaption", caption)]
    whole = tag("figure", box, *captions)
    if height <= TALL:
        return whole
    return tag("details", tag("summary", "Show the picture"), whole, class_="tall")


def _box(content: Markup, *, is_wide: bool) -> Markup:
    """White paper, which scrolls by itself where the picture is wide."""
    if is_wide:
        return tag("div", content, class_="paper wide", tabindex=0)
    return tag("div", content, class_="paper")
