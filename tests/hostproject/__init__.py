"""A project of somebody else's that installs the package from its wheel, as the page says."""
