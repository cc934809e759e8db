"""Serves the module of one checkpoint over HTTP."""
