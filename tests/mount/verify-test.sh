#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# verify-test.sh - "cachemax warm --verify" on a mount: it finds wrong blocks of the pool, and puts
# them right; and it calls nothing wrong beside a writer.
#
# Usage: verify-test.sh BUILD_DIR
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check, the numbers as the
# last line. Exit status 1 when something failed. Needs 50 MiB in /dev/shm and in $TMPDIR.

set -u
build=${1:?usage: verify-test.sh BUILD_DIR}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

shim=$(find "$build" -name slow_origin.so | head -n 1)
shim=${shim:+$(realpath "$shim")}
asan=$(ldd "$mount_bin" | sed -n 's|.*=> \(/.*libasan[^ ]*\).*|\1|p') # must be loaded first
size=3000001
# Changes a byte of a block in the pool's file, while the mount has it open. The mount has tested
# the block's sum before, so a reader gets what is there.
damage() { # FILE BLOCK: of $ref
  python3 - "$pool" "$ref/$1" "$2" <<'PY'
import sys
pool, name, block = sys.argv[1:]
with open(name, "rb") as f:
    f.seek(int(block) * 4096)
    data = f.read(4096)
with open(pool, "r+b") as p: # everywhere: there may be copies that nobody uses any more
    all = p.read()
    at = all.find(data)
    assert at > 0 and at % 4096 == 0, at
    while at >= 0:
        p.seek(at + 77)
        p.write(bytes([data[77] ^ 1]))
        at = all.find(data, at + 4096)
PY
}
# Is the file what it should be, past the kernel's pages?
right() { dd if="$1" bs=1M iflag=direct status=none | cmp -s - "$ref/$1"; }

t_right() {
  status 0 "$cm" warm --verify big
  says '^1 of 1 file, 2\.86 MiB: 2\.86 MiB cached, 2\.86 MiB of it read now$'
  says '^compared: 0 bytes as the files have it, 0 bytes different$'
  status 0 "$cm" warm --verify .
  says '^2 of 2 files, 2\.96 MiB: 2\.96 MiB cached, 97\.66 KiB of it read now$'
  says '^compared: 2\.86 MiB as the files have it, 0 bytes different$'
  same "$(number verified_bytes "$cm" warm --verify .)" $((size + 100000))
  same "$("$cm" warm --verify -q .)" ''
}
t_wrong() {
  status 0 "$cm" warm . # all is cached
  right big # all sums were tested
  right small
  damage big 300
  damage big 301
  damage small 3
  fails right big # else nothing was planted
  fails right small
  status 5 "$cm" warm --verify .
  says "^cachemax: $org/big: 8\\.00 KiB of it in the pool were not what the file has"
  says "^cachemax: $org/small: 4\\.00 KiB of it in the pool were not what the file has"
  says '^compared: 2\.9[0-9] MiB as the files have it, 12\.00 KiB different in 2 files$'
  says '2\.96 MiB cached, 12\.00 KiB of it read now$'
  grep -q '2 of its blocks in the pool are not what the origin has, the first one is block 300' \
    "$work/log"
  cmp big "$ref/big"
  right big
  right small
  status 0 "$cm" warm --verify --json .
  says '"verified_bytes": 3100001'
  says '"differed_bytes": 0'
  says '"differed_files": 0'
}
t_quiet() { # what differs is told all the same
  right big
  damage big 500
  status 5 "$cm" warm --verify --quiet big
  says '4\.00 KiB of it in the pool were not'
  status 0 "$cm" warm --verify --quiet big
  same "$(cat "$work/said")" ''
}
# Or 0: the mount saw the change before the command asked, and has read the file anew.
seen_first() {
  local want=$1 got=0
  shift
  "$@" >"$work/said" 2>&1 || got=$?
  [ "$got" = "$want" ] || { same "$got" 0 && says 'of it read now'; }
}
t_behind() { # the file is changed without the mount, while it is open there
  exec 5<big
  cat big > /dev/null
  printf CHANGED | dd of="$below/big" bs=1 seek=5000 conv=notrunc status=none
  seen_first 5 "$cm" warm --verify big
  same "$(cached big)" $size # it was read anew, as the version that it is now
  same "$(dd bs=1 skip=5000 count=7 status=none <&5)" CHANGED
  cmp big "$below/big"
  truncate -s 1000000 "$below/big" # shorter
  seen_first 5 "$cm" warm --verify big
  status 0 "$cm" warm --verify big
  eventually cmp big "$below/big" # the kernel remembers the size for a second
  exec 5<&-
}
t_rate() {
  local began
  status 0 "$cm" warm big
  began=$(date +%s%N)
  status 0 "$cm" warm --verify big --rate 2M
  [ $((($(date +%s%N) - began) / 1000000)) -ge 1000 ]
}
# What the bar says while a terminal is there: how much is done, at which rate, how long it takes.
t_bar() {
  status 0 "$cm" warm big
  script -qec "'$cm' warm --verify big --rate 700K" "$work/typescript" >/dev/null </dev/null
  "$python" - "$work/typescript" "$(stat -c %s big)" <<'PY'
import re, sys
text, size = open(sys.argv[1], errors='replace').read(), int(sys.argv[2]) / 2**20
unit = {'KiB': 1 / 1024, 'MiB': 1}
bars = [(float(share), *(float(n) * unit[u] for n, u in ((done, d), (whole, w), (rate, r))),
         60 * int(minutes) + int(seconds))
        for share, done, d, whole, w, rate, r, minutes, seconds in re.findall(
            r'(\d+) %  ([\d.]+) (.iB) of ([\d.]+) (.iB)  ([\d.]+) (.iB)/s  ETA (\d+):(\d+)', text)]
bars = [b for b in bars if b[0] >= 50]
assert bars
for share, done, whole, rate, left in bars:
    assert abs(whole - size) < 0.01 and abs(done - whole * share / 100) <= whole / 100 + 0.01, done
    assert 0.4 < rate < 1, rate
    assert abs(left - (whole - done) / rate) <= 1, left
PY
}
t_usage() {
  status 2 "$cm" warm --verify --trace none big
  says '\-\-trace and --verify exclude each other'
  status 2 "$cm" pin --verify big
  status 2 "$cm" warm --verify
}
all_verified() {
  same "$(number verified_bytes "$cm" warm --verify big)" "$(stat -c %s big)"
}
# Writes blocks of a file through the mount, and keeps what it should be in a file beside it. The
# comparison runs all the time, and readers bring back what was written.
t_writer() { # BYTES: that must have been compared
  python3 - "$org/big" "$work/oracle" "$cm" "$1" <<'PY'
import json, os, random, subprocess, sys, threading, time
path, oracle, cm, enough = sys.argv[1:]
data = bytearray(open(path, "rb").read())
random.seed(1)
stop = threading.Event()
def write():
    f = os.open(path, os.O_RDWR)
    while not stop.is_set():
        n = random.choice((1, 100, 4096, 8192, 70000))
        at = random.randrange(len(data) - n)
        new = random.randbytes(n)
        data[at:at + n] = new
        os.pwrite(f, new, at)
        if random.random() < 0.1: # longer, or as long as before
            new = random.randbytes(random.randrange(1, 9000))
            os.pwrite(f, new, len(data))
            data.extend(new)
        if random.random() < 0.1:
            size = random.randrange(len(data) - 9000, len(data))
            os.ftruncate(f, size)
            del data[size:]
    os.close(f)
def read():
    f = os.open(path, os.O_RDONLY)
    while not stop.is_set():
        os.posix_fadvise(f, 0, 0, os.POSIX_FADV_DONTNEED)
        os.pread(f, 100000, random.randrange(len(data)))
    os.close(f)
threads = [threading.Thread(target=t) for t in (write, read)]
for t in threads:
    t.start()
runs = verified = 0
end = time.time() + 300
try:
    while runs < 40 or verified < int(enough):
        assert time.time() < end, (runs, verified)
        p = subprocess.run([cm, "warm", "--verify", "--json", path], capture_output=True, text=True)
        runs += 1
        assert p.returncode in (0, 7), (p.returncode, p.stderr)
        said = json.loads(p.stdout)
        assert said["differed_bytes"] == 0, said
        verified += said["verified_bytes"]
finally:
    stop.set()
    for t in threads:
        t.join()
open(oracle, "wb").write(data)
PY
  cmp big "$work/oracle"
  [ $has_below = 0 ] || cmp "$below/big" "$work/oracle"
  status 0 "$cm" warm --verify big
  eventually all_verified # a block may have been evicted, or have found no place at first
  fails grep -q 'not what the origin has' "$work/log"
  cp "$ref/big" big
}

head -c $size /dev/urandom > "$ref/big"
head -c 100000 /dev/urandom > "$ref/small"
cp "$ref"/* "$org"
sleep 0.1 # or the times are too fresh to say anything
new_pool 16M
do_mount || { fail mount "$(tail -n 1 "$work/log")"; summary; exit 1; }
check "what is right" t_right
check "as fast as --rate allows" t_rate
! need "what the bar says" script "${python:-python3}" || check "what the bar says" t_bar
check "wrong command lines" t_usage
if need "beside a writer" python3; then
  check "beside a writer" t_writer 5000000
  check "blocks that are wrong" t_wrong
  check "--quiet" t_quiet
fi
[ $has_below = 0 ] || check "changed without the mount" t_behind
do_unmount || fail "the end" "status $status"
do_mount -o coherence=strict || do_mount || fail mount "$(tail -n 1 "$work/log")"
if has python3; then
  : > "$work/log"
  check "beside a writer, and perhaps others" t_writer 0 # mostly nothing of it is cached
  sleep 0.1 # or the times are too fresh to say anything
  check "blocks that are wrong, and others may write" t_wrong
fi
do_unmount || fail "the end" "status $status"
if is_clean; then ok "the pool is clean"; else fail "the pool is clean" "no"; fi
# Where others may write, a difference says nothing if nobody can tell whether the file has changed.
t_untold() {
  local got=0
  status 0 "$cm" warm big
  right big
  damage big 300
  fails right big
  touch "$SLOW_ORIGIN"
  "$cm" warm --verify big >"$work/compared" 2>&1 &
  client=$!
  eventually test -e "$SLOW_ORIGIN.reading"
  touch "$FAIL_STAT"
  rm "$SLOW_ORIGIN"
  wait $client || got=$?
  rm "$FAIL_STAT"
  cat "$work/compared" >&2
  same $got 0
  grep -q '0 bytes different, 4\.00 KiB written meanwhile' "$work/compared"
  fails grep -q 'were not what the file has' "$work/compared"
  right big
}
if [ -n "$shim" ] && need "a file of which nobody can tell" python3; then
  export SLOW_ORIGIN=$shm/slow FAIL_STAT=$shm/no-stat
  LD_PRELOAD=$asan${asan:+:}$shim do_mount -o coherence=strict ||
    fail mount "$(tail -n 1 "$work/log")"
  check "a file of which nobody can tell whether it has changed" t_untold
  rm -f "$SLOW_ORIGIN" "$FAIL_STAT"
  do_unmount || fail "the end" "status $status"
fi
via=service backing=(--service "$socket")
do_mount || fail mount "$(tail -n 1 "$work/log")"
t_service() {
  status 1 "$cm" warm --verify big
  says "1 file is not compared: the pool of the mount is a service's"
  same "$(wc -l <"$work/said")" 1 # no sums: it does not know what is cached
  same "$("$cm" warm --verify --json big 2>/dev/null)" ""
  status 0 "$cm" warm big
}
check "a mount with a service cannot" t_service
do_unmount || fail "the end" "status $status"
summary
