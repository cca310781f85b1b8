{{/*
Most of these take what they are for as a dict: root is the chart's context, program the name of what runs (pyinject, …).
A template begins with    {{- $it := dict "root" . "program" "pyinject" }}
and then says             {{ include "pysidecar.labels" $it }}
*/}}

{{/* The name of a program's objects: one release a revision, several revisions in a cluster. */}}
{{- define "pysidecar.name" -}}
{{ .program }}{{ if ne .root.Values.revision "default" }}-{{ .root.Values.revision }}{{ end }}
{{- end }}

{{- define "pysidecar.selector" -}}
app.kubernetes.io/name: {{ .program }}
app.kubernetes.io/instance: {{ include "pysidecar.name" . }}
{{- end }}

{{- define "pysidecar.labels" -}}
{{ include "pysidecar.selector" . }}
app.kubernetes.io/part-of: pysidecar
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
{{- end }}

{{/* metadata of an object in the release's namespace */}}
{{- define "pysidecar.metadata" -}}
name: {{ include "pysidecar.name" . }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "pysidecar.labels" . | nindent 2 }}
{{- end }}

{{/* metadata of an object of the whole cluster */}}
{{- define "pysidecar.clusterMetadata" -}}
name: {{ include "pysidecar.name" . }}
labels:
  {{- include "pysidecar.labels" . | nindent 2 }}
{{- end }}

{{- define "pysidecar.tag" -}}
{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* One of the project's images, by digest where one is given. Arguments: root, image (webhook, init, …). */}}
{{- define "pysidecar.image" -}}
{{- $digest := get .root.Values.image.digests .image -}}
{{ .root.Values.image.hub }}/{{ .image }}:{{ include "pysidecar.tag" .root }}{{ with $digest }}@{{ . }}{{ end }}
{{- end }}

{{/* imagePullSecrets of a pod or a ServiceAccount; empty where there are none. Argument: the chart's context. */}}
{{- define "pysidecar.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- end }}

{{/* What Pod Security's level restricted asks of a pod, and of each of its containers. */}}
{{- define "pysidecar.podSecurityContext" -}}
runAsNonRoot: true
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "pysidecar.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/*
Where a program's pods run. Arguments: root, program, and values, a map of priorityClassName, nodeSelector, tolerations, affinity
and topologySpreadConstraints. A constraint without a labelSelector counts the program's own pods; without any constraint
they are spread over nodes, as well as it goes.
*/}}
{{- define "pysidecar.scheduling" -}}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $own := dict "labelSelector" (dict "matchLabels" (include "pysidecar.selector" . | fromYaml)) }}
{{- $overNodes := dict "maxSkew" 1 "topologyKey" "kubernetes.io/hostname" "whenUnsatisfiable" "ScheduleAnyway" }}
topologySpreadConstraints:
  {{- range .values.topologySpreadConstraints | default (list $overNodes) }}
  - {{ merge (omit $own (hasKey . "labelSelector" | ternary "labelSelector" "")) . | toYaml | nindent 4 | trim }}
  {{- end }}
{{- end }}

{{/* A label selector with more requirements added. Arguments: expressions (a list), and also, a selector of the user's. */}}
{{- define "pysidecar.narrowed" -}}
matchExpressions:
  {{- toYaml (concat .expressions ((.also).matchExpressions | default list)) | nindent 2 }}
{{- with (.also).matchLabels }}
matchLabels:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* One webhook of the configuration. Arguments: root, name, namespaceLabels and podLabels (lists of label expressions). */}}
{{- define "pysidecar.webhook" -}}
{{- $values := .root.Values -}}
{{- $exempt := append $values.webhook.exemptNamespaces .root.Release.Namespace | uniq -}}
{{- $notExempt := dict "key" "kubernetes.io/metadata.name" "operator" "NotIn" "values" $exempt -}}
- name: {{ .name }}.inject.pysidecar
  admissionReviewVersions: [v1]
  clientConfig:
    service:
      name: {{ include "pysidecar.name" (dict "root" .root "program" "pyinject") }}
      namespace: {{ .root.Release.Namespace }}
      path: /inject
      port: 443
    {{- with $values.tls.caBundle }}
    caBundle: {{ . }}
    {{- end }}
  rules:
    - operations: [CREATE]
      apiGroups: [""]
      apiVersions: [v1]
      resources: [pods]
      scope: Namespaced
  namespaceSelector:
    {{- include "pysidecar.narrowed" (dict "expressions" (append .namespaceLabels $notExempt) "also" $values.webhook.namespaceSelector) | nindent 4 }}
  objectSelector:
    {{- include "pysidecar.narrowed" (dict "expressions" .podLabels "also" $values.webhook.objectSelector) | nindent 4 }}
  matchConditions:
    # the node's own network is not a pod's to redirect
    - name: own-network
      expression: "!has(object.spec.hostNetwork) || !object.spec.hostNetwork"
    {{- with $values.webhook.matchConditions }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  failurePolicy: {{ $values.webhook.failurePolicy }}
  timeoutSeconds: {{ $values.webhook.timeoutSeconds }}
  reinvocationPolicy: {{ $values.webhook.reinvocationPolicy }}
  sideEffects: {{ .root.Values.events.enabled | ternary "NoneOnDryRun" "None" }}
{{- end }}

{{/* The Secret with the authority that signs what the programs serve with: pyinject's, unless that has none of its own. */}}
{{- define "pysidecar.caSecret" -}}
{{ include "pysidecar.name" (dict "root" . "program" (.Values.tls.secretName | empty | ternary "pyinject" "pymesh")) }}-ca
{{- end }}
