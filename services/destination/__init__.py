"""Where everything is: resources come in, documents on the bus go out.

In the order in which a change meets it:

    settings      the environment of the program
    sources/      where resources come from: Kubernetes, or a directory of YAML
    fields        a document read field by field, every mistake noted with its path
    spellings     addresses and ports as documents spell them
    kinds         Kubernetes-shaped documents → resources
    resources     what destination understands, as typed values
    lifecycles    what proxies say of their workloads (draining, speaks first), heard and read back
    marks         the newest of those words on each workload
    lessons       the ports on which applications speak first
    index         all of that in one place; one change in, the keys of stale answers out
    parts         large slices cut so that one endpoint's change costs one document
    keys          names of answers, and the subjects they are published on
    answers       index and key → the document that the mesh should see
    careful       what stays while part of the source is not known
    published     what is on the bus, as far as is known here
    publish       what is on the bus made equal to the answers: debounced, diffed, never by two
    announce      what people should hear of it, as events
    exposition    how destination does, for Prometheus
    app           all of it put together

Nothing up to `answers` does I/O; the index is owned by the one event loop of the program.
"""
