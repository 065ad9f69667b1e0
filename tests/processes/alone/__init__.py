"""An app whose code tells where it was loaded, and whose loading goes wrong where a test says."""
