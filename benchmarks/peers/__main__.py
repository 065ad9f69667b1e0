"""`python -m benchmarks.peers APP VERB ...`: a peer's producer, or what else its app can do."""

import sys
from collections.abc import Sequence
from importlib import import_module

from benchmarks import producing


def main(arguments: Sequence[str]) -> None:
    """`work` and `prepare` are functions of the app; other verbs are the producer's."""
    name, verb, *rest = arguments
    app = import_module(f"benchmarks.peers.{name}")
    if verb in {"work", "prepare"}:
        getattr(app, verb)()
    else:
        producing.main(app.Producer(), [verb, *rest])


if __name__ == "__main__":
    main(sys.argv[1:])
