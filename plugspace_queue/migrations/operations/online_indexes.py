"""Django's index operations, made so that workers and submitters go on while they run.

On PostgreSQL indexes are created and dropped concurrently; elsewhere plainly. The migration needs
`atomic = False`. A migration that was killed is run again: what is done is left as it is.
"""

from typing import Any

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations import AddIndex, AlterField, RemoveIndex
from django.db.models import Index

from plugspace_queue.migrations.operations import online_ddl


class AddIndexOnline(AddIndex):
    """Create an index while others write."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: Any,
        to_state: Any,
    ) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            online_ddl.create(schema_editor, model, self.index)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: Any,
        to_state: Any,
    ) -> None:
        model = from_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            online_ddl.drop(schema_editor, model, self.index.name)


class RemoveIndexOnline(RemoveIndex):
    """Drop an index while others write."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: Any,
        to_state: Any,
    ) -> None:
        model = from_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            online_ddl.drop(schema_editor, model, self.name)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: Any,
        to_state: Any,
    ) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            state = to_state.models[app_label, self.model_name_lower]
            online_ddl.create(schema_editor, model, state.get_index_by_name(self.name))


class RemoveForeignKeyIndexOnline(AlterField):
    """Take a foreign key's own index away: the field becomes `db_index=False`.

    AlterField would lock the table, and write it anew on SQLite.
    """

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
        column = model._meta.get_field(self.name).column
        for name in online_ddl.names_on_column(schema_editor, model, column):
            online_ddl.drop(schema_editor, model, name)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: Any,
        to_state: Any,
    ) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(schema_editor.connection.alias, model):
            return
        # Its name is not the one of before; forwards finds it by its column.
        index = Index(fields=[self.name])
        index.set_name_with_model(model)
        online_ddl.create(schema_editor, model, index)
