#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# fresh-root.sh [SUITE] - shows that the two README commands work with nothing preinstalled: makes a
# minimal Debian root with debootstrap, copies the committed tree into it, runs both commands there.
#
# SUITE: the Debian release, default bookworm. Needs root. Uses this machine's apt sources. The root
# is made below $TMPDIR or /var/tmp and removed again; KEEP=1 keeps it.
set -eu
suite=${1:-bookworm}
top=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
[ "$(id -u)" = 0 ] || {
  echo "fresh-root.sh: needs root (debootstrap, chroot)" >&2
  exit 77
}
. "$top/examples/need.sh"
need debootstrap git
mirror=${MIRROR:-$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 2>/dev/null | grep -v security | head -n 1)}
root=$(mktemp -d "${TMPDIR:-/var/tmp}/cachemax-root.XXXXXX")
chmod 755 "$root" # other users must get in
mount --bind "$root" "$root" # a root file system is a mount
cleanup() {
  trap - EXIT INT TERM
  for m in dev/shm dev sys proc .; do
    umount -l "$root/$m" 2>/dev/null || :
  done
  [ -n "${KEEP:-}" ] || rm -rf --one-file-system "$root"
}
trap cleanup EXIT
trap 'cleanup; exit 130' INT TERM

echo "making a minimal $suite in $root"
debootstrap --variant=minbase "$suite" "$root" ${mirror:+"$mirror"} >"$root.log" 2>&1 || {
  tail -n 5 "$root.log" >&2
  exit 1
}
rm -f "$root.log"
# How this machine reaches its packages (proxies, sources), nothing else of it.
cp -a /etc/apt/apt.conf.d/. "$root/etc/apt/apt.conf.d/"
[ ! -f /etc/apt/sources.list ] || cp /etc/apt/sources.list "$root/etc/apt/"
cp /etc/resolv.conf "$root/etc/" 2>/dev/null || :
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys" && mount --make-rslave "$root/sys"
mount --rbind /dev "$root/dev" && mount --make-rslave "$root/dev"
mkdir -p "$root/src"
git -C "$top" archive HEAD | tar -x -C "$root/src"
status=0
for c in "sh examples/quickstart.sh" "sh tests/run.sh"; do
  echo "---- $c"
  chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
    http_proxy="${http_proxy:-}" https_proxy="${https_proxy:-}" sh -c "cd /src && $c" || {
    status=1
    echo "---- FAILED: $c"
  }
done
[ $status = 0 ] && echo "both commands work in a clean $suite"
exit $status
