"""Every metric is explained in docs/operations.md."""

from pathlib import Path

from leyden_operator.metrics import REGISTRY
from leyden_server.metrics import Metrics

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()


def test_every_metric_is_explained() -> None:
    families = [*REGISTRY.collect(), *Metrics().registry.collect()]
    names = {f"{each.name}_total" if each.type == "counter" else each.name for each in families}
    assert len(names) > 8
    assert {name for name in names if f"| `{name}` |" not in PAGE} == set()
