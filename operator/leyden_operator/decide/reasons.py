"""Reasons of conditions. ``docs/operations.md`` says of each what it means and what to do."""

# Accepted, UpToDate: what the spec names.
VALID = "Valid"
INVALID_SPEC = "InvalidSpec"
CONFIG_MAP_NOT_FOUND = "ConfigMapNotFound"
PERSISTENT_VOLUME_CLAIM_NOT_FOUND = "PersistentVolumeClaimNotFound"
NAME_CONFLICT = "NameConflict"
RESUME_SOURCE_NOT_FOUND = "ResumeSourceNotFound"
GANG_UNAVAILABLE = "GangUnavailable"

# Scheduled.
PODS_SCHEDULED = "PodsScheduled"
CREATING_PODS = "CreatingPods"
UNSCHEDULABLE = "Unschedulable"
IMAGE_PULL_FAILED = "ImagePullFailed"
QUOTA_EXCEEDED = "QuotaExceeded"
POD_REFUSED = "PodRefused"

# Running, Suspended.
TRAINING = "Training"
NOT_STARTED = "NotStarted"
FORMING = "Forming"
RESTARTING = "Restarting"
SUSPENDED = "Suspended"
SUSPENDING = "Suspending"
NOT_SUSPENDED = "NotSuspended"
FINISHED = "Finished"

# Succeeded, Failed.
COMPLETED = "Completed"
NOT_FINISHED = "NotFinished"
NOT_FAILED = "NotFailed"
RESTART_BUDGET_SPENT = "RestartBudgetSpent"
NOT_RETRYABLE = "NotRetryable"
CHECKPOINT_STORAGE_FAILED = "CheckpointStorageFailed"
DEADLINE_EXCEEDED = "DeadlineExceeded"

# Available, UpToDate, Ready.
SERVING = "Serving"
NO_READY_PODS = "NoReadyPods"
CURRENT = "Current"
TRAINING_JOB_NOT_FOUND = "TrainingJobNotFound"
NO_CHECKPOINT = "NoCheckpoint"
STEP_NOT_FOUND = "StepNotFound"
FORMAT_NOT_FOUND = "FormatNotFound"
ROLLING_OUT = "RollingOut"
SERVER_FAILED = "ServerFailed"
CHECKPOINT_REJECTED = "CheckpointRejected"
READY = "Ready"
