#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# run.sh BUILD_DIR [--operations N] [--only glusterfs|moosefs] [--bare] [--measure] [--seed S]
# [--keep] - two nodes with a cache each over one volume of a distributed file system, which runs
# here for the test.
#
# fleet.py says what is tested. Without --operations each file system gets 1500; tests/run.sh has a
# short run with MooseFS. A long run has 100000, and takes 10 to 30 minutes. --bare is the same
# without the caches: what the file system itself does. --measure: requests and time of an open, and
# where the blocks of a workload that mostly reads come from (docs/scale.md). Prints "ok NAME",
# "FAIL NAME: why" or "skip NAME: reason" for every check, and the numbers as the last line. Needs
# root, python3, and Debian's packages iproute2, glusterfs-server, glusterfs-client, moosefs-master,
# moosefs-chunkserver, moosefs-client, moosefs-cli. Works below $TMPDIR, and needs 1 GiB there and
# 200 MiB in /dev/shm.
#
# All runs in namespaces of its own (mounts, network, processes), which end with it: no server of
# this machine is touched, and none stays behind.
set -u
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
case ${1:-} in
'' | -*)
  echo "usage: run.sh BUILD_DIR [--operations N] [--only glusterfs|moosefs] [--bare] [--measure]" \
    "[--seed S] [--keep]" >&2
  exit 2
  ;;
esac
nothing() {
  echo "skip fleet: $1"
  echo "0 passed, 0 failed, 1 skipped"
  exit 77
}
[ "$(id -u)" = 0 ] || nothing "needs root"
[ -c /dev/fuse ] || nothing "no FUSE here"
command -v python3 >/dev/null || nothing "no python3"
command -v ip >/dev/null || nothing "no ip (Debian's package iproute2)"
unshare -m -n -p -f true 2>/dev/null || nothing "no namespaces here"
# The shell is the first process of the namespace, and waits for what servers leave behind.
exec unshare -m -n -p -f --kill-child --mount-proc sh -c 'python3 "$@"; exit $?' sh \
  "$here/fleet.py" "$@"
