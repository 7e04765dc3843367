"""The control plane: four services that know nothing of each other and meet only on the bus.

identity     admits connections to the bus, signs certificates, says whom the mesh trusts
destination  says where everything is, from Kubernetes or a directory of the same YAML
injector     puts proxies beside workloads in Kubernetes
telemetry    remembers what proxies measured, and answers questions about it
"""
