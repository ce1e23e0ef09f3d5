#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# day-test.sh - a day of operation, without a boot and without systemd.
#
# Usage: day-test.sh BUILD_DIR
# The steps of tests/guest/day-steps.sh, in a root of its own: this machine's files below an
# overlay, with the build installed, and processes of its own. unit.py stands in for systemctl: it
# starts cachemax-mount@.service as its file says. The directory, and the volume of the pool, are
# tmpfs. A restart of the machine is an end of the unit and of the mount of fstab, and their start.
# Taking the pool's device away needs a guest. Prints "ok NAME", "FAIL NAME: why" or
# "skip NAME: reason" for every check, the numbers as the last line. Exit status 1 when something
# failed.

set -u
build=$(realpath "${1:?usage: day-test.sh BUILD_DIR}") || exit 1
here=$(cd "$(dirname "$0")" && pwd)
if [ -z "${CM_ALONE:-}" ] && [ "$(id -u)" = 0 ] && unshare -mpf true 2>/dev/null; then
  CM_ALONE=yes exec unshare -mpf --kill-child bash "$0" "$build"
fi
# shellcheck source=lib.sh
. "$here/lib.sh"
need_root day && need day meson python3 findmnt chroot || { summary; exit 77; }

root=$work/root
# What is deleted there is not deleted here: only the upper layer is written.
new_root() {
  mkdir "$work/layer" "$root" && mount -t tmpfs none "$work/layer" &&
    mkdir "$work/layer/upper" "$work/layer/work" &&
    mount -t overlay -o "lowerdir=/,upperdir=$work/layer/upper,workdir=$work/layer/work" none \
      "$root" &&
    mount -t proc proc "$root/proc" && mount --rbind /dev "$root/dev" &&
    mount --make-rslave "$root/dev" && mount -t tmpfs none "$root/run" &&
    mount -t tmpfs none "$root/srv" && mkdir -p "$root/mnt/pool" "$root/var/lib/pools" &&
    mount -t tmpfs none "$root/mnt/pool" && mount -t tmpfs none "$root/var/lib/pools" &&
    mkdir "$root/tmp/day" && mount -t tmpfs none "$root/tmp"
}
if ! new_root 2> "$work/err"; then
  skip day "no root of its own: $(tail -n 1 "$work/err")"
  summary
  exit 77
fi
install() {
  local unit helper
  DESTDIR=$root meson install -C "$build" --no-rebuild > "$work/install" 2>&1 || return 1
  unit=$(find "$root/usr/local" "$root/usr/lib/systemd" -name cachemax-mount@.service | head -n 1)
  helper=$(find "$root/usr/local" "$root/usr/sbin" -name mount.fuse.cachemax | head -n 1)
  [ -n "$unit" ] && [ -n "$helper" ] || return 1
  echo "${unit#"$root"}" > "$root/run/unit-file"
  ln -sf "${helper#"$root"}" "$root/usr/sbin/mount.fuse.cachemax"
  for name in systemctl journalctl; do
    cp "$here/unit.py" "$root/usr/local/sbin/$name"
    chmod 755 "$root/usr/local/sbin/$name"
  done
  mkdir -p "$root/etc/cachemax/mounts/srv" "$root/srv/data" "$root/srv/www"
  echo 'OPTIONS=--pool /mnt/pool/data -o probation=0' > "$root/etc/cachemax/mounts/srv/data.conf"
  echo '/var/lib/pools/www /srv/www fuse.cachemax nofail 0 0' > "$root/etc/fstab"
  for f in 1 2 3 4; do head -c 1048576 /dev/urandom > "$root/srv/data/f$f"; done
  echo "a line" > "$root/srv/data/day.log"
  cp "$root/srv/data/f1" "$root/srv/www/index"
  (cd "$root/srv" && md5sum data/f? data/day.log www/index > sums)
  "$cm" create "$root/mnt/pool/data" --size 64M --quiet &&
    "$cm" create "$root/var/lib/pools/www" --size 16M --quiet
}
inside() {
  chroot "$root" /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LD_LIBRARY_PATH="$libraries" "$@"
}
stage() { # NAME
  cp "$here/../guest/day-steps.sh" "$root/run/"
  timeout -k 10 600 chroot "$root" /usr/bin/env -i LD_LIBRARY_PATH="$libraries" \
    bash /run/day-steps.sh "$1" > "$work/said" 2>&1
  grep -E '^(ok|FAIL|skip) ' "$work/said"
  passed=$((passed + $(grep -c '^ok ' "$work/said")))
  failed=$((failed + $(grep -c '^FAIL ' "$work/said")))
  skipped=$((skipped + $(grep -c '^skip ' "$work/said")))
  grep -q "^end of $1" "$work/said" || fail "$1" "no end: $(tail -n 3 "$work/said" | tr '\n' ' ')"
}
boot() { inside systemctl start cachemax-mount@srv-data.service; inside mount -a -t fuse.cachemax; }
shut_down() { inside umount /srv/www; inside systemctl stop cachemax-mount@srv-data.service; }

if ! install; then
  fail "the build is installed" "$(tail -n 1 "$work/install")"
  summary
  exit 1
fi
libraries=$(dirname "$(find "$root/usr/local" -name 'libcachemax.so*' | head -n 1)")
boot
stage morning
shut_down
boot
stage evening
stage night
summary
