"""New tables while others write; all of it can run again after a kill.

The migration needs `atomic = False`.
"""

from typing import Any

from django.db import transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations import CreateModel


class CreateModelOnce(CreateModel):
    """Create a table with all its constraints and indexes, or nothing of it."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: Any,
        to_state: Any,
    ) -> None:
        connection = schema_editor.connection
        if schema_editor.collect_sql:
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        model = to_state.apps.get_model(app_label, self.name)
        if model._meta.db_table in connection.introspection.table_names():
            return
        with transaction.atomic(using=connection.alias):
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            # They would otherwise follow at the end of the migration.
            later, schema_editor.deferred_sql = schema_editor.deferred_sql, []
            for statement in later:
                schema_editor.execute(statement)
