#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# mount-test.sh - cachemax-mount through the kernel, with ordinary programs.
#
# Usage: mount-test.sh BUILD_DIR [--service]
# With --service the mount uses a service; what is wrong with pools is left out.
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check, the numbers as the
# last line. Exit status 1 when something failed. Works below $TMPDIR, needs 300 MiB there and
# 100 MiB in /dev/shm; checks of owners and of the origin beneath the mount need root.

set -u
build=${1:?usage: mount-test.sh BUILD_DIR [--service]}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

# The file is the same through the mount and beneath it.
same_below() { [ $has_below = 0 ] || cmp "$1" "$below/$1"; }
other() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }

# ---- Wrong use --------------------------------------------------------------------------------

# refused NAME STATUS PATTERN ARG...: exit status, and a message that matches
refused() {
  local name=$1 want=$2 pattern=$3 got
  shift 3
  "$mount_bin" "$@" >"$work/out" 2>"$work/err" </dev/null
  got=$?
  if [ $got != "$want" ]; then
    fail "$name" "status $got instead of $want: $(head -n 2 "$work/err" | tr '\n' ' ')"
  elif ! grep -Eq -- "$pattern" "$work/err"; then
    fail "$name" "'$pattern' not in: $(head -n 2 "$work/err" | tr '\n' ' ')"
  elif mountpoint -q "$org"; then
    fail "$name" "mounted all the same"
    fusermount3 -u "$org"
  else
    ok "$name"
  fi
}

# What is wrong, and what to do about it, in one line.
refused_once() { # NAME PATTERN POOL
  refused "$1" 3 "$2" "$org" --pool "$3"
  if [ "$(wc -l < "$work/err")" = 1 ] && [ "$(grep -o anew "$work/err" | wc -l)" -le 1 ]; then
    ok "$1: in one line, and once"; else fail "$1: in one line, and once" "$(cat "$work/err")"; fi
}

wrong_use() {
  { [ $via = pool ] && wanted "wrong use"; } || return
  echo precious > "$org/precious"
  refused "no arguments" 2 'no directory'
  cd "$org" || return
  refused "empty directory name" 2 'empty' "" --pool "$pool"
  cd / || return
  refused "no pool given" 2 '--pool' "$org"
  refused "unknown -o option suggests the nearest" 2 "did you mean 'entry_timeout'" \
    "$org" --pool "$pool" -o entry_timout=3
  refused "unknown switch suggests the nearest" 2 "did you mean '--pool'" "$org" --pol "$pool"
  refused "bad number" 2 'number of seconds' "$org" --pool "$pool" -o attr_timeout=soon
  refused "bad probation" 2 'a number from 0 to 1048576' "$org" --pool "$pool" -o probation=lots
  refused "bad verify" 2 'first, always or never' "$org" --pool "$pool" -o verify=maybe
  refused "volume without a name" 2 'needs a name' "$org" --pool "$pool" --volume-id ''
  refused "mount point missing" 1 'No such file' "$work/nowhere" --pool "$pool"
  refused "mount point not a directory" 1 'not a directory' "$org/precious" --pool "$pool"
  refused "pool missing" 3 "does not exist; make a pool with 'cachemax create'" "$org" \
    --pool "$shm/nowhere"
  head -c 100000 /dev/urandom | tee "$shm/garbage" > "$work/garbage"
  refused_once "not a pool" 'garbage: not a cachemax pool: check the name.*left untouched' \
    "$shm/garbage"
  : > "$shm/empty" && refused_once "an empty pool" 'is empty .*delete it and' "$shm/empty"
  refused_once "a directory as pool" 'not a regular file: name the pool file itself' "$shm"
  cp "$pool" "$shm/theirs"
  chmod 666 "$shm/theirs"
  refused_once "a pool that others may write" 'may be written by others.*chmod' "$shm/theirs"
  chmod 600 "$shm/theirs"
  truncate -s 1M "$shm/theirs"
  refused_once "a pool that was cut off" 'has 1048576 bytes, .* says [0-9]*: it was cut off.*anew' \
    "$shm/theirs"
  truncate -s 1G "$shm/theirs"
  refused_once "a pool that got longer" 'has 1073741824 bytes.*: something was appended.*cut it' \
    "$shm/theirs"
  rm "$shm/theirs"
  if [ $is_root = 1 ]; then
    mkdir "$shm/real"
    cp "$pool" "$shm/real/p"
    ln -s "$shm/real/p" "$shm/link"
    ln -s "$shm/real" "$shm/dirlink"
    chown -h 65534 "$shm/link" "$shm/dirlink"
    chmod 755 "$shm"
    check "a pool of another user" t_his
    check "no /dev/fuse" t_no_device
    refused "a pool behind another user's link" 3 'symbolic link .*/link belongs' "$org" \
      --pool "$shm/link"
    cd "$shm" || return
    refused "a pool behind another user's link to a directory" 3 \
      'symbolic link .*/dirlink belongs' \
      "$org" --pool dirlink/p
    cd / || return
    rm -r "$shm/link" "$shm/dirlink" "$shm/real"
  fi
  if cmp -s "$shm/garbage" "$work/garbage"; then ok "what is no pool is left alone"; else
    fail "what is no pool is left alone" "changed"; fi
  refused_once "a pool to be made inside the directory" \
    'does not exist, and may not lie inside .*: make one elsewhere' "$org/pool"
  refused_once "a pool to be made deep inside the directory" \
    'does not exist, and may not lie inside .*: make one elsewhere' "$org/d/e/pool"
  cp "$pool" "$org/pool"
  refused "pool inside the directory" 3 'inside' "$org" --pool "$org/pool"
  mkdir -p "$org/d/e"
  mv "$org/pool" "$org/d/e/pool"
  refused "pool deep inside the directory" 3 'inside' "$org" --pool "$org/d/e/pool"
  rm -r "$org/d"
  [ "$(cat "$org/precious")" = precious ] && ok "nothing lost by wrong use"
  "$mount_bin" --help | grep -q 'Exit status' && ok "--help answers" || fail "--help answers" "no"
  for o in $("$mount_bin" --help | sed -n 's/^  -o \([a-z_]*\).*/\1/p'); do
    grep -q "Cm $o" "$here/../../docs/cachemax-mount.1" && ok "-o $o is in the manual" ||
      fail "-o $o is in the manual" "no"
  done
  "$mount_bin" --version | grep -q 'cachemax-mount [0-9]' && ok "--version answers" ||
    fail "--version answers" no
}

t_his() {
  install -d -o 65534 "$work/his"
  status 3 setpriv --reuid 65534 --clear-groups "$mount_bin" "$work/his" --pool "$pool"
  says "pool: permission denied: a pool is readable and writable by its owner only"
}

# with_dev "COMMAND..." ARG...: with another /dev, which has null and what the command makes.
with_dev() {
  unshare -m sh -c 'mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 &&
    commands=$1 && shift && eval "$commands" && exec "$@"' sh "$@"
}
t_no_device() {
  local user=(setpriv --reuid 65534 --clear-groups)
  local mount=("$mount_bin" "$work/his" --pool "$work/pool")
  install -d -o 65534 "$work/his"
  cp "$pool" "$work/pool"
  status 1 with_dev : "${mount[@]}"
  says "/dev/fuse is missing: load the module with 'modprobe fuse'; a container .* --device /dev/f"
  same "$(wc -l < "$work/said")" 1
  chown 65534 "$work/pool"
  status 1 with_dev 'mknod -m 600 /dev/fuse c 10 229' "${user[@]}" "${mount[@]}"
  says "/dev/fuse may not be opened: Permission denied: its mode must be 0666"
  status 1 with_dev 'mkdir /dev/fuse' "${mount[@]}" -o any_owner
  says '/dev/fuse cannot be opened: Is a directory$' # no advice about modes
  status 1 with_dev 'mknod -m 666 /dev/fuse c 1 7' "${mount[@]}" -o any_owner
  says '/dev/fuse is no device of FUSE: make it with'
  status 1 setpriv --bounding-set -sys_admin "${mount[@]}" -o any_owner
  says "cannot mount on .*/his: .* CAP_SYS_ADMIN"
  rm "$work/pool"
}

wrong_use_mounted() {
  local r
  { [ $via = pool ] && wanted "wrong use"; } || return
  check "non-empty directory" grep -q precious precious
  "$mount_bin" "$org" --pool "$shm/other" >/dev/null 2>"$work/err"
  r=$?
  if [ $r = 1 ] && grep -q 'already' "$work/err"; then ok "mounted already"; else
    fail "mounted already" "status $r: $(cat "$work/err")"; fi
  mkdir -p "$work/second"
  "$mount_bin" "$work/second" --pool "$pool" >/dev/null 2>"$work/err"
  r=$?
  if [ $r = 3 ] && grep -q "is in use by process $mount_pid (cachemax-mount), " "$work/err" &&
    [ "$(grep -vc ' waiting for process ' "$work/err")" = 1 ]; then
    ok "pool owned by another process"
  else
    fail "pool owned by another process" "status $r: $(cat "$work/err")"
    fusermount3 -u "$work/second" 2>/dev/null
  fi
  ! need_root "pool owned by a process elsewhere" ||
    check "pool owned by a process elsewhere" t_elsewhere
}

# A number of a process says nothing in another PID namespace, and 'list' nothing in another mount
# namespace.
elsewhere() { # OPTION... -- COMMAND...: there; the mount is not seen
  local options=()
  while [ "$1" != -- ]; do options+=("$1"); shift; done
  shift
  unshare --mount "${options[@]}" sh -c 'umount -l "$0"; "$@"' "$org" "$@"
}
t_elsewhere() { # the mounts wait for a while, so they do that at the same time
  local pids mounts rc=0 own=(--pid --fork --mount-proc)
  echo something > "$work/data"
  elsewhere "${own[@]}" -- "$mount_bin" "$work/second" --pool "$pool" 2>"$work/pids" &
  pids=$!
  elsewhere -- "$mount_bin" "$work/second" --pool "$pool" 2>"$work/mounts" &
  mounts=$!
  status 0 elsewhere "${own[@]}" -- "$cm" cat "$work/data" --pool "$pool"
  says 'is open in a process that is not seen here: in a container or .* its number is [0-9]*; stop'
  status 0 elsewhere -- "$cm" cat "$work/data" --pool "$pool"
  says "is open in process $mount_pid, which is in another mount namespace .* --target $mount_pid "
  # Where it is not mounted, nor are those of other tests, which may not answer.
  status 0 elsewhere -- sh -c 'mounts=$(sed -n "s/ - fuse.cachemax .*//p" /proc/self/mountinfo |
    cut -d " " -f 5); for m in $mounts; do umount -l "$m"; done; exec "$0" list' "$cm"
  says "^cachemax: process $mount_pid \(cachemax-mount\) has a mount that is not seen here: "
  status 0 "$cm" list
  fails says "process $mount_pid \(cachemax-mount\) has a mount that is not seen"
  wait $pids || rc=$?
  same $rc 3
  grep -q 'is in use by a process that is not seen here, .* its number is [0-9]*; stop it there' \
    "$work/pids"
  fails grep -q 'waiting for process' "$work/pids"
  wait $mounts || rc=$?
  same $rc 3
  grep -q "process $mount_pid (cachemax-mount), .*'nsenter --target $mount_pid --mount' leads to" \
    "$work/mounts"
}

# ---- Programs ---------------------------------------------------------------------------------

t_cp() {
  head -c 5000123 /dev/urandom > "$ref/a"
  cp "$ref/a" a
  cmp "$ref/a" a
  cmp "$ref/a" a
  cp a b
  cmp "$ref/a" b
  same_below b
}
t_tar() {
  mkdir -p "$ref/tree"
  for i in $(seq 200); do
    mkdir -p "$ref/tree/d$((i % 17))"
    head -c $((i * 37)) /dev/urandom > "$ref/tree/d$((i % 17))/f$i"
  done
  ln -s f17 "$ref/tree/d0/link"
  ln "$ref/tree/d0/f17" "$ref/tree/hard"
  tar -C "$ref" -cf - tree | tar -xf -
  diff -r "$ref/tree" tree
  tar -cf "$work/t2.tar" tree
  mkdir -p "$ref/two"
  tar -C "$ref/two" -xf "$work/t2.tar"
  diff -r "$ref/tree" "$ref/two/tree"
  same "$(stat -c '%a %s %Y %h' "$ref/tree/hard")" "$(stat -c '%a %s %Y %h' tree/hard)"
  rm -r tree
  [ ! -e tree ]
}
t_git() {
  export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=t GIT_AUTHOR_EMAIL=t@t
  export GIT_COMMITTER_NAME=t GIT_COMMITTER_EMAIL=t@t
  git init -q "$ref/repo"
  cp -r "$ref/tree" "$ref/repo/"
  git -C "$ref/repo" add -A
  git -C "$ref/repo" commit -qm one
  git clone -q --no-hardlinks "$ref/repo" clone
  git -C clone fsck --full
  diff -r "$ref/repo/tree" clone/tree
  echo x >> clone/tree/hard
  git -C clone commit -qam two
  git -C clone gc -q
  git -C clone fsck --full
  same "$(git -C clone status --porcelain)" ""
  rm -rf clone
}
t_sqlite() {
  sqlite3 t.db 'create table t(a integer primary key, b blob);
    with recursive n(i) as (select 1 union all select i+1 from n where i<3000)
    insert into t select i, randomblob(300) from n;'
  for i in $(seq 20); do
    sqlite3 t.db "update t set b=randomblob(200) where a%20=$i; delete from t where a%97=$i;"
  done
  same "$(sqlite3 t.db 'pragma integrity_check')" ok
  sqlite3 t.db 'pragma journal_mode=wal; insert into t(b) values(randomblob(100)); vacuum;'
  same "$(sqlite3 t.db 'pragma integrity_check')" ok
  same_below t.db
}
t_fio() { # ENGINE DIRECT
  fio --name=v --filename=fio.dat --size=8m --bs=4k --rw=randrw --ioengine="$1" --direct="$2" \
    --verify=crc32c --verify_fatal=1 --do_verify=1 --output="$work/fio.out" || {
    tail -n 5 "$work/fio.out" >&2
    return 1
  }
  same_below fio.dat
}
t_mmap() {
  python3 - "$below" "$has_below" <<'PY'
import mmap, os, sys
with open("mm", "wb") as f: f.write(b"a" * 100000)
with open("mm", "r+b") as f:
    m = mmap.mmap(f.fileno(), 0)
    assert m[50000:50003] == b"aaa"
    m[50000:50003] = b"xyz"
    m.flush()
    with open("mm", "rb") as g:
        g.seek(50000)
        assert g.read(3) == b"xyz"
    if sys.argv[2] == "1":
        with open(sys.argv[1] + "/mm", "rb") as g:
            g.seek(49999)
            assert g.read(5) == b"axyza", "not in the origin"
    os.pwrite(f.fileno(), b"QQ", 7)
    assert m[6:10] == b"aQQa", "write not seen by the mapping"
    m.close()
fd = os.open("mm", os.O_RDONLY)
m = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
assert m[6:10] == b"aQQa" and m[50000:50003] == b"xyz"
PY
  same_below mm
}
t_append() {
  rm -f log
  for w in 1 2 3 4; do
    (for i in $(seq 200); do echo "writer $w line $i" >> log; done) &
  done
  wait
  same "$(wc -l < log)" 800
  same "$(sort log | uniq | wc -l)" 800
  same_below log
}
t_hardlink() {
  echo one > h1
  ln h1 h2
  same "$(stat -c %h h1)" 2
  same "$(stat -c %i h1)" "$(stat -c %i h2)"
  echo two >> h2
  same "$(cat h1)" "$(printf 'one\ntwo')"
  rm h1
  same "$(stat -c %h h2)" 1
  same "$(cat h2)" "$(printf 'one\ntwo')"
}
t_rename_over() {
  head -c 300000 /dev/urandom > r1
  head -c 200000 /dev/urandom > r2
  cp r1 "$ref/r1"
  cat r2 >/dev/null
  exec 5< r2
  mv -f r1 r2
  cmp r2 "$ref/r1"
  same "$(wc -c <&5)" 200000
  exec 5<&-
  mkdir rd
  mv r2 rd/x
  cmp rd/x "$ref/r1"
  mv rd rd2
  cmp rd2/x "$ref/r1"
  rm -r rd2
}
t_unlink_open() {
  head -c 200000 /dev/urandom > u
  cp u "$ref/u"
  exec 5<> u
  rm u
  [ ! -e u ]
  cmp - "$ref/u" <&5
  echo more >&5
  exec 5>&-
  echo again > u
  same "$(cat u)" again
}
t_truncate() {
  head -c 100000 /dev/urandom > tr
  cp tr "$ref/tr"
  cat tr > /dev/null
  for n in 50001 7 0 12345 200000 4096 4097 100000; do
    truncate -s $n tr
    truncate -s $n "$ref/tr"
    cmp tr "$ref/tr"
    same "$(stat -c %s tr)" $n
    same_below tr
  done
  echo short > tr
  same "$(cat tr)" short
}
t_xattr() {
  echo x > xa
  setfattr -n user.color -v blue xa
  same "$(getfattr --only-values -n user.color xa)" blue
  setfattr -n user.size -v "$(head -c 1500 /dev/zero | tr '\0' y)" xa
  getfattr -d xa | grep -q user.size
  setfattr -x user.color xa
  fails getfattr -n user.color xa
}
t_symlink() {
  ln -s /no/where s1
  same "$(readlink s1)" /no/where
  echo t > target
  ln -s target s2
  same "$(cat s2)" t
  touch -h -d '2001-02-03 04:05:06 UTC' s1
  same "$(stat -c %Y s1)" 981173106
}
t_attr() {
  echo x > at
  chmod 640 at
  same "$(stat -c %a at)" 640
  touch -d '2011-12-13 14:15:16.123456789 UTC' at
  same "$(TZ=UTC stat -c %y at)" '2011-12-13 14:15:16.123456789 +0000'
  [ $has_below = 0 ] || same "$(stat -c '%a %Y %i' at)" "$(stat -c '%a %Y %i' "$below/at")"
  umask 027
  touch um
  mkdir umd
  same "$(stat -c %a um) $(stat -c %a umd)" "640 750"
  mkfifo fifo
  [ -p fifo ]
}
t_chown() {
  echo x > ow
  chown 12345:54321 ow
  same "$(stat -c '%u %g' ow)" '12345 54321'
  for owner in 0,0 -1,-1; do
    chmod 6755 ow && python3 -c "import os; os.chown('ow', $owner)" && same "$(stat -c %a ow)" 755
  done
}
t_read_ahead() {
  same "$(cat "/sys/class/bdi/$(mountpoint -d .)/read_ahead_kb")" 1024
}
t_others() {
  mkdir -m 1777 pub
  mkdir -m 700 priv
  echo secret > priv/s
  echo r > pub/readonly
  other sh -c 'umask 022; echo mine > pub/mine; mkdir pub/md; ln -s x pub/ml'
  same "$(stat -c '%u %g %a' pub/mine)" '65534 65534 644'
  same "$(stat -c '%u %g' pub/md)" '65534 65534'
  same "$(stat -c '%u %g' pub/ml)" '65534 65534'
  fails other cat priv/s
  fails other sh -c 'echo x > pub/readonly'
  fails other rm -f pub/readonly
  same "$(other cat pub/readonly)" r
  mkdir -m 2775 team
  chgrp 777 team
  setpriv --reuid=65534 --regid=65534 --groups=777 sh -c 'echo t > team/f'
  same "$(stat -c '%u %g' team/f)" '65534 777'
}
t_groups() { # as many as there may be; that of the directory is the last
  mkdir groups
  chgrp 300000 groups
  chmod 2777 groups
  python3 - <<'PY'
import os
os.setgroups(range(300001 - 65536, 300001))
os.setresgid(12345, 12345, 12345)
os.setresuid(12345, 12345, 12345)
os.umask(0)
os.close(os.open("groups/f", os.O_CREAT | os.O_WRONLY, 0o2755))
PY
  same "$(stat -c '%a %u %g' groups/f)" '2755 12345 300000'
}
t_suid() {
  cp /bin/true su
  chmod 4777 su
  other sh -c 'printf x >> su'
  same "$(stat -c %a su)" 777
}
t_special_bits() {
  python3 "$here/special_bits.py" "$below" .
}
t_acl() {
  mkdir acl
  setfacl -d -m u:12345:rwx,o::--- acl
  echo listed > acl/f
  getfacl -n acl/f 2>/dev/null | grep -q '^user:12345:rwx'
  setfacl -m u:65534:r acl/f
  chmod 711 acl
  chmod o= acl/f
  same "$(other cat acl/f)" listed
  setfacl -x u:65534 acl/f
  fails other cat acl/f
}
t_readdir() {
  mkdir big
  (cd big && seq -f file-%06g 1 5000 | xargs touch)
  same "$(ls -f big | grep -c file)" 5000
  same "$(ls big | sort | uniq | wc -l)" 5000
  rm big/file-0000*
  same "$(ls big | wc -l)" 4901
  rm -r big
  [ ! -e big ]
}
t_statfs() {
  [ "$(stat -f -c %b .)" -gt 0 ]
  [ $has_below = 0 ] || same "$(stat -f -c '%b %S' .)" "$(stat -f -c '%b %S' "$below")"
}
t_fallocate() {
  head -c 100000 /dev/urandom > fa
  cp fa "$ref/fa"
  cat fa > /dev/null
  fallocate -p -o 8192 -l 20000 fa
  dd if=/dev/zero of="$ref/fa" bs=1 seek=8192 count=20000 conv=notrunc status=none
  cmp fa "$ref/fa"
  fallocate -l 300000 fa
  truncate -s 300000 "$ref/fa"
  cmp fa "$ref/fa"
  same_below fa
}
t_copy_range() {
  python3 - <<'PY'
import os
data = os.urandom(300000)
open("c1", "wb").write(data)
open("c2", "wb").write(b"z" * 400000)
assert open("c2", "rb").read() == b"z" * 400000
a, b = os.open("c1", os.O_RDONLY), os.open("c2", os.O_RDWR)
done = 0
while done < 200000:
    done += os.copy_file_range(a, b, 200000 - done, 1000 + done, 5000 + done)
want = b"z" * 5000 + data[1000:201000] + b"z" * 195000
assert os.pread(b, 400000, 0) == want
assert open("c2", "rb").read() == want
PY
  same_below c2
}
t_seek() {
  python3 - "$below" "$has_below" <<'PY'
import os, sys
fd = os.open("sp", os.O_RDWR | os.O_CREAT)
os.pwrite(fd, b"x" * 4096, 1 << 20)
os.ftruncate(fd, 2 << 20)
os.fsync(fd)
d, h = os.lseek(fd, 0, os.SEEK_DATA), os.lseek(fd, 1 << 20, os.SEEK_HOLE)
assert d > 0 and d <= 1 << 20 and h > 1 << 20, (d, h)
if sys.argv[2] == "1":
    g = os.open(sys.argv[1] + "/sp", os.O_RDONLY)
    assert os.lseek(g, 0, os.SEEK_DATA) == d
assert os.lseek(fd, 0, os.SEEK_END) == 2 << 20
PY
}
# What is stored in a mapping is data, also before the kernel has written it.
t_seek_mapped() {
  truncate -s 1M spm
  cat spm spm >/dev/null # the kernel has its pages
  python3 - <<'PY'
import mmap, os
before, fd = os.open("spm", os.O_RDONLY), os.open("spm", os.O_RDWR)
m = mmap.mmap(fd, 1 << 20)
m[512 * 1024:512 * 1024 + 4] = b"DATA"
for r in before, os.open("spm", os.O_RDONLY):
    assert os.lseek(r, 0, os.SEEK_DATA) <= 512 * 1024
    assert os.lseek(r, 0, os.SEEK_HOLE) > 0
    assert os.lseek(r, 512 * 1024, os.SEEK_DATA) == 512 * 1024
    assert os.lseek(r, 512 * 1024, os.SEEK_HOLE) > 512 * 1024
    for at in 1 << 20, -1:
        try:
            os.lseek(r, at, os.SEEK_DATA)
            raise SystemExit("no ENXIO at %d" % at)
        except OSError as e:
            assert e.errno in (6, 22), e
PY
}
# chattr +a: appended to, and nothing else. Who reads it through the kernel's pages sees what is
# added.
t_append_only() {
  echo one > ao
  chattr +a "$below/ao"
  trap 'chattr -a "$below/ao"' EXIT
  echo two >> ao
  same "$(cat ao)" "one
two"
  echo more >> ao
  same "$(tail -n 1 ao)" more
  fails sh -c 'echo three > ao'
  fails sh -c 'echo three 1<> ao'
  fails rm -f ao
  python3 - <<'PY'
import fcntl, mmap, os
fd = os.open("ao", os.O_RDWR | os.O_APPEND)
assert os.pwrite(fd, b"three\n", 0) == 6 # at the end, as everywhere
try:
    fcntl.fcntl(fd, fcntl.F_SETFL, 0) # the bare file system refuses this, the mount what follows
    os.pwrite(fd, b"four\n", 0)
    raise SystemExit("written in place")
except PermissionError:
    pass
for how in mmap.MAP_SHARED, mmap.MAP_PRIVATE:
    fd = os.open("ao", os.O_RDWR | os.O_APPEND)
    try:
        mmap.mmap(fd, 3, how)[0:3] = b"new"
        assert how == mmap.MAP_PRIVATE, "mapped to be shared"
    except OSError:
        assert how == mmap.MAP_SHARED, "not mapped"
PY
  same "$(head -c 3 ao)" one
  same "$(head -c 3 "$below/ao")" one
  same "$(tail -n 1 "$below/ao")" three
  same "$(stat -c %s "$below/ao")" 19
}
# A file that appears after the kernel was told that there is none is opened with its own rights.
t_appears() {
  chmod 1777 .
  rm -f appears
  mkfifo "$work/appear"
  python3 - appears 3<"$work/appear" >"$work/appeared" 2>&1 <<'PY' &
import os, sys
name = sys.argv[1]
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
try:
    os.stat(name)
except FileNotFoundError:
    pass
print("ready", flush=True)
os.read(3, 1)
for flags in (os.O_RDWR | os.O_CREAT, os.O_RDWR | os.O_CREAT | os.O_TRUNC, os.O_CREAT,
              os.O_CREAT | os.O_EXCL | os.O_RDWR):
    try:
        os.open(name, flags, 0o600)
        print("opened", flags)
    except OSError as e:
        print(e.errno)
PY
  exec 9>"$work/appear"
  while ! grep -q . "$work/appeared"; do sleep 0.05; done
  (umask 077 && echo secret > "$below/appears")
  echo >&9
  wait $!
  exec 9>&-
  chmod 755 .
  same "$(cat "$work/appeared" | tr '\n' ' ')" "ready 13 13 13 17 "
  same "$(cat "$below/appears")" secret
}
# And who may open it gets it as it is, or emptied, as asked for.
t_appears_to_owner() {
  rm -f appears1 appears2
  python3 - "$below" <<'PY'
import os, sys
for name, flags, want in ("appears1", os.O_RDWR | os.O_CREAT, b"content"), \
        ("appears2", os.O_RDWR | os.O_CREAT | os.O_TRUNC, b""):
    assert not os.path.exists(name) # the kernel remembers that
    with open(os.path.join(sys.argv[1], name), "wb") as f:
        f.write(b"content")
    got = os.read(os.open(name, flags, 0o600), 100)
    assert got == want, (name, got)
PY
}
# A limit of whoever started the mount is no limit of its users.
file_size_limit() {
  wanted "a file size limit" || return
  new_pool 16MiB
  [ $via = pool ] || start_service
  (ulimit -f 2000; exec "$mount_bin" "$org" "${backing[@]}" -f 2>>"$work/log") &
  mount_pid=$!
  for _ in $(seq 1200); do
    [ "$(stat -f -c %t "$org" 2>/dev/null)" = 65735546 ] && break
    kill -0 $mount_pid 2>/dev/null || break
    sleep 0.05
  done
  if (ulimit -f 2000 && ulimit -f unlimited) 2>/dev/null; then
    check "a file size limit that the mount may take away" t_no_file_size_limit
  else
    skip "a file size limit that the mount may take away" "needs CAP_SYS_RESOURCE"
    check "a file size limit that the mount has to keep" t_file_size_limit
  fi
  do_unmount
}
t_no_file_size_limit() {
  head -c 5000000 /dev/zero > limited
  same "$(stat -c %s limited)" 5000000
}
t_file_size_limit() {
  fails sh -c 'head -c 5000000 /dev/zero > limited'
  head -c 100000 /dev/zero > limited # the mount lives
  same "$(stat -c %s limited)" 100000
}
t_direct() {
  head -c 1048576 /dev/urandom > "$ref/di"
  dd if="$ref/di" of=di bs=64k oflag=direct status=none
  cmp di "$ref/di"
  dd if=di of="$work/back" bs=256k iflag=direct status=none
  cmp "$work/back" "$ref/di"
  dd if=/dev/zero of=di bs=4k count=3 seek=5 conv=notrunc oflag=direct status=none
  dd if=/dev/zero of="$ref/di" bs=4k count=3 seek=5 conv=notrunc status=none
  dd if=di of="$work/back" bs=1M iflag=direct status=none
  cmp "$work/back" "$ref/di"
  cmp di "$ref/di"
  dd if=di of="$work/back" bs=4608 iflag=direct status=none
  cmp "$work/back" "$ref/di"
}
t_just_written() { # what disk benchmarks do: to a service the first reading is told without waiting
  local hit readings
  head -c 8388608 /dev/urandom > jw
  for readings in 1 2 3 4; do
    hit=$(stat_of hit_blocks)
    dd if=jw of=/dev/null bs=4k iflag=direct status=none
    [ $(($(stat_of hit_blocks) - hit)) -lt 2048 ] || break
  done
  [ $readings -le $([ "$via" = pool ] && echo 2 || echo 3) ]
}
# The pool knows nothing of a file before somebody reads it. Its writer may have it open all the
# time.
t_unread() {
  python3 - <<'PY'
import mmap, os
BLOCK = 4096
page = mmap.mmap(-1, BLOCK)
w = os.open('unread', os.O_CREAT | os.O_EXCL | os.O_WRONLY)
def write(c, at):
    assert os.pwrite(w, c * BLOCK, at) == BLOCK
def read(fd, at):
    assert os.preadv(fd, [page], at) == BLOCK
    return page[:1]
for at in range(0, 8 * BLOCK, BLOCK):
    write(b'a', at)
r = os.open('unread', os.O_RDONLY | os.O_DIRECT)
for _ in range(3):
    assert read(r, 0) == b'a' and read(r, BLOCK) == b'a'
write(b'b', BLOCK)
assert read(r, BLOCK) == b'b' and read(r, 0) == b'a'
os.close(r)
write(b'c', 0)
r = os.open('unread', os.O_RDONLY | os.O_DIRECT)
assert read(r, 0) == b'c' and read(r, BLOCK) == b'b'
os.rename('unread', 'unread2')
os.ftruncate(w, BLOCK)
assert os.preadv(r, [page], BLOCK) == 0 and read(r, 0) == b'c'
os.close(w)
os.close(r)
os.unlink('unread2')
PY
  : > unread3
  mv unread3 unread4
  rm unread4
}
t_locks() {
  echo l > lk
  flock -n lk true
  exec 9< lk
  flock -n 9
  fails flock -n lk true
  exec 9<&-
}
t_many_readers() {
  head -c 3000000 /dev/urandom > mr
  cp mr "$ref/mr"
  for i in $(seq 8); do
    cmp mr "$ref/mr" &
  done
  for i in $(seq 8); do
    wait -n
  done
}
t_exec() {
  cp /bin/echo ex
  same "$(./ex hi)" hi
}

# Random operations on one file against a copy in memory, through several descriptors.
t_random() {
  rm -f rnd rnd2
  python3 - "$1" <<'PY'
import mmap, os, random, sys
r = random.Random(int(sys.argv[1]))
MAX = 400000
def opened(extra=0):
    return os.open("rnd", os.O_RDWR | os.O_CREAT | extra)
fds = [opened(), opened(), opened()]
shadow = bytearray()
def grow(n):
    if len(shadow) < n:
        shadow.extend(bytes(n - len(shadow)))
def compare(data, off, n, what):
    want = bytes(shadow[off:off + n])
    if data != want:
        both = min(len(data), len(want))
        at = next((i for i in range(both) if data[i] != want[i]), both)
        sys.exit(f"step {step}: {what} at {off}+{n}: differs at {off + at}, "
                 f"{len(data)} of {len(want)} bytes")
for step in range(4000):
    op, fd = r.randrange(20), r.choice(fds)
    off, n = r.randrange(MAX), r.choice((1, 100, 4096, 5000, 70000, 140000))
    if op < 5:
        n = min(n, MAX - off)
        data = r.randbytes(n)
        assert os.pwrite(fd, data, off) == n
        grow(off + n)
        shadow[off:off + n] = data
    elif op < 12:
        compare(os.pread(fd, n, off), off, n, "read")
    elif op == 12:
        os.ftruncate(fd, off)
        if off < len(shadow): del shadow[off:]
        grow(off)
    elif op == 13 and len(shadow) > off:
        if os.system(f"fallocate -p -o {off} -l {n} rnd"): sys.exit("fallocate")
        e = min(off + n, len(shadow))
        shadow[off:e] = bytes(e - off)
    elif op == 14 and shadow:
        m = mmap.mmap(fd, len(shadow))
        if off < len(shadow):
            data = r.randbytes(min(n, len(shadow) - off))
            m[off:off + len(data)] = data
            shadow[off:off + len(data)] = data
            if r.randrange(2): m.flush()
        m.close()
    elif op == 15:
        d = os.open("rnd", os.O_RDONLY | os.O_DIRECT)
        b = mmap.mmap(-1, 1 << 17)
        o = off // 4096 * 4096
        got = os.preadv(d, [b], o)
        compare(b[:got], o, 1 << 17, "direct read")
        os.close(d)
    elif op == 16:
        a = os.open("rnd", os.O_WRONLY | os.O_APPEND)
        data = r.randbytes(min(n, 20000))
        if len(shadow) < MAX * 2:
            os.write(a, data)
            shadow.extend(data)
        os.close(a)
    elif op == 17:
        i = fds.index(fd)
        os.close(fd)
        fds[i] = opened()
    elif op == 18 and shadow:
        to, k = r.randrange(MAX), min(n, 60000)
        src = os.open("rnd2", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        data = r.randbytes(k)
        os.write(src, data)
        assert os.copy_file_range(src, fd, k, 0, to) == k
        os.close(src)
        grow(to + k)
        shadow[to:to + k] = data
    elif op == 19:
        os.fsync(fd) if r.randrange(2) else os.chmod("rnd", r.choice((0o600, 0o644)))
    assert os.fstat(fd).st_size == len(shadow), (step, op)
compare(os.pread(fds[0], len(shadow), 0), 0, len(shadow), "end")
PY
  same_below rnd
}

programs() {
  check "cp, cmp" t_cp
  check "tar" t_tar
  need git git && check "git clone, commit, gc, fsck" t_git
  need sqlite sqlite3 && check "sqlite3" t_sqlite
  if need fio fio; then
    check "fio verify, buffered" t_fio psync 0
    check "fio verify, direct" t_fio psync 1
    check "fio verify, mmap" t_fio mmap 0
  fi
  need mmap python3 && check "mmap" t_mmap
  check "O_APPEND of four writers" t_append
  check "hard links" t_hardlink
  check "rename over an open file" t_rename_over
  check "unlink while open" t_unlink_open
  check "truncate both ways" t_truncate
  need xattrs setfattr getfattr && check "extended attributes" t_xattr
  check "symbolic links" t_symlink
  check "mode, times, umask, fifo" t_attr
  if need_root "owners" && need owners setpriv; then
    check "chown" t_chown
    check "other users" t_others
    if [ -w "/sys/class/bdi/$(mountpoint -d "$org")/read_ahead_kb" ]; then
      check "the kernel reads ahead" t_read_ahead
    else
      skip "the kernel reads ahead" "/sys/class/bdi may not be written"
    fi
    need "many groups" python3 && check "many groups" t_groups
    check "a write clears set-user-id" t_suid
    [ $has_below = 0 ] || ! need "set-user-id bits" python3 ||
      check "set-user-id bits are cleared as without the mount" t_special_bits
    need acl setfacl getfacl && check "access control lists" t_acl
  fi
  check "big directory" t_readdir
  check "statfs" t_statfs
  check "fallocate, punch hole" t_fallocate
  if need "system calls" python3; then
    check "copy_file_range" t_copy_range
    check "SEEK_DATA, SEEK_HOLE" t_seek
    check "SEEK_DATA of what is stored in a mapping" t_seek_mapped
    [ $has_below = 0 ] || {
      check "a file that appears is opened with its own rights" t_appears
      check "a file that appears is opened as it is" t_appears_to_owner
    }
    : > "$org/ao"
    if [ $has_below = 1 ] && command -v chattr >/dev/null && chattr +a "$below/ao" 2>/dev/null; then
      chattr -a "$below/ao"
      check "append-only files" t_append_only
    else
      skip "append-only files" "chattr +a does not work here"
    fi
  fi
  check "O_DIRECT read and write" t_direct
  check "a file just written hits at its second reading" t_just_written
  need "a file that nobody has read" python3 && check "a file that nobody has read" t_unread
  need flock flock && check "locks" t_locks
  check "eight readers at once" t_many_readers
  check "execute" t_exec
  if need "random operations" python3; then
    for seed in 1 2 3; do
      check "random operations, seed $seed" t_random $seed
    done
  fi
}

new_pool 64MiB || { fail "create a pool" "cachemax create"; summary; exit 1; }
wrong_use
cp "$pool" "$shm/other"
if do_mount; then
  wrong_use_mounted
  programs
  do_unmount
else
  fail mount "$(tail -n 1 "$work/log")"
fi
file_size_limit
summary
