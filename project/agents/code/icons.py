"""A small set of line symbols, drawn on 24 by 24 units."""

ICONS = {
    "bell": "M6 16V11a6 6 0 0 1 12 0v5l1.5 2h-15zM10 21h4",
    "bolt": "M13 2 5 14h6l-1 8 8-12h-6z",
    "box": "M3 7.5 12 3l9 4.5v9L12 21l-9-4.5zM3 7.5l9 4.5 9-4.5M12 12v9",
    "calendar": "M4 6h16v14H4zM4 10h16M8 3v4M16 3v4",
    "chart": "M4 20V4M4 20h16M8 16v-4M12.5 16V8M17 16v-6",
    "chat": "M4 5h16v11H11l-4 4v-4H4z",
    "check": "M5 12.5 10 17.5 19.5 7",
    "clock": "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18M12 7v5l3.5 2",
    "code": "M8 7l-5 5 5 5M16 7l5 5-5 5M13.5 4l-3 16",
    "eye": (
        "M2 12s3.6-6.5 10-6.5S22 12 22 12s-3.6 6.5-10 6.5S2 12 2 12"
        "M12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6"
    ),
    "file": "M6 3h8l4 4v14H6zM14 3v4h4M9 12h6M9 16h6",
    "flame": "M12 3c1 4 5 6 5 11a5 5 0 0 1-10 0c0-2 1-3 2-4 0 2 1 3 2 3 1-3-1-6 1-10",
    "heart": "M12 20S4 15 4 9.2A4.2 4.2 0 0 1 12 7a4.2 4.2 0 0 1 8 2.2C20 15 12 20 12 20",
    "layers": "M12 3 3 8l9 5 9-5zM3 12.5l9 5 9-5M3 17l9 5 9-5",
    "leaf": "M5 19C5 9 11 5 20 4c0 9-4 15-12 15M5 21c1-5 4-8 9-10",
    "mail": "M3 6h18v12H3zM3 7l9 7 9-7",
    "map": (
        "M12 21s7-6.2 7-11.5A7 7 0 0 0 5 9.5C5 14.8 12 21 12 21"
        "M12 7a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5"
    ),
    "menu": "M4 7h16M4 12h16M4 17h16",
    "search": "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14M16 16l5 5",
    "shield": "M12 3l8 3v6c0 5-4 8-8 9-4-1-8-4-8-9V6zM8.5 12l2.5 2.5 4.5-5",
    "star": "M12 3.5l2.6 5.6 6.1.7-4.5 4.2 1.2 6L12 17l-5.4 3 1.2-6-4.5-4.2 6.1-.7z",
    "tool": (
        "M14.5 6.5a4 4 0 0 1 5.3-2.3l-2.6 2.6.6 1.9 1.9.6 2.6-2.6a4 4 0 0 1-5.5 4.7L9 19.2"
        "A2.4 2.4 0 1 1 5.6 15.8l7.9-7.9"
    ),
    "users": (
        "M9 5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7M2.5 20c.3-4 3-6 6.5-6s6.2 2 6.5 6"
        "M15.5 5.3a3.5 3.5 0 0 1 0 6.5M17 14.4c2.6.6 4.3 2.5 4.5 5.6"
    ),
    "grid": "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z",
    "arrow": "M5 12h14M13 6l6 6-6 6",
}
ORDER = ("star", "layers", "shield", "chart", "heart", "clock", "chat", "bolt")


def icon(name: str, position: int = 0) -> str:
    """The path of a symbol; an unknown name gets one by its position."""
    return ICONS.get(name) or ICONS[ORDER[position % len(ORDER)]]
