{{/* Name of every object of the release: the release's own name when that says "leyden" already. */}}
{{- define "leyden.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name -}}
{{- end -}}
{{- end -}}

{{- define "leyden.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "leyden.name" .) -}}
{{- end -}}

{{- define "leyden.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "leyden.labels" -}}
{{ include "leyden.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* Full name of the image of a part: (dict "images" .Values.images "part" "operator"). A digest wins over a tag: it says which bytes. */}}
{{- define "leyden.image" -}}
{{- $image := get .images .part -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else if eq $image.tag "latest" -}}
{{- fail (printf "images.%s.tag: \"latest\" does not say which image runs; give a version, or images.%s.digest" .part .part) -}}
{{- else -}}
{{- printf "%s:%s" $image.repository $image.tag -}}
{{- end -}}
{{- end -}}
