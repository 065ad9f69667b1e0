"""What the workers of these tests run; nothing here speaks to Redis itself."""

import threading
from typing import Any

from plugspace_queue import processor


@processor("ARCHITECT", output=Any, replace=True, limiter={"max": 100_000, "duration": 60})
def architect(context: Any) -> Any:
    """Work for as many seconds as the prompt says; `hold` works until told to stop."""
    context.report_progress(1)
    if context.input.prompt == "hold":
        hold(context)
    threading.Event().wait(float(context.input.prompt))
    return {"attempt": context.attempt}


def hold(context: Any) -> None:
    while True:
        context.check_cancelled()
        threading.Event().wait(0.02)
