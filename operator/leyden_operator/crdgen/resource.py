"""The CustomResourceDefinitions: names, columns, and the schema around spec and status."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from leyden_operator.api import (
    GROUP,
    NAME_LENGTH,
    VERSION,
    InferenceService,
    InferenceServiceSpec,
    InferenceServiceStatus,
    TrainingJob,
    TrainingJobSpec,
    TrainingJobStatus,
)
from leyden_operator.api.base import rule
from leyden_operator.crdgen.schema import Schema, structural

NEVER = "1970-01-01T00:00:00Z"


@dataclass(frozen=True)
class Resource:
    """One kind, and how kubectl shows it."""

    kind: str
    plural: str
    short: str
    model: type[BaseModel]
    spec: type[BaseModel]
    status: type[BaseModel]
    columns: tuple[tuple[str, str, str], ...]
    """Header, type and JSON path."""
    first_status: dict[str, Any]
    """Status of an object that the operator has not seen yet: columns are never blank, conditions always there."""


def _unknown(*types: str) -> list[Schema]:
    waiting = {"status": "Unknown", "reason": "Pending", "message": "waiting for the operator"}
    return [{"type": name, **waiting, "lastTransitionTime": NEVER} for name in types]


AGE = ("Age", "date", ".metadata.creationTimestamp")

RESOURCES = (
    Resource(
        kind="TrainingJob",
        plural="trainingjobs",
        short="tj",
        model=TrainingJob,
        spec=TrainingJobSpec,
        status=TrainingJobStatus,
        columns=(
            ("Phase", "string", ".status.phase"),
            ("Nodes", "string", ".status.summary.nodes"),
            ("Progress", "string", ".status.summary.progress"),
            ("ETA", "string", ".status.summary.eta"),
            ("Metric", "string", ".status.summary.metric"),
            AGE,
        ),
        first_status={
            "phase": "Pending",
            "conditions": _unknown("Accepted", "Scheduled", "Running", "Suspended", "Succeeded", "Failed"),
            "summary": {"nodes": "-", "progress": "-", "eta": "-", "metric": "-"},
        },
    ),
    Resource(
        kind="InferenceService",
        plural="inferenceservices",
        short="lisvc",
        model=InferenceService,
        spec=InferenceServiceSpec,
        status=InferenceServiceStatus,
        columns=(
            ("Ready", "string", ".status.summary.ready"),
            ("URL", "string", ".status.url"),
            ("Model", "string", ".status.summary.model"),
            ("Traffic", "string", ".status.summary.traffic"),
            AGE,
        ),
        first_status={
            "url": "-",
            "conditions": _unknown("Ready", "Available", "UpToDate"),
            "summary": {"ready": "-", "model": "-", "traffic": "-"},
        },
    ),
)

NAME_RULE = rule(
    f"self.metadata.name.size() <= {NAME_LENGTH} && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
    "'metadata.name ' + self.metadata.name + ' is not allowed: it must have at most "
    f"{NAME_LENGTH} characters of a-z, 0-9 and -, begin with a letter and not end with -'",
)


def definition(resource: Resource) -> Schema:
    """The CustomResourceDefinition of a resource."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": resource.kind,
                "listKind": f"{resource.kind}List",
                "plural": resource.plural,
                "singular": resource.kind.lower(),
                "shortNames": [resource.short],
                "categories": ["leyden"],
            },
            "versions": [_version(resource)],
        },
    }


def _version(resource: Resource) -> Schema:
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [
            {"name": name, "type": kind, "jsonPath": path} for name, kind, path in resource.columns
        ],
        "schema": {"openAPIV3Schema": _root(resource)},
    }


def _root(resource: Resource) -> Schema:
    return {
        "type": "object",
        "description": (resource.model.__doc__ or "").strip(),
        "required": ["spec"],
        "x-kubernetes-validations": [NAME_RULE],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 253}}},
            "spec": structural(resource.spec),
            "status": structural(resource.status) | {"default": resource.first_status},
        },
    }
