"""Metric objects of torchmetrics take back what they held, on one rank or on one that takes over from several."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from leyden import metric_states
from leyden_images.environment import peers

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def torchmetrics() -> ModuleType:
    folder = str(peers(lambda text: print(text, file=sys.stderr)))
    sys.path.append(folder)
    try:
        import torchmetrics
    finally:
        sys.path.remove(folder)  # Lightning is there too
    found: ModuleType = torchmetrics
    return found


class Measured(nn.Module):
    def __init__(self, torchmetrics: Any) -> None:
        super().__init__()
        self.mean = torchmetrics.MeanMetric()
        self.all = torchmetrics.CatMetric()
        self.sum = torchmetrics.SumMetric()
        errors = [torchmetrics.MeanSquaredError(), torchmetrics.MeanAbsoluteError()]
        self.several = torchmetrics.MetricCollection(errors)
        self.together = self.mean + self.sum
        self.unused = torchmetrics.MeanMetric()

    def take(self, values: torch.Tensor) -> None:
        for metric in (self.together, self.all):
            metric.update(values)
        self.several.update(values, values.flip(0) * 2)

    def computed(self) -> list[Any]:
        return [metric.compute() for metric in (self.mean, self.all, self.sum, self.several, self.together)]


def held(module: nn.Module) -> metric_states.States:
    return metric_states.state_dict(metric_states.metrics_of(module))


def loaded(torchmetrics: Any, *states: metric_states.States) -> Measured:
    module, warnings = Measured(torchmetrics), list[str]()
    metric_states.load_state_dict(metric_states.metrics_of(module), list(states), CPU, warnings.append)
    assert not warnings
    return module


def test_they_go_on_where_they_were(torchmetrics: ModuleType) -> None:
    batches = torch.randn(4, 5)
    whole = Measured(torchmetrics)
    for batch in batches[:2]:
        whole.take(batch)
    resumed = loaded(torchmetrics, held(whole))
    for batch in batches[2:]:
        whole.take(batch)
        resumed.take(batch)
    torch.testing.assert_close(resumed.computed(), whole.computed(), rtol=0, atol=0)
    assert held(whole).keys() == held(resumed).keys() and "unused" not in held(whole)


def test_one_takes_over_from_several(torchmetrics: ModuleType) -> None:
    parts = [Measured(torchmetrics) for _ in range(2)]
    for index, batch in enumerate(torch.randn(5, 4)):
        parts[index % 2].take(batch)
    merged = loaded(torchmetrics, *map(held, parts))
    one = Measured(torchmetrics)
    for part in parts:
        for batch in part.all.compute().reshape(-1, 4):
            one.take(batch)
    found, expected = merged.computed(), one.computed()
    found[1], expected[1] = found[1].sort().values, expected[1].sort().values  # in the order of the ranks or another
    torch.testing.assert_close(found, expected)


def test_a_mean_of_means_is_weighted(torchmetrics: ModuleType) -> None:
    class Averaged(torchmetrics.Metric):  # type: ignore[name-defined, misc]  # imported above
        full_state_update = False

        def __init__(self) -> None:
            super().__init__()
            self.add_state("average", torch.tensor(0.0), dist_reduce_fx="mean")

        def update(self, value: float) -> None:
            self.average = self.average + (value - self.average) / self._update_count

        def compute(self) -> torch.Tensor:
            return self.average

    parts = [nn.ModuleDict({"metric": Averaged()}) for _ in range(2)]
    for part, values in zip(parts, ([1.0, 2.0, 6.0], [11.0]), strict=True):
        for value in values:
            part["metric"].update(value)
    merged = nn.ModuleDict({"metric": Averaged()})
    metric_states.load_state_dict(metric_states.metrics_of(merged), [held(part) for part in parts], CPU, print)
    assert merged["metric"].compute() == pytest.approx(5.0)


def test_what_cannot_be_merged_is_said(torchmetrics: ModuleType) -> None:
    parts = [nn.ModuleDict({"corr": torchmetrics.PearsonCorrCoef()}) for _ in range(2)]
    for part in parts:
        part["corr"].update(torch.randn(5), torch.randn(5))
    warnings: list[str] = []
    merged = nn.ModuleDict({"corr": torchmetrics.PearsonCorrCoef()})
    states = [held(part) for part in parts]
    metric_states.load_state_dict(metric_states.metrics_of(merged), states, CPU, warnings.append)
    assert warnings == ["corr: a PearsonCorrCoef cannot be merged over ranks and lacks a part of this epoch"]
    assert merged["corr"].compute() == parts[0]["corr"].compute()
