"""A whole mesh on one machine, for one application: what `tulle demo` starts, and the application itself.

plan          the application file: YAML in, workloads out, all mistakes told at once
layout        which replica has which name and address
manifests     the same as Services, EndpointSlices and Pods, which destination follows
programs      every process that has to run, in which order, and when it counts as ready
abilities     can this machine intercept connections? what is missing?
namespaces    the commands that build one network namespace per replica
session       one run: temporary directory, keys, tokens, and the order to bring everything up
launch        the launcher's side of the pipe to the inner side
messages      what launcher and inner side say to each other
inner         the inner side (`python -m demo.inner`): network, relays and processes
supervisor    starts programs, waits until they are ready, stops them
readiness     has this program come up?
strays        no process outlives the demo
relay         lets people outside reach a port inside
observer      asks telemetry, and knows when every proxy has told of everything
rotation      another trust anchor in the middle of a run
figures       telemetry's answers as the document that `--json` prints
table         the same, live, for people

application.yaml   the built-in application
protocols.yaml     the same with gRPC and plain TCP (`tulle demo --protocols`)
apps/              its programs, which know nothing of the mesh
compose/           the same on Docker: what docker-compose.yml needs beside the images
"""
