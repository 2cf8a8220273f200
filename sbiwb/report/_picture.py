"""Pictures inside the page: SVG by an allow-list of elements and attributes, anything else as an image within the page."""

from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass

from sbiwb.report._html import Html, join, tag, text

ELEMENTS = frozenset(
    [
        "svg",
        "g",
        "defs",
        "path",
        "use",
        "clipPath",
        "rect",
        "circle",
        "ellipse",
        "line",
        "polyline",
        "polygon",
        "text",
        "tspan",
        "image",
    ]
)
PAINT = re.compile(
    r"(fill|stroke|stop)?-?(opacity|color|rule|width|dasharray|dashoffset|linecap|linejoin|miterlimit)|fill|stroke"
    r"|clip-(path|rule)|font-(size|weight|style)|text-anchor|image-rendering"
)
GEOMETRY = re.compile(
    r"[dxyr]|[xy][12]|[cdr][xy]|width|height|points|transform|viewBox|offset|preserveAspectRatio"
)
REFERENCE = re.compile(r"url\(#([^)]+)\)")
FONT_SIZE = re.compile(r"([\d.]+px)")
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


@dataclass(frozen=True)
class DrawnPicture:
    """A picture as markup.

    Args:
        html: One element.
        width: In CSS pixels, 0 where it is not known.
        height: Likewise.
    """

    html: Html
    width: float = 0
    height: float = 0


def drawn(picture: Picture, *, key: str, alternative: str) -> DrawnPicture:
    """The picture as an element of the page.

    Args:
        picture: What to show.
        key: Prefix of its ids, another one for each picture of a page.
        alternative: What it shows, in words.
    """
    if picture.suffix != ".svg":
        address = (
            f"data:image/{picture.suffix[1:]};base64,{base64.b64encode(picture.data).decode()}"
        )
        return DrawnPicture(tag("img", src=address, alt=alternative))
    try:
        root = ElementTree.fromstring(picture.data)
    except (ElementTree.ParseError, ValueError, LookupError):
        return DrawnPicture(
            tag("p", f"{picture.name}{picture.suffix} cannot be read.", class_="todo")
        )
    width, height = _size(root)
    facts = {
        "viewBox": root.get("viewBox", f"0 0 {width:g} {height:g}"),
        "stroke-linejoin": "round",
        "stroke-linecap": "butt",
    }
    inner = join(_element(child, key, _referenced(root)) for child in root)
    label = f'role="img" aria-label="{text(alternative)}" width="{width * PIXELS:.0f}" height="{height * PIXELS:.0f}"'
    return DrawnPicture(
        Html(f"<svg {label}{_told(facts)}>{inner}</svg>"), width * PIXELS, height * PIXELS
    )


def _size(root: ElementTree.Element) -> tuple[float, float]:
    """Width and height in points, by the view box."""
    numbers = [float(number) for number in re.findall(r"-?\d+\.?\d*", root.get("viewBox", ""))]
    return (
        (numbers[2], numbers[3]) if len(numbers) == 4 and min(numbers[2:]) > 0 else (480.0, 360.0)
    )


def _referenced(root: ElementTree.Element) -> set[str]:
    """Ids that something points to; all others are left out."""
    values = [value for element in root.iter() for value in element.attrib.values()]
    return {found for value in values for found in REFERENCE.findall(value)} | {
        value[1:] for value in values if value.startswith("#")
    }


def _element(element: ElementTree.Element, key: str, referenced: set[str]) -> Html:
    """An element that is allowed, with what is allowed in it; a group that says nothing is opened."""
    name = _local(element.tag)
    if name not in ELEMENTS:
        return Html("")
    facts = dict(_facts(element, key, referenced))
    words = (element.text or "") if name in ("text", "tspan") else ""
    inner = join(
        [words, *(part for child in element for part in _with_tail(child, name, key, referenced))]
    )
    if (name == "g" and not facts) or (name in ("g", "defs") and not inner):
        return inner
    return Html(f"<{name}{_told(facts)}>{inner}</{name}>" if inner else f"<{name}{_told(facts)}/>")


def _with_tail(
    child: ElementTree.Element, parent: str, key: str, referenced: set[str]
) -> tuple[Html, str]:
    return _element(child, key, referenced), (child.tail or "") if parent in (
        "text",
        "tspan",
    ) else ""


def _facts(
    element: ElementTree.Element, key: str, referenced: set[str]
) -> Iterator[tuple[str, str]]:
    """Attributes that are allowed; style as attributes, so that the page can forbid style in its text."""
    for full, value in element.attrib.items():
        name = _local(full)
        if name == "id" and value in referenced:
            yield "id", f"{key}-{value}"
        elif name == "href" and value.startswith("#"):
            yield "href", f"#{key}-{value[1:]}"
        elif name == "href" and value.startswith("data:image/png;base64,"):
            yield "href", "".join(value.split())
        elif name == "style":
            yield from _paint(value, key)
        elif GEOMETRY.fullmatch(name):
            yield name, value
        elif PAINT.fullmatch(name):
            yield from _paint(f"{name}:{value}", key)


def _paint(style: str, key: str) -> Iterator[tuple[str, str]]:
    for entry in style.split(";"):
        name, _, value = (part.strip() for part in entry.partition(":"))
        size = FONT_SIZE.search(value) if name == "font" else None
        if size:
            yield "font-size", size[1]
            yield from (("font-weight", "bold"),) if "bold" in value else ()
        elif PAINT.fullmatch(name) and ("url(" not in value or REFERENCE.fullmatch(value)):
            yield name, REFERENCE.sub(rf"url(#{key}-\1)", value)


def _local(name: object) -> str:
    return name.rpartition("}")[2] if isinstance(name, str) else ""


def _told(facts: dict[str, str]) -> str:
    return "".join(f' {name}="{text(value)}"' for name, value in facts.items())


def figure(picture: Picture, *, key: str, alternative: str, caption: object = None) -> Html:
    """A picture with its caption, folded where it is taller than a screen."""
    found = drawn(picture, key=key, alternative=alternative)
    box = tag(
        "div",
        found.html,
        class_="paper wide" if found.width > WIDE else "paper",
        tabindex=0 if found.width > WIDE else None,
    )
    whole = tag("figure", box, tag("figcaption", caption) if caption else None)
    return (
        whole
        if found.height <= TALL
        else tag("details", tag("summary", "Show the picture"), whole, class_="tall")
    )
