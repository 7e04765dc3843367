"""Where resources come from. A source says what changed, in batches; it knows nothing of the index.

directory   a directory of YAML files, followed on disk
files       which files changed, seen by looking again and again
yaml_text   YAML text → plain values, bounded; and the line where each stands
"""
