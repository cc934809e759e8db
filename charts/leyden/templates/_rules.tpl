{{/*
What the operator may do, in all namespaces or in each one that it watches. It reads no Secret and cannot exec: the
kubelet mounts what a job names. Writes are server-side applies (create and patch); owner references do not block
their owner's deletion, which spares rights on finalizers.
*/}}
{{- define "leyden.rules" -}}
- apiGroups: [leyden.dev]
  resources: [trainingjobs, inferenceservices]
  verbs: [get, list, watch]
- apiGroups: [leyden.dev]
  resources: [trainingjobs/status, inferenceservices/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [scheduling.k8s.io]
  resources: [podgroups]
  verbs: [get, list, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, create, patch, delete]
- apiGroups: [""]
  resources: [configmaps, persistentvolumeclaims]
  verbs: [get]
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
