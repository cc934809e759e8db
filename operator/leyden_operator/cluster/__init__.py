"""Everything that talks to the Kubernetes API. The only importer of the client library."""

from leyden_operator.cluster.client import Call, Cluster, connect
from leyden_operator.cluster.errors import (
    ApiError,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Unavailable,
)

__all__ = ["ApiError", "Call", "Cluster", "Conflict", "Forbidden", "Invalid", "NotFound", "Unavailable", "connect"]
