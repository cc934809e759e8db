"""The reference page of a resource, from its CustomResourceDefinition."""

import json
from collections.abc import Iterator

from leyden_operator.crdgen.schema import Schema


def page(crd: Schema) -> str:
    """Markdown: every field of spec and status with type, default, bounds and meaning, then the rules."""
    names, version = crd["spec"]["names"], crd["spec"]["versions"][0]
    root = version["schema"]["openAPIV3Schema"]
    lines = [
        f"# {names['kind']}",
        "",
        f"`{crd['spec']['group']}/{version['name']}`, short name `{names['shortNames'][0]}`. {root['description']}",
        "",
        "Generated from the models by `make generate`.",
    ]
    for part in ("spec", "status"):
        lines += ["", f"## {part}", "", "| field | type | allowed | meaning |", "| --- | --- | --- | --- |"]
        lines += list(_rows(root["properties"][part], ""))
    lines += ["", "## Rules", ""]
    lines += [f"- `{path or 'object'}`: `{cel}`" for path, cel in _rules(root, "")]
    return "\n".join(lines) + "\n"


def _rows(schema: Schema, path: str) -> Iterator[str]:
    for name, child in schema.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        required = " (required)" if name in schema.get("required", ()) else ""
        meaning = child.get("description", "").replace("\n", " ").replace("|", "\\|")
        yield f"| `{here}`{required} | {_type(child)} | {_allowed(child)} | {meaning} |"
        inner = child.get("items", child)
        yield from _rows(inner, here + ("[]" if "items" in child else ""))


def _type(schema: Schema) -> str:
    if "x-kubernetes-int-or-string" in schema:
        return "int or string"
    if "items" in schema:
        return f"list of {_type(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"map of {_type(schema['additionalProperties'])}"
    if schema.get("format") == "date-time":
        return "time"
    return str(schema["type"])


def _allowed(schema: Schema) -> str:
    facts = []
    if "enum" in schema:
        facts.append(", ".join(f"`{value}`" for value in schema["enum"]))
    if "minimum" in schema or "maximum" in schema:
        facts.append(f"{schema.get('minimum', '')}..{schema.get('maximum', '')}")
    for bound, unit in (("maxLength", "characters"), ("maxItems", "items"), ("maxProperties", "entries")):
        if bound in schema:
            facts.append(f"at most {schema[bound]} {unit}")
    if "default" in schema:
        facts.append(f"default `{json.dumps(schema['default'])}`" if schema["default"] != "" else "default empty")
    return "; ".join(facts)


def _rules(schema: Schema, path: str) -> Iterator[tuple[str, str]]:
    for given in schema.get("x-kubernetes-validations", ()):
        yield path, given["rule"].replace("|", "\\|")
    for name, child in schema.get("properties", {}).items():
        yield from _rules(child, f"{path}.{name}" if path else name)
    if "items" in schema:
        yield from _rules(schema["items"], f"{path}[]")
