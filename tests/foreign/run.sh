#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# run.sh BUILD [--long] - foreign writes in flight (foreign.c) on the file systems that this machine
# can make: the temporary directory's, tmpfs, and ext4, xfs and btrfs in loop images. --long: files
# of 4 KiB to 1 GiB, hundreds of rounds; it needs 6 GiB in the temporary directory.
# The last line is "N passed, N failed, N skipped".
set -u
foreign=$1/tests/foreign/foreign
sizes='4:12 16384:2' image=120M
[ "${2:-}" != --long ] || sizes='4:300 64:100 1024:100 65536:20 262144:20 1048576:3' image=2G
work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-foreign.XXXXXX")
passed=0 failed=0 skipped=0
cleanup() {
  umount "$work/mnt" 2>/dev/null
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

try() { # NAME DIR
  for s in $sizes; do
    "$foreign" "$2" --kib "${s%:*}" --rounds "${s#*:}" >"$work/out" 2>&1
    status=$?
    sed "s|$2|$1|" "$work/out"
    case $status in
    0) passed=$((passed + 1)) ;;
    77) skipped=$((skipped + 1)) && echo "skip $1: who writes cannot be found out there" ;;
    *) failed=$((failed + 1)) && echo "FAIL $1, ${s%:*} KiB" ;;
    esac
  done
}

mkdir "$work/dir" "$work/mnt"
try temporary "$work/dir"
if [ -d /dev/shm ] && mkdir "/dev/shm/cachemax-foreign.$$" 2>/dev/null; then
  try tmpfs "/dev/shm/cachemax-foreign.$$"
  rmdir "/dev/shm/cachemax-foreign.$$"
fi
for fs in ext4 xfs btrfs; do
  if ! command -v mkfs.$fs >/dev/null; then
    skipped=$((skipped + 1))
    echo "skip $fs: no mkfs.$fs here"
    continue
  fi
  # xfs wants 300 MB at least; a sparse image costs what is written.
  rm -f "$work/image" && truncate -s $image "$work/image"
  [ $fs != xfs ] || truncate -s ">400M" "$work/image"
  if mkfs.$fs -q "$work/image" >"$work/out" 2>&1 &&
    mount -o loop "$work/image" "$work/mnt" 2>"$work/out"; then
    try $fs "$work/mnt"
    umount "$work/mnt"
  else
    skipped=$((skipped + 1))
    echo "skip $fs: $(tail -n 1 "$work/out")"
  fi
done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
