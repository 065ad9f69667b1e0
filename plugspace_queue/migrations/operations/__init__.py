"""Migration operations that change tables while workers and submitters write."""

from plugspace_queue.migrations.operations.online_columns import (
    LengthenTextOnline,
    RemoveConstraintOnline,
)
from plugspace_queue.migrations.operations.online_indexes import (
    AddIndexOnline,
    RemoveForeignKeyIndexOnline,
    RemoveIndexOnline,
)

__all__ = [
    "AddIndexOnline",
    "LengthenTextOnline",
    "RemoveConstraintOnline",
    "RemoveForeignKeyIndexOnline",
    "RemoveIndexOnline",
]
