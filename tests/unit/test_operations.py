"""docs/operations.md explains every reason that a condition can have, and none that there is not."""

import re
from pathlib import Path

from leyden_operator.decide import reasons

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
ROW = re.compile(r"^\|[^|]*\| `([A-Z][A-Za-z]+)` \|", re.MULTILINE)


def test_every_reason_is_explained() -> None:
    page = PAGE.read_text()
    conditions = page[page.index("## Conditions") : page.index("## When the operator itself")]
    stated = {value for name, value in vars(reasons).items() if name.isupper() and isinstance(value, str)}
    assert set(ROW.findall(conditions)) == stated
