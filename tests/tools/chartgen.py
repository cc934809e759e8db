"""Writes the chart's values.yaml and README.md from values.schema.json, the one place that says what each value is.

``python tests/tools/chartgen.py --write`` writes them, ``--check`` fails when that would change a byte.
"""

import argparse
import json
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[2] / "charts" / "leyden"
SCHEMA = "values.schema.json"
WIDTH = 118
HEADER = f"# Generated from {SCHEMA} by `make generate`: edit that.\n"
README = """\
<!-- Generated from {schema} by `make generate`: edit that. -->
# The Leyden chart

Installs the operator for `TrainingJob` and `InferenceService`.

```
helm upgrade --install leyden charts/leyden --namespace leyden-system --create-namespace
```

[docs/operations.md](../../docs/operations.md) says how to upgrade and uninstall, and what to do when something fails.

The operator is one pod, and a second one must never run beside it. So there is no PodDisruptionBudget: with one
replica it could only forbid every drain of its node. Jobs train and services answer while the operator moves.

## Values

| value | default | meaning |
| --- | --- | --- |
{rows}
"""


@dataclass(frozen=True)
class Value:
    """One value of the chart. ``default`` is ``None`` for a group, which has ``children``."""

    path: tuple[str, ...]
    description: str
    default: Any
    children: tuple["Value", ...] = ()

    def walk(self) -> Iterator["Value"]:
        """This value and all below it, in the schema's order."""
        yield self
        for child in self.children:
            yield from child.walk()


def values(schema: dict[str, Any]) -> tuple[Value, ...]:
    """The documented values of a schema. Those without a default at the top level (helm's ``global``) are left out.

    Raises:
        ValueError: a value has no description.
    """
    return tuple(_children(schema, schema, (), {}))


def _children(
    schema: dict[str, Any], node: dict[str, Any], above: tuple[str, ...], given: dict[str, Any]
) -> Iterator[Value]:
    for name, child in node["properties"].items():
        path = (*above, name)
        if "description" not in child:
            raise ValueError(f"{SCHEMA}: {'.'.join(path)} has no description")
        resolved = {**_resolve(schema, child), **child}
        # A default of a group fills in the defaults of what is below it, as for the three images.
        default = given.get(name, resolved.get("default"))
        if _is_group(resolved):
            below = tuple(_children(schema, resolved, path, default or {}))
            yield Value(path, child["description"], None, below)
        elif default is not None:
            yield Value(path, child["description"], default)


def _resolve(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    definition: dict[str, Any] = schema["definitions"][node["$ref"].rsplit("/", 1)[1]] if "$ref" in node else {}
    return definition


def _is_group(node: dict[str, Any]) -> bool:
    """Whether each value below is documented by itself. Kubernetes' own types (resources) are one value."""
    return any("description" in child for child in node.get("properties", {}).values())


def values_yaml(chosen: tuple[Value, ...]) -> str:
    """values.yaml: each value with its default and its meaning above it."""
    blocks = ["\n".join(_lines(value, "")) for value in chosen]
    return HEADER + "\n" + "\n\n".join(blocks) + "\n"


def _lines(value: Value, indent: str) -> Iterator[str]:
    for line in textwrap.wrap(value.description, WIDTH - len(indent) - 2):
        yield f"{indent}# {line}"
    name = value.path[-1]
    if value.children:
        yield f"{indent}{name}:"
        for child in value.children:
            yield from _lines(child, indent + "  ")
    elif value.default and isinstance(value.default, dict):
        yield f"{indent}{name}:"
        yield textwrap.indent(yaml.safe_dump(value.default, sort_keys=False).rstrip(), indent + "  ")
    else:
        yield f"{indent}{name}: {json.dumps(value.default)}"


def readme(chosen: tuple[Value, ...]) -> str:
    """README.md: how to install, and the table of values."""
    documented = [value for top in chosen for value in top.walk() if not value.children]
    rows = [f"| `{'.'.join(v.path)}` | `{json.dumps(v.default)}` | {v.description} |" for v in documented]
    return README.format(schema=SCHEMA, rows="\n".join(rows))


def generated() -> dict[Path, str]:
    """What the generated files must hold."""
    chosen = values(json.loads((CHART / SCHEMA).read_text()))
    return {CHART / "values.yaml": values_yaml(chosen), CHART / "README.md": readme(chosen)}


def main() -> int:
    parser = argparse.ArgumentParser("chartgen", description=__doc__)
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--write", action="store_true")
    how.add_argument("--check", action="store_true")
    write = parser.parse_args().write
    stale = [path for path, text in generated().items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if write:
            path.write_text(generated()[path])
        print(f"{path.relative_to(CHART.parents[1])}: {'written' if write else 'differs from what is generated'}")
    return 1 if stale and not write else 0


if __name__ == "__main__":
    sys.exit(main())
