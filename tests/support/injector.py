"""What the injector needs in a cluster: its account with its rights, its Secret, and its webhook."""

RIGHTS = """
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: %(ns)s}
rules:
- {apiGroups: [""], resources: [namespaces], verbs: [get, list, watch]}
- {apiGroups: [""], resources: [events], verbs: [create]}
- {apiGroups: [admissionregistration.k8s.io], resources: [mutatingwebhookconfigurations],
   resourceNames: [%(ns)s], verbs: [get, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: %(ns)s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: %(ns)s}
subjects: [{kind: ServiceAccount, name: injector, namespace: %(ns)s}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: injector, namespace: %(ns)s}
rules:
- {apiGroups: [""], resources: [secrets], resourceNames: [tls], verbs: [get, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: injector, namespace: %(ns)s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: injector}
subjects: [{kind: ServiceAccount, name: injector, namespace: %(ns)s}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: injector, namespace: %(ns)s}
---
apiVersion: v1
kind: Secret
metadata: {name: tls, namespace: %(ns)s}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: %(ns)s}
webhooks:
- name: injector.tulle.dev
  clientConfig: {url: "https://localhost:%(port)s/"}
  rules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
  namespaceSelector: {matchLabels: {of: %(ns)s}}
  admissionReviewVersions: [v1]
  sideEffects: NoneOnDryRun
  reinvocationPolicy: IfNeeded
  failurePolicy: Fail
"""
"""For the namespace `ns`, reached on `port` of loopback; `%` fills both in."""
