"""Two kinds of trouble: a server that cannot start, and a request that cannot be answered."""

from typing import Any


class CannotServe(Exception):
    """The server cannot start, and starting it again would not help.

    Args:
        reason: one CamelCase word, for programs.
        message: one sentence, for people.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.reason}: {super().__str__()}"


class BadRequest(Exception):
    """A request that the client has to change.

    Args:
        status: 4xx.
        message: one sentence that says what was given and what is allowed.
        location: path to the field, such as ``("inputs", 3, 0)``.
        kind: one word for programs, in pydantic's style.
    """

    def __init__(self, status: int, message: str, location: tuple[str | int, ...] = (), kind: str = "value_error"):
        super().__init__(message)
        self.status = status
        self.detail: list[dict[str, Any]] = [{"loc": ["body", *location], "msg": message, "type": kind}]
