"""Pure rules: no database, no Redis, no clock of their own."""
