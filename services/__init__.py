"""The control plane: services that know nothing of each other and meet only on the bus.

identity     admits connections to the bus, signs certificates, says whom the mesh trusts
destination  says where everything is, from Kubernetes or a directory of the same YAML
injector     gives pods their proxy
telemetry    remembers what proxies measured, and answers questions about it
"""
