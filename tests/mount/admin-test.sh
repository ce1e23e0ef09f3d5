#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# admin-test.sh - cachemax-mount as administrators use it: mount(8), fstab, the unit for systemd,
# what is installed.
#
# Usage: admin-test.sh BUILD_DIR
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check, the numbers as the
# last line. Exit status 1 when something failed. Root runs it in a mount namespace of its own,
# because mount(8) finds its helpers in /sbin only.

set -u
build=$(realpath "${1:?usage: admin-test.sh BUILD_DIR}") || exit 1
here=$(cd "$(dirname "$0")" && pwd)
if [ "$(id -u)" = 0 ] && [ -z "${CM_ALONE:-}" ] && unshare -m true 2>/dev/null; then
  CM_ALONE=yes exec unshare -m bash "$0" "$@"
fi
# shellcheck source=lib.sh
. "$here/lib.sh"

# ---- mount(8) -----------------------------------------------------------------------------------

# /sbin with the helper in it: links to all programs that are there, at a place that nothing can be
# deleted from.
new_sbin() {
  local sbin
  sbin=$(realpath /sbin)
  mkdir "$work/sbin" "$work/sbin.real" &&
    mount --bind "$sbin" "$work/sbin.real" &&
    mount -o remount,bind,ro "$work/sbin.real" &&
    ln -s "$work/sbin.real"/* "$work/sbin" && # some may lead nowhere
    ln -sf "$mount_bin" "$work/sbin/mount.fuse.cachemax" &&
    ln -sf "$mount_bin" "$work/sbin/mount.cachemax" &&
    mount --bind "$work/sbin" "$sbin" && mount --bind "$work/fstab" /etc/fstab
}
old_sbin() {
  umount -l /etc/fstab
  umount -l "$(realpath /sbin)"
  umount -l "$work/sbin.real"
}
# The process that serves the mount.
server() { "$cm" info "$pool" | sed -n 's/^state: .*process \([0-9]*\).*/\1/p'; }
# Ends when the pool is closed.
gone() {
  until is_clean; do sleep 0.05; done
}
flags_of() { sed -n "s|^[^ ]* [^ ]* [^ ]* [^ ]* $org \([^ ]*\) .*- fuse.cachemax .*|\1|p" \
  /proc/self/mountinfo; }
source_of() { sed -n "s|.* $org .*- fuse.cachemax \([^ ]*\) .*|\1|p" /proc/self/mountinfo; }
line() { echo "$1 $org $2 pool=$pool,$3 0 0" > "$work/fstab"; }

t_mount() { # SOURCE TYPE
  cd /
  mount -t "$2" "$1" "$org" -o "pool=$pool,nosuid,noexec,noatime,mand,iversion"
  same "$(source_of)" "$1"
  same "$(flags_of)" rw,nosuid,noexec,noatime
  cmp "$org/file" "$ref/file"
  status 0 "$cm" list
  says " - +$org $1 - the source of its mount does not tell the pool: name the pool"
  status 8 "$cm" warm "$org/file"
  says ": the source of its mount does not tell the pool: name the pool"
  same "$("$cm" mode "$pool")" normal
  umount "$org"
  gone
}
# The source alone names the pool, also to the commands that steer the mount.
t_pool() { # SOURCE
  cd /
  echo "$1 $org fuse.cachemax nosuid 0 0" > "$work/fstab"
  mount "$org"
  same "$(source_of)" "$pool"
  same "$("$cm" mode "$org")" normal
  same "$(mount -a -v 2>&1 | grep -c "$org.*already mounted")" 1
  umount "$org"
  gone
}
t_fstab() {
  cd /
  line "$1" fuse.cachemax defaults,nofail,_netdev,x-systemd.automount,attr_timeout=5
  mount "$org"
  same "$(flags_of)" rw,relatime
  [ "$(stat_of hit_blocks)" = 0 ]
  cat "$org/file" "$org/file" > /dev/null
  umount "$org"
  gone
}
# Again is no second mount.
t_all() { # SOURCE
  cd /
  line "$1" cachemax ro,user
  mount -a
  same "$(flags_of)" ro,nosuid,nodev,noexec,relatime
  mount -a
  same "$(flags_of)" ro,nosuid,nodev,noexec,relatime
  fails touch "$org/file"
  umount "$org"
  gone
  line "$1" cachemax noauto
  mount -a
  same "$(flags_of)" ''
}
t_user() {
  cd /
  mkdir -m 700 "$shm/user"
  "$cm" create "$shm/user/pool" --size=16MiB -q
  mknod -m 666 "$work/fuse" c 10 229
  mount --bind "$work/fuse" /dev/fuse
  cp "$cm" "$work/sbin/cachemax"
  cp "$mount_bin" "$work/sbin/cachemax-mount" # the build may lie where others cannot look
  ln -sf "$work/sbin/cachemax-mount" "$work/sbin/mount.fuse.cachemax"
  chmod 755 "$shm" "$work/sbin"
  chown -R 65534:65534 "$org" "$shm/user"
  echo some > "$org/foreign" && chmod 4766 "$org/foreign" # root's, for all to write
  echo hidden > "$org/hidden" && chmod 600 "$org/hidden"  # root's, so the mount cannot read it
  echo "none $org fuse.cachemax noauto,user,pool=$shm/user/pool 0 0" > "$work/fstab"
  as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
  "${as[@]}" mount "$org" >&2
  flags_of | grep -qx rw,nosuid,nodev,noexec,relatime
  "${as[@]}" cmp "$org/file" - < "$ref/file"
  # Before the write the kernel has the set-id bit taken away, which this user may not do by itself.
  "${as[@]}" sh -c "echo more >> '$org/foreign'"
  same "$("${as[@]}" stat -c %a "$org/foreign")" 766
  same "$("${as[@]}" cat "$org/foreign")" "$(printf 'some\nmore')"
  "${as[@]}" umount "$org" >&2
  until "$cm" info "$shm/user/pool" | grep -Eq '^state: +clean'; do sleep 0.05; done
  "${as[@]}" "$work/sbin/cachemax-mount" "$org" --pool "$shm/user/pool" >&2
  for verb in warm pin; do
    status 1 "${as[@]}" "$work/sbin/cachemax" $verb "$org/hidden"
    says '/hidden: Permission denied$'
  done
  "${as[@]}" fusermount3 -u "$org" >&2
  until "$cm" info "$shm/user/pool" | grep -Eq '^state: +clean'; do sleep 0.05; done
  umount /dev/fuse
  ln -sf "$mount_bin" "$work/sbin/mount.fuse.cachemax"
}
t_comma() {
  cd /
  "$cm" create "$shm/a, b" --size=16MiB -q
  echo "none $org fuse.cachemax pool=$shm/a\\,\\040b,nosuid 0 0" > "$work/fstab"
  mount "$org"
  same "$(flags_of)" rw,nosuid,relatime
  "$cm" info "$shm/a, b" | grep -q '^state: .*process'
  umount "$org"
  until "$cm" info "$shm/a, b" | grep -Eq '^state: +clean'; do sleep 0.05; done
}
# Called by hand: mount(8) would say the flags itself.
t_users() { # OPTION FLAGS
  cd /
  "$work/sbin/mount.cachemax" none "$org" -o "pool=$pool,$1"
  same "$(flags_of)" "$2"
  umount "$org"
  gone
}
# mount(8) passes the status and the message on.
t_refused() { # STATUS TEXT ARGUMENT...
  local status=0
  cd /
  mount "${@:3}" > "$work/said" 2>&1 || status=$?
  same "$status" "$1"
  grep -q -- "$2" "$work/said"
}
t_remount() {
  cd /
  mount -t fuse.cachemax none "$org" -o "pool=$pool"
  t_refused 1 'unmount it and mount it again' -o remount,ro "$org"
  touch "$org/file"
  mount -o remount,bind,ro "$org"
  fails touch "$org/file"
  umount "$org"
  gone
}
# The origin's descriptor of a file that is open for writing.
t_sync() { # OPTION WANTED
  local flags
  cd /
  mount -t fuse.cachemax none "$org" -o "pool=$pool,$1" 2>/dev/null
  exec 5>> "$org/file" 6> "$org/new"
  for name in file new; do
    flags=$(find "/proc/$(server)/fd" -lname "*/org/$name" -printf '%f\n' | while read -r fd; do
      sed -n 's/^flags:\t0*//p' "/proc/$(server)/fdinfo/$fd"
    done)
    same "$(for f in $flags; do ((0$f & 03 && 0$f & 04000000)) && echo yes; done | head -n 1)" "$2"
  done
  exec 5>&- 6>&-
  umount "$org"
  gone
}
# Each change of names syncs its directory.
t_dirsync() { # OPTION LIBRARY WANTED
  cd /
  mkdir -p "$org/one" "$org/two"
  LD_PRELOAD=$2 SYNCED=$work/synced "$work/sbin/mount.cachemax" none "$org" -o "pool=$pool,$1"
  : > "$work/found"
  while read -r step; do
    rm -f "$work/synced"
    (cd "$org" && eval "$step")
    # The mount also syncs files by itself.
    sort "$work/synced" 2>/dev/null | sed -n "s|^$org/||p" | grep -x 'one\|two' | paste -sd ' ' \
      >> "$work/found"
  done <<'STEPS'
mkdir one/d
rmdir one/d
: > one/f
ln one/f one/g
ln -s x one/s
mknod one/p p
mv one/g two/g
mv one/f one/h
rm one/h
rm two/g one/s one/p
STEPS
  umount "$org"
  gone
  same "$(paste -sd, "$work/found")" "$3"
}
# Is the time of the last access another one after everything was read?
t_atime() { # OPTION OF
  cd /
  touch -a -d 2001-01-01 "$below/dir" "$below/file"
  mount -t fuse.cachemax none "$org" -o "pool=$pool,$1"
  cat "$org/file" > /dev/null
  ls "$org/dir" > /dev/null
  umount "$org"
  gone
  find "$below/dir" "$below/file" -maxdepth 0 -newerat 2002-01-01 -printf '%f ' > "$work/read"
  same "$(cat "$work/read")" "$2"
}

# mount(8) then calls mount.fuse3, and that the program with the type's name. No $PATH of ours comes
# that far.
t_no_helper() {
  cd /
  rm "$work/sbin/mount.fuse.cachemax"
  ln -sf "$cm" "$work/sbin/cachemax"
  t_refused 2 'no /sbin/mount.fuse.cachemax.*: ln -s ' -t fuse.cachemax "$pool" "$org"
}
# What a test leaves mounted is not deleted with its directory.
t_remove() {
  mkdir "$work/away" "$work/away/on" "$work/kept"
  touch "$work/kept/file"
  mount --bind "$work/kept" "$work/away/on"
  mount --bind "$work/kept" "$work/away/on"
  remove "$work/away"
  [ -e "$work/kept/file" ]
  [ ! -e "$work/away" ]
}
mount_8() {
  local shim synced
  case ${CM_CHECKS:-mount} in *mount*) ;; *) return ;; esac
  need_root "mount(8)" || return
  [ $has_below = 1 ] || { skip "mount(8)" "needs a bind mount"; return; }
  check "what is mounted is not deleted" t_remove
  touch "$work/fstab"
  if ! new_sbin 2>"$work/err"; then
    old_sbin 2>/dev/null
    skip "mount(8)" "$(tail -n 1 "$work/err")"
    return
  fi
  new_pool 16MiB
  mkdir "$org/dir"
  head -c 100000 /dev/urandom > "$ref/file"
  cp "$ref/file" "$org/file"
  check "mount -t fuse.cachemax DIR DIR" t_mount "$org" fuse.cachemax
  check "mount -t cachemax none DIR" t_mount none cachemax
  check "mount -t cachemax POOL DIR" t_pool "$pool"
  ln -s "$pool" "$work/link"
  check "mount -t cachemax POOL DIR, by a link" t_pool "$work/link"
  check "mount DIR, from fstab" t_fstab "$org"
  check "mount DIR, from fstab with none" t_fstab none
  check "mount -a, twice" t_all "$org"
  check "mount -a, twice with none" t_all none
  need "mount by an ordinary user" setpriv && check "mount by an ordinary user" t_user
  check "mount, a comma and a blank in a name" t_comma
  check "mount, user" t_users user rw,nosuid,nodev,noexec,relatime
  check "mount, owner,dev" t_users owner,dev rw,nosuid,relatime
  check "mount of another source" t_refused 1 'neither the pool nor the directory' \
    -t cachemax / "$org" -o "pool=$pool"
  check "mount without its pool" t_refused 32 'does not exist' -t cachemax none "$org" \
    -o "pool=$pool.no"
  check "mount of a socket that is not there yet" t_refused 32 'start that first' -t fuse.cachemax \
    "$work/socket" "$org"
  check "mount of an unknown option" t_refused 1 "unknown option -o 'nosymfolow'" -t cachemax none \
    "$org" -o "pool=$pool,nosymfolow"
  check "mount of an option that it cannot keep to" t_refused 1 \
    '-o nosymfollow: is refused, because' -t cachemax none "$org" -o "pool=$pool,nosymfollow"
  check "mount of an unknown option, sloppy" t_refused 32 'does not exist' -s -t cachemax none \
    "$org" -o "pool=$pool.no,nosymfolow"
  check "mount -o remount" t_remount
  check "mount -o sync" t_sync sync yes
  check "mount -o async" t_sync sync,async ''
  shim=$(find "$build" -name slow_origin.so | head -n 1)
  if grep -Eq '__(asan|tsan)_init' "$mount_bin" || [ -z "$shim" ]; then
    skip "mount -o dirsync" "nothing can be loaded into this build"
  else
    synced='one,one,one,one,one,one,one two,one,one,one one two'
    check "mount -o dirsync" t_dirsync dirsync "$shim" "$synced"
    check "mount -o sync, names" t_dirsync sync "$shim" "$synced"
    check "mount without dirsync" t_dirsync rw "$shim" ,,,,,,,,,
  fi
  if (t_atime relatime 'dir file ') 2>/dev/null; then
    check "mount -o noatime" t_atime noatime ''
    check "mount -o nodiratime" t_atime nodiratime 'file '
  else
    skip "mount -o noatime" "the origin keeps no times of accesses"
  fi
  if [ -x "$work/sbin/mount.fuse" ]; then
    check "mount without its helper" t_no_helper
  else
    skip "mount without its helper" "there is no /sbin/mount.fuse here"
  fi
  old_sbin
}

# ---- systemd ------------------------------------------------------------------------------------

# A service manager: begins a command with a socket and a watchdog's period. next() is what the
# mount tells next, or None if that takes longer.
manager='
import os, pathlib, signal, socket, subprocess, sys, threading, time
def begin(name, period_us, command, **env):
    global told, mount
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.bind(name)
    env = dict(os.environ, NOTIFY_SOCKET=name, **env)
    if period_us:
        env["WATCHDOG_USEC"] = str(period_us)
    mount = subprocess.Popen(command, env=env)
def next(seconds=60):
    told.settimeout(seconds)
    try:
        return told.recv(4096).decode()
    except TimeoutError:
        return None
def wants(text):
    got = next()
    assert got == text, (got, text)
'
# Runs the script on standard input; its arguments are the socket, the directory and these.
notified() { # ARGUMENT...
  echo "$manager" > "$shm/managed.py"
  cat >> "$shm/managed.py"
  rm -f "$shm/notify"
  timeout 300 python3 "$shm/managed.py" "$shm/notify" "$org" "$@" >&2
}
t_notify() {
  cd /
  notified "$pool" "$mount_bin" <<'PY'
name, org, pool, program = sys.argv[1:]
begin(name, 0, [program, org, '--pool', pool, '-f'])
wants('STATUS=%s: cached in %s' % (org, pool))
wants('READY=1')
assert os.path.ismount(org)
mount.send_signal(signal.SIGTERM)
wants('STOPPING=1')
wants('STATUS=%s: ending' % org)
assert mount.wait() == 0
assert not os.path.ismount(org)
PY
}
# The end comes from outside, and the manager has no watchdog for this process.
t_notify_umount() {
  cd /
  notified "$pool" "$mount_bin" <<'PY'
name, org, pool, program = sys.argv[1:]
begin(name, 10000, [program, org, '--pool', pool, '-f'], WATCHDOG_PID='1')
while next() != 'READY=1':
    pass
subprocess.run(['fusermount3', '-u', org], check=True)
wants('STOPPING=1')
wants('STATUS=%s: ending' % org)
assert mount.wait() == 0
PY
}
t_notify_background() {
  cd /
  notified "$pool" "$mount_bin" <<'PY'
name, org, pool, program = sys.argv[1:]
begin(name, 10000, [program, org, '--pool', pool])
assert mount.wait() == 0
subprocess.run(['fusermount3', '-u', org], check=True)
told.setblocking(False)
try:
    assert not told.recv(100)
except BlockingIOError:
    pass
PY
  gone
}
# While the only loop waits for an attribute, the watchdog is told nothing.
t_watchdog() { # LIBRARY
  cd /
  notified "$pool" "$mount_bin" "$1" "$shm/stat" <<'PY'
name, org, pool, program, preload, flag = sys.argv[1:]
begin(name, 400000, [program, org, '--pool', pool, '-f', '-o', 'loops=1,attr_timeout=0'],
      LD_PRELOAD=preload, SLOW_STAT=flag)
while next() != 'READY=1':
    pass
for _ in range(3):
    wants('WATCHDOG=1')
file = open(org + '/file', 'w')
pathlib.Path(flag).touch()
user = threading.Thread(target=os.fstat, args=(file.fileno(),)) # without a lookup by a worker
user.start()
while not os.path.exists(flag + '.waits'):
    time.sleep(0.01)
late = 0
while next(1):
    late += 1
    assert late < 8, 'it is told, although the loop does not answer'
os.unlink(flag)
user.join()
file.close()
wants('WATCHDOG=1')
wants('WATCHDOG=1')
mount.send_signal(signal.SIGTERM)
while next() != 'STOPPING=1':
    pass
assert mount.wait() == 0
PY
}
t_status_of_service() {
  cd /
  notified "$socket" "$mount_bin" "$service_bin" "$shm/service.conf" <<'PY'
name, org, at, program, service, conf = sys.argv[1:]
open(conf, 'w').write('pool = %s\nsocket = %s\n' % (os.path.dirname(at) + '/pool', at))
begin(name, 0, [program, org, '--service', at, '-f'])
wants('STATUS=%s: uncached, there is no service at %s' % (org, at))
wants('READY=1')
other = subprocess.Popen([service, conf], stderr=subprocess.DEVNULL,
                         env={k: v for k, v in os.environ.items() if k != 'NOTIFY_SOCKET'})
wants('STATUS=%s: cached by the service at %s' % (org, at))
other.terminate()
assert other.wait() == 0
wants('STATUS=%s: uncached, there is no service at %s' % (org, at))
mount.send_signal(signal.SIGTERM)
wants('STOPPING=1')
assert mount.wait() == 0
PY
}
t_unit() { # FILE
  cd /
  mkdir -p "$work/units"
  sed "s|^ExecStart=\"[^\"]*\"|ExecStart=$mount_bin|" "$1" > "$work/units/cachemax-mount@.service"
  [ -s "$work/units/cachemax-mount@.service" ]
  systemd-analyze verify --man=no "$work/units/cachemax-mount@srv-my\x2ddata.service" \
    > "$work/verify" 2>&1 || { cat "$work/verify" >&2; return 1; }
  same "$(grep -v 'Failed to \(connect\|open\)' "$work/verify")" ''
}

systemd() {
  local unit=$build/examples/mount/cachemax-mount@.service shim
  shim=$(find "$build" -name slow_origin.so | head -n 1)
  case ${CM_CHECKS:-notify} in *notify*) ;; *) return ;; esac
  need "notify" python3 || return
  new_pool 16MiB
  check "notify: ready, ending" t_notify
  check "notify: unmounted by others" t_notify_umount
  check "notify: not from the background" t_notify_background
  check "notify: the state of a service" t_status_of_service
  if grep -Eq '__(asan|tsan)_init' "$mount_bin" || [ -z "$shim" ]; then
    skip "notify: watchdog" "nothing can be loaded into this build"
  else
    check "notify: watchdog" t_watchdog "$shim"
  fi
  need "notify: unit" systemd-analyze && check "notify: unit" t_unit "$unit"
}

# ---- What is installed --------------------------------------------------------------------------

# ---- Where the pool lies ------------------------------------------------------------------------

t_renamed() {
  cd /
  mv "$shm/place" "$shm/renamed"
  status 1 "$cm" resize "$shm/renamed/pool" 32M
  says "^cachemax: $shm/renamed/pool: the pool was moved or renamed, and its mount knows it by the"
  says ': move the pool back; or unmount, resize the pool where it is now, and mount with that p'
  mv "$shm/renamed" "$shm/place"
}
# Only the file: its mount does not answer beside it.
t_renamed_file() {
  cd /
  mv "$shm/place/pool" "$shm/place/renamed"
  status 1 "$cm" resize "$shm/place/renamed" 32M
  says "^cachemax: $shm/place/renamed: the pool was moved or renamed, and its mount knows it by the"
  mv "$shm/place/renamed" "$shm/place/pool"
  status 0 "$cm" resize "$shm/place/pool" 32M
}
# The mount was given a link to the pool. Growing and making anew are two ways in the mount.
t_link_goes() {
  cd /
  rm "$shm/place/link"
  status 0 "$cm" resize "$shm/place/pool" 24M
  ln -s /nowhere "$shm/place/link"
  status 0 "$cm" resize "$shm/place/pool" 32M
  status 0 "$cm" resize "$shm/place/pool" 8M
  "$cm" create "$shm/place/other" --size 16M -q
  ln -sfn "$shm/place/other" "$shm/place/link"
  status 0 "$cm" resize "$shm/place/pool" 12M
  status 0 "$cm" resize "$shm/place/pool" 8M
  same "$(stat -c %s "$shm/place/pool" "$shm/place/other" | tr '\n' ' ')" '8388608 16777216 '
  same "$("$cm" mode "$org")" normal
}
link_goes() {
  wanted "the link to a pool goes" || return
  local backing=(--pool "$shm/place/link")
  mkdir "$shm/place"
  "$cm" create "$shm/place/pool" --size 16M -q
  ln -s pool "$shm/place/link"
  do_mount || { fail "a pool with a link" mount; return; }
  check "the link to a pool goes" t_link_goes
  do_unmount
  rm -r "$shm/place"
}
# The same, and a new pool is at its path, which nobody has.
t_renamed_and_new() {
  local command gone="$shm/place/pool - its pool file is not at its path any more: if it was moved,"
  local moved="$shm/place/renamed: the pool was moved or renamed, and its mount knows it by the old"
  cd /
  echo text >"$org/file"
  mv "$shm/place/pool" "$shm/place/renamed"
  "$cm" create "$shm/place/pool" --size 16M -q
  status 0 "$cm" list
  says " normal +$org $gone"
  for command in warm pin; do
    status 7 "$cm" $command -q "$org/file"
    says "$org: its pool file is not at its path any more"
  done
  status 1 "$cm" resize "$shm/place/renamed" 24M
  says "$moved .* unmount, resize the pool where it is now"
  status 4 "$cm" check "$shm/place/renamed"
  says "$moved .* unmount, check the pool where it is now"
  status 4 "$cm" files "$shm/place/renamed"
  says "$moved .* unmount, and mount the pool where it is now"
  status 8 "$cm" mode "$shm/place/renamed"
  says "$moved .* unmount, and mount the pool where it is now"
  status 0 "$cm" resize "$shm/place/pool" 20M
  mv "$shm/place/renamed" "$shm/place/pool"
  status 0 "$cm" list
  fails says "$gone"
  status 0 "$cm" warm -q "$org/file"
  status 0 "$cm" check "$shm/place/pool"
}
renamed() {
  wanted "resize of a pool whose directory was renamed" || return
  local backing=(--pool "$shm/place/pool")
  mkdir "$shm/place"
  "$cm" create "$shm/place/pool" --size 16M -q
  do_mount || { fail "a pool in a directory" mount; return; }
  check "resize of a pool whose directory was renamed" t_renamed
  check "resize of a pool whose directory was renamed: its file" t_renamed_file
  check "resize of a pool whose directory was renamed: a new one is there" t_renamed_and_new
  do_unmount
  rm -r "$shm/place"
}

# Another mount has the pool of a dead one, and does not answer: it is the first that is dead.
t_dead_silent() {
  status 0 timeout 60 "$cm" list
  says " dead +$org $pool - .*'fusermount3 -u' it; another mount uses its pool: mount it again with"
  says " - +$work/silent $pool - the mount does not answer in time"
  status 8 "$cm" mode "$org"
  says "^cachemax: $org: the mount is dead .*; another mount uses its pool: mount it again with"
  mv "$pool.control" "$shm/aside" # nor can it be told by its socket whether it is dead
  status 0 timeout 60 "$cm" list
  says " - +$work/silent $pool - its control socket is gone"
  mv "$shm/aside" "$pool.control"
}
silent() {
  wanted "a dead mount, whose pool one has that does not answer" || return
  local first
  new_pool 16M
  do_mount || { fail "a dead mount" mount; return; }
  first=$mount_pid
  kill -9 "$first"
  wait "$first"
  mkdir "$work/silent"
  "$mount_bin" "$work/silent" --pool "$pool" -f 2>>"$work/log" &
  mount_pid=$!
  eventually "$cm" mode "$work/silent"
  kill -STOP "$mount_pid"
  check_at / "a dead mount, whose pool one has that does not answer" t_dead_silent
  kill -CONT "$mount_pid"
  fusermount3 -u "$work/silent"
  wait_mount
  fusermount3 -u "$org"
}

# The pool is its user's, and its directory is root's.
t_not_writable() {
  local name as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
  cd /
  mkdir "$shm/place"
  "$cm" create "$shm/place/pool" --size 16M -q
  for name in cachemax cachemax-mount; do # the build may lie where others cannot look
    cp "$(bin $name)" "$shm/place/$name"
  done
  chown -R 65534:65534 "$org" "$shm/place/pool"
  chmod 755 "$shm"
  limit=("${as[@]}")
  status 1 "$shm/place/cachemax" resize "$shm/place/pool" 8M
  says "^cachemax: $shm/place/pool: $shm/place may not be written by this user, and the new pool is"
  mknod -m 666 "$work/fuse2" c 10 229
  mount --bind "$work/fuse2" /dev/fuse
  "${as[@]}" "$shm/place/cachemax-mount" "$org" --pool "$shm/place/pool"
  status 8 "$shm/place/cachemax" mode "$org"
  says "$org: its control socket could not be made: the directory of its pool may not be written by"
  "${as[@]}" fusermount3 -u "$org"
  until "$cm" info "$shm/place/pool" | grep -Eq '^state: +clean'; do sleep 0.05; done
  umount /dev/fuse
}
# Root asks for the mount of a user: what counts is what that user trusts.
t_of_user() {
  local name client as=(setpriv --reuid=65534 --regid=65534 --clear-groups) his=$shm/his
  cd /
  mkdir "$his"
  for name in cachemax cachemax-mount; do # the build may lie where others cannot look
    cp "$(bin $name)" "$his/$name"
  done
  chown 65534:65534 "$org" "$his"
  chmod 755 "$shm"
  mknod -m 666 "$work/fuse3" c 10 229
  mount --bind "$work/fuse3" /dev/fuse
  "${as[@]}" "$his/cachemax" create "$his/pool" --size 16M -q
  "${as[@]}" "$his/cachemax-mount" "$org" --pool "$his/pool"
  status 0 "$cm" resize "$his/pool" 24M
  status 0 "$cm" resize "$his/pool" 8M
  same "$(stat -c '%s %u' "$his/pool")" '8388608 65534'
  for name in '' --repair; do
    # shellcheck disable=SC2086 # none is no word
    status 0 "$cm" check "$his/pool" $name
    fails says refused
  done
  chmod 777 "$his"
  status 3 "$cm" check "$his/pool"
  says 'it will be refused: the directory .*/his may be written by others'
  status 0 "$cm" resize "$his/pool" 16M # its mount has it already
  chmod 755 "$his"
  t_of_user_ends
  umount -l "$org"
  "${as[@]}" "$his/cachemax" check "$his/pool" >/dev/null
  umount /dev/fuse
}
# The mount takes the request, and is killed: the command does it, for the user of the mount.
t_of_user_ends() {
  local client pid
  pid=$("$cm" info "$his/pool" | sed -n 's/.*process \([0-9]*\).*/\1/p')
  kill -STOP "$pid"
  "$cm" resize "$his/pool" 32M >"$work/resized" 2>&1 &
  client=$!
  eventually is_connected "$client"
  kill -9 "$pid"
  wait "$client" || { cat "$work/resized" >&2; return 1; }
  same "$(stat -c '%s %u' "$his/pool")" '33554432 65534'
}
is_connected() { find "/proc/$1/fd" -lname 'socket:*' | grep -q .; }
# Another user asks for a mount of root: what he may write has nothing to do with it.
t_gone_for_others() {
  cd /
  mkdir "$shm/of_root"
  "$cm" create "$shm/of_root/pool" --size 16M -q
  cp "$cm" "$shm/of_root/cachemax" # the build may lie where others cannot look
  chmod 755 "$shm" "$shm/of_root"
  chmod 644 "$shm/of_root/pool"
  "$mount_bin" "$org" --pool "$shm/of_root/pool"
  rm "$shm/of_root/pool.control"
  limit=(setpriv --reuid=65534 --regid=65534 --clear-groups)
  status 0 "$shm/of_root/cachemax" list
  says " $org $shm/of_root/pool - its control socket is gone: unmount it and mount it again; what"
  umount "$org"
}
t_name_taken() {
  echo precious > "$pool.control"
  "$mount_bin" "$org" --pool "$pool"
  status 8 "$cm" mode "$org"
  says "$org: the file POOL.control beside its pool is no socket: delete it, then unmount it and"
  cd /
  umount "$org"
  same "$(cat "$pool.control")" precious
  rm "$pool.control"
}

renamed
link_goes
silent
if [ $is_root = 1 ] && need "a directory that may not be written" setpriv; then
  check "a directory that may not be written" t_not_writable
  check "a control socket that is gone, of another user's mount" t_gone_for_others
  check "root asks for the mount of a user" t_of_user
fi
rm -f "$pool"
"$cm" create "$pool" --size 16M -q
check "the name of the control socket is taken" t_name_taken
t_installed() {
  cd /
  DESTDIR=$work/root meson install -C "$build" --no-rebuild > "$work/install" 2>&1 ||
    { tail -n 3 "$work/install" >&2; return 1; }
  for name in mount.fuse.cachemax mount.cachemax; do
    link=$(find "$work/root" -path "*/sbin/$name")
    [ -x "$work/root$(readlink "$link")" ]
    same "$(basename "$(readlink "$link")")" cachemax-mount
  done
  unit=$(find "$work/root" -name 'cachemax-mount@.service')
  program=$(sed -n 's/^ExecStart="\([^"]*\)" .*/\1/p' "$unit")
  [ -x "$work/root$program" ]
  finds_options "$unit"
}

# systemd takes the path as a pattern of glob(3), where a backslash means the next character: an
# escaped name in it is not found.
finds_options() { # UNIT
  python3 - "$(sed -n 's/^EnvironmentFile=//p' "$1")" "$work/options" <<'PY'
import ctypes, os, sys
pattern, root = sys.argv[1:]
class Glob(ctypes.Structure):
    _fields_ = [('count', ctypes.c_size_t), ('paths', ctypes.POINTER(ctypes.c_char_p)),
                ('rest', ctypes.c_char * 256)]
# The last two need a drop-in, as docs/mount.md says.
for path, instance, finds in (('/srv/data', 'srv-data', True),
                              ('/srv/my-data', r'srv-my\x2ddata', True),
                              ('/srv/two words', r'srv-two\x20words', True),
                              ('/srv/a[1]', r'srv-a\x5b1\x5d', False),
                              ('/srv/a\\b', r'srv-a\x5cb', False)):
    name = root + pattern.replace('%f', path).replace('%i', instance)
    os.makedirs(os.path.dirname(name), exist_ok=True)
    open(name, 'w').close()
    found = Glob()
    assert (ctypes.CDLL(None).glob(name.encode(), 0, None, ctypes.byref(found)) == 0) == finds, name
    assert not finds or found.count == 1 and found.paths[0] == name.encode(), name
PY
}

mount_8
systemd
wanted "installed" && need "installed" meson && check "installed" t_installed
summary
