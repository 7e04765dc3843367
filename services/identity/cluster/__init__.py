"""identity in a Kubernetes cluster, and what makes its mesh there (`python -m services.identity.cluster`).

layout       what of the mesh directory lies in which Secret or ConfigMap
bootstrap    makes these if they are absent: the program of a Job
mirror       a replica's mesh directory, kept like the Secret
delivery     NATS's servers have read what is for them, once the kubelet has brought it

reviews      service account tokens: the API says whose they are
pods         and whether the pod is still there
"""
