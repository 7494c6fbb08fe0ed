#!/usr/bin/env bash
# Give a bare Debian 12 machine what the container tests need: a running Docker engine, gVisor's runsc as a second
# runtime of it, and a base image, made by mmdebstrap because a machine that tests may reach no image registry.
# Run as root, as often as you like: each step is left out where its result is there already.
set -euo pipefail

BASE=debian:bookworm-slim
DAEMON=/etc/docker/daemon.json
LOG=${DOCKERD_LOG:-/var/log/dockerd.log}

[ "$(id -u)" = 0 ] || { echo "engine.sh: run as root: it installs packages and starts dockerd" >&2; exit 2; }

missing=()
command -v dockerd >/dev/null || missing+=(docker.io iptables ca-certificates)
command -v docker >/dev/null || missing+=(docker.io)  # from Debian 13 on: docker-cli
command -v runsc >/dev/null || missing+=(runsc)
command -v docker-compose >/dev/null || docker compose version >/dev/null 2>&1 || missing+=(docker-compose)
docker image inspect "$BASE" >/dev/null 2>&1 || command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
if [ ${#missing[@]} -gt 0 ]; then
    apt-get update -qq
    # Recommends bring in git, apparmor and a hundred megabytes that nothing here uses.
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

if [ ! -e "$DAEMON" ]; then
    mkdir -p "$(dirname "$DAEMON")"
    # ptrace: needs no /dev/kvm. No network and host-uds: the service is reached by a socket in a mounted folder.
    # ignore-cgroups: this release knows cgroup v1 by systemd only; docker sets the limits on runsc's own processes.
    cat >"$DAEMON" <<'JSON'
{
  "runtimes": {
    "runsc": {
      "path": "/usr/bin/runsc",
      "runtimeArgs": ["--network=none", "--platform=ptrace", "--ignore-cgroups", "--host-uds=create"]
    }
  }
}
JSON
    # A running engine takes up new runtimes without a restart.
    if [ -e /var/run/docker.pid ]; then kill -HUP "$(cat /var/run/docker.pid)" 2>/dev/null || true; sleep 1; fi
fi

if ! docker info >/dev/null 2>&1; then
    if ! mountpoint -q /sys/fs/cgroup; then
        mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
        for controller in $(awk 'NR > 1 && $4 == 1 { print $1 }' /proc/cgroups); do
            mkdir -p "/sys/fs/cgroup/$controller"
            mount -t cgroup -o "$controller" cgroup "/sys/fs/cgroup/$controller" || rmdir "/sys/fs/cgroup/$controller"
        done
    fi
    nohup dockerd >"$LOG" 2>&1 &
    for _ in $(seq 150); do docker info >/dev/null 2>&1 && break; sleep 0.2; done
    docker info >/dev/null 2>&1 || { echo "engine.sh: dockerd does not answer; its log ends:" >&2; tail -5 "$LOG" >&2; exit 1; }
fi

if ! docker image inspect "$BASE" >/dev/null 2>&1; then
    # What Debian's own slim image leaves out: documentation, manual pages, translations.
    # usr-is-merged in place of usrmerge, which would bring in the whole of perl.
    mmdebstrap --quiet --variant=minbase \
        --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr --include=usr-is-merged \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/lintian/*' \
        bookworm - | docker import --change 'CMD ["bash"]' - "$BASE" >/dev/null
fi
docker info --format 'engine {{.ServerVersion}}, cgroup v{{.CgroupVersion}}, runtimes {{range $name, $_ := .Runtimes}}{{$name}} {{end}}'
