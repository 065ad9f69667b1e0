"""Changes of columns and constraints that lock a table for a moment only.

On PostgreSQL a new column with a constant default of the database, a longer varchar and a dropped
constraint change the catalogue, not the rows; what takes long is the wait for the lock, during
which all others would wait behind it. So the wait is short and tried again. SQLite does not check
the length of a text, so a longer one changes nothing there.
"""

from typing import Any

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations import AddField, AlterField, RemoveConstraint

from plugspace_queue.migrations.operations import online_ddl


class AddColumnOnline(AddField):
    """Add a column with a constant `db_default`, unless an interrupted run has added it."""

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


class LengthenTextOnline(AlterField):
    """Allow longer texts in a column."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: Any,
        to_state: Any,
    ) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(schema_editor.connection.alias, model):
            return
        field = model._meta.get_field(self.name)
        online_ddl.lengthen(schema_editor, model, field)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: Any,
        to_state: Any,
    ) -> None:
        # A shorter column would read every row, and refuse those of other types: it stays.
        return


class RemoveConstraintOnline(RemoveConstraint):
    """Drop a CHECK while others write, unless an interrupted run has dropped it."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: Any,
        to_state: Any,
    ) -> None:
        model = from_state.apps.get_model(app_label, self.model_name)
        if not online_ddl.has_constraint(schema_editor, model, self.name):
            return
        online_ddl.retry_while_locked(
            schema_editor,
            self.name,
            lambda: super(RemoveConstraintOnline, self).database_forwards(
                app_label, schema_editor, from_state, to_state
            ),
        )
