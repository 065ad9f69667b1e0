"""The stylesheet: the tokens of the design, then the rules that only speak of tokens."""

from pathlib import Path

from plugspace_queue.schemas.design import DesignOutput, Tokens

RULES = Path(__file__).resolve().parent.parent / "templates" / "site.css"


def stylesheet(design: DesignOutput) -> str:
    """The CSS of a site; token values are checked by their schema and cannot leave their place."""
    return f"{_tokens(design)}\n{RULES.read_text(encoding='utf-8')}"


def _tokens(design: DesignOutput) -> str:
    tokens = design.tokens
    if design.scheme == "auto":
        return (
            f":root {{\n  color-scheme: light dark;\n{_lines(tokens.base | tokens.light)}}}\n"
            f"@media (prefers-color-scheme: dark) {{\n:root {{\n{_lines(tokens.dark)}}}\n}}\n"
        )
    colors = tokens.dark if design.scheme == "dark" else tokens.light
    return f":root {{\n  color-scheme: {design.scheme};\n{_lines(tokens.base | colors)}}}\n"


def _lines(tokens: Tokens) -> str:
    return "".join(f"  {name}: {value};\n" for name, value in tokens.items())
