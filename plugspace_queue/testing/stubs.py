"""Other processors for a test, and the ones before afterwards."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from plugspace_queue.domain.enums import TaskType
from plugspace_queue.processing import registry


@contextmanager
def processors(
    functions: Mapping[TaskType | str, Callable[..., Any]], *, output: Any = Any, **options: Any
) -> Iterator[None]:
    """Have these functions do the types meanwhile: `with processors({"CODE": fake}):`, or @.

    Any JSON is a valid result unless `output` says otherwise (None: the type's own schema);
    `options` are the decorator's (`retry_on`, …).
    """
    before = {TaskType(kind): registry.processor_of(kind) for kind in functions}
    try:
        for kind, function in functions.items():
            registry.register(kind, function, output=output, replace=True, **options)
        yield
    finally:
        for kind, entry in before.items():
            registry.put_back(kind, entry)
