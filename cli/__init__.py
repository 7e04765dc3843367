"""`tulle`: what a person asks of the mesh.

__main__   where it begins
root       the commands, each imported only when it is called; errors in one line
options    what several commands take: --mesh, --context, -o, -n, -t
durations  `10s`, `5m`, `1h`
mesh       the mesh that is meant, and its bus as operator
ways       how it is reached: by a directory, or in a cluster
cluster    the cluster, and what lies there that lets an operator in
forward    kubectl port-forward, for as long as it is wanted
borrowed   some files of a mesh directory, also of one in a cluster
kube       questions to the Kubernetes API
output     tables and JSON, with nothing in them that could command a terminal
answers    asks telemetry, once or again and again
watching   watches a rotation
listening  hears a subject
running    which services run, who leads, what everybody acknowledges

stat       tulle stat       how workloads and services did
edges      tulle edges      who talked to whom
bus        tulle bus        what is said on the bus
people                      … and who may use it by name
bus_keys                    … how old its keys are, and others in their place
bus_keys_run                … and what that asks
identity   tulle identity   which certificate each workload has
leaves     what identity knows of them
check      tulle check      is everything as it should be?
checks     … and what that looks at
trust      tulle trust      another trust anchor takes the place of the one there is
trust_run  what that asks, and watches
token      tulle token      lets a workload join
inject     tulle inject     adds the proxy to manifests
uninject   tulle uninject   takes it out again
install    tulle install    prints the manifests of the control plane
uninstall  tulle uninstall  prints what to delete
manifests  … k8s/, changed in places
keys       … as --set says
availability                … for a cluster in which any one machine may go
version    tulle version
completion  tulle completion  Tab in a shell
diagnostics  tulle diagnostics  what is published, and what a proxy has in force
diagnosing  … how that is shown
published  … document by document
demo       tulle demo       a whole mesh on this machine
demo_run   what that does, once its options are read
"""
