"""A pydantic model's JSON schema as a structural OpenAPI v3 schema, such as a CustomResourceDefinition takes.

What Kubernetes could not check, or what has no bound, is an error that names the field: nothing is loosened.
"""

from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]

KEPT = (
    *("type", "format", "description", "default", "enum", "pattern", "required"),
    *("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
)
IGNORED = ("title", "$defs", "const", "properties", "items", "additionalProperties", "anyOf")
BOUND_OF = {"string": "maxLength", "array": "maxItems"}


class Unsupported(Exception):
    """A model uses something that a CRD cannot express; the message starts with the field's path."""


def structural(model: type[BaseModel]) -> Schema:
    """The schema of ``model``, with references resolved and every string, list and map bounded."""
    whole = model.model_json_schema(by_alias=True, mode="validation")
    return _convert(whole, whole.get("$defs", {}), model.__name__)


def _convert(node: Schema, definitions: dict[str, Schema], path: str) -> Schema:
    node = _plain(_resolve(node, definitions, path), definitions, path)
    extensions = {key: value for key, value in node.items() if key.startswith("x-kubernetes-")}
    if "x-kubernetes-int-or-string" in node:
        return {key: node[key] for key in ("anyOf", *KEPT) if key in node} | extensions
    unknown = set(node) - set(KEPT) - set(IGNORED) - set(extensions)
    if unknown or "anyOf" in node:
        raise Unsupported(f"{path}: {', '.join(sorted(unknown)) or 'a union'} has no counterpart in a CRD")
    if "type" not in node:
        raise Unsupported(f"{path}: a type is needed")
    found = {key: node[key] for key in KEPT if key in node} | extensions
    if "const" in node:
        found["enum"] = [node["const"]]
    if found["type"] == "integer":
        found["format"] = "int64"
    _check_bounds(found, node, path)
    return found | _children(node, definitions, path)


def _resolve(node: Schema, definitions: dict[str, Schema], path: str) -> Schema:
    """Put a reference's target in its place; what stands beside the reference wins, rules add up."""
    while "$ref" in node:
        target = definitions[node["$ref"].rsplit("/", 1)[-1]]
        beside = {key: value for key, value in node.items() if key != "$ref"}
        node = {**target, **beside}
    return node


def _plain(node: Schema, definitions: dict[str, Schema], path: str) -> Schema:
    """Resolve ``X | None``: a field that is not required may be left out, and null is never a value."""
    if "x-kubernetes-int-or-string" in node:
        return node
    choices = [choice for choice in node.get("anyOf", ()) if choice.get("type") != "null"]
    if len(choices) == 1:
        outer = {key: value for key, value in node.items() if key != "anyOf"}
        node = {**_resolve(choices[0], definitions, path), **outer}
    return {key: value for key, value in node.items() if not (key == "default" and value is None)}


def _check_bounds(found: Schema, node: Schema, path: str) -> None:
    kind = found["type"]
    if kind == "object":
        _check_map(found, node, path)
    bound = BOUND_OF.get(kind)
    bounded = bound is None or bound in found or "enum" in found or found.get("format") == "date-time"
    if not bounded:
        raise Unsupported(f"{path}: {kind} without {bound}")


def _check_map(found: Schema, node: Schema, path: str) -> None:
    values = node.get("additionalProperties")
    if isinstance(values, dict) and "maxProperties" not in found:
        raise Unsupported(f"{path}: map without maxProperties")
    free = values is True or (values is None and not node.get("properties"))
    if free and not found.get("x-kubernetes-preserve-unknown-fields"):
        raise Unsupported(f"{path}: object of any shape that is not marked x-kubernetes-preserve-unknown-fields")


def _children(node: Schema, definitions: dict[str, Schema], path: str) -> Schema:
    found: Schema = {}
    if "properties" in node:
        found["properties"] = {
            name: _convert(child, definitions, f"{path}.{name}") for name, child in node["properties"].items()
        }
    if isinstance(values := node.get("additionalProperties"), dict):
        found["additionalProperties"] = _convert(values, definitions, f"{path}[*]")
    if node["type"] == "array":
        if "items" not in node:
            raise Unsupported(f"{path}: list without one type of items")
        found["items"] = _convert(node["items"], definitions, f"{path}[]")
    return found
