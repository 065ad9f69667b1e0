"""Migration operations that change indexes while workers and submitters write."""

from plugspace_queue.migrations.operations.online_indexes import (
    AddIndexOnline,
    RemoveForeignKeyIndexOnline,
    RemoveIndexOnline,
)

__all__ = ["AddIndexOnline", "RemoveForeignKeyIndexOnline", "RemoveIndexOnline"]
