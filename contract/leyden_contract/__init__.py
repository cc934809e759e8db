"""What the operator, the engine and the server agree on. Needs pydantic alone."""
