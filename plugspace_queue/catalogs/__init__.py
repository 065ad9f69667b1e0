"""Catalogues of task types that come with the package; the setting CATALOGS names those in use."""
