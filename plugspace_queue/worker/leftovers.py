"""A worker that is done ends, though a processor left threads behind that do not."""

import logging
import os
import sys
import threading

logger = logging.getLogger("plugspace_queue.worker")

PATIENCE = 3.0
"""Seconds that threads of processors get once the main thread is done."""


def end_in_spite_of_threads(exit_code: int) -> None:
    """See to it that the process ends soon after its main thread, with this code.

    Python waits for every thread that is no daemon. All is written and settled by now.
    """
    left = [t.name for t in threading.enumerate() if not t.daemon and t is not _main()]
    if left:
        logger.warning("processors left %d threads behind: %s", len(left), ", ".join(left[:10]))
        threading.Thread(target=_end, args=(exit_code,), daemon=True).start()


def _end(exit_code: int) -> None:
    _main().join()
    threading.Event().wait(PATIENCE)
    logging.shutdown()
    sys.stderr.flush()
    os._exit(exit_code)


def _main() -> threading.Thread:
    return threading.main_thread()
