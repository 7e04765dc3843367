"""Objects as Kubernetes writes them: some as text, many as documents."""

from typing import Any

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, annotations: {config.tulle.dev/opaque-ports: "25, 8000-8002,db"}}
spec:
  clusterIP: 10.96.0.1
  clusterIPs: [10.96.0.1, "fd00:0::1"]
  ports:
  - {name: http, port: 80, targetPort: 8080, appProtocol: http}
  - {name: db, port: 3306, protocol: TCP}
  - {name: dns, port: 53, protocol: UDP}
"""

SLICE = """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-x, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: all, port: null}]
endpoints:
- addresses: [10.0.0.1, 10.0.0.99]
  conditions: {ready: true}
  targetRef: {kind: Pod, namespace: shop, name: web-1, uid: u1}
  hostname: web-1
  nodeName: n1.example
  zone: eu-1
- {addresses: [10.0.0.2], conditions: {ready: false}}
- {addresses: [10.0.0.3], conditions: {ready: true, terminating: true}}
- {addresses: [10.0.0.4], conditions: {}, targetRef: {kind: Node, name: n}}
"""

POD = """
apiVersion: v1
kind: Pod
metadata:
  name: web-7d9f-abcde
  namespace: shop
  uid: u1
  labels: {tulle.dev/meshed: "true"}
  annotations:
    config.tulle.dev/inbound-port: "4999"
    config.tulle.dev/opaque-ports: "mysql,25"
    config.tulle.dev/default-inbound-policy: deny
  ownerReferences: [{kind: ReplicaSet, name: web-7d9f}]
spec:
  nodeName: n1.example
  serviceAccountName: web
  containers: [{ports: [{name: mysql, containerPort: 3306}, {containerPort: 80}]}]
status: {podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}]}
"""


def service(number: int, port: int = 80) -> dict[str, Any]:
    """The service `web-NUMBER` in `shop`."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": f"web-{number}", "namespace": "shop"},
        "spec": {
            "clusterIP": f"10.97.{number // 250}.{number % 250 + 1}",
            "ports": [{"port": port, "protocol": "TCP"}],
        },
    }


def live_pod(
    namespace: str,
    name: str,
    address: str,
    *,
    node: str = "",
    meshed: bool = False,
    stored: bool = False,
) -> dict[str, Any]:
    """A running pod with service account `web`; `stored` as it lies in etcd, uid and all."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"tulle.dev/meshed": "true"} if meshed else {},
            **_made(name, stored),
        },
        "spec": {
            "serviceAccountName": "web",
            "containers": [{"name": "app", "image": "app", "ports": [{"containerPort": 8080}]}],
            **({"nodeName": node} if node else {}),
        },
        "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]},
    }


def live_slice(
    namespace: str,
    name: str,
    pods: dict[str, str],
    *,
    service: str = "web",
    ready: bool = True,
    stored: bool = False,
    **more: str,
) -> dict[str, Any]:
    """A slice of the endpoints that are these pods (address by name) on port 8080."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service},
            **_made(name, stored),
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [
            {
                "addresses": [address],
                "conditions": {"ready": ready},
                "targetRef": {"kind": "Pod", "namespace": namespace, "name": pod},
                **more,
            }
            for pod, address in pods.items()
        ],
    }


def _made(name: str, stored: bool) -> dict[str, str]:
    if not stored:
        return {}
    return {"uid": f"uid-{name}", "creationTimestamp": "2026-01-01T00:00:00Z"}
