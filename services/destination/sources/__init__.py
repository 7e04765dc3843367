"""Where resources come from. A source says what changed, in batches; it knows nothing of the index.

    standing    how a source stands, and how it tells people of what is in it

Kubernetes, in the order in which an object meets them:

    objects     the part of Kubernetes' objects that is decoded
    kubernetes  a cluster, followed over its API

A directory, in the order in which a file meets them:

    files       which files changed, seen by looking again and again
    yaml_text   YAML text → plain values, bounded; and the line where each stands
    manifest    the bytes of one file → resources, or every mistake with its line
    overlay     objects from several files, where one may stand twice
    directory   a directory of YAML files, followed on disk
"""
