#!/bin/busybox sh
# shellcheck shell=dash
# SPDX-License-Identifier: BSD-2-Clause
#
# boot-init.sh - process 1 of the guest of boot-test.py, on its root disk, with busybox only.
#
# Compares all files that the disk was made with, and those that the last boot wrote, with their
# sums. Then it writes files, with fsync and without, says "working", and goes on until a line comes
# from the serial port. It reads everything, past its own pages, says "done", and powers off.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev 2>/dev/null
mount -t tmpfs tmp /run
stty -F /dev/ttyS1 raw -echo
exec >/dev/ttyS1 2>&1 </dev/null
echo up

end() {
  sync
  mount -o remount,ro /
  poweroff -f
}
fail() {
  echo "FAIL $*"
  end
}
drop() { sync && echo 3 >/proc/sys/vm/drop_caches; }
same() { md5sum -c "$1" >/run/sums || fail "$(grep -v ': OK$' /run/sums | head -n 3)"; }
step() { # N
  dd if=/dev/urandom of=/data/in-place bs=4k count=3 seek=$(($1 * 37 % 256)) conv=notrunc,fsync \
    2>/dev/null || fail "write"
  head -c $(($1 % 5 * 3000 + 1)) /dev/urandom >"/data/small$(($1 % 20))" || fail "write a file"
  [ $(($1 % 7)) != 0 ] || rm "/data/small$(($1 % 20))"
}

cd /
same /made.sums
[ ! -e /written.sums ] || same /written.sums
mkdir -p /data
(
  head -n 1 </dev/ttyS1 >/run/line
  mv /run/line /run/stop
) &
n=0
until [ -e /run/stop ]; do
  step $n
  n=$((n + 1))
  [ $n != 10 ] || echo working
done
find /data -type f -exec md5sum {} + >/written.sums
drop
same /made.sums
same /written.sums
echo "done: $n steps"
end
