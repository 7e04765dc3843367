"""injector: gives pods their proxy when Kubernetes creates them, or offline with `tulle inject`.

decide       whether a pod gets a proxy, or the reason why not
annotations  what a pod and its namespace say about it
values       how each value is read
env          variables that a proxy gets besides its own
options      how a proxy is to be, once all have spoken
sidecar      the containers and volumes
patch        JSON patches, made and applied
inject       these together: a pod in, a patch out, and back

manifests    the same for files: every kind of workload, lists, several documents
yaml_text    YAML that keeps its order and the spelling of its scalars

review       what Kubernetes asks when a pod is created, and the answer
webhook      asked over HTTPS
namespaces   what namespaces say, followed
serving      the webhook's certificate
keeper       that certificate in its Secret, and whom the API server trusts
journal      what became of pods: counted, on the bus, as Events
exposition   the counts, for Prometheus
settings     what it is told from the environment
app          all of the service together
"""
