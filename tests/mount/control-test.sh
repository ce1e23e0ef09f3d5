#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# control-test.sh - steering a running mount: the control socket of cachemax-mount, and the commands
# of cachemax that use it.
#
# Usage: control-test.sh BUILD_DIR
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check, the numbers as the
# last line. Exit status 1 when something failed. Needs 100 MiB in /dev/shm and in $TMPDIR.

set -u
build=${1:?usage: control-test.sh BUILD_DIR}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

gone="is not at its path any more"
log_has() { grep -Eq -- "$1" "$work/log"; }
other() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
files() { # DIR: some files of all kinds
  mkdir -p "$1/a b/c" "$1/empty dir"
  head -c 3000001 /dev/urandom > "$1/big"
  head -c 100000 /dev/urandom > "$1/a b/c/small"
  echo hello > "$1/a b/$(printf 'new\nline')"
  : > "$1/a b/nothing"
  ln -s ../../outside "$1/a b/link"
}

# ---- The socket ---------------------------------------------------------------------------------

# raw: a Python program; s is a connected socket, ask(line, path) the last line of an answer.
raw() {
  python3 -u - "$pool.control" "$mount_pid" <<PY
import os, socket, sys, time
where, pid = sys.argv[1], int(sys.argv[2])
def connect():
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(60)
    s.connect(where)
    return s
def answer(s):
    lines = s.makefile("rb")
    for line in lines:
        if line.startswith(b"end "):
            return line.decode()
    return ""
def ask(line, path=b""):
    s = connect()
    try: s.sendall(line.replace("LEN", str(len(path))).encode() + path)
    except BrokenPipeError: pass # it was refused, and the answer says why
    return answer(s)
def code(a):
    return int(a.split()[1]) if a else None
$(cat)
PY
}
t_socket() {
  same "$(stat -c '%F %a' "$pool.control")" "socket 600"
  raw <<'PY'
s = connect()
for n in range(3): # one connection takes many requests
    s.sendall(b"cachemax 1 status 0 0\n")
    text = b""
    while b"\nend " not in text: text += s.recv(4096)
    assert text.endswith(b"end 0 done\n"), text
    assert b"is process %d\n" % pid in text, text
two = b"cachemax 1 cached 0 3\nbigcachemax 1 cached 0 3\nbig"
for at in range(0, len(two), 7): # in pieces
    s.sendall(two[at:at + 7])
text = b""
while text.count(b"end 0 done\n") < 2: text += s.recv(4096)
assert text.count(b"is size 3000001\n") == 2, text
PY
}
t_garbage() {
  raw <<'PY'
EINVAL, ENOENT, ENOTDIR, ERANGE = -100022, -100002, -100020, -100036
at_once = ask
def ask(line, path=b""): # the mount may not have seen yet that earlier clients are gone
    while (got := at_once(line, path)).startswith("end -100011 too many clients"):
        time.sleep(0.05)
    return got
first = code(ask("GET / HTTP/1.0\r\n\r\n"))
assert first is not None and first < 0 and first > -1000, first
for text in ("\n", "cachemax\n", "cachemax 1 status\n", "cachemax 1 status 0 4096\n",
             "cachemax 1 status -1 0\n", "cachemax 1 status 0 0 0\n", "cachemax 1 x\0y 0 0\n",
             "cachemax 1 status 99999999999999999999999 99999999999999999999999\n",
             "cachemax 1 " + "v" * 30 + " 0 0\n", "x" * 200, "x" * 100000):
    s = connect()
    try: s.sendall(text.encode())
    except BrokenPipeError: pass
    try: a = answer(s)
    except ConnectionResetError: a = ""
    assert a == "" or code(a) < 0, (text, a)
assert code(ask("cachemax 2 status 0 0\n")) not in (None, 0)
assert code(ask("cachemax 1 nonsense 0 0\n")) < 0
assert code(ask("cachemax 1 mode 3 0\n")) < 0
for verb in "warm", "forget", "cached":
    line = "cachemax 1 " + verb + " 0 LEN\n"
    for path, want in ((b"..", EINVAL), (b"../x", EINVAL), (b"a b/../big", EINVAL), (b".", EINVAL),
                       (b"/etc/passwd", EINVAL), (b"a b//c", EINVAL), (b"none", ENOENT),
                       (b"big/x", ENOTDIR), (b"a b/link/x", ENOTDIR), (b"n" * 300, ERANGE)):
        got = code(ask(line, path))
        assert got == want, (verb, path, got)
    for path in b"", b"a b", b"a b/link": # no regular file
        got = code(ask(line, path))
        assert got is not None and -1000 < got < 0, (verb, path, got)
assert ask("cachemax 1 cached 0 LEN\n", b"big\0") == "" # the path is no path
assert code(ask("cachemax 1 cached 0 LEN\n", b"big")) == 0
PY
}
# Clients that stop in the middle, or do not read, take nothing away from others.
t_stalled() {
  raw <<'PY'
def is_served(): # soon: a thread that leaves its place takes a moment
    for n in range(1200):
        try: a = ask("cachemax 1 status 0 0\n")
        except OSError: a = ""
        if a and code(a) == 0: return True
        time.sleep(0.05)
    return False
stalled = [connect() for n in range(15)]
for n, s in enumerate(stalled):
    try: s.sendall(b"cachemax 1 status 0 0\n"[:n])
    except BrokenPipeError: pass # clients of the check before still had places
assert is_served() # the last place
while True:
    s = connect()
    try: s.sendall(b"cach")
    except BrokenPipeError: # the place of the one before was not free yet
        time.sleep(0.05)
        continue
    break
time.sleep(0.1)
a = ask("cachemax 1 status 0 0\n")
while a and code(a) == 0: # the place of the one before was still free
    stalled.append(connect())
    a = ask("cachemax 1 status 0 0\n")
assert code(a) == -100011, a
assert open("big", "rb").read(10)
for x in stalled + [s]: x.close()
assert is_served() # they are free again
s = connect() # answers that nobody reads
s.settimeout(0.2)
try:
    while True: s.sendall(b"cachemax 1 status 0 0\n" * 100)
except OSError: pass
assert is_served()
PY
}
t_crowd() { # all places are taken: for that nothing has to be unmounted
  raw <<PY
import subprocess
def is_full(): return (ask("cachemax 1 status 0 0\n") or "end -100011").startswith("end -100011")
silent = []
for verb in "check", "files", "resize":
    for n in range(200): # a place may become free meanwhile, and that of the command soon is
        while not is_full(): silent.append(connect())
        size = ["%dM" % (40 + n)] * (verb == "resize") # it may have got the one before
        told = subprocess.run(["$cm", verb, "$pool"] + size, capture_output=True)
        if told.returncode != 0 and is_full(): break
        time.sleep(0.01)
    assert told.returncode == 1 and b"its mount is busy with it" in told.stderr, told
PY
}
t_other_user() {
  status 8 other "$cm" mode "$org"
  says 'control socket'
  status 0 other "$cm" list
  says "$org $pool - "
  status 0 other "$cm" list --json
  says '"answers": false'
  # Also if the mode would let him in, he is not served.
  chmod 666 "$pool.control"
  chmod 711 "$shm"
  status 1 other "$cm" mode "$org" bypass
  says 'permission denied'
  chmod 700 "$shm"
  same "$("$cm" mode "$org")" normal
  chmod 600 "$pool.control"
}
t_strange_socket() { # another user's socket in place of the mount's is not believed
  chmod 711 "$shm"
  mkdir "$shm/theirs"
  chown 65534 "$shm/theirs"
  python3 -c 'import os, socket, sys, time
os.setresuid(65534, 65534, 65534)
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen()
time.sleep(600)' "$shm/theirs/s" &
  eventually test -S "$shm/theirs/s"
  mv "$pool.control" "$shm/aside"
  mv "$shm/theirs/s" "$pool.control"
  status 8 "$cm" mode "$org"
  mv "$shm/aside" "$pool.control"
  kill $!
  chmod 700 "$shm"
  says 'belongs to another user'
  same "$("$cm" mode "$org")" normal
}

# ---- Warm ---------------------------------------------------------------------------------------

t_warm() {
  local read misses
  "$cm" forget -q "$org"
  misses=$(stat_of miss_blocks)
  status 0 "$cm" warm "$org"
  says '^4 of 4 files, 2\.96 MiB: 2\.96 MiB cached, 2\.96 MiB of it read now$'
  same "$(cached "$org")" 3100007
  read=$(stat_of origin_bytes)
  cmp big "$ref/big"
  cmp "a b/c/small" "$ref/a b/c/small"
  same "$(stat_of origin_bytes)" "$read"
  same "$(stat_of miss_blocks)" "$misses"
  status 0 "$cm" warm . # by a relative name, and again: nothing to do
  says ' 0 bytes of it read now$'
}
t_warm_stays() {
  local read
  read=$(stat_of origin_bytes)
  same "$(cached .)" 3100007
  diff -r --no-dereference "$ref" .
  same "$(stat_of origin_bytes)" "$read"
}
t_list() {
  "$cm" forget -q .
  printf '%s\n\n%s' "$org/big" "$org/a b/c" > "$work/list"
  status 0 "$cm" warm --list "$work/list"
  says '^2 of 2 files'
  "$cm" forget -q .
  echo "$org/big" | "$cm" warm -q --list - "a b"
  same "$(cached .)" 3100007
  status 1 "$cm" warm --list "$work/none"
  says 'none: No such file'
  printf 'a\0b\n' > "$work/list"
  status 2 "$cm" warm --list "$work/list"
  status 7 "$cm" warm big none # the others are warmed
  says 'none: No such file'
}
t_links() { # a link that is named is followed, one in a directory is not; twice is once
  ln -s "$org/a b" "$work/to"
  status 0 "$cm" warm "$work/to" "$org/a b/c" "$org/a b/c/small" --json
  says '"files": 3,'
  rm "$work/to"
}
t_bind() { # a part of the mount that is at a second place
  mkdir "$work/bound"
  mount --bind "$org/a b" "$work/bound"
  "$cm" forget -q .
  "$cm" warm -q "$work/bound/c"
  same "$(cached "$org/a b/c/small")" 100000
  umount "$work/bound"
  rmdir "$work/bound"
}
took_at_least() { # MILLISECONDS COMMAND...
  local ms=$1 began
  shift
  began=$(date +%s%N)
  "$@"
  began=$((($(date +%s%N) - began) / 1000000))
  [ $began -ge "$ms" ] || { echo "only $began ms: $*" >&2; return 1; }
}
t_rate() {
  "$cm" forget -q .
  took_at_least 1000 "$cm" warm -q big --rate 2M
  same "$(cached big)" 3000001
  mkdir many
  for n in $(seq 30); do head -c 100000 /dev/urandom > many/$n; done
  took_at_least 1000 "$cm" warm -q many -r 2M
  same "$(cached many)" 3000000
  rm -r many
  for rate in 0 -1 fast; do status 2 "$cm" warm big --rate=$rate; done
}
some_cached() { [ "$(cached "$1")" -gt 0 ]; }
t_client_goes() { # SIGNAL STATUS
  local before got=0
  head -c 30000000 /dev/zero > slow
  cd / # or the command would keep the mount busy
  env --default-signal=INT "$cm" warm "$org/slow" --rate 200K >/dev/null 2>&1 &
  eventually some_cached "$org/slow"
  [ "$(cached "$org/slow")" -lt 20000000 ] # the mount keeps to the rate
  kill -"$1" $!
  wait $! || got=$?
  same $got "$2"
  sleep 0.3
  before=$(stat_of origin_bytes)
  sleep 0.5 # what was read in that time would be seen
  same "$(stat_of origin_bytes)" "$before"
  rm "$org/slow"
}
t_writes() { # a file that is written while it is warmed
  cp "$ref/big" w
  cp "$ref/big" "$work/w"
  (for n in $(seq 200); do "$cm" warm -q w || :; done) >/dev/null 2>&1 &
  for n in $(seq 150); do
    printf '%08d' "$n" | dd of=w bs=8 seek=$((n * 997)) conv=notrunc status=none
    printf '%08d' "$n" | dd of="$work/w" bs=8 seek=$((n * 997)) conv=notrunc status=none
  done
  cmp w "$work/w"
  kill $! 2>/dev/null || :
  wait $! || :
  "$cm" warm -q w || "$cm" warm w
  cmp w "$work/w"
  same_below w
  rm w
}
same_below() { [ $has_below = 0 ] || cmp "$1" "$below/$1"; }
t_full() {
  head -c 60000000 /dev/zero > toobig
  status 7 "$cm" warm toobig
  says 'the pool is full of what was warmed; 1 of 1 files'
  status 7 "$cm" warm --json big toobig
  says '"ended": "CM_NOT_STORED_ROOM"'
  rm toobig
}

# ---- Forget, cached, mode, list -----------------------------------------------------------------

t_forget() {
  "$cm" warm -q .
  status 0 "$cm" forget big
  says '^1 file forgotten$'
  same "$(cached .)" 100006
  cmp big "$ref/big"
  [ "$(cached big)" -gt 0 ] # reading has cached it again
  status 0 "$cm" forget .
  says '^4 files forgotten$'
  same "$(cached .)" 0
}
at_5000() { dd bs=1 skip=5000 count=7 status=none; } # of standard input, which is at its begin
t_changed_behind() { # somebody changes the file without the mount, while it is open there
  cmp big "$ref/big"
  exec 5<big 6<big
  touch -r big "$work/times" # the same size and times
  printf CHANGED | dd of="$below/big" bs=1 seek=5000 conv=notrunc status=none
  touch -r "$work/times" "$below/big"
  fails test "$(at_5000 <&5)" = CHANGED # the mount does not know
  "$cm" forget -q big
  same "$(at_5000 <&6)" CHANGED
  cmp big "$below/big"
  cp "$ref/big" big
}
t_cached() {
  local known
  "$cm" forget -q .
  known=$(stat_of attach_new)
  echo fresh > unknown
  sync unknown
  "$cm" cached . > "$work/said"
  says ' 0\.00 +2\.86 MiB .*/org/big \(not read '
  says 'a b/new\\x0aline \(not read '
  dd if=big of=/dev/null bs=4096 count=100 iflag=direct status=none
  "$cm" warm -q "a b"
  status 0 "$cm" cached --tree .
  says " 100\.00 +97\.66 KiB $org/a b$"
  says " 100\.00 +97\.66 KiB $org/a b/c$"
  says " [0-9]+\.[0-9]+ +2\.96 MiB $org$"
  same "$(grep -c "$org" "$work/said")" 3
  status 0 "$cm" cached --tree . --json
  same "$(number all_cached_bytes "$cm" cached --tree .)" "$(cached .)"
  [ "$(cached big)" -ge 409600 ] && [ "$(cached big)" -lt 3000001 ]
  status 1 "$cm" cached none
  rm unknown
}
# As long as the pool is large, not the file.
t_cached_huge() {
  truncate -s 7E huge 2>/dev/null || truncate -s 15T huge # ext4 has no larger ones
  dd if=huge of=/dev/null bs=4k count=1 skip=500000000 iflag=direct status=none
  timeout 60 "$cm" cached huge > "$work/out"
  grep -Eq '[1-9][0-9.]* [KM]iB of [0-9.]+ [TPE]iB' "$work/out"
  rm huge
}
t_cached_leaves_no_record() {
  local before
  for n in $(seq 20); do echo "$n" > "$below/r$n"; done
  sleep 0.1
  before=$(stat_of attach_new)
  "$cm" cached "$org" >/dev/null
  same "$(stat_of attach_new)" "$before"
  rm "$below"/r*
}
t_mode() {
  local fills
  same "$("$cm" mode "$org")" normal
  "$cm" forget -q .
  same "$("$cm" mode "$pool" freeze)" freeze
  same "$("$cm" mode "$org/a b")" freeze
  fills=$(stat_of fill_blocks)
  cmp big "$ref/big"
  same "$(stat_of fill_blocks)" "$fills"
  status 7 "$cm" warm big
  says 'its mode is not normal'
  "$cm" mode . normal >/dev/null
  "$cm" warm -q big
  "$cm" mode . bypass --json | grep -q '"mode": "bypass"'
  fills=$(stat_of hit_blocks)
  dd if=big of=/dev/null bs=4096 count=9 iflag=direct status=none
  same "$(stat_of hit_blocks)" "$fills"
  same "$("$cm" mode "$org" normal)" normal
  dd if=big of=/dev/null bs=4096 count=9 iflag=direct status=none
  same "$(stat_of hit_blocks)" $((fills + 9))
  status 2 "$cm" mode . freze
  says "did you mean 'freeze'"
  status 2 "$cm" mode . freeze normal
  status 8 "$cm" mode "$work"
  status 1 "$cm" mode "$work/none"
}
t_mode_closed() {
  status 8 "$cm" mode "$pool"
  says 'no process has this pool open'
}
t_shown() {
  cmp "$org/big" "$ref/big"
  status 0 "$cm" list
  says "^$(id -un) +$mount_pid 20..-..-.. ..:..:.. +[0-9.]+ normal +$org $pool$"
  status 0 "$cm" list --json
  says "\"directory\": \"$org\""
  says "\"process\": $mount_pid,"
  status 2 "$cm" list x
}

t_files() { # of the pool of a running mount
  local said
  "$cm" warm -q .
  said=$("$cm" files "$pool")
  grep -Eq ' 2\.86 MiB  +100\.0  +2\.86 MiB .* big$' <<<"$said"
  grep -Fq 'a b/new\x0aline' <<<"$said"
  [ "$(number cached_bytes "$cm" files "$pool" --sort bytes)" = 3000001 ]
  "$cm" files --no-count --json "$pool" | grep -q '"cached_bytes": null'
}
# By its path on the mount a file has the id that it has in the pool.
t_dump() {
  "$cm" forget -q big # what waits in memory stays there
  "$cm" warm -q .
  status 0 "$cm" dump "$pool" find big 17
  says '^ *ends at: +hit'
  status 0 "$cm" dump "$pool" file "a b/c/small"
  says '^ *found: +yes$'
  status 0 "$cm" dump "$pool" find "$work/log" 0
  says '^ *ends at: +record'
}
t_check() {
  local blocks
  status 0 "$cm" check "$pool" --json
  says '"result": "sound"'
  blocks=$(number valid "$cm" check "$pool")
  [ "$blocks" -ge 759 ] # the blocks of three files
  "$cm" forget -q big
  same "$(number valid "$cm" check "$pool" --metadata --repair)" $((blocks - 733))
  status 0 "$cm" check "$pool"
  says ': sound$'
}
t_cat() { # a file of the mount is read there; another one is read without a cache
  "$cm" forget -q big
  status 0 "$cm" cat big --pool "$pool"
  same "$(grep -ac 'is open in process' "$work/said")" 0
  "$cm" cat big --pool "$pool" | cmp - "$ref/big"
  [ "$(cached big)" -gt 0 ] # what a single read leaves there is up to the policy
  "$cm" cat big --pool "$pool" -v >/dev/null 2>"$work/said"
  says 'through the mount that has the pool$'
  "$cm" cat "$ref/big" --pool "$pool" 2>"$work/said" | cmp - "$ref/big"
  says 'is open in process'
  says 'is read without the cache'
}
t_check_damaged() { # a block that is damaged under the running mount
  local at
  "$cm" forget -q .
  head -c 4096 /dev/zero | tr '\0' 'Q' > q
  sync q
  "$cm" warm -q q
  at=$(grep -abo -m 1 QQQQQQQQQQQQQQQQ "$pool" | head -n 1 | cut -d: -f1)
  printf X | dd of="$pool" bs=1 seek="$at" conv=notrunc status=none
  status 5 "$cm" check "$pool"
  status 0 "$cm" check "$pool" --repair --json
  says '"result": "repaired"'
  says '"dropped": 1,'
  cmp q <(head -c 4096 /dev/zero | tr '\0' 'Q')
  rm q
}

programs() {
  new_pool 32M --names
  files "$ref"
  (cd "$ref" && tar -cf - .) | (cd "$org" && tar -xf -)
  sleep 0.3 # their times are no longer fresh
  wanted "a running mount" || return 0
  do_mount || { fail mount "$(tail -n 1 "$work/log")"; return; }
  if has python3; then
    check "the socket answers" t_socket
    check "wrong requests" t_garbage
    check "clients that stall" t_stalled
    check "as many clients as it takes" t_crowd
  else
    skip "the socket" "no python3"
  fi
  if need_root "other users" && need "other users" setpriv python3; then
    check "other users are not served" t_other_user
    check "another user's socket is not believed" t_strange_socket
  fi
  check "warm reads all, once" t_warm
  do_unmount || fail "the end" "status $status"
  [ ! -e "$pool.control" ] && ok "the socket is gone" || fail "the socket is gone" "it is there"
  check "mode of a closed pool" t_mode_closed
  do_mount
  check "what was warmed stays" t_warm_stays
  check "warm --list" t_list
  check "warm and links" t_links
  check "cat of a running mount" t_cat
  ! need_root "warm below a bind mount" || check "warm below a bind mount" t_bind
  check "warm --rate" t_rate
  check "warm is interrupted" t_client_goes INT 130
  check "warm is killed" t_client_goes KILL 137
  check "warm beside writes" t_writes
  check "forget" t_forget
  [ $has_below = 0 ] || check "forget what was changed behind the mount" t_changed_behind
  check "cached" t_cached
  check "cached of a huge file" t_cached_huge
  [ $has_below = 0 ] || check "cached leaves no record" t_cached_leaves_no_record
  check "mode" t_mode
  check "list" t_shown
  check "list beside answers without end" t_endless
  check "files of a running mount" t_files
  check "dump finds a file of a running mount" t_dump
  check "check of a running mount" t_check
  check "check of a damaged block" t_check_damaged
  check "warm more than there is room" t_full # last: who is displaced in a full pool is chance
  do_unmount || fail "the end" "status $status"
  if is_clean; then ok "the pool is clean"; else fail "the pool is clean" "no"; fi
}

# ---- The end, and the next start ----------------------------------------------------------------

# An end while a warm runs, and clients that say nothing: it waits for neither.
t_end() { # how: "signal" or "unmount"
  local got=0 client
  cd /
  head -c 30000000 /dev/zero > "$org/slow"
  "$cm" warm "$org/slow" --rate 200K >"$work/said" 2>&1 &
  client=$!
  python3 -c 'import socket, sys, time
s = [socket.socket(socket.AF_UNIX) for n in range(3)]
for x in s: x.connect(sys.argv[1])
s[0].sendall(b"cachemax 1 warm 0 40\nab")
print("there", flush=True)
s[0].recv(100)' "$pool.control" >"$work/there" &
  eventually grep -q there "$work/there"
  eventually some_cached "$org/slow"
  if [ "$1" = signal ]; then kill -TERM "$mount_pid"; else fusermount3 -u "$org"; fi
  wait $client || got=$?
  { [ $got = 8 ] || [ $got = 7 ]; } || { echo "warm: status $got" >&2; return 1; }
  eventually fails kill -0 "$mount_pid"
}
ends() {
  wanted "ends while a warm runs" || return 0
  for how in signal unmount; do
    do_mount
    check "an end by $how while a warm runs" t_end $how
    wait_mount
    [ $status = 0 ] && is_clean && [ ! -e "$pool.control" ] && ok "clean after an end by $how" ||
      fail "clean after an end by $how" "status $status, $("$cm" info "$pool" | grep state)"
    rm -f "$org/slow"
  done
}
t_kill() {
  [ -S "$pool.control" ]
  same "$("$cm" mode "$org")" normal
}
# The commands on the directory of a dead mount say that it is dead, and what to do.
t_dead() {
  local command
  status 0 "$cm" list
  says "^$(id -un) .* dead +$org $pool - its process is gone; 'fusermount3 -u' it"
  status 0 "$cm" list --json
  says '"dead": true,'
  for command in warm pin unpin cached forget mode "unpin --all" "record $work/dead.trace"; do
    # shellcheck disable=SC2086
    status 8 "$cm" $command "$org"
    says "^cachemax: $org: .*dead.*'fusermount3 -u $org', then mount it again; what is cached stays"
    same "$(wc -l < "$work/said")" 1
  done
  for command in warm cached mode "record $work/dead.trace"; do
    # shellcheck disable=SC2086
    status 8 "$cm" $command "$org/a b/c"
    says "^cachemax: $org/a b/c: .*dead.*'fusermount3 -u $org'"
  done
}
t_dead_without() {
  status 0 "$cm" list
  says " $org $pool - its process is gone.*; its pool file $gone, too: if it was moved, mount it"
  status 8 "$cm" warm "$org"
  says "'fusermount3 -u $org'; its pool file $gone, too: .*; if it was removed, mount another pool"
}
# Another mount has the pool of a dead one, and answers at its socket.
t_dead_taken() {
  status 0 "$cm" list
  says " dead .* - its process is gone; 'fusermount3 -u' it; another mount uses its pool: mount it"
  status 8 "$cm" warm "$org"
  says "^cachemax: $org: .*; another mount uses its pool: mount it again with another one, or when"
}
# The pool, or the socket, of a mount that runs is gone.
t_gone() {
  mv "$pool" "$shm/aside"
  status 0 "$cm" list
  says " normal +$org $pool - its pool file $gone: if it was moved, mount it from there"
  mv "$pool.control" "$shm/aside.control"
  status 0 "$cm" list
  says " $org $pool - its pool file $gone: unmount it; if the file was moved, mount it from there"
  status 8 "$cm" warm "$org"
  says "$org: its pool file $gone: unmount it; .*, and what is cached stays, else with another pool"
  mv "$shm/aside" "$pool"
  status 0 "$cm" list
  says " $org $pool - its control socket is gone: unmount it and mount it again; what"
  mv "$shm/aside.control" "$pool.control"
  same "$("$cm" mode "$org")" normal
}
# Another mount has a new pool at the path: its files have the same names.
t_replaced() {
  local command
  status 0 "$cm" warm -q "$work/other/big"
  for command in warm pin cached forget unpin; do
    status 8 "$cm" $command "$org/big"
    says "$org: its pool file $gone, and another mount uses .*: unmount it, .* with its own from "
  done
  for command in mode 'mode freeze' 'unpin --all' "record $work/none"; do
    # shellcheck disable=SC2086 # words
    set -- $command
    if [ $# = 2 ] && [ "$1" = mode ]; then set -- mode "$org" freeze; else set -- "$@" "$org"; fi
    status 8 "$cm" "$@"
    says 'another mount uses the one that is there'
  done
  status 0 "$cm" list
  says " $org $pool - its pool file $gone, and another mount uses the one"
  says " normal +$work/other $pool\$"
  same "$(cached "$work/other/big")" 3000001
  same "$("$cm" mode "$work/other")" normal
}
replaced() {
  wanted "a pool that was replaced" || return 0
  local first
  new_pool 32M
  mkdir -p "$work/other"
  cp "$org/big" "$work/other/big"
  do_mount
  first=$mount_pid
  mv "$pool" "$shm/aside"
  new_pool 16M
  "$mount_bin" "$work/other" --pool "$pool" -f 2>>"$work/log" &
  mount_pid=$!
  eventually mountpoint -q "$work/other"
  eventually "$cm" mode "$pool"
  check "a pool that was replaced" t_replaced
  kill -9 "$first"; wait "$first"
  check_at / "a dead mount is told, whose pool another one has" t_dead_taken
  fusermount3 -u "$work/other"
  wait_mount
  mount_pid=$first
  do_unmount
  rm -r "$shm/aside" "$work/other"
}
# What begins says one line. `umount && cachemax files` works while the mount still closes its pool.
t_starts() {
  eventually log_has \
    "^cachemax-mount: $org: mounted; pool $pool, 32 MiB, [0-9]+ % in use; coherence=local\$"
  same "$(wc -l < "$work/log")" 1
}
t_closing() {
  echo new > "$org/new"
  kill -STOP "$mount_pid" # as if it were still closing
  mv "$pool.control" "$shm/aside"
  # Its socket stays away: a mount that is still there and answers is not ending.
  (sleep 1.5; kill -CONT "$mount_pid"; fusermount3 -u "$org"; rm "$shm/aside") &
  status 0 "$cm" files "$pool"
  says 'there is room for'
  wait $!
}
# Who answers, and never comes to an end, holds up nobody who asks all mounts.
t_endless() {
  local answer
  mv "$pool.control" "$shm/aside"
  for answer in 'i' 'is quota 1 2 a\n' 'at 1 2\n'; do
    python3 - "$pool.control" "$answer" <<'EOF' &
import os, socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen()
c = s.accept()[0]
os.unlink(sys.argv[1])
try:
    while True:
        c.sendall(sys.argv[2].replace("\\n", "\n").encode())
        time.sleep(0.01)
except OSError:
    pass # it has gone
EOF
    eventually test -S "$pool.control"
    status 0 timeout 60 "$cm" list --json
    grep -A4 "\"directory\": \"$org\"" "$work/said" | grep -q '"answers": false'
    wait $!
  done
  mv "$shm/aside" "$pool.control"
}
t_trace_missing() {
  status 2 "$cm" record "$org"
  says 'is a directory; the first name is that of the file TRACE'
  status 2 "$cm" record
  says "'record' needs the name of a trace"
}
begins_and_ends() {
  wanted "a short mount" || return 0
  new_pool 32M
  : > "$work/log"
  do_mount
  check "it says what is mounted" t_starts
  check "record without a trace" t_trace_missing
  check "a mount whose pool is gone" t_gone
  check_at / "files right after the end" t_closing
  wait_mount
}
kills() {
  wanted "a mount that was killed" || return 0
  do_mount
  stat "$org" >/dev/null # the kernel keeps its attributes, also when the process is gone
  kill -9 "$mount_pid"
  wait_mount
  check_at / "a dead mount is told" t_dead
  mv "$pool" "$shm/aside"
  check_at / "a dead mount is told, whose pool is gone" t_dead_without
  mv "$shm/aside" "$pool"
  [ -S "$pool.control" ] && ok "a killed mount leaves its socket" ||
    fail "a killed mount leaves its socket" "it is gone"
  do_mount
  check "the socket of a killed mount is replaced" t_kill
  do_unmount
}
# What is no socket is not touched, and the mount serves.
in_the_way() {
  wanted "what is in the way" || return 0
  echo mine > "$pool.control"
  do_mount
  check "a file in the socket's place: the mount serves" cmp big "$ref/big"
  check "the log says so" log_has 'control: there is no control socket'
  status 8 "$cm" mode "$org" && ok "no socket: mode says so" || fail "no socket: mode says so" no
  do_unmount
  check "the file in its place is left alone" grep -q mine "$pool.control"
  rm -f "$pool.control"
}
t_two() {
  same "$("$cm" mode "$work/second" freeze)" freeze
  same "$("$cm" mode "$org")" normal
  same "$("$cm" mode "$shm/second")" freeze
  status 7 "$cm" warm --json "$org/big" "$work/second/big" # two mounts in one command
  says '"whole_files": 1,'
  says '"ended": "CM_NOT_STORED_MODE"'
  "$cm" mode "$work/second" normal >/dev/null
  "$cm" forget -q "$org/big" "$work/second/big"
  status 0 "$cm" warm --json "$org/big" "$work/second/big"
  says '"whole_files": 2,'
  # The machine may have others.
  same "$("$cm" list --json | grep -A4 "\"directory\": \"$work/" | grep -c '"answers": true')" 2
}
# Also: a name longer than an address of a socket, with a blank.
two_mounts() {
  wanted "two mounts, one with a long name" || return 0
  local dir="$work/second" place first
  place="$shm/$(printf 'long %.0s' $(seq 30))"
  mkdir "$dir" "$place"
  cp "$org/big" "$dir/big"
  sleep 0.3
  do_mount
  first=$mount_pid
  "$cm" create -q "$place/p" --size 16M
  ln -s "$place/p" "$shm/second" # the socket lies beside the pool, not beside the link
  "$mount_bin" "$dir" --pool "$shm/second" -f 2>>"$work/log" &
  eventually test -S "$place/p.control"
  eventually mountpoint -q "$dir"
  check "two mounts, one with a long name" t_two
  fusermount3 -u "$dir"
  wait $!
  mount_pid=$first
  do_unmount
}
# What cannot be warmed is told, and the rest is warmed.
t_some() {
  local command
  "$cm" forget -q big
  status 7 "$cm" warm "$org/nosuch" big "$work"
  says 'nosuch: '
  says 'is not on a mount of cachemax-mount'
  says '^1 of 1 file, '
  same "$(cached big)" 3000001
  printf '%s\n' nosuch big other/nosuch > "$work/paths"
  status 7 "$cm" warm --list "$work/paths"
  status 7 "$cm" cached nosuch big
  mkfifo pipe
  for command in warm pin cached forget unpin; do # none waits for a writer
    status 1 timeout 20 "$cm" $command pipe
    says '^cachemax: pipe: is no regular file, and no directory: nothing of it is cached'
    same "$(wc -l < "$work/said")" 1
  done
  status 7 timeout 20 "$cm" warm pipe big
  says '^1 of 1 file, '
  rm pipe
  status 1 "$cm" warm nosuch
  status 8 "$cm" warm "$work"
}
t_left_out() {
  status 7 "$cm" warm big skipped
  says '^cachemax: 5 files are left out by the rules of the mount'
  says '^1 of 6 files, '
  [ "$(wc -l < "$work/said")" = 2 ]
  status 7 "$cm" pin --json skipped
  says '"left_out_files": 5,'
  says '"failed_files": 0,'
}
# Together they are larger than the pool, and no single one is. What it says is true.
t_pushed_out() {
  local said
  status 7 "$cm" warm --json many
  said=$(sed -n 's/^ *"cached_bytes": \([0-9]*\),$/\1/p' "$work/said")
  same "$said" "$(cached many)"
  [ "$said" -lt 40000000 ]
  # It ends when the first ones leave: the pool has 16 MiB, and 4 more are stored before it looks.
  said=$(sed -n 's/^ *"read_bytes": \([0-9]*\),$/\1/p' "$work/said")
  [ "$said" -lt 28000000 ]
  says '"ended": "CM_NOT_STORED_ROOM"'
  status 7 "$cm" warm many
  says 'the pool is full of what was warmed; [0-9]* of 20 files (is|are) not cached as a whole'
}
# The pool may displace single blocks while it has room. Here a write takes one, so that it is sure.
t_one_block_gone() {
  local pid
  head -c 2000000 /dev/urandom > many/one
  head -c 1000000 /dev/urandom > many/two
  sync many
  "$cm" warm -q many/one
  "$cm" forget -q many/two
  "$cm" warm -q --rate 400k many/one many/two >"$work/said" 2>&1 &
  pid=$!
  eventually some_of many/two
  dd if=/dev/zero of=many/one bs=4k count=1 seek=9 conv=notrunc status=none
  wait $pid # status 0, and not a word
  same "$(wc -c < "$work/said")" 0
  rm many/one many/two
}
some_of() { [ "$(cached "$1")" -gt 0 ]; }
# A pool that has room evicts nothing: that gone/1 is forgotten meanwhile does not end it. After
# gone/2 it asks for gone/1. While it is stopped it cannot end, however slow this machine is.
t_forgotten_meanwhile() { # FILE...
  local got=0
  "$cm" forget -q gone
  "$cm" warm -q --rate 1M "$@" >"$work/said" 2>&1 &
  eventually some_of gone/2
  kill -STOP $!
  "$cm" forget -q gone/1
  kill -CONT $!
  wait $! || got=$?
  same $got 7
  fails says 'make room|full'
  says "^cachemax: 1 file was written, or forgotten, or expired, meanwhile.*; warm again"
  says "^$(($# - 1)) of $# files, "
}
# None of many small files misses more than a block, but together they miss much.
t_small_gone() {
  local n
  mkdir many/small
  for n in $(seq 1500); do head -c 4096 /dev/urandom > "many/small/$n"; done
  status 7 "$cm" warm many/small
  says 'files had to make room for those after'
}
parts() {
  wanted "only a part can be warmed" || return 0
  local n
  mkdir "$org/skipped" "$org/many" "$org/gone"
  for n in 1 2 3 4 5; do echo "$n" > "$org/skipped/$n"; done
  for n in 1 2 3; do head -c $((n == 2 ? 4500000 : 300000)) /dev/urandom > "$org/gone/$n"; done
  for n in $(seq 20); do head -c 2000000 /dev/urandom > "$org/many/$n"; done
  new_pool 16M
  do_mount --exclude skipped
  check "only a part can be warmed: one block is gone" t_one_block_gone # while there is room
  check "only a part can be warmed: forgotten" t_forgotten_meanwhile gone/1 gone/2 gone/3
  check "only a part can be warmed: forgotten" t_forgotten_meanwhile gone/1 gone/2
  check "only a part can be warmed: missing, or elsewhere" t_some
  check "only a part can be warmed: left out" t_left_out
  check "only a part can be warmed: too many" t_pushed_out
  check "only a part can be warmed: too many small ones" t_small_gone
  do_unmount
  rm -r "$org/skipped" "$org/many" "$org/gone"
}

programs
parts
! need "an end while a warm runs" python3 || ends
begins_and_ends
replaced
kills
in_the_way
two_mounts
summary
