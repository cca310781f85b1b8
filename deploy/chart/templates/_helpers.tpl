{{- define "pysidecar.name" -}}
pyinject{{ if ne .Values.revision "default" }}-{{ .Values.revision }}{{ end }}
{{- end }}

{{- define "pysidecar.selector" -}}
app.kubernetes.io/name: pyinject
app.kubernetes.io/instance: {{ include "pysidecar.name" . }}
{{- end }}

{{- define "pysidecar.labels" -}}
{{ include "pysidecar.selector" . }}
app.kubernetes.io/part-of: pysidecar
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- define "pysidecar.tag" -}}
{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* One webhook of the configuration. Arguments: root, name, namespaceLabels and podLabels (lists of label expressions). */}}
{{- define "pysidecar.webhook" -}}
{{- $values := .root.Values -}}
- name: {{ .name }}.inject.pysidecar
  admissionReviewVersions: [v1]
  clientConfig:
    service:
      name: {{ include "pysidecar.name" .root }}
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
    matchExpressions:
      {{- toYaml .namespaceLabels | nindent 6 }}
      - key: kubernetes.io/metadata.name
        operator: NotIn
        values: {{ append $values.webhook.exemptNamespaces .root.Release.Namespace | uniq | toJson }}
  objectSelector:
    matchExpressions:
      {{- toYaml .podLabels | nindent 6 }}
  matchConditions:
    # the node's own network is not a pod's to redirect
    - name: own-network
      expression: "!has(object.spec.hostNetwork) || !object.spec.hostNetwork"
  failurePolicy: {{ $values.webhook.failurePolicy }}
  timeoutSeconds: {{ $values.webhook.timeoutSeconds }}
  reinvocationPolicy: {{ $values.webhook.reinvocationPolicy }}
  sideEffects: None
{{- end }}
