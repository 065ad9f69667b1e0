"""What the shop's workers do."""

from pathlib import Path
from threading import Event

from plugspace_queue import Context, errors
from shop.task_types import BIND, RECITE, SCAN, Halves, Scan, Share, Sheet, Text


@SCAN.processor
def scan(context: Context[Sheet]) -> Scan:
    """Waits for a file when the sheet names one; another one says that it was told to stop."""
    title, gate = context.input.title, context.input.gate
    if not title:
        raise errors.ValidationFailed("A sheet has a title.")
    context.report_progress(10, stage="waiting")
    while gate and not Path(gate).exists():
        if context.should_stop:
            Path(f"{gate}.told").touch()
        Event().wait(0.05)
    return Scan(pages=[f"{title}, page {number}" for number in (1, 2)])


@RECITE.processor
async def recite(context: Context[Share]) -> Text:
    return Text(text=" and ".join(context.input.scan.pages))


@BIND.processor
def bind(context: Context[Halves]) -> dict[str, str]:
    return {"left": context.input.left.text, "right": context.input.right.text}
