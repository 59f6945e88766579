#!/usr/bin/env bash
# Build current container engines from Go modules: Debian's packages are older.
#
# engines.sh [NAME...]   builds the named engines, or all; prints the directory of each
# engines.sh --list      prints NAME VERSION DIRECTORY of each, builds nothing
#
# An engine is built once per version, into ${XDG_CACHE_HOME:-~/.cache}/topcoat/engines/NAME-VERSION/bin.
# Exit 3: Go is missing. runc also needs gcc, pkg-config and libseccomp-dev.
set -euo pipefail

self=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
self_directory=$(dirname "$self")
root=${XDG_CACHE_HOME:-$HOME/.cache}/topcoat/engines

declare -A version=(
  [containerd]=2.4.2
  [moby]=2.0.0-beta.24
  [runc]=1.5.2
  [buildx]=0.38.2
  [docker-cli]=29.8.2
  [crane]=0.22.1
  [registry]=3.1.2
  [kubernetes]=1.37.2
  [coredns]=1.15.0
  [jobset]=0.11.1
  [kueue]=0.17.0
)
order=(registry crane runc containerd moby buildx docker-cli coredns kubernetes jobset kueue)

# modules MODULE VERSION LDFLAGS PACKAGE...: link the packages with the dependency versions of their own module.
modules() {
  local module=$1 at=$2 ldflags=$3 package
  shift 3
  go mod init build
  {
    printf '//go:build tools\n\npackage build\n\n'
    for package in "$@"; do printf 'import _ "%s"\n' "$package"; done
  } >tools.go
  go get "$module@$at"
  go mod tidy
  CGO_ENABLED=0 go build -trimpath -ldflags "-s -w $ldflags" -o bin/ "$@"
}

build_containerd() {
  local m=github.com/containerd/containerd/v2
  modules $m "v$1" "-X $m/version.Version=v$1" $m/cmd/containerd $m/cmd/containerd-shim-runc-v2 $m/cmd/ctr
}

build_moby() {
  local m=github.com/moby/moby/v2
  modules $m "v$1" "-X $m/dockerversion.Version=$1" $m/cmd/dockerd $m/cmd/docker-proxy
}

build_buildx() {
  local m=github.com/docker/buildx
  modules $m "v$1" "-X $m/version.Version=v$1" $m/cmd/buildx
}

# The CLI is not a Go module: vendor.mod lists its dependencies.
build_docker-cli() {
  local m=github.com/docker/cli source
  source=$(go mod download -json "$m@v$1+incompatible" | sed -n 's/^.*"Dir": "\(.*\)",$/\1/p')
  cp -r "$source" source
  chmod -R u+w source
  cd source
  rm -rf vendor
  mv vendor.mod go.mod
  mv vendor.sum go.sum
  CGO_ENABLED=0 go build -mod=mod -trimpath -ldflags "-s -w -X $m/cli/version.Version=$1" -o ../bin/ ./cmd/docker
  cd ..
  rm -rf source
}

build_crane() {
  CGO_ENABLED=0 GOBIN=$PWD/bin go install -trimpath -ldflags '-s -w' "github.com/google/go-containerregistry/cmd/crane@v$1"
}

build_registry() {
  local m=github.com/distribution/distribution/v3
  CGO_ENABLED=0 GOBIN=$PWD/bin go install -trimpath -ldflags "-s -w -X $m/version.version=v$1" "$m/cmd/registry@v$1"
}

build_coredns() {
  local m=github.com/coredns/coredns
  modules $m "v$1" '' $m
}

build_jobset() {
  local m=sigs.k8s.io/jobset
  modules $m "v$1" '' $m
}

build_kueue() {
  local m=sigs.k8s.io/kueue
  modules $m "v$1" '' $m/cmd/kueue
}

# One program for the control plane, the node and kubectl (kubernetes.go). Its module requires the other modules of the
# same repository as v0.0.0: a main module replaces them with the published versions. -X: else the server says v0.0.0.
build_kubernetes() {
  local m=k8s.io/kubernetes stage=k8s.io/component-base/version source
  go mod init build
  source=$(go mod download -json "$m@v$1" | sed -n 's/^.*"Dir": "\(.*\)",$/\1/p')
  {
    printf 'godebug default=go1.26\nrequire %s v%s\nreplace (\n' $m "$1"
    sed -nE "s,^[[:space:]]*(k8s.io/[a-z-]+) v0\.0\.0$,\1 => \1 v0.${1#1.},p" "$source/go.mod" | sort -u
    echo ')'
  } >>go.mod
  cp "$self_directory/kubernetes.go" main.go
  go mod tidy
  CGO_ENABLED=0 go build -trimpath -o bin/kube -ldflags \
    "-s -w -X $stage.gitVersion=v$1 -X $stage.gitMajor=1 -X $stage.gitMinor=$(cut -d. -f2 <<<"$1")" .
  rm main.go
}

# Without the seccomp tag the current engine refuses to run a container.
build_runc() {
  CGO_ENABLED=1 GOBIN=$PWD/bin go install -trimpath -tags seccomp -ldflags '-s -w' "github.com/opencontainers/runc@v$1"
}

directory() { printf '%s/%s-%s\n' "$root" "$1" "${version[$1]}"; }

ensure() (
  local name=$1 final stage code started=$SECONDS
  final=$(directory "$name")
  exec 9>"$final.lock"
  flock 9
  if [ ! -d "$final" ]; then
    if ! command -v go >/dev/null; then
      echo "engines.sh: $name ${version[$name]} is not built and Go is missing: install Go and run this again" >&2
      exit 3
    fi
    echo "engines.sh: building $name ${version[$name]}" >&2
    stage=$(mktemp -d "$root/.$name.XXXXXX")
    trap 'rm -rf "$stage"' EXIT
    cd "$stage"
    mkdir bin
    set +e  # "||" around the build would turn off set -e inside it
    (set -e; "build_$name" "${version[$name]}") >build.log 2>&1
    code=$?
    set -e
    if [ $code != 0 ]; then
      tail -n 30 build.log >&2
      echo "engines.sh: $name ${version[$name]} could not be built" >&2
      exit 1
    fi
    rm -f go.mod go.sum tools.go
    chmod 755 "$stage"
    mv -T "$stage" "$final"
    echo "engines.sh: built $name ${version[$name]} in $((SECONDS - started)) s" >&2
  fi
  echo "$final"
)

main() {
  local name code=0
  if [ "${1-}" = --list ]; then
    for name in "${order[@]}"; do echo "$name ${version[$name]} $(directory "$name")"; done
    return
  fi
  [ $# -gt 0 ] || set -- "${order[@]}"
  for name in "$@"; do
    [ -n "${version[$name]-}" ] || { echo "engines.sh: unknown engine $name; one of: ${order[*]}" >&2; return 2; }
  done
  mkdir -p "$root"
  if [ $# = 1 ]; then
    ensure "$1"
    return
  fi
  # One process for each: "||" around the function would turn off set -e inside it.
  for name in "$@"; do "$BASH" "$self" "$name" || code=$?; done
  return $code
}

main "$@"
