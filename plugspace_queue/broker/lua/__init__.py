"""The Lua scripts, one file per operation; files that begin with _ are included by others."""
