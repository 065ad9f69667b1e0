"""REST: translates HTTP into calls of the manager and its answers into JSON; decides nothing."""
