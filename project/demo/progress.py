"""Shows the steps as they go: redrawn bars on a terminal, one line per change elsewhere."""

import shutil
from collections.abc import Sequence
from typing import Protocol

from project.demo.scenario import Step

BAR = 24
UP_AND_CLEAR = "\x1b[{}A\x1b[J"


class Out(Protocol):
    """A stream; Django's OutputWrapper is one."""

    def write(self, text: str, /) -> object:
        """Write the text."""

    def flush(self) -> None:
        """Show it now."""

    def isatty(self) -> bool:
        """Whether a person looks at it."""


class Display(Protocol):
    """Report of all steps again and again; shows what is new."""

    def show(self, steps: Sequence[Step]) -> None:
        """Show the steps."""


class Bars:
    """A bar per step, drawn again in place."""

    def __init__(self, out: Out) -> None:
        self._out = out
        self._shown: list[str] = []
        self._fill, self._rest = ("█", "░") if _speaks_unicode(out) else ("#", ".")

    def show(self, steps: Sequence[Step]) -> None:
        """Draw again when something has changed."""
        width = shutil.get_terminal_size().columns - 1
        lines = [self._line(step)[:width] for step in steps]
        if lines == self._shown:
            return
        up = UP_AND_CLEAR.format(len(self._shown)) if self._shown else ""
        self._out.write(up + "".join(f"{line}\n" for line in lines))
        self._out.flush()
        self._shown = lines

    def _line(self, step: Step) -> str:
        filled = round(step.percent / 100 * BAR)
        bar = self._fill * filled + self._rest * (BAR - filled)
        took = f"{step.seconds:5.1f} s" if step.seconds else "       "
        return f"  {step.type:<10}{bar} {step.percent:3.0f} %  {took}  {_words(step)}"


class Lines:
    """A line per change, for logs."""

    def __init__(self, out: Out) -> None:
        self._out = out
        self._shown: dict[int, str] = {}

    def show(self, steps: Sequence[Step]) -> None:
        """Write the steps that changed."""
        for place, step in enumerate(steps):
            line = f"  {step.type:<10}{step.percent:3.0f} %  {_words(step)}"
            if self._shown.get(place) != line:
                self._shown[place] = line
                self._out.write(f"{line}\n")
        self._out.flush()


def display_for(out: Out) -> Display:
    """Bars on a terminal, lines elsewhere."""
    return Bars(out) if out.isatty() else Lines(out)


def _words(step: Step) -> str:
    return "  ".join(filter(None, [step.state, step.stage, step.error]))


def _speaks_unicode(out: Out) -> bool:
    return (getattr(out, "encoding", None) or "").lower().startswith("utf")
