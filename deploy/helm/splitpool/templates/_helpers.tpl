{{- define "splitpool.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "splitpool.labels" -}}
{{ include "splitpool.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "splitpool.selector" -}}
app.kubernetes.io/name: splitpool
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "splitpool.secret" -}}
{{- default (include "splitpool.name" .) .Values.existingSecret -}}
{{- end -}}

{{- /* The container, for either shape. Other charts may include it in their own pods. */ -}}
{{- define "splitpool.container" -}}
name: splitpool
image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- if eq .Values.mode "sidecar" }}
restartPolicy: Always
{{- end }}
args: [--config, /etc/splitpool/splitpool.toml]
env:
  - name: POD_IP
    valueFrom: { fieldRef: { fieldPath: status.podIP } }
  - { name: PEERS, value: {{ printf "%s-peers" (include "splitpool.name" .) | quote }} }
  {{- with .Values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
ports:
  {{- if .Values.ports.postgres }}
  - { name: postgres, containerPort: {{ .Values.ports.postgres }} }
  {{- end }}
  {{- if .Values.ports.mysql }}
  - { name: mysql, containerPort: {{ .Values.ports.mysql }} }
  {{- end }}
  - { name: splitpool-http, containerPort: {{ .Values.ports.http }} }
startupProbe:
  httpGet: { path: /live, port: splitpool-http }
  periodSeconds: 1
  failureThreshold: 30
livenessProbe:
  httpGet: { path: /live, port: splitpool-http }
  periodSeconds: 10
  timeoutSeconds: 3
{{- if eq .Values.mode "service" }}
readinessProbe:
  httpGet: { path: /ready, port: splitpool-http }
  periodSeconds: 2
{{- else }}
lifecycle:
  preStop:
    sleep: { seconds: {{ .Values.sidecar.preStopSeconds }} }
{{- end }}
{{- with .Values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  readOnlyRootFilesystem: true
  allowPrivilegeEscalation: false
  capabilities: { drop: [ALL] }
  seccompProfile: { type: RuntimeDefault }
volumeMounts:
  - { name: splitpool, mountPath: /etc/splitpool, readOnly: true }
{{- end -}}
