"""Indexes whose condition only PostgreSQL can use."""

from typing import Any

from django.db import models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


class PartialOnPostgres(models.Index):
    """A partial index on PostgreSQL; on other databases the same index over all rows.

    SQLite compares a condition with the text of the query, where states are bound values: it would
    never use the partial index.
    """

    def create_sql(
        self,
        model: type[models.Model],
        schema_editor: BaseDatabaseSchemaEditor,
        using: str = "",
        **kwargs: Any,
    ) -> Any:
        if schema_editor.connection.vendor == "postgresql":
            return super().create_sql(model, schema_editor, using, **kwargs)
        fields = [f"-{name}" if order else name for name, order in self.fields_orders]
        whole = models.Index(fields=fields, name=self.name)
        return whole.create_sql(model, schema_editor, using, **kwargs)
