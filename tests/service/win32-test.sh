#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# win32-test.sh BUILD_DIR - the service on Windows, run under Wine: its names, who may use what it
# shares, how it begins and ends. Prints "ok NAME" or "FAIL NAME: why" and a summary as the last
# line.
set -u
# shellcheck source=../sleep.sh
. "$(dirname "$0")/../sleep.sh"
build=$(realpath "${1:?usage: win32-test.sh BUILD_DIR}")
wine=$(cd "$(dirname "$0")/../cross" && pwd)/wine-run
wine_try=${wine%-run}-try
service=$build/examples/service/cachemax-service.exe
cm=$build/src/tool/cachemax.exe

passed=0 failed=0 skipped=0
ok() { passed=$((passed + 1)); echo "ok $1"; }
fail() { failed=$((failed + 1)); echo "FAIL $1: $2"; }
work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-test.XXXXXX")
name=$(basename "$work") # of the pipe, too
drive=${WINEPREFIX:-${TMPDIR:-/tmp}/cachemax-wine}/drive_c
files=$drive/ProgramData/cachemax
job=
cleanup() {
  [ -z "$job" ] || kill -9 "$job" 2>/dev/null
  rm -rf "$work" "$files/$name.lock" "$files/$name.writes" "${drive:?}/$name"
}
trap cleanup EXIT
trap 'exit 1' INT TERM
cd "$work" || exit 1
win="Z:${work//\//\\}"

# expect NAME STATUS PATTERN ARGUMENT...: runs the service; PATTERN has to be in what it prints.
expect() {
  local what=$1 want=$2 pattern=$3 got
  shift 3
  timeout -k 5 60 "$wine_try" "$service" "$@" >out 2>&1 </dev/null
  got=$?
  if [ $got = "$want" ] && grep -Eq -- "$pattern" out; then
    ok "$what"
  else
    fail "$what" "status $got instead of $want; $(head -c 300 out | tr '\n' ' ')"
  fi
}
check() { # NAME COMMAND...
  local what=$1
  shift
  if "$@" >check.out 2>&1; then ok "$what"; else fail "$what" "$(head -c 200 check.out)"; fi
}
config() { # POOL SOCKET: as "service.conf"
  printf 'pool = %s\r\nsocket = %s\r\n' "$1" "$2" >service.conf
}
# Starts the service in the background and waits until it serves.
begin() {
  "$wine" "$service" service.conf >log 2>&1 </dev/null &
  job=$!
  for _ in $(seq 300); do
    grep -q ' serves ' log && return
    sleep 0.1
  done
}
state_is() { "$wine" "$cm" info "$1" 2>&1 </dev/null | grep -Eq "state: +$2"; }

for pool in pool other; do
  "$wine" "$cm" create $pool --size 1M >out 2>&1 </dev/null || fail "a pool" "$(cat out)"
done
mkdir 'größe' && mv pool 'größe/pool'
pool=$win'\größe\pool' pipe='\\.\pipe\'$name

check "needs nothing but the system" sh -c '! objdump -p "$1" | sed -n "s/.*DLL Name: //p" |
  grep -viE "^(kernel32|advapi32|bcrypt|msvcrt|shell32|api-ms-win-.*)\.dll$"' - "$service"

# ---- names -------------------------------------------------------------------------------------
expect "no arguments" 2 '^usage: '
expect "help" 0 '^usage: ' --help
expect "help, as Windows asks for it" 0 '^usage: ' '/?'
expect "no file" 2 'missing: No such file' missing
config "$pool" "$pipe"
"$wine_try" "${build}/tests/cross/launch.exe" "Z:${service//\//\\}" check-config service.conf 'a@' \
  >out 2>&1 </dev/null
check "a name that is no Unicode: the status" test $? = 2
check "a name that is no Unicode: says which" grep -q 'argument 3 is not valid Unicode' out
mv service.conf 'dienst-ä.conf'
expect "names in UTF-8" 0 'dienst-ä.conf: in order' check-config 'dienst-ä.conf'
for wrong in pool '\pool' 'C:pool' '/pool'; do
  config "$wrong" "$pipe"
  expect "pool = $wrong" 2 'service.conf:1: pool: it must be an absolute path, like C:' service.conf
done
for wrong in /run/socket '\\server\pipe\x' '\\.\pipe' 'C:\x'; do
  config "$pool" "$wrong"
  expect "socket = $wrong" 2 'service.conf:2: socket: it must be a pipe' service.conf
done
for wrong in '\\.\pipe\' '\\.\pipe\a\b' '\\.\pipe\a:b'; do
  config "$pool" "$wrong"
  expect "socket = $wrong" 2 'service.conf:2: socket: the pipe.s name may have' service.conf
done
config "$pool" "$pipe"
printf 'folder = D:\\gr\374n\r\n' >>service.conf # as Windows-1252 has it
expect "a file that is not UTF-8" 2 \
  'service.conf:3: the line is not UTF-8; save the file as UTF-8' check-config service.conf
config '\\server\share\pool' "$pipe"
expect "a pool on a server" 0 'in order' check-config service.conf

# ---- remove ------------------------------------------------------------------------------------
mkdir 'my data'
echo text >'my data/file'
config "$pool" "$pipe"
printf 'folder = %s\\my data\r\nexclude = *.tmp\r\n' "$win" >>service.conf
printf 'folder = %s\\gone\r\n' "$win" >>service.conf
expect "a folder that is not there" 0 'gone: there is no such directory now' \
  check-config service.conf
check "the other one is" sh -c '! grep -q "data: there is no" out'
echo 'port = \CacheFilterPort' >>service.conf
expect "a folder that the driver passes by" 0 "my data is on the pool's volume; the driver passes" \
  check-config service.conf "$win\\my data\\file" "$win\\my data\\a.tmp" 'C:\Windows\a'
check "its files are not cached" grep -q 'data.file: not cached (folder = .* is on the pool' out
check "nor are others" grep -q 'a.tmp: not cached (exclude = ' out
printf 'folder = C:\\%s\n' Windows other >>service.conf
expect "a folder on another volume" 0 'other.a: cached \(folder = C:.other\)' \
  check-config service.conf 'C:\other\a' 'C:\other\a:b' 'C:\Windows\a' 'C:\other\a::$data'
check "its streams are not cached" grep -q 'a:b: not cached (it is a stream' out
check "the content has a stream's name, too" grep -q 'a::.data: cached' out
check "nor is the system" grep -q 'Windows.a: not cached (folder = .* is needed by the system' out
check "a folder of the system gets a warning" \
  grep -q 'service: folder = C:.Windows is needed by the system itself' out
printf 'folder = C:\\Büro\r\nexclude = *.MÜLL\r\n' >>service.conf
expect "small letters and capitals" 0 'BÜRO.a: cached \(folder = C:.Büro\)' \
  check-config service.conf 'C:\BÜRO\a' 'C:\other\a.müll' 'C:\Buro\a'
check "of patterns" grep -q 'a.müll: not cached (exclude = \*.MÜLL)' out
check "another letter is another letter" grep -q 'Buro.a: not cached (no folder' out
printf 'folder = C:\\%s\\folder\r\n' "$name" >>service.conf
mkdir -p "$drive/$name/folder" "$drive/$name/real" &&
  ln -s ../real "$drive/$name/folder/link" && ln -s folder "$drive/$name/alias" &&
  touch "$drive/$name/folder/a.tmp" && ln -s a.tmp "$drive/$name/folder/a"
at='C:\'$name
expect "links: in order" 0 'in order' check-config service.conf \
  "$at\\folder\\link\\f" "$at\\folder\\link" "$at\\alias\\f" "$at\\folder\\a" "$at\\real\\f"
check "what a link leads out to is not cached" test 2 = \
  "$(grep -c 'link.*: not cached (it leads out of folder = C:.*folder through a link' out)"
check "what a link leads in to is cached" grep -q 'alias.f: cached (folder = C:.*.folder)' out
check "patterns are compared with real names" grep -q 'folder.a: not cached (exclude = \*' out
check "what no folder has is not cached" grep -q 'real.f: not cached (no folder of this' out
sed -i '/^port/d; /C:/d; /LL/d' service.conf
echo mine >service.conf.new
expect "remove a folder" 0 'my data: removed; .* its 1 file is' \
  remove "$win\\service.conf" "$win\\my data"
check "its line is gone" sh -c '! grep -q "my data" service.conf'
check "the other lines stay" test "$(grep -c '^[psef].* = ' service.conf)" = 4
check "somebody else's file beside it stays" grep -qx mine service.conf.new
check "nothing else is beside it" test "$(echo service.conf*)" = 'service.conf service.conf.new'

# ---- one service at a pipe ---------------------------------------------------------------------
config "$pool" "$pipe"
printf 'folder = %s\r\n' 'C:\' 'Q:\data' >>service.conf # a whole volume, and none
begin
check "serves" grep -q ' serves ' log
check "nothing was to be recovered" sh -c '! grep -Eq "own name|no such folder" log'
expect "the same pool" 1 'is open in process' service.conf
config "$win\\other" "${pipe^^}"
sed -i 's/PIPE/pipe/' service.conf
expect "the same pipe" 1 'another service listens there' service.conf
config "$pool" "$pipe"
kill -9 $job
wait $job 2>/dev/null
begin
check "serves after it was killed" grep -q ' serves ' log
# Wine makes a thread for the handler. Rarely, on a busy machine, it ends the program instead.
for _ in 1 2 3; do
  kill -INT $job
  wait $job
  ended=$?
  [ $ended != 0 ] || break
  begin
done
check "Ctrl-C ends it" test $ended = 0
check "Ctrl-C is in the log" grep -q 'ends: Ctrl-C' log
job=
check "Ctrl-C leaves a clean pool" state_is "$pool" clean

# ---- who may use the files ---------------------------------------------------------------------
check "its file is for its owner" test "$(stat -c %a "$files/$name.writes" | tail -c 2)" = 0
chmod o+rw "$files/$name.writes"
expect "others may use its file" 1 "$name.writes: others may use it too" service.conf
chmod o-rwx "$files/$name.writes"
if [ "$(id -u)" = 0 ]; then
  chown 12345 "$files/$name.writes"
  expect "its file is somebody else's" 1 "$name.writes: it belongs to another user" service.conf
else
  skipped=$((skipped + 1))
  echo "skip a file of somebody else: only root can make one"
fi
rm "$files/$name.writes"
mkdir "$files/$name.writes"
expect "its file is a directory" 1 "$name.writes: it cannot be opened" service.conf
rmdir "$files/$name.writes"

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
