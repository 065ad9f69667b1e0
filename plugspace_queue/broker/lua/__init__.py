"""The scripts: one operation, one file; files that begin with _ are included by others."""
