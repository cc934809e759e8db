"""The two resources of group ``leyden.dev/v1alpha1`` as pydantic models: the source of the CRDs and of their docs."""

from leyden_operator.api.base import API_VERSION, GROUP, NAME_LENGTH, VERSION, Condition, Json, Metadata
from leyden_operator.api.inference import InferenceService, InferenceServiceSpec, InferenceServiceStatus
from leyden_operator.api.training import TrainingJob, TrainingJobSpec
from leyden_operator.api.training_status import TrainingJobStatus

__all__ = [
    "API_VERSION",
    "GROUP",
    "NAME_LENGTH",
    "VERSION",
    "Condition",
    "InferenceService",
    "InferenceServiceSpec",
    "InferenceServiceStatus",
    "Json",
    "Metadata",
    "TrainingJob",
    "TrainingJobSpec",
    "TrainingJobStatus",
]
