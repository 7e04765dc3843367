"""A small kubelet for tests: what the API says should run here runs, as processes in network namespaces.

It is told of pods by a real API server (whose pods real controllers make), and does of a kubelet's work what
manifests like ours need: containers in order and restarted, probes, volumes that stay current, projected
tokens, status. It is its own scheduler, network plugin and kube-proxy. There are no images: every container
runs this machine's programs, and this environment's Python, in a root directory of its own.

    __main__    the program: one node
    node        follows the API, and says which pods live
    objects     what is read of the API's objects
    pod         one pod's life, from its address to its last status
    container   one container's: started, probed, restarted, ended
    probes      one look at a container
    boxes       what a container's specification means for its process
    box         the program that becomes a container: root directory, user, rights
    values      environment variables, and what else a pod can be told of itself
    volumes     files that containers see, kept current
    network     a namespace for each pod, addresses of services, names
    status      what a pod says of itself, as the API wants it
    server      logs and forwarded ports, for the API server
    spdy        how ports are forwarded
"""
