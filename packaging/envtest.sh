#!/bin/sh
# Build kube-apiserver, kube-controller-manager, kubectl and etcd from their Go modules into the folder $1; needs Go.
#
# About ten minutes on two cores, and nothing is downloaded but modules, which Go checks against its checksum
# database. kube-apiserver's own go.mod points at folders beside it; here they are the modules of that release.
set -eu
KUBERNETES=1.35.4
ETCD=3.6.5

folder=$1
command -v go >/dev/null || { echo "make envtest needs Go: sudo apt-get install golang-go" >&2; exit 2; }
mkdir -p "$folder"
work=$(mktemp -d "$folder/.build.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM
export GOFLAGS=-mod=mod CGO_ENABLED=0

mkdir "$work/kubernetes" "$work/etcd" "$work/bin"
cd "$work/kubernetes"
original=$(go mod download -json "k8s.io/kubernetes@v$KUBERNETES" | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p')
{
  printf 'module tulle.dev/envtest\n\ngo 1.25.0\n\nrequire k8s.io/kubernetes v%s\n\nreplace (\n' "$KUBERNETES"
  awk -v version="v0.${KUBERNETES#1.}" '$2 == "=>" && $3 ~ "^./staging" {print "\t" $1 " => " $1 " " version}' "$original"
  printf ')\n'
} >go.mod
component=k8s.io/component-base/version
nice go build -p 2 -trimpath -o "$work/bin/" -ldflags="-s -w -X $component.gitVersion=v$KUBERNETES \
 -X $component.gitMajor=1 -X $component.gitMinor=$(echo "$KUBERNETES" | cut -d. -f2)" \
  k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kube-controller-manager \
  k8s.io/kubernetes/cmd/kubectl

cd "$work/etcd"
printf 'module tulle.dev/etcd\n\ngo 1.25.0\n' >go.mod
go get "go.etcd.io/etcd/server/v3@v$ETCD"
nice go build -p 2 -trimpath -ldflags="-s -w" -o "$work/bin/etcd" go.etcd.io/etcd/server/v3

# kube-controller-manager last: it is what make looks for.
mv "$work/bin/etcd" "$work/bin/kubectl" "$work/bin/kube-apiserver" "$folder/"
mv "$work/bin/kube-controller-manager" "$folder/"
