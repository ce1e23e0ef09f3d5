#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# dax-guest.sh work SIZE | judge N - runs in the guest of dax-test.py, with busybox only, in the
# directory of a DAX file system that has ./disk. nbdkit talks to the virtio port, which is a socket
# of the test.
#
#   work    makes a pool of this size, and serves the disk with the filter until the power goes
#   judge   of each of the NVDIMMs 1 to N, which power cuts left: serves the disk
#           without the filter, then with it; says which reads reached the plugin
add=/run/add
fail() { echo "FAIL $*"; exit 1; }
serve() { # WORD...: one client
  $add/nbdkit -s "$@" <>/dev/vport0p1 >&0 2>>/run/log || fail "nbdkit: $(tail -n 3 /run/log)"
}
cached() {
  serve --filter=$add/nbdkit-cachemax-filter.so --filter=$add/nbdkit-log-filter.so \
    $add/nbdkit-file-plugin.so disk cachemax-pool=pool cachemax-id=vm logfile=/run/calls
}
i=0
until [ -c /dev/vport0p1 ]; do
  [ $((i += 1)) -le 6000 ] || fail "no port" # a minute: the host may be busy
  usleep 10000
done

if [ "$1" = work ]; then
  $add/cachemax create pool --size "$2" --quiet || fail create
  sync
  $add/cachemax info pool | grep -i dax || fail "the pool is not on DAX"
  echo ready
  cached
  fail "nbdkit ended"
fi
n=0
while [ $n -lt "$2" ]; do
  n=$((n + 1))
  mount -t ext4 -o dax /dev/nvdimm$n /mnt/disk || fail "mount nvdimm$n"
  cd /mnt/disk || fail cd
  echo "bare $n"
  serve $add/nbdkit-file-plugin.so disk
  echo "cached $n"
  cached
  $add/cachemax check pool >/run/check 2>&1 || fail "check: $(tail -n 5 /run/check)"
  sed -n 's/.* Read .* offset=\(0x[0-9a-f]*\) count=\(0x[0-9a-f]*\).*/read \1 \2/p' /run/calls
  cd / || fail cd
  umount /mnt/disk || fail umount
  echo "judged $n"
done
