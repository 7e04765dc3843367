"""The one door to Kubernetes: its API, asked and followed.

    access     where the API is, and how one shows who one is
    client     one request, or one answer that does not end
    objects    kinds, the part of their objects that is read, and what is seen of them
    stored     Secrets and ConfigMaps: their data, read, made and changed
    watch      all objects of one kind, followed: list, watch, resume, list again

Bodies are decoded with msgspec into as much of an object as somebody asks for; the generated client
of kubernetes-asyncio is not used (see docs/decisions/0017), its reader of kubeconfigs is.
"""
