"""Migration operations that change tables while workers and submitters write."""

from plugspace_queue.migrations.operations.online_columns import (
    AddColumnOnline,
    LengthenTextOnline,
    RemoveConstraintOnline,
)
from plugspace_queue.migrations.operations.online_indexes import (
    AddIndexOnline,
    RemoveForeignKeyIndexOnline,
    RemoveIndexOnline,
)

__all__ = [
    "AddColumnOnline",
    "AddIndexOnline",
    "LengthenTextOnline",
    "RemoveConstraintOnline",
    "RemoveForeignKeyIndexOnline",
    "RemoveIndexOnline",
]
