#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# day-steps.sh STAGE - a day of operation, for day.sh and tests/mount/day-test.sh. A stage runs
# after each boot:
#
#   morning   what was mounted at boot; warm; watch; leave files out; resize; upgrade; a kill
#   evening   after a restart of the machine: still warm; the pool's device is taken away; removal
#   night     after another one: nothing is left
#
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check.
# /srv/data is mounted by cachemax-mount@srv-data.service, /srv/www by a line of /etc/fstab.
set -u
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
stage=$1 unit=cachemax-mount@srv-data.service pool=/mnt/pool/data
conf=/etc/cachemax/mounts/srv/data.conf

# check NAME FUNCTION [ARGUMENT...]: in a subshell
check() {
  local name=$1
  shift
  (set -eE; trap 'echo "line $LINENO: ${BASH_COMMAND%%$'"'\n'"'*}" >&2' ERR; "$@") \
    > /run/day.out 2> /run/day.err
  local rc=$?
  if [ $rc = 0 ]; then
    echo "ok $stage: $name"
  else
    echo "FAIL $stage: $name: status $rc; $(tail -n 4 /run/day.err | tr '\n' ' ')"
  fi
}
same() { [ "$1" = "$2" ] || { echo "'$1' is not '$2'" >&2; return 1; }; }
fails() { ! "$@" > /dev/null 2>&1 || { echo "succeeded: $*" >&2; return 1; }; }
stat_of() { cachemax stats --json "$pool" | tr ',{}' '\n\n\n' |
  sed -n "s/^ *\"$1\": *\([0-9]*\).*/\1/p" | head -n 1; }
type_of() { findmnt -n -o FSTYPE -M "$1" | tail -n 1; }
right() { (cd /srv && md5sum --quiet -c sums) >&2; }
# Until the unit is in this state, or an hour's emulation is over.
until_state() {
  local n
  for n in $(seq 600); do
    [ "$(systemctl is-active $unit)" != "$1" ] || return 0
    sleep 0.5
  done
  systemctl status --no-pager $unit >&2
  return 1
}
cached() { cachemax cached --json "$1" | sed -n 's/.*"all_cached_bytes": *\([0-9]*\).*/\1/p'; }
blocks=1024 # of /srv/data/f1 to f4
read_all_plainly() {
  local f
  for f in /srv/data/f[1-4]; do dd if=$f of=/dev/null bs=128k iflag=direct status=none; done
}
# Reads past the kernel's pages; how many of the blocks came from the pool is in $hit.
read_all() {
  local before after
  before=$(stat_of origin_bytes)
  read_all_plainly
  after=$(stat_of origin_bytes)
  [ -n "$before" ] && [ -n "$after" ] || { echo "no counters" >&2; return 1; }
  hit=$((blocks - (after - before) / 4096))
}
is_warm() {
  read_all
  [ $hit -ge $((blocks * 98 / 100)) ] || { echo "$hit of $blocks blocks hit" >&2; return 1; }
}

t_unit() {
  until_state active
  same "$(type_of /srv/data)" fuse.cachemax
  same "$(systemctl show -P StatusText $unit)" "/srv/data: cached in $pool"
}
t_fstab() {
  same "$(type_of /srv/www)" fuse.cachemax
  cmp /srv/www/index /srv/data/f1
}
t_warm() {
  cachemax warm /srv/data
  [ "$(cached /srv/data/day.log)" -gt 0 ]
  is_warm
}
t_list() {
  cachemax list > /run/list
  grep -q "/srv/data.*$pool\|$pool.*/srv/data" <(tr '\n' ' ' < /run/list)
  grep -q /srv/www /run/list
}
t_top() {
  cachemax top --once --ascii "$pool" > /run/top
  grep -qi 'hit' /run/top
}
# The page for Prometheus, without a client for HTTP.
t_metrics() {
  local port='' n
  cachemax dash "$pool" --listen 127.0.0.1:0 > /run/dash 2>&1 &
  for n in $(seq 600); do
    port=$(sed -n 's|^listening on http://.*:\([0-9]*\)/$|\1|p' /run/dash)
    [ -z "$port" ] || break
    sleep 0.2
  done
  exec 3<> "/dev/tcp/127.0.0.1/$port"
  printf 'GET /metrics HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n' >&3
  cat <&3 > /run/metrics
  kill $!
  grep -q '^cachemax_hit_blocks.* [1-9]' /run/metrics
}
t_exclude() {
  sed -i "s/^OPTIONS=.*/& --exclude *.log/" "$conf"
  systemctl restart $unit
  until_state active
  cat /srv/data/day.log > /dev/null
  same "$(cached /srv/data/day.log)" 0
  is_warm
  right
}
# While it is in use: the unit's process does it, and goes on.
t_resize() {
  local process
  process=$(systemctl show -P MainPID $unit)
  cachemax resize "$pool" 96M >&2
  same "$(stat -c %s "$pool")" 100663296
  same "$(systemctl show -P MainPID $unit)" "$process"
  is_warm
  right
  systemctl restart $unit
  until_state active
  is_warm
  right
}
# The new program is put in the place of the old one, which runs on until the restart.
t_upgrade() {
  local program old
  program=$(command -v cachemax-mount) old=$(systemctl show -P MainPID $unit)
  cp "$program" "$program.new"
  mv "$program.new" "$program"
  right
  readlink "/proc/$old/exe" | grep -q deleted
  systemctl restart $unit
  until_state active
  same "$(readlink "/proc/$(systemctl show -P MainPID $unit)/exe")" "$program"
  is_warm
  right
}
t_kill() {
  local old n
  old=$(systemctl show -P MainPID $unit)
  kill -9 "$old"
  for n in $(seq 600); do
    [ "$(systemctl show -P MainPID $unit)" = "$old" ] || break
    sleep 0.5
  done
  until_state active
  is_warm
  right
}
t_after_restart() {
  t_unit
  is_warm
  right
}
# As if it were pulled out.
t_device() {
  echo "$(basename "$(readlink -f /sys/block/vdc/device)")" \
    > /sys/bus/virtio/drivers/virtio_blk/unbind
  [ ! -e /sys/block/vdc ]
  right
  head -c 300000 /dev/urandom > /run/new
  cp /run/new /srv/data/new
  sync -d /srv/data/new
  cmp /run/new /srv/data/new
  read_all_plainly # the counters are on the device
  same "$(systemctl is-active $unit)" active
}
t_stop() {
  systemctl stop $unit
  same "$(type_of /srv/data)" ''
  if [ -e /run/new ]; then
    cmp /run/new /srv/data/new
    rm /srv/data/new
  fi
  right
  journalctl -u $unit -b --no-pager -o cat >&2
}
t_remove() {
  systemctl disable $unit
  rm "$conf"
  umount /srv/www
  sed -i /cachemax/d /etc/fstab
  systemctl daemon-reload
  for _ in $(seq 200); do
    cachemax info /var/lib/pools/www | grep -Eq '^state: +clean' && break
    sleep 0.2
  done
  rm /var/lib/pools/www
  same "$(ls -A /var/lib/pools)" ''
  right
}
t_nothing_left() {
  [ ! -e /var/lib/pools/www ]
  # The socket is removed at the end of the mount, if its volume is still there.
  [ ! -e "$pool.control" ] || [ -e /sys/block/vdc ]
  rm -f "$pool" "$pool.control"
  same "$(find /mnt/pool -mindepth 1 ! -name lost+found)" ''
  fails grep -q -- '- fuse.cachemax ' /proc/self/mountinfo
  fails pgrep cachemax-mount
  same "$(systemctl list-units --no-legend 'cachemax*' | grep -v '\.slice')" ''
  same "$(cachemax list | grep -c /srv)" 0
  right
  same "$(ls /srv/data)" "$(printf '%s\n' day.log f1 f2 f3 f4)"
}

case $stage in
morning)
  check "the unit was started at boot" t_unit
  check "the line of fstab was mounted at boot" t_fstab
  check "every byte is right" right
  check "warm" t_warm
  check "watch: list" t_list
  check "watch: top" t_top
  if cachemax dash --help > /dev/null 2>&1; then
    check "watch: metrics" t_metrics
  else
    echo "skip $stage: watch: metrics: this build has no dashboard (libmicrohttpd)"
  fi
  check "exclude, and restart" t_exclude
  check "resize" t_resize
  check "upgrade" t_upgrade
  check "kill -9: systemd starts it again" t_kill
  ;;
evening)
  check "started again at boot, and warm" t_after_restart
  if [ -e /sys/block/vdc/device ] && [ -e /sys/bus/virtio/drivers/virtio_blk/unbind ] &&
    findmnt -n -o SOURCE /mnt/pool | grep -qx /dev/vdc; then
    check "the device of the pool goes away" t_device
  else
    echo "skip $stage: the device of the pool goes away: there is none to take away"
  fi
  check "stop" t_stop
  check "removal" t_remove
  ;;
night)
  check "nothing is left" t_nothing_left
  ;;
esac
echo "end of $stage"
