"""Small valid outputs, as earlier steps would have made them."""

from typing import Any

ARCHITECTURE: dict[str, Any] = {
    "summary": "A small shop.",
    "name": "Shop",
    "pages": [
        {
            "slug": "index",
            "title": "Home",
            "sections": [{"id": "hero", "kind": "hero", "heading": "Welcome"}],
        }
    ],
}

_PALETTE = dict.fromkeys(
    (
        "background",
        "surface",
        "surfaceStrong",
        "border",
        "text",
        "textMuted",
        "primary",
        "onPrimary",
        "primarySoft",
        "onPrimarySoft",
        "link",
        "accent",
        "success",
        "warning",
        "danger",
    ),
    "#112233",
) | {"charts": ["#112233"]}

DESIGN: dict[str, Any] = {
    "summary": "Calm.",
    "mood": "calm",
    "light": _PALETTE,
    "dark": _PALETTE,
    "contrast": [],
    "fonts": {"heading": "serif", "body": "serif", "mono": "monospace"},
    "typeScale": [],
    "spacing": {},
    "radii": {},
    "shadows": {},
    "tokens": {"base": {}, "light": {}, "dark": {}},
}
