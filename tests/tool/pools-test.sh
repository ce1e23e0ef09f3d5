#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# pools-test.sh - what the cachemax command line tool does with pools that are damaged, foreign,
# looked at by others or not to be written, and what it says about a good one in JSON.
#
# Usage: pools-test.sh BUILD_DIR
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check and a summary as the
# last line. Exit status 1 when something failed. Some checks need root.

set -u
build=${1:?usage: pools-test.sh BUILD_DIR}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

# ---- Bad pools ---------------------------------------------------------------------------------

# bad_pool NAME STATUS PATTERN: what every command says about ./bad, and that it stays as it is.
bad_pool()
{
  local name=$1 status=$2 pattern=$3 before='' c
  [ -f bad ] && [ -r bad ] && before=$(sha256sum <bad)
  for c in info check 'check --repair' 'check --metadata' stats 'info --json' 'stats --json'; do
    # shellcheck disable=SC2086 # words are wanted
    expect "$name-${c// /}" "$status" "$pattern" "$cm" $c bad
    check "$name-${c// /}-no-result" test ! -s out
  done
  expect "$name-cat" 0 "$pattern" "$cm" cat data --pool bad
  check "$name-cat-output" cmp data out
  expect "$name-create" 1 'bad: ' "$cm" create bad --size 4M
  if [ -n "$before" ]; then
    check "$name-untouched" test "$before" = "$(sha256sum <bad)"
  fi
}

both() # OFFSET HEX...: into both copies of the superblock of ./bad
{
  local offset=$1
  shift
  poke bad "$offset" "$@"
  poke bad $((4096 + offset)) "$@"
}

# held_pool NAME PATTERN: what is said of ./bad while a process has it open. It must be ended before
# anybody deletes the pool.
held_pool()
{
  local c
  if ! python3 hold.py bad true 2>/dev/null; then
    skip "$1" "no python3 that takes such locks"
    return
  fi
  for c in files check info stats 'cat data --pool'; do
    # shellcheck disable=SC2086 # words are wanted
    expect "$1-${c%% *}" '[03]' \
      "$2in process [0-9]+ .(python3|.*hold.py)[^ ]*: .*, or end it, then" \
      python3 hold.py bad "$cm" $c bad
  done
}

test_bad_pools()
{
  make_file data 3000000
  "$cm" create good --size 16M -q
  "$cm" cat data --pool good >/dev/null
  expect missing-info 1 'missing: no such file' "$cm" info missing
  expect missing-check 1 'missing: no such file' "$cm" check missing
  expect missing-repair 1 'missing: no such file' "$cm" check --repair missing
  expect missing-stats 1 'missing: no such file' "$cm" stats missing
  expect missing-advise 1 'missing: no such file' "$cm" advise missing
  check missing-not-made test ! -e missing
  mkdir bad
  bad_pool directory 3 'bad: not a regular file'
  rmdir bad
  mkfifo bad
  expect fifo-info 3 'bad: not a regular file' timeout 60 "$cm" info bad
  expect fifo-check 3 'bad: not a regular file' timeout 60 "$cm" check bad
  rm bad
  head -c 1000000 /dev/urandom >bad
  bad_pool other-file 3 'bad: not a cachemax pool'
  : >bad
  bad_pool empty-file 3 'bad: not a cachemax pool: the file is empty .0 bytes.*make it anew'
  echo hello >bad
  bad_pool tiny-file 3 'bad: (not a cachemax pool|is shorter)'
  truncate -s 16M bad
  bad_pool zeros 3 'bad: not a cachemax pool'
  cp good bad
  truncate -s 8M bad
  bad_pool truncated 3 'bad: is shorter than its superblock says \(it has 8.00 MiB'
  truncate -s 5000 bad
  bad_pool truncated-in-superblocks 3 'bad: (is shorter|not a cachemax pool|both superblocks)'
  cp good bad
  printf x >>bad
  bad_pool longer 3 'bad: is longer than its superblock says'
  expect longer-length 3 'has 16777217 bytes, not 16777216\).*truncate -s 16777216' "$cm" check bad
  cp good bad
  both 12 ff 00 00 00
  bad_pool newer-version 3 'bad: has a pool format this version does not know .it has version 255,'
  cp good bad
  both 12 01 00 00 00
  bad_pool older-version 3 'bad: has a pool format this version does not know .it has version 1,'
  cat >hold.py <<'END'
"""hold.py POOL COMMAND... - holds the lock of the pool's owner while the command runs."""
import fcntl, struct, subprocess, sys
pool = open(sys.argv[1], 'r+b')
fcntl.fcntl(pool, fcntl.F_OFD_SETLK, struct.pack('hhqqi', fcntl.F_WRLCK, 0, 0, 0, 0))
sys.exit(subprocess.run(sys.argv[2:]).returncode)
END
  held_pool older-version-open '.it has version 1, .*'
  cp good bad
  both 24 00 00 00 00 00 00 00 80
  bad_pool unknown-incompat 3 'bad: uses a pool feature this version does not know; use the cachema'
  held_pool unknown-incompat-open 'bad: uses a pool feature this version does not know; it is open '
  cp good bad
  both 8 01 02 03 04
  bad_pool byte-order 3 'bad: was made on a machine of the other byte order'
  cp good bad
  both 50 77 77
  bad_pool both-superblocks 3 'bad: both superblocks are damaged'
  rm -f bad
}

# One damaged copy: everything works, and says so, until it is repaired.
test_half_damaged()
{
  for copy in 0 4096; do
    for offset in 0 8 60 250; do
      cp good bad
      poke bad $((copy + offset)) 99 99
      local name=one-superblock-$copy-$offset
      expect "$name-info" 0 'one of the two superblocks is not whole' "$cm" info bad
      expect "$name-check" 0 'one of the two superblocks is not whole' "$cm" check bad
      expect "$name-repair" 0 'repaired' "$cm" check --repair bad
      expect "$name-check-again" 0 ': sound' "$cm" check bad
      through "$name-cat" data bad && all_hits "$name-warm"
      "$cm" info bad >out
      if grep -q 'superblocks is not whole' out; then
        fail "$name-mended" "info still says it is damaged"
      else
        ok "$name-mended"
      fi
    done
  done
  rm -f bad
}

# A page of statistics that was overwritten. The format is known, and blocks are served.
test_counters()
{
  cp good bad
  poke bad 8192 99 99 99 99
  for c in stats 'stats --json' 'top --once --interval 0.1' advise; do
    # shellcheck disable=SC2086 # words are wanted
    expect "counters-${c%% *}" 3 'bad: its counters are damaged, .*begins them anew' "$cm" $c bad
    check "counters-${c%% *}-only" sh -c "! grep -q format err"
  done
  through counters-cat data bad && all_hits counters-warm
  expect counters-anew 0 'hit rate: 100' "$cm" stats bad
  rm -f bad
}

# Blocks of versions of a file that are gone lie in the pool until it needs their slots. `check`
# counts them, and does not say that a read finds them; `files` counts those that are served.
test_versions()
{
  local day
  "$cm" create p --size 16M -q
  make_file changed 1000000
  for day in 1 2 3; do
    touch -d 2020-01-0$day changed
    "$cm" cat changed --pool p >/dev/null
  done
  expect versions-check 0 '735  hold a block that is in the index .*files.* is served' \
    "$cm" check p
  check versions-no-reads sh -c "! grep -E 'that reads? finds?' out"
  expect versions-files 0 '^ *976.6 KiB +100.0 ' "$cm" files p
  rm -f p changed
}

# A flipped bit in a cached block is found, is never served, and is dropped by a repair.
test_payload()
{
  cp good bad
  if ! python3 - <<'END' 2>err
block = open("data", "rb").read(4096)
with open("bad", "r+b") as pool:
    at = pool.read().find(block)
    assert at >= 0, "the first block of the file is not in the pool"
    pool.seek(at + 1000)
    pool.write(bytes([block[1000] ^ 16]))
END
  then
    if command -v python3 >/dev/null; then
      fail payload "$(tail -n 1 err)"
    else
      skip payload "no python3"
    fi
    rm -f bad
    return
  fi
  cp bad bad2
  expect payload-check 5 'blocks with a wrong checksum' "$cm" check bad
  # Damage is what the status tells, also if the rest cannot be written.
  expect payload-check-full 5 'standard output: cannot be written' \
    bash -c "'$cm' check bad >/dev/full"
  expect payload-metadata-only 0 ': sound' "$cm" check --metadata bad
  check payload-check-changes-nothing cmp bad bad2
  if [ -n "$json" ]; then
    "$cm" check bad --json >c.json
    check payload-json test "$(jget c.json bad_payload)" = 1 -a "$(jget c.json result)" = damaged
  fi
  expect payload-repair 0 'repaired' "$cm" check --repair bad
  expect payload-check-again 0 ': sound' "$cm" check bad
  through payload-cat data bad2
  check payload-cat-missed-one test "$(misses)" -gt 0
  rm -f bad bad2
}

test_no_permission()
{
  local as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
  if [ "$(id -u)" != 0 ] || ! "${as[@]}" "$cm" --version >/dev/null 2>&1; then
    skip no-permission "cannot run the tool as another user"
    return
  fi
  cp -p good bad
  chmod 644 data
  local before
  before=$(sha256sum <bad)
  for c in info check 'check --repair' stats; do
    # shellcheck disable=SC2086 # words are wanted
    expect "no-permission-${c// /}" 1 'bad: permission denied' "${as[@]}" "$cm" $c bad
  done
  expect no-permission-cat 0 'bad: permission denied' "${as[@]}" "$cm" cat data --pool bad
  check no-permission-cat-output cmp data out
  expect no-permission-create 1 'new: permission denied' "${as[@]}" "$cm" create new --size 4M
  check no-permission-create-nothing test ! -e new
  check no-permission-untouched test "$before" = "$(sha256sum <bad)"
  chmod 600 data
  expect no-permission-file 1 'data: Permission denied' "${as[@]}" "$cm" cat data --pool bad
  rm -f bad
}

# A pool of the very user who may not write it.
test_own_forbidden()
{
  local as=(env)
  mkdir -p his
  cp good his/bad
  chmod 400 his/bad
  if [ "$(id -u)" = 0 ]; then
    as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    chown -R 65534 his
  fi
  if "${as[@]}" "$cm" --version >/dev/null 2>&1; then
    expect own-mode 1 'bad: permission denied by its mode, 0400: .*chmod u.rw' \
      "${as[@]}" "$cm" check his/bad --repair
    expect own-mode-looks 0 'sound' "${as[@]}" "$cm" check his/bad
    chmod 200 his/bad
    expect own-mode-unread 1 'denied by its mode, 0200' "${as[@]}" "$cm" info his/bad
  else
    skip own-mode "cannot run the tool as another user"
  fi
  rm -rf his
  cp good bad
  for flag in i a; do
    if [ "$(id -u)" != 0 ] || ! chattr +$flag bad 2>/dev/null; then
      skip own-flag-$flag "no such flag here, or not root"
      continue
    fi
    expect own-flag-$flag 1 "bad: may not be changed .*'chattr .$flag'; .*'chattr -$flag'" \
      "$cm" check bad --repair
    chattr -$flag bad
  done
  rm bad
}

# The process may not have enough files open.
test_few_descriptors()
{
  expect few-descriptors 0 "good: out of memory, or of open files; .*'ulimit -n'" \
    bash -c "ulimit -n 5; exec '$cm' cat data --pool good"
  check few-descriptors-output cmp data out
}

# A pool that cannot be made: the message has the cause.
test_not_made()
{
  expect not-made-limited 1 \
    "limited: this process may not make a file of that size \\('ulimit -f'\\)" \
    bash -c "ulimit -f 1000; exec '$cm' create limited --size 4M"
  check not-made-said-once test "$(grep -c . err)" = 1
  check not-made-nothing-left test ! -e limited
  expect not-made-below-device 1 "'/dev/null' is no directory" "$cm" create /dev/null/x --size 4M
}

test_json()
{
  if [ -z "$json" ]; then
    skip json "needs jq or python3"
    return
  fi
  for c in info check stats; do
    "$cm" $c good --json >j.json
    check "json-$c-valid" jvalid j.json
    check "json-$c-pool" test "$(jget j.json pool)" = good
    check "json-$c-keys" bash -c \
      "! grep -Eo '^ +\"[^\"]*\":' j.json | grep -Ev '^ +\"[a-z][a-z0-9_]*\":'"
  done
  "$cm" info good --json >j.json
  check json-info-state test "$(jget j.json state)" = clean
  check json-info-uuid bash -c \
    "grep -Eq '\"uuid\": \"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\"' j.json"
  "$cm" check good --json >j.json
  check json-check-result test "$(jget j.json result)" = sound
  check json-check-valid-slots test "$(jget j.json valid)" -ge 700
}

# ---- Somebody looks ------------------------------------------------------------------------------

# A pool that "cachemax check" has open: locked, but without an owner.
test_looker()
{
  command -v python3 >/dev/null || { skip looker "no python3"; return; }
  "$cm" create p --size 1M -q
  python3 -c 'import fcntl, struct, time
f = open("p", "rb")
fcntl.fcntl(f, 37, struct.pack("hhqqi", fcntl.F_RDLCK, 0, 0, 0, 0)) # F_OFD_SETLK
print("held", flush=True); time.sleep(60)' >held &
  local holder=$!
  wait_for test -s held
  expect looker-info 0 'state: *clean' "$cm" info p
  expect looker-check 0 'sound' "$cm" check p
  expect looker-repair 4 'looked at by another process' "$cm" check p --repair
  expect looker-cat 0 'looked at by another process' "$cm" cat held --pool p
  kill $holder
  wait $holder 2>/dev/null
  expect looker-gone 0 'sound' "$cm" check p --repair
  rm -f p held
}

# Processes that have just opened the pool, and have not said so yet, and that have just closed it.
test_passing()
{
  command -v python3 >/dev/null || { skip passing "no python3"; return; }
  "$cm" create p --size 1M -q
  "$cm" cat data --pool p >/dev/null # its process has a number, and is gone
  cat >passing.py <<'END'
"""passing.py POOL SLEEPS COMMAND... - holds the lock of the pool's owner, without a word in its
superblock, until the command has slept, so long, or has ended."""
import fcntl, struct, subprocess, sys, time
pool = open(sys.argv[1], 'r+b')
def lock(kind):
    fcntl.fcntl(pool, 37, struct.pack('hhqqi', kind, 0, 0, 0, 0)) # F_OFD_SETLK
lock(fcntl.F_WRLCK)
p = subprocess.Popen(sys.argv[3:])
def sleeps():
    with open(f'/proc/{p.pid}/wchan') as f:
        return 'nanosleep' in f.read()
while sys.argv[2] == 'sleeps' and p.poll() is None and not sleeps():
    time.sleep(0.001)
if sys.argv[2] == 'sleeps':
    lock(fcntl.F_UNLCK)
sys.exit(p.wait())
END
  expect passing-opened 4 'p: was just opened or closed by another process; try again' \
    python3 passing.py p stays "$cm" check p --repair
  exec sleep 60 &
  local sleeper=$!
  if wait_for grep -q nanosleep /proc/$sleeper/wchan; then
    expect passing-closed 4 'p: was just opened or closed by another process; try again' \
      python3 passing.py p sleeps "$cm" check p --repair
  else
    skip passing-closed "nobody sees where a process sleeps"
  fi
  kill $sleeper
  wait $sleeper 2>/dev/null
  rm -f p passing.py
}

# A volume that takes no writes.
test_read_only_volume()
{
  mkdir ro
  if ! mount -t tmpfs -o size=4M none ro 2>/dev/null; then
    skip read-only-volume "mounting is not permitted"
    rmdir ro
    return
  fi
  "$cm" create ro/p --size 1M -q
  mount -o remount,ro ro
  expect read-only-create 1 'mounted read-only' "$cm" create ro/q --size 1M
  expect read-only-repair 1 'mounted read-only' "$cm" check ro/p --repair
  check read-only-said-once test "$(grep -c . err)" = 1
  expect read-only-check 0 'sound' "$cm" check ro/p
  expect read-only-info 0 'clean' "$cm" info ro/p
  umount ro
  rmdir ro
}

# ---- Changes and signals in the middle -----------------------------------------------------------

# A warm file is replaced while a slow reader has read a part of it: what follows is the new
# content, as without a cache.
test_changed_meanwhile()
{
  make_file long 8000000
  "$cm" create p --size 32M -q
  through changed-meanwhile-first long p
  through changed-meanwhile-warm long p && all_hits changed-meanwhile-all-warm
  hold_pool long p
  make_file other 8000000
  cat other >long
  release_owner
  check changed-meanwhile test "$owner_status" = 0
  tail -c 1000000 owner.out >end
  tail -c 1000000 other >other.end
  check changed-meanwhile-seen cmp end other.end
  through changed-meanwhile-after long p
  rm -f p long other owner.out end other.end
}

# A signal that was ignored at the start (nohup) stays ignored.
test_ignored_signal()
{
  local plain=(env --ignore-signal=HUP)
  env --ignore-signal=HUP true 2>/dev/null || { skip ignored-signal "an old env" && return; }
  make_file long 8000000
  "$cm" create p --size 32M -q
  hold_pool long p
  kill -HUP "$owner"
  release_owner
  check ignored-signal test "$owner_status" = 0
  check ignored-signal-output cmp long owner.out
  rm -f p long owner.out
}

# A read of a file that gives nothing ends with Ctrl-C.
test_stuck_read()
{
  mkfifo stuck
  exec 7<>stuck # so there is a writer, who writes nothing
  "${plain[@]}" "$cm" cat stuck --pool good >/dev/null 2>err 7>&- &
  owner=$!
  wait_for grep -q 'is read without the cache' err
  for _ in $(seq 300); do # the first one may come before the read
    kill -INT "$owner" 2>/dev/null || break
    sleep 0.05
  done
  kill -KILL "$owner" 2>/dev/null
  wait "$owner"
  check stuck-read test $? = 130
  owner=
  exec 7>&-
  rm stuck
}

# ---- A pool where the command belongs ------------------------------------------------------------

test_no_command()
{
  expect path-for-command 2 "'a/pool' is a path: a command must come first, as in 'cachemax info" \
    "$cm" a/pool --size 16M
  expect path-like-command 2 "'/top' is a path: a command must come first" "$cm" /top
  : >my.pool
  expect file-for-command 2 "'my.pool' is a path: a command must come first" "$cm" my.pool
  rm my.pool
  # What mount(8) calls without its helper; it gives -o in any case.
  if [ -e /proc/self/mountinfo ]; then
    expect mount-for-command 2 'ln -s PREFIX/sbin/mount.fuse.cachemax /sbin/' "$cm" /a/pool . -o rw
    expect none-for-command 2 'there is no /sbin/mount.fuse.cachemax' "$cm" none . -o pool=p,rw
  fi
  expect path-and-file 2 'a command must come first' "$cm" /a/pool /etc/passwd -o rw
  expect command-and-options 2 "did you mean 'create'" "$cm" craete . -o rw
}

# A part of the list is not the list.
test_short_mounts()
{
  local short=$build/tests/short_mounts.so c
  if [ ! -e "$short" ] || [ ! -e /proc/self/mountinfo ]; then
    skip short-mounts "no short_mounts.so in $build"
    return
  elif grep -Eq '__(asan|tsan|msan)_init' "$cm"; then
    skip short-mounts "a sanitizer's build takes no LD_PRELOAD"
    return
  fi
  : >f
  for c in list 'list --json' 'cached f' 'warm f' 'pin f' 'forget f' 'mode .'; do
    # shellcheck disable=SC2086 # words are wanted
    expect "short-mounts-${c// /}" 1 'the mounts cannot be listed: Input/output error' \
      env SHORT_MOUNTS=40 LD_PRELOAD="$(realpath "$short")" "$cm" $c
    check "short-mounts-${c// /}-nothing" test ! -s out
  done
  rm f
}

# Names of pools, in messages and in reports, are harmless whatever bytes they have.
test_odd_names()
{
  local odd=$'o\e[31m\n\xe9x' shown='o\x1b[31m\x0a\xe9x' c
  if ! : >"$odd"; then
    skip odd-names "no such names here"
    return
  fi
  rm "$odd"
  for c in info check stats files 'resize POOL 8M' 'dump POOL superblock' advise 'top --once'; do
    [[ $c == *POOL* ]] || c="$c POOL"
    # shellcheck disable=SC2086 # words are wanted
    words=(${c/POOL/})
    "$cm" "${words[0]}" "$odd" "${words[@]:1}" >out 2>&1
    check "odd-name-none-${words[0]}" grep -qF "cachemax: $shown: no such file" out
  done
  "$cm" create "$odd" --size 8M >out 2>&1
  check odd-name-create grep -qF "$shown: made, " out
  check odd-name-create-files grep -qF "$shown: knows up to " out
  for c in info check stats 'resize 8M' 'resize 9M' 'dump superblock' advise 'create --size 8M'; do
    # shellcheck disable=SC2206 # words are wanted
    words=($c)
    "$cm" "${words[0]}" "$odd" "${words[@]:1}" >out 2>&1
    check "odd-name-${c// /-}" grep -qF "$shown" out
    check "odd-name-${c// /-}-plain" test "$(LC_ALL=C tr -d '\n -~' <out | wc -c)" = 0
  done
  chmod 666 "$odd"
  echo text >f
  "$cm" cat f --pool "$odd" 2>out >/dev/null
  check odd-name-log grep -qF "$shown" out
  check odd-name-log-plain test "$(LC_ALL=C tr -d '\n -~' <out | wc -c)" = 0
  rm "$odd" f
  printf '%s\n' 'cachemax-trace 1' 'f 1 a' 'r 1 0 1 0' 'end 1' >"$odd"
  "$cm" replay "$odd" --size 64 >out 2>&1
  check odd-name-replay grep -qF "$shown: 1 blocks read, " out
  check odd-name-replay-plain test "$(LC_ALL=C tr -d '\n -~' <out | wc -c)" = 0
  rm "$odd"
}

# A name in the text of a message, and not before it.
test_odd_words()
{
  local odd=$'o\e[31m\n\xe9x' shown='o\x1b[31m\x0a\xe9x'
  odd_word() { # NAME TEXT LINES ARGUMENT...: the message has this text, and so many lines
    local name=odd-word-$1 text=$2 lines=$3
    shift 3
    timeout 60 "$cm" "$@" >out 2>&1 </dev/null
    check "$name" grep -qF -- "$text" out
    check "$name-plain" test "$(LC_ALL=C tr -d '\n -~' <out | wc -c)" = 0
    check "$name-lines" test "$(wc -l <out)" = "$lines"
  }
  if ! mkdir "$odd"; then
    skip odd-words "no such names here"
    return
  fi
  "$cm" create two --size 1M --quiet
  "$cm" create "$odd/pool" --size 1M --quiet
  odd_word two-pools "'info' takes one POOL, but got '$shown' and 'two'" 2 info "$odd" two
  odd_word command "unknown command '${shown}y'" 2 "${odd}y"
  odd_word path "'./$shown' is a path: a command must come first" 2 "./$odd"
  odd_word option "unknown option '--$shown'" 2 info "--$odd"
  odd_word letter "unknown option" 2 info $'-\e'
  odd_word value "'$shown'" 1 create new --size "$odd"
  odd_word no-directory "there is no directory 'no$shown'; make it" 1 create "no$odd/pool" --size 1M
  odd_word under-a-file "'$shown/pool' is no directory" 1 create "$odd/pool/new" --size 1M
  odd_word dump "'dump' knows no '$shown'; it takes" 2 dump two "$odd"
  odd_word list "$shown" 2 list "$odd"
  [ ! -x "${cm%/*}/cachemax-compare" ] ||
    odd_word compare "$shown" 1 compare -o "no$odd" -p "no$odd"
  [ ! -x "${cm%/*}/cachemax-dash" ] ||
    odd_word dash "--listen '$shown' is no numeric address and port" 1 dash two --listen "$odd"
  # A long text is whole.
  local long
  long=$(printf '%03000d' 0)
  odd_word long "'info' takes one POOL, but got '$long$shown' and 'two'" 2 info "$long$odd" two
  rm -r "$odd" two
}

# A sparse pool that was never used, on a full tmpfs: there its holes cannot be read through a
# mapping.
test_unused_on_full()
{
  mkdir -p small
  if [ "$(id -u)" != 0 ] || ! mount -t tmpfs -o size=8m none small 2>/dev/null; then
    skip unused-on-full "cannot mount a small tmpfs"
    return
  fi
  "$cm" create small/p --size 64M --sparse --quiet
  cp --sparse=always small/p unused
  "$cm" stats unused --json | grep -v lifetime_seconds >unused.json
  cat /dev/zero >small/rest 2>/dev/null
  "$cm" stats small/p --json >full.json
  check unused-on-full-same cmp unused.json \
    <(sed '/lifetime_seconds/d; s/small\/p/unused/' full.json)
  expect unused-on-full-info 0 'state: +clean' "$cm" info small/p
  expect unused-on-full-stats 0 'hit rate' "$cm" stats small/p
  expect unused-on-full-top 0 'hit' "$cm" top small/p --once --interval 0.1
  expect unused-on-full-advise 6 'not enough reads yet' "$cm" advise small/p
  make_file data 10000
  expect unused-on-full-cat 0 "" "$cm" cat data --pool small/p -v
  check unused-on-full-says-why grep -q 'its volume is full. make room there' err
  umount small
  rm -r small data unused unused.json full.json
}

test_no_command
test_bad_pools
test_changed_meanwhile
test_ignored_signal
test_stuck_read
test_half_damaged
test_looker
test_passing
test_read_only_volume
test_counters
test_versions
test_payload
test_no_permission
test_own_forbidden
test_few_descriptors
test_not_made
test_json
test_short_mounts
test_odd_names
test_odd_words
test_unused_on_full

summary
