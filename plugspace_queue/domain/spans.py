"""Formats durations for people."""


def span(seconds: float) -> str:
    """Two units at most; what is negative has not begun.

    >>> span(0.25), span(3.21), span(60), span(125), span(3_700), span(180_000), span(-1)
    ('250 ms', '3.2 s', '60 s', '2 min 5 s', '1 h 1 min', '2 d 2 h', '0 s')
    """
    if seconds <= 0:
        return "0 s"
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    if seconds < 100:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    whole = int(seconds)
    for size, large, small, part in ((3600, "min", "s", 60), (86_400, "h", "min", 3600)):
        if whole < size:
            return _two(whole, part, large, small)
    return _two(whole, 86_400, "d", "h")


def _two(whole: int, part: int, large: str, small: str) -> str:
    rest = whole % part // {"s": 1, "min": 60, "h": 3600}[small]
    return f"{whole // part} {large}" + (f" {rest} {small}" if rest else "")
