#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# features-test.sh - calls that few programs make, on the mount and on the file systems behind it.
#
# Usage: features-test.sh BUILD_DIR
# Everything that docs/mount-features.md says is checked here or in the script that it names. Runs
# on the file system of $TMPDIR and, as root, on images of ext4, xfs and btrfs below the directory.

set -u
build=${1:?usage: features-test.sh BUILD_DIR}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

need features python3 || { summary; exit 77; }
kinds='' # images that are mounted: below the directory, and beside it at $work/bare-KIND
images_away() {
  for k in $kinds; do
    umount -l "$org/$k" "$work/bare-$k"
  done
  kinds=''
}
trap 'fusermount3 -u -z "$org" 2>/dev/null; sleep 0.2; images_away 2>/dev/null; cleanup' EXIT

# image KIND MIB MKFS...: 1, with a line, when it cannot be had
image() {
  local kind=$1 size=$2
  shift 2
  truncate -s "${size}M" "$work/$kind.img"
  mkdir "$work/bare-$kind" "$org/$kind"
  if ! has "$1" || ! "$@" "$work/$kind.img" >/dev/null 2>&1; then
    skip "$kind" "no $1"
  elif ! mount -o loop "$work/$kind.img" "$work/bare-$kind" 2>/dev/null; then
    skip "$kind" "this kernel cannot mount it"
  else
    mount --bind "$work/bare-$kind" "$org/$kind"
    kinds="$kinds $kind"
    return 0
  fi
  rmdir "$org/$kind"
  return 1
}

# ---- Files that others change -------------------------------------------------------------------

# Asked for flags, the kernel opens the file, and keeps its pages all the same. The times that it
# compares stay.
t_flags_and_pages() {
  echo old > pages
  same "$(cat pages pages)" "old
old"
  python3 - "$below/pages" <<'PY'
import fcntl, os, struct, sys
fd = os.open("pages", os.O_RDONLY)
st = os.stat(sys.argv[1])
with open(sys.argv[1], "r+") as f:
    f.write("new")
os.utime(sys.argv[1], ns=(st.st_atime_ns, st.st_mtime_ns))
try:
    fcntl.ioctl(fd, 0x80086601, bytes(8)) # FS_IOC_GETFLAGS
except OSError:
    pass
PY
  same "$(cat pages)" new
}
with_others() {
  wanted "others: flags" || return
  [ $has_below = 1 ] || { skip "others: flags" "needs root"; return; }
  do_mount -o shared || { fail "others: flags" mount; return; }
  check "others: flags of a file with old pages" t_flags_and_pages
  do_unmount
}

new_pool 64MiB || { fail "create a pool" "cachemax create"; summary; exit 1; }
with_others
summary
