from typing import Any

import pytest

from leyden_operator.decide.children import covers


@pytest.mark.parametrize(
    ("seen", "desired", "want"),
    [
        pytest.param({"a": 1, "added": 2}, {"a": 1}, True, id="additions-do-not-matter"),
        pytest.param({"a": 2}, {"a": 1}, False, id="a-changed-value-does"),
        pytest.param({}, {"a": {}}, True, id="empty-parts-need-not-be-there"),
        pytest.param({"a": [1, 2]}, {"a": [1]}, False, id="a-list-has-no-more-items"),
        pytest.param({"limits": {"cpu": "1"}}, {"limits": {"cpu": "1000m"}}, True, id="amount-written-otherwise"),
        pytest.param({"limits": {"memory": "1Gi"}}, {"limits": {"memory": "1024Mi"}}, True, id="binary-units"),
        pytest.param({"limits": {"cpu": "1"}}, {"limits": {"cpu": "1001m"}}, False, id="another-amount"),
        pytest.param({"value": "1"}, {"value": "1000m"}, False, id="only-amounts-are-amounts"),
    ],
)
def test_covers(seen: Any, desired: Any, want: bool) -> None:
    assert covers(seen, desired) is want
