"""Quantities of Kubernetes: the API server writes ``1000m`` as ``1``, and both mean the same."""

import re
from decimal import Decimal

from leyden_operator.api.base import QUANTITY

POWERS = {"n": -3, "u": -2, "m": -1, "": 0, "k": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}


def amount(text: str) -> Decimal | None:
    """The number that a quantity stands for; ``None`` where it is none."""
    if not re.fullmatch(QUANTITY, text):
        return None
    digits = text.rstrip("numkKMGTPEi")
    unit = text[len(digits) :]
    if unit.endswith("i"):
        return Decimal(digits) * Decimal(1 << 10 * ("KMGTPE".index(unit[0]) + 1))
    return Decimal(digits).scaleb(3 * POWERS[unit])


def same(left: object, right: object) -> bool:
    """Whether two quantities mean the same amount."""
    if left == right:
        return True
    numbers = [amount(str(side)) for side in (left, right)]
    return numbers[0] is not None and numbers[0] == numbers[1]
