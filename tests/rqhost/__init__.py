"""Classes of RQ, jobs and settings of a project that used RQ before it installed the package."""
