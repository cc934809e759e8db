"""Builds the container images and the development environment. The standard library alone."""
