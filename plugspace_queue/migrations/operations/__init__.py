"""Migration operations that change the schema while workers and submitters write."""

from plugspace_queue.migrations.operations.online_indexes import (
    AddIndexOnline,
    RemoveForeignKeyIndexOnline,
    RemoveIndexOnline,
)
from plugspace_queue.migrations.operations.online_tables import AddFieldOnline, CreateModelOnce

__all__ = [
    "AddFieldOnline",
    "AddIndexOnline",
    "CreateModelOnce",
    "RemoveForeignKeyIndexOnline",
    "RemoveIndexOnline",
]
