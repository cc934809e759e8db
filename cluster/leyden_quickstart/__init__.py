"""From a fresh machine to a served model. The standard library alone: it runs before anything is installed."""
