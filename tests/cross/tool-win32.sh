#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# tool-win32.sh BUILD_DIR - the cachemax command on Windows, run under Wine: every command, the
# names and errors of that system, Ctrl-C, the console, exit statuses; and the shared library. What
# does not depend on the system is in tests/tool/tool-test.sh. Prints "ok NAME" or "FAIL NAME: why"
# and a summary as the last line.
set -u
. "$(dirname "$0")/lib-win32.sh"

# ---- one static file ---------------------------------------------------------------------------
needed() { objdump -p "$1" | sed -n 's/.*DLL Name: //p'; }
system_only() {
  local all
  all=$(needed "$1") && grep -qi '^kernel32\.dll$' <<<"$all" &&
    ! grep -viE '^(kernel32|advapi32|bcrypt|httpapi|msvcrt|shell32|api-ms-win-.*)\.dll$' <<<"$all"
}
check "needs nothing but the system" system_only "$cm"

# ---- the shared library ------------------------------------------------------------------------
dll=$build/src/libcachemax-0.dll
check "the DLL needs nothing but the system" system_only "$dll"
check "a program needs the DLL" grep -q '^libcachemax-0\.dll' \
  <(needed "$build/tests/cross/shared.exe")
WINEPATH="Z:${build//\//\\}\\src" "$here/wine-run" "$build/tests/cross/shared.exe" shared.pool \
  >out 2>&1 </dev/null
check "a program on the DLL" grep -q '^version .*: right bytes, .* none warm' out
"$here/wine-run" "$build/tests/cross/unload.exe" "Z:${dll//\//\\}" unload.pool >out 2>&1 </dev/null
check "the DLL stays loaded once used" grep -q '^stays once used' out

# ---- every command -----------------------------------------------------------------------------
expect version 0 '^cachemax [0-9]' --version
expect help 0 'Commands:' --help
commands=$(sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p' out)
check "the help names the commands" test "$(echo "$commands" | wc -l)" -ge 5
for c in $commands; do
  expect "$c --help" 0 "^Usage: cachemax $c " "$c" --help
done
expect "no command" 2 'a command is needed'
expect "unknown command" 2 'unknown command' creat
# The 733 blocks of data fill a sixth of it. Of pools of 4 MiB, one in 300 pushes a block out.
expect create 0 'made, 16.00 MiB' create pool --size 16M
expect "create, exists" 1 'exists already' create pool --size 16M
expect info 0 'durability: +page cache of' info pool
check "lines end as everywhere" sh -c '! grep -q "$(printf "\r")" out'
expect "info --json" 0 '"slots": *[0-9]' info pool --json
check "its JSON" python3 -m json.tool out
expect stats 0 'hit rate' stats pool
expect top 0 '^not cached +0\.0 +[0-9]+' top pool --once --interval 0.1
expect dash 2 'only this machine can be served' dash pool --listen 0.0.0.0:80
expect check 0 'sound' check pool
head -c 3000001 /dev/urandom >data
run cat data --pool pool -v >copy 2>err </dev/null
check "cat, cold: the bytes" cmp data copy
check "cat, cold: misses" grep -q ' 0 hits, 733 misses' err
run cat data --pool pool -v >copy 2>err </dev/null
check "cat, warm: the bytes" cmp data copy
check "cat, warm: hits" grep -q ' 733 hits, 0 misses' err
expect "check, warm" 0 '733  hold a block' check pool
expect dump 0 'ends at: +hit' dump pool find data 732
expect "dump, no such slot" 2 'the slots are 0 to' dump pool slot 99999

# ---- what only a mount has ---------------------------------------------------------------------
for c in warm forget pin unpin cached mode record list; do
  check "the help is without $c" sh -c '! echo "$1" | grep -qx "$2"' - "$commands" $c
  case $c in list) arg= ;; *) arg=pool ;; esac
  # shellcheck disable=SC2086 # no word or one
  expect "$c, no mount" 8 "'$c' asks a running cachemax-mount, which this system does not" $c $arg
  expect "$c --help" 0 "^Usage: cachemax $c " "$c" --help
done
path=$win\\pool
expect "a path as it is" 0 "^${path//\\/\\\\}: not open" \
  top "$path" --once --interval 0.1

# ---- bench -------------------------------------------------------------------------------------
mkdir bench
run bench bench --size 64M --rounds 1 --json >out 2>err </dev/null
got=$?
reasons() {
  python3 -c 'import json
v = json.load(open("out"))
left = {k: v["details"][k]["reason"] for k in v["ratios"] if v["ratios"][k] is None}
assert left.pop("hit_speedup_vs_lmdb") == left.pop("fill_speedup_vs_lmdb") == "built without LMDB"
assert left.pop("hit_speedup_vs_sqlite") == "built without SQLite"
assert left.pop("sealed_vs_hit") == left.pop("encrypted_vs_hit") == "built without OpenSSL"
assert left.pop("open_1tib_vs_1gib", "no pool of 1 TiB").startswith("no pool of 1 TiB")
assert all("processor" in r for r in left.values()), left'
}
if [ $got = 1 ] && grep -q 'the machine is too busy' err; then
  skipped=$((skipped + 2)) # its threads never ran at the same time, beside other suites
  echo "skip bench: the machine is too busy"
else
  check bench grep -q '"hit_vs_memcpy": [0-9.]*[1-9]' out
  check "bench: what there is no rival for is null, with its reason" reasons
fi
check "bench leaves nothing" test -z "$(ls -A bench)"
"$here/wine-run" "$cm" bench bench --size 64M --rounds 5 >out 2>err </dev/null &
job=$!
for _ in $(seq 400); do
  grep -q '^hit_vs_memcpy' out && break
  sleep 0.05
done
kill -INT $job
wait $job
check "Ctrl-C ends bench" test $? = 58
check "Ctrl-C: bench leaves nothing" test -z "$(ls -A bench)"

# ---- replay ------------------------------------------------------------------------------------
mkdir replay
python3 -c 'import struct
record = struct.pack("<QIHBB", 0, 1, 100, 0, 0)
open("trace", "wb").write(b"LCTRACE1" + struct.pack("<Q", 2) + 2 * record)
open("trace.xz", "wb").write(bytes.fromhex("fd377a585a000004e6d6b446"))'
for where in "" "--dir replay"; do
  # shellcheck disable=SC2086 # no word or two
  for how in clean crash; do
    expect "replay $where, $how: warm" 0 '^auto +100 +50\.00 % +100 +100\.00 % +100 blocks stored' \
      replay trace --size 400 --restart-at 0.5 $how $where
  done
  # shellcheck disable=SC2086
  expect "replay $where, cold" 0 '^auto +0 +0\.00 % +0 +0\.00 % +200 blocks stored' \
    replay trace --size 400 --restart-at 0.5 cold $where
done
check "replay leaves nothing" test -z "$(ls -A replay)"
expect "replay, threads" 0 '"reads": 200' replay trace --size 400 --threads 4 --json
expect "replay, compressed" 1 'built without liblzma; unpack it before: xz -dk FILE' \
  replay trace.xz --size 400
expect "replay, another file" 3 'not a block trace' replay data --size 400

# ---- names -------------------------------------------------------------------------------------
for name in 'pöl' '池' '💾 disk'; do
  expect "create $name" 0 "^$name: made" create "$name" --size 1M
  expect "info $name" 0 "^pool: +$name$" info "$name"
  expect "info $name by drive" 0 'state: +clean' info "$win\\$name"
done
expect "a long-path prefix" 0 'state: +clean' info "\\\\?\\$win\\pool"
mkdir -p sub/dir
expect "both slashes" 0 'made' create 'sub\dir/pool' --size 1M
check "are where they belong" test -f sub/dir/pool
# Of names that are no Unicode U+FFFD is made where they are shown. A file of that name is another.
fffd=$'\xef\xbf\xbd'
expect "a name with U+FFFD" 0 'made' create "po${fffd}ol" --size 1M
for words in 'resize po@ol 2M' 'create new@l --size 1M' 'check --repair po@ol'; do
  # shellcheck disable=SC2086 # words
  "$here/wine-try" "$build/tests/cross/launch.exe" "Z:${cm//\//\\}" $words >out 2>err </dev/null
  check "no Unicode, ${words%% *}: the status" test $? = 2
  check "no Unicode, ${words%% *}: says which" \
    grep -Eq '^cachemax: argument [23] is not valid Unicode' err
done
check "no Unicode: no other file was used" test "$(stat -c %s "po${fffd}ol")" -lt 2000000
check "no Unicode: no other file was made" test ! -e "new${fffd}l"
long=$(printf 'a-directory-of-fifty-characters-or-so-that-is-long/%.0s' 1 2 3 4 5 6)
mkdir -p "$long"
expect "a long name" 0 'made' create "$win\\${long//\//\\}pool" --size 1M
expect "a long name, info" 0 'state: +clean' info "$win\\${long//\//\\}pool"

# ---- examples/objects --------------------------------------------------------------------------
# Values are bytes: ^Z ends a text, and the ends of its lines become longer.
objects=$build/examples/objects/objects.exe
put() { "$here/wine-try" "$objects" "$1" put "$2" <value >out 2>err; }
printf 'a\nb\r\nc\032d\n' >value
check "objects: put" put objects 'schlüssel'
"$here/wine-try" "$objects" objects get 'schlüssel' >got 2>err </dev/null
check "objects: get" cmp value got
"$here/wine-try" "$objects" objects list >out 2>err </dev/null
check "objects: keys are UTF-8, lines end as everywhere" sh -c 'printf "schlüssel 9\n" | cmp out -'
check "objects: a pool's name in UTF-8" put 'obj-ö-池' key
check "objects: it has that name" test -f 'obj-ö-池'
"$here/wine-try" "$build/tests/cross/launch.exe" "Z:${objects//\//\\}" ob@jects info \
  >out 2>err </dev/null
check "objects, no Unicode: the status" test $? = 2
check "objects, no Unicode: says which" grep -q '^objects: argument 1 is not valid Unicode' err

# ---- errors ------------------------------------------------------------------------------------
expect "path not found" 1 'no such file' info missing
expect "path not found, directory" 1 'there is no directory' create 'no\such\pool' --size 1M
expect "path not found, drive" 1 'no such' info 'Q:\pool'
expect "path not found, server" 1 'no such' info '\\no.such.server.example\share\pool'
expect "cat, file not found" 1 'not find|cannot find|No such|not found' cat missing --pool pool
expect "cat, directory" 1 'is a directory' cat sub --pool pool
expect "not a pool" 3 'not a cachemax pool' info data
expect "a directory" 3 'not a regular file' info sub
expect "no name of Windows" 1 'x.y: its file system takes no such name; choose another' \
  create 'x|y' --size 1M --max-files 10
expect "disk full" 1 'not enough space' create big --size 60T
check "disk full leaves nothing" test ! -e big
expect "too large to be mapped" 1 'out of memory' create big --size 8T --sparse
check "a pool that cannot be mapped is not left behind" test ! -e big
expect "access denied" 1 'permission denied' check --repair 'Z:\sys\kernel\notes'
expect "access denied, create" 1 'permission denied; you may not make files in' \
  create 'Z:\sys\kernel\pool' --size 1M

# A volume that is full while the pool grows: what Linux calls SIGBUS is an access violation here.
mkdir small
if [ "$(id -u)" = 0 ] && mount -t tmpfs -o size=1m none small 2>/dev/null; then
  expect "small volume" 1 'not enough space on the volume' create small/pool --size 4M
  check "small volume: nothing left" test ! -e small/pool
  expect "small volume, sparse" 0 'sparse' create small/pool --size 8M --sparse
  run cat data --pool small/pool -v >copy 2>err </dev/null
  check "full volume: the bytes" cmp data copy
  check "full volume: it is full" test "$(df --output=avail small | tail -n 1)" -lt 100
  expect "full volume: the pool is sound" 0 'sound' check small/pool
  umount small
else
  skipped=$((skipped + 1))
  echo "skip full volume: cannot mount a small tmpfs"
fi

# ---- a pool in use -----------------------------------------------------------------------------
"$here/wine-run" "$build/tests/cross/pool.exe" warm pool hang >ready 2>/dev/null </dev/null &
owner=$!
for _ in $(seq 100); do
  grep -q ready ready && break
  sleep 0.1
done
expect "sharing violation, check" 4 'in use|open in' check pool
expect "sharing violation, create" 1 'exists' create pool --size 1M
expect "info beside the owner" 0 'state: +(open|in use)' info pool
expect "stats beside the owner" 0 'hit rate' stats pool
expect "top beside the owner" 0 ': open (in process|for)' top pool --once --interval 0.1
run cat data --pool pool >copy 2>err </dev/null
check "cat without the pool" cmp data copy
kill -9 $owner
wait $owner 2>/dev/null
owner=
expect "after its end" 0 'sound' check pool

# ---- warm after the end of its owner -----------------------------------------------------------
expect "a pool for that" 0 'made' create killed --size 16M
run cat data --pool killed >copy 2>err </dev/null
"$here/wine-run" "$build/tests/cross/pool.exe" warm killed hang >ready 2>/dev/null </dev/null &
owner=$!
for _ in $(seq 100); do
  grep -q ready ready && break
  sleep 0.1
done
kill -9 $owner
wait $owner 2>/dev/null
owner=
expect "killed: not closed" 0 'state: +not closed' info killed
run cat data --pool killed -v >copy 2>err </dev/null
check "killed: the bytes" cmp data copy
check "killed, the same boot, a page cache: warm" grep -q ' 733 hits, 0 misses' err
"$here/wine-run" "$build/tests/cross/pool.exe" verify killed 1 all >out 2>&1 </dev/null
check "killed: what its owner filled is warm" grep -q '^1200 of 1200 blocks hit, 0 wrong' out

nothing_left() { ! ls interrupted* >/dev/null 2>&1; }

# ---- Ctrl-C ------------------------------------------------------------------------------------
# Wine makes Ctrl-C of SIGINT; 58 is what is left of STATUS_CONTROL_C_EXIT.
"$here/wine-run" "$cm" create interrupted --size 6G >out 2>err </dev/null &
begun $! interrupted.cachemax-new && sleep 0.3 && kill -INT $!
wait $!
check "Ctrl-C ends create" test $? = 58
check "Ctrl-C: create says so" grep -q 'interrupted; nothing was left behind' err
check "Ctrl-C: nothing is left" nothing_left
head -c 60000000 /dev/zero >large
mkfifo slow
"$here/wine-run" "$cm" cat large --pool pool >slow 2>err </dev/null &
job=$!
{ sleep 1.5; cat >/dev/null; } <slow & # the tool waits for its reader when Ctrl-C comes
begun $job pool && sleep 0.7 && kill -INT $job
wait $job
check "Ctrl-C ends cat" test $? = 58
wait
expect "Ctrl-C leaves a clean pool" 0 'state: +clean' info pool
expect "Ctrl-C leaves a sound pool" 0 'sound' check pool
# Ctrl-C for ever: also while the pool is closed, the new file removed, the process ended.
hail() { # PROCESS FILE SECONDS
  begun "$1" "$2" && sleep "$3" || return
  while kill -INT "$1" 2>/dev/null; do sleep 0.003; done
}
for after in 0 0.2 0.4; do
  "$here/wine-run" "$cm" create interrupted --size 6G >out 2>err </dev/null &
  job=$!
  hail $job interrupted.cachemax-new $after
  wait $job
  check "Ctrl-C for ever ends create (after $after s)" ended $?
  check "Ctrl-C for ever: nothing is left" nothing_left
  "$here/wine-run" "$cm" cat large --pool pool >slow 2>err </dev/null &
  job=$!
  { sleep 2; cat >/dev/null; } <slow &
  hail $job pool $after
  wait $job
  check "Ctrl-C for ever ends cat (after $after s)" ended $?
  wait
  expect "Ctrl-C for ever leaves a clean pool" 0 'state: +clean' info pool
done
expect "Ctrl-C for ever leaves a sound pool" 0 'sound' check pool
run cat large --pool pool 2>err </dev/null | head -c 1000 >/dev/null
expect "a reader that goes away leaves a clean pool" 0 'state: +clean' info pool

# ---- the console -------------------------------------------------------------------------------
# console PROGRAM WORD... -- ARGUMENT...: the tool in a console of its own, with one of the programs
# of this directory; what became of it is in "result".
console() {
  local words=()
  while [ "$1" != -- ]; do
    words+=("$1")
    shift
  done
  shift
  rm -f result
  printf 'exec ' >console.sh
  printf '%q ' "$here/wine-run" "$build/tests/cross/${words[0]}.exe" result "${words[@]:1}" \
    "Z:${cm//\//\\}" "$@" >>console.sh
  script -qec 'bash console.sh' /dev/null >screen 2>&1 </dev/null
}
if command -v script >/dev/null; then
  console console 0 -- --version
  check "a console gets back its code page and mode" grep -q '^status 0, page 850, mode restored' \
    result
  for n in 1 40; do
    console console $n -- create interrupted --size 6G
    check "Ctrl-C in a console, $n times" grep -q '^status c000013a, page 850, mode restored' result
    check "Ctrl-C in a console, $n times: nothing is left" nothing_left
  done
  # Wine's console shows escape sequences as they are. Its views are redrawn when something comes,
  # not by time: the interval is long. Only the last line of a view is still there at its end.
  for how in q Q xq sq; do
    console screen $how 'q: end; every 3000 s' -- top pool --interval 3000
    check "top in a console, keys $how" grep -q '^shown, status 0, page 850, modes restored' result
  done
  check "top begins and ends with its sequences" python3 -c '
import re
text = re.sub(r"\x1b\[\?25[hl]", "", open("screen", encoding="utf-8", errors="replace").read())
for part in "[?1049", "[H", "[1m", "[J", "[?7h", "[?1049l":
    assert part in text, part'
  console screen xc 'q: end' -- top pool --interval 3000
  check "top in a console, Ctrl-C" \
    grep -q '^shown, status c000013a, page 850, modes restored' result
  console screen q 'q: end; every 0.1 s' -- top pool --interval 0.1
  check "top in a console, while it looks" \
    grep -q '^shown, status 0, page 850, modes restored' result
else
  skipped=$((skipped + 1))
  echo "skip the console: no script here (Debian package bsdutils)"
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
