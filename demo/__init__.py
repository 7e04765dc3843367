"""A whole mesh on one machine, for one application: what `tulle demo` starts, and the application itself.

plan          the application file: YAML in, workloads out, all mistakes told at once
layout        which replica has which name and address
manifests     the same as Services, EndpointSlices and Pods, which destination follows
programs      every process that has to run, in which order, and when it counts as ready
abilities     can this machine intercept connections? what is missing?
namespaces    the commands that build one network namespace per replica
session       one run, from the temporary directory to its removal
launch        the launcher's side: temporary directory, the inner side, its events
inner         the inner side (`python -m demo.inner`): network, relays and processes
supervisor    starts programs, waits until they are ready, stops them
readiness     has this program come up?
strays        no process outlives the demo
messages      what launcher and inner side say to each other
relay         lets people outside reach a port inside
observer      asks telemetry how it goes, and knows when all is told
figures       telemetry's answers as the document that `--json` prints
table         the same, live, for people

apps/         web, books, authors and traffic: plain programs that know nothing of the mesh
compose/      the same on Docker: what docker-compose.yml needs beside the images
"""
