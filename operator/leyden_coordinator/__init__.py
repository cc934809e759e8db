"""The membership authority of one attempt of a training job. Needs neither torch nor Kubernetes."""
