#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# fresh-root.sh [--as root|user|packages] [SUITE] [FILTER...] - shows that the two README commands
# work with nothing preinstalled: makes a minimal Debian root with debootstrap, copies the committed
# tree into it, and runs both commands there; as root, and in a second such root as an ordinary user
# who may use sudo. In a third, root builds the Debian packages and installs them, if there is no
# FILTER.
#
# SUITE: the Debian release, default bookworm. FILTER: as for tests/run.sh. Without it root runs all
# tests, and the user those that may turn out otherwise for a user (listed below as $for_user),
# which keeps the second part to some minutes; --as takes one part. Needs root. Uses this machine's
# apt sources. The roots are made below $TMPDIR or /var/tmp and removed again; KEEP=1 keeps them.
# BASE=FILE: a tar of such a minimal root, made there if there is none, to save debootstrap the next
# time. There is no /etc/mtab, no systemd and no udev in such a root; /proc, /sys and /dev are
# there, and the user may open /dev/fuse. The tests' duration is printed at the end of each run.
set -eu
for_user="unit tool mount kill quickstart tree"
who='' suite=bookworm
case ${1:-} in
--as)
  who=${2:?--as needs root, user or packages}
  shift 2
  ;;
-h | --help)
  sed -n '/^# fresh-root/,/^set/s/^# \{0,1\}//p' "$0"
  exit 0
  ;;
-*)
  echo "fresh-root.sh: unknown option $1;" \
    "usage: fresh-root.sh [--as root|user|packages] [SUITE] [FILTER...]" >&2
  exit 2
  ;;
esac
[ $# = 0 ] || {
  suite=$1
  shift
}
filter="$*"
[ -n "$who" ] || {
  who="root user"
  [ -n "$filter" ] || who="$who packages"
}
top=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
[ "$(id -u)" = 0 ] || {
  echo "fresh-root.sh: needs root (debootstrap, chroot)" >&2
  exit 77
}
# What is mounted here goes with this program, also if it is killed.
if [ "${FRESH_ROOT_MOUNTS:-}" != private ]; then
  # shellcheck disable=SC2086 # words
  exec env FRESH_ROOT_MOUNTS=private unshare --mount sh "$0" --as "$who" "$suite" $filter
fi
. "$top/examples/need.sh"
need debootstrap git
mirror=${MIRROR:-$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 2>/dev/null |
  grep -v security | head -n 1)}
work=$(mktemp -d "${TMPDIR:-/var/tmp}/cachemax-root.XXXXXX")
chmod 755 "$work" # other users must get in
root=
leave() { # unmounts all that is below $root, the topmost first
  [ -n "$root" ] || return 0
  for m in dev/fuse dev/shm dev sys proc .; do
    umount -l "$root/$m" 2>/dev/null || :
  done
  [ -n "${KEEP:-}" ] || rm -rf --one-file-system "$root"
  root=
}
cleanup() {
  trap - EXIT INT TERM
  need_end
  leave
  [ -n "${KEEP:-}" ] || rm -rf --one-file-system "$work"
}
trap cleanup EXIT
trap 'cleanup; exit 130' INT TERM

base=${BASE:-$work/base.tar}
[ -f "$base" ] || {
  echo "making a minimal $suite"
  mkdir "$work/base"
  debootstrap --variant=minbase "$suite" "$work/base" ${mirror:+"$mirror"} >"$work/log" 2>&1 || {
    tail -n 5 "$work/log" >&2
    exit 1
  }
  tar -C "$work/base" -cf "$base" .
  rm -rf "$work/base"
}

# enter: a root of its own, as the first boot of a machine would find it.
enter() {
  root=$work/$1
  mkdir "$root"
  mount --bind "$root" "$root" # a root file system is a mount
  tar -C "$root" -xpf "$base"
  # How this machine reaches its packages (proxies, sources), nothing else of it.
  cp -a /etc/apt/apt.conf.d/. "$root/etc/apt/apt.conf.d/"
  # Those of another release would mix two of them.
  grep -qsw "$suite" /etc/apt/sources.list && cp /etc/apt/sources.list "$root/etc/apt/"
  cp /etc/resolv.conf "$root/etc/" 2>/dev/null || :
  mount -t proc proc "$root/proc"
  mount --rbind /sys "$root/sys" && mount --make-rslave "$root/sys"
  mount --rbind /dev "$root/dev" && mount --make-rslave "$root/dev"
  mkdir -p "$root/src"
  git -C "$top" archive HEAD | tar -x -C "$root/src"
}
inside() { # COMMAND...: there, as root, with a clean environment
  chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
    http_proxy="${http_proxy:-}" https_proxy="${https_proxy:-}" "$@"
}
# A user who may use sudo without a password, and FUSE, as on an ordinary machine.
make_user() {
  inside sh -c 'apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
    --no-install-recommends sudo' >"$work/log" 2>&1 || {
    tail -n 5 "$work/log" >&2
    return 1
  }
  inside useradd -m someone
  echo 'someone ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/someone"
  echo 'Defaults env_keep += "http_proxy https_proxy"' >>"$root/etc/sudoers.d/someone"
  inside chown -R someone: /src
  mknod -m 666 "$root/fuse" c 10 229
  mount --bind "$root/fuse" "$root/dev/fuse"
  # fusermount3 unmounts for ordinary users by this table.
  [ -e "$root/etc/mtab" ] || ln -s /proc/self/mounts "$root/etc/mtab"
}

status=0
for w in $who; do
  enter "$w"
  as='' only=$filter
  [ "$w" != packages ] || {
    echo "---- sh packaging/deb.sh, and apt install"
    inside sh -c 'cd /src && sh packaging/deb.sh /packages >/said &&
      DEBIAN_FRONTEND=noninteractive $(tail -n 1 /said) -y && cachemax --version' || {
      status=1
      echo "---- FAILED: the packages"
    }
    leave
    continue
  }
  if [ "$w" = user ]; then
    make_user
    as="setpriv --reuid=someone --regid=someone --init-groups env HOME=/home/someone"
    only=${filter:-$for_user}
  fi
  for c in "sh examples/quickstart.sh" "sh tests/run.sh $only"; do
    echo "---- as $w: $c"
    # shellcheck disable=SC2086 # words
    inside $as sh -c "cd /src && $c" || {
      status=1
      echo "---- FAILED as $w: $c"
    }
  done
  leave
done
[ $status = 0 ] && echo "all that was asked for works in a clean $suite"
exit $status
