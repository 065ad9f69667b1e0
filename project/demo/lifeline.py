"""Runs a module like `python -m`, but ends with the demo, even when the demo is killed.

Run as `python -m project.demo.lifeline <file descriptor> <module> <arguments>`.
The descriptor is the reading end of a pipe whose other end only the demo holds.
"""

import os
import runpy
import signal
import sys
import threading


def end_with(descriptor: int) -> None:
    """Wait until nobody holds the other end any more, then stop this process as SIGTERM does."""
    os.read(descriptor, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Tie this process to the pipe and become the module."""
    descriptor = int(sys.argv[1])
    threading.Thread(target=end_with, args=(descriptor,), daemon=True).start()
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
