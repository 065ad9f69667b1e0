"""New columns and tables while others write; all of it can run again after a kill.

A column is added as a change of the catalogue only, so its field needs a constant `db_default`: no
table is written anew. The migration needs `atomic = False`.
"""

from typing import Any

from django.db import transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations import AddField, CreateModel

from plugspace_queue.migrations.operations import online_ddl


class AddFieldOnline(AddField):
    """Add a column with a constant `db_default`."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: Any,
        to_state: Any,
    ) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            older = from_state.apps.get_model(app_label, self.model_name)
            online_ddl.add_column(schema_editor, older, model._meta.get_field(self.name))

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: Any,
        to_state: Any,
    ) -> None:
        model = from_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            online_ddl.drop_column(schema_editor, model, model._meta.get_field(self.name))


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
