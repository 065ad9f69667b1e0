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
from plugspace_queue.migrations.operations.online_tables import CreateModelOnce

__all__ = [
    "AddColumnOnline",
    "AddIndexOnline",
    "CreateModelOnce",
    "LengthenTextOnline",
    "RemoveConstraintOnline",
    "RemoveForeignKeyIndexOnline",
    "RemoveIndexOnline",
]
