"""identity in a Kubernetes cluster, and what makes its mesh there (`python -m services.identity.cluster`).

layout       what of the mesh directory lies in which Secret or ConfigMap
bootstrap    makes these if they are absent: the program of a Job
"""
