"""Pure builders of the objects that a resource wants: the same input gives the same bytes."""
