"""The operator: watches TrainingJobs and InferenceServices, decides, applies."""
