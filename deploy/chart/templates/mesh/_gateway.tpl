{{/* Where a gateway's metrics are, for a Prometheus that goes by annotations. */}}
{{- define "pysidecar.gatewayAnnotations" -}}
prometheus.io/scrape: "true"
prometheus.io/port: "15090"
prometheus.io/path: /stats/prometheus
{{- end }}

{{/*
The pod of a gateway: Envoy with nothing beside it. What it starts with, an init container writes: so it needs no injector,
in no order. Where pymesh makes the pods, of a Gateway of Gateway API (ofGatewayAPI), it writes that itself, and the pod starts
the sooner. Arguments: root, labels (K=V,…), resources, ofGatewayAPI.
*/}}
{{- define "pysidecar.gatewayPod" -}}
automountServiceAccountToken: false
terminationGracePeriodSeconds: 30
{{- with include "pysidecar.pullSecrets" .root | trim }}
{{- printf "\n%s" . }}
{{- end }}
securityContext:
  {{- include "pysidecar.podSecurityContext" .root | nindent 2 }}
  runAsUser: 1337
  runAsGroup: 1337
  fsGroup: 1337
  {{- if .ofGatewayAPI }}
  # a Gateway's ports are those of its pods
  sysctls: [{name: net.ipv4.ip_unprivileged_port_start, value: "0"}]
  {{- end }}
{{- if not .ofGatewayAPI }}
initContainers:
  - name: bootstrap
    image: {{ include "pysidecar.image" (dict "root" .root "image" "mesh") }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    args:
      - bootstrap
      - --kind=router
      - --pod=$(POD_NAME)
      - --namespace=$(POD_NAMESPACE)
      - --ip=$(INSTANCE_IPS)
      - --labels={{ .labels }}
      - --service-account=$(SERVICE_ACCOUNT)
      - --xds-address={{ include "pysidecar.name" (dict "root" .root "program" "pymesh") }}.{{ .root.Release.Namespace }}.svc:15012
      - --tls-ca=/var/run/secrets/pymesh/root-cert.json
      - --token=/var/run/secrets/pymesh/token
      - --output=/etc/envoy/envoy.json
    env:
      - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
      - {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
      - {name: SERVICE_ACCOUNT, valueFrom: {fieldRef: {fieldPath: spec.serviceAccountName}}}
      - {name: INSTANCE_IPS, valueFrom: {fieldRef: {fieldPath: status.podIPs}}}
    resources:
      {{- toYaml .resources | nindent 6 }}
    securityContext:
      {{- include "pysidecar.containerSecurityContext" .root | nindent 6 }}
    volumeMounts:
      - {name: envoy, mountPath: /etc/envoy}
{{- end }}
containers:
  - name: istio-proxy
    image: {{ include "pysidecar.image" (dict "root" .root "image" "proxy") }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    {{- if .ofGatewayAPI }}
    env:
      - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
      - {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
      - {name: INSTANCE_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
      - {name: INSTANCE_IPS, valueFrom: {fieldRef: {fieldPath: status.podIPs}}}
      - {name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    {{- end }}
    args: [{{ if not .ofGatewayAPI }}-c, /etc/envoy/envoy.json, {{ end }}--log-level, warning, --drain-time-s, "5", --drain-strategy, immediate, --disable-hot-restart]
    ports:
      - {name: status-port, containerPort: 15021}
      - {name: http-envoy-prom, containerPort: 15090}
    startupProbe:
      httpGet: {path: /healthz/ready, port: status-port}
      periodSeconds: 1
      failureThreshold: 300
    readinessProbe:
      httpGet: {path: /healthz/ready, port: status-port}
      periodSeconds: 2
      timeoutSeconds: 3
    lifecycle:
      # connections are still taken until nobody sends any here; clients are asked to go elsewhere meanwhile
      preStop:
        exec:
          command:
            - bash
            - -c
            - >-
              exec 3<>/dev/tcp/127.0.0.1/15000 &&
              printf 'POST /drain_listeners?graceful&skip_exit HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n' >&3 &&
              grep -q ' 200 ' <&3 && sleep 5
    resources:
      {{- toYaml .resources | nindent 6 }}
    securityContext:
      {{- include "pysidecar.containerSecurityContext" .root | nindent 6 }}
    volumeMounts:
      {{- if not .ofGatewayAPI }}
      - {name: envoy, mountPath: /etc/envoy, readOnly: true}
      {{- end }}
      - {name: pymesh, mountPath: /var/run/secrets/pymesh, readOnly: true}
volumes:
  {{- if not .ofGatewayAPI }}
  - name: envoy
    emptyDir: {medium: Memory, sizeLimit: 4Mi}
  {{- end }}
  - name: pymesh
    projected:
      sources:
        - serviceAccountToken: {path: token, expirationSeconds: 43200, audience: pymesh}
        - configMap: {name: pymesh-ca-root-cert, items: [{key: root-cert.json, path: root-cert.json}]}
{{- end }}
