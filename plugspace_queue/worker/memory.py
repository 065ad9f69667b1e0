"""How much memory this process holds."""

import os
import resource
import sys
from pathlib import Path

MIB = 1024 * 1024
STATM = Path("/proc/self/statm")


def resident() -> float:
    """MiB in memory now; where the system does not tell, the most there were so far."""
    if STATM.exists():
        pages = int(STATM.read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / MIB
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (MIB if sys.platform == "darwin" else 1024)
