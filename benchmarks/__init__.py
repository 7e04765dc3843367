"""Tulle beside Envoy and HAProxy, in one run: `make bench`. docs/benchmarks/README.md says how it measures.

plan           what is measured, how hard, and what is promised
tools          the programs that it takes; fetches Envoy
outside        starts the inner side in namespaces of its own
messages       what the outer side tells the inner one
inside         the inner side (`python -m benchmarks.inside`)
place          addresses and ports
stand          mesh, peers and server, up and running
tulle          the mesh with its two proxies
envoy          a pair of Envoys
haproxy        a pair of HAProxys
certificates   what the peers show to one another
origin         the server behind all of them
rounds         every row and every contender, round after round
rows           one measurement
loads          the load generators, and what they print
steady         … requests at a fixed rate
bulk           … bytes as fast as they come
idle           … connections that say nothing
accounting     CPU and memory of a process
record         what was found
results        … as a JSON document, against the targets
table          … as Markdown
plot           … as SVG
machine        what it was taken on
hotspots       where one proxy of Tulle spends its time
stampede       a thousand proxies at identity's door (`python -m benchmarks.stampede`)
cluster        destination in a large cluster (`python -m benchmarks.cluster`)
followers      … those who hear of its changes, in processes of their own
heard          … what was found, as Markdown
asking         what a program's admin port says
sidecar        a proxy as its image has it, which can be profiled
"""
