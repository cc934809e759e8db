"""Errors of the API server by their meaning, so that nobody else has to know the client library or status codes."""

import json


class ApiError(Exception):
    """A request failed. ``message`` is the API server's own sentence."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason


class NotFound(ApiError):
    """404: there is no such object, or no such kind."""


class Conflict(ApiError):
    """409: the object exists already, or is not the one that was meant."""


class Forbidden(ApiError):
    """403: the operator may not do that, a quota is used up, or an admission policy refused."""


class Invalid(ApiError):
    """400 or 422: the API server does not take the object."""


class Unavailable(ApiError):
    """The API server did not answer, or not now: try again later."""


KINDS: dict[int, type[ApiError]] = {400: Invalid, 403: Forbidden, 404: NotFound, 409: Conflict, 422: Invalid}


def api_error(status: int, body: str | bytes | None) -> ApiError:
    """The error that an HTTP status and the API server's answer mean."""
    message, reason = _said(body)
    return KINDS.get(status, Unavailable)(message or f"HTTP status {status}", reason)


def _said(body: str | bytes | None) -> tuple[str, str]:
    try:
        answer = json.loads(body or "")
    except ValueError:
        return str(body or "")[:500], ""
    if not isinstance(answer, dict):
        return str(answer)[:500], ""
    return str(answer.get("message", "")), str(answer.get("reason", ""))
