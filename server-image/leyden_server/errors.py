"""Two kinds of trouble: a server that cannot start, and a request that cannot be answered."""

from typing import Any

from leyden_contract import exit_codes


class CannotServe(Exception):
    """The server cannot start, and starting it again would not help.

    Args:
        reason: one CamelCase word, for programs.
        message: one sentence, for people.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    exit_code = exit_codes.MISCONFIGURED

    def __str__(self) -> str:
        return f"{self.reason}: {super().__str__()}"


class BadCheckpoint(CannotServe):
    """The checkpoint is to blame: it is missing, damaged, or another one than was asked for."""

    exit_code = exit_codes.BAD_CHECKPOINT


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
