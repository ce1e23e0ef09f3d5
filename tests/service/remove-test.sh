#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# remove-test.sh BUILD_DIR - tests of "cachemax-service check-config FILE PATH" and "remove", with
# and without a service that runs, and of the unit for systemd. Prints "ok NAME", "FAIL NAME: why"
# or "skip NAME: reason" and a summary as the last line.
set -u
# shellcheck source=../sleep.sh
. "$(dirname "$0")/../sleep.sh"
build=$(realpath "${1:?usage: remove-test.sh BUILD_DIR}")
service=$build/examples/service/cachemax-service cm=$build/src/tool/cachemax
passed=0 failed=0 skipped=0
ok() { passed=$((passed + 1)); echo "ok $1"; }
fail() { failed=$((failed + 1)); echo "FAIL $1: $2"; }
skip() { skipped=$((skipped + 1)); echo "skip $1: $2"; }
work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-remove.XXXXXX")
trap 'kill $pid 2>/dev/null; umount "$work/read" 2>/dev/null; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
pid=
cd "$work" || exit 1

# expect NAME STATUS PATTERN COMMAND...: an extended regular expression of what is printed.
expect() {
  local name=$1 want=$2 pattern=$3 got
  shift 3
  timeout 60 "$@" >out 2>&1 </dev/null
  got=$?
  if [ $got != "$want" ]; then
    fail "$name" "status $got instead of $want: $(head -c 300 out | tr '\n' ' ')"
  elif ! grep -Eq -- "$pattern" out; then
    fail "$name" "'$pattern' not found in: $(head -c 300 out | tr '\n' ' ')"
  else
    ok "$name"
  fi
}

warm() { # FILE: until it is, and its times are old enough
  "$cm" cat "$1" --pool pool >/dev/null 2>&1
  "$cm" cat "$1" --pool pool >/dev/null 2>&1
}
configure() {
  printf '# ours\npool = %s/pool\nsocket = %s/socket\n%s\nexclude = *.tmp\n' \
    "$work" "$work" "$1" >conf
}
serve() { # $pid
  "$service" conf 2>log &
  pid=$!
  for _ in $(seq 600); do
    grep -q serves log && break
    sleep 0.1
  done
}

mkdir -p data/a other
head -c 100000 /dev/urandom >data/a/file
head -c 100000 /dev/urandom >other/file
touch -d 2020-01-01 data/a/file other/file
"$cm" create pool --size 16M --quiet || exit 1

configure "folder = $work/data   # a comment
folder=$work/other"
expect check 0 'conf: in order' "$service" check-config conf
if grep -q 'no such directory' out; then fail check-there "$(cat out)"; else ok check-there; fi
configure "folder = $work/gone"
expect check-missing 0 "folder = $work/gone: there is no such directory now" \
  "$service" check-config conf
configure "folder = $work/data   # a comment
folder=$work/other"
expect judge-cached 0 "a/file: cached \(folder = $work/data\)" \
  "$service" check-config conf "$work/data/a/file"
expect judge-excluded 0 'x.tmp: not cached \(exclude = \*\.tmp\)' \
  "$service" check-config conf "$work/data/x.tmp"
expect judge-elsewhere 0 'not cached \(no folder of this configuration has it\)' \
  "$service" check-config conf "$work/database/a"
expect judge-relative 2 'a/file: it must be an absolute path' \
  "$service" check-config conf data/a/file
expect remove-slash 2 'must not end with a separator' "$service" remove conf "$work/data/"
for line in "exclude = /a" "exclude = a/" "exclude = **/a" "folder = data" \
  "folder = /a/../b" "folder = /a/" "folder = /a//b" "exclude =" \
  "folder = $work/data
folder = $work/data"; do
  configure "$line"
  expect "wrong: ${line%%$'\n'*}" 2 'conf:[45]: ' "$service" check-config conf
done

configure "folder = $work/data   # a comment
folder=$work/other"
expect remove-unknown 2 "it has no line \"folder = $work/dat\"" "$service" remove conf "$work/dat"
warm data/a/file
warm other/file
cached() { "$cm" files pool --json | python3 -c '
import json, sys
print(sum(f["cached_bytes"] > 0 for f in json.load(sys.stdin)["files"]))'; }
[ "$(cached)" = 2 ] && ok warm || fail warm "$("$cm" files pool | head -5)"
echo mine | tee conf.new >linked.new
ln -s conf linked
expect remove 0 "data: removed; what was cached of its 1 file is" \
  "$service" remove linked "$work/data"
[ "$(cat conf.new linked.new)" = $'mine\nmine' ] && ok others-files ||
  fail others-files "$(head -c 300 conf.new linked.new)"
[ -L linked ] && ok link || fail link "it is no link any more"
[ "$(find . -name 'conf*' -o -name 'linked*' | wc -l)" = 4 ] && ok nothing-left ||
  fail nothing-left "$(ls)"
rm -f conf.new linked.new linked
[ "$(cached)" = 1 ] && ok forgotten || fail forgotten "$("$cm" files pool | head -5)"
printf '# ours\npool = %s/pool\nsocket = %s/socket\nfolder=%s/other\nexclude = *.tmp\n' \
  "$work" "$work" "$work" | cmp -s - conf && ok other-lines || fail other-lines "$(cat conf)"

# A file of somebody else is no lock of the service.
for kind in large linked small; do
  head -c 10000 /dev/zero | tr '\0' / >others
  [ $kind = large ] || echo "cachemax-lock $work/pool" >others
  [ $kind != small ] || echo "mine: $work/pool" >others
  if [ $kind = linked ]; then ln others socket.lock; else cp others socket.lock; fi
  cp socket.lock before
  expect "$kind-lock" 1 'socket.lock: .* move it away' "$service" conf
  cmp -s socket.lock before && ok "$kind-stays" || fail "$kind-stays" "$(head -c 99 socket.lock)"
  rm -f socket.lock others before
done
rm -f socket
echo a >socket
expect file-as-socket 1 'socket: it is no socket; move it away' "$service" conf
[ "$(cat socket)" = a ] && ok file-as-socket-stays || fail file-as-socket-stays "$(ls -l socket)"
rm -f socket

serve
expect remove-from-service 0 "other: removed; what was cached of its 1 file is" \
  "$service" remove conf "$work/other"
kill $pid
wait $pid
pid=
[ "$(cached)" = 0 ] && ok forgotten-by-service || fail forgotten-by-service "$("$cm" files pool)"

configure "folder = $work/other"
rm -r other
expect remove-gone 0 '^1 file or folder could not be opened' "$service" remove conf "$work/other"

# Of a pool that cannot be opened, it says what a start of the service says.
configure "folder = $work/empty"
mkdir -p empty
chmod 666 pool
expect remove-untrusted 1 'pool: the file .*pool may be written by others \(mode 0666\), .*chmod' \
  "$service" remove conf "$work/empty"
chmod 600 pool
mv pool whole
head -c 100000 whole >pool
chmod 600 pool
expect remove-short 1 'pool: has 100000 bytes, its superblock says [0-9]+: it was cut off' \
  "$service" remove conf "$work/empty"
rm pool
expect remove-gone-pool 1 "pool: there is no such file; make it with 'cachemax create'" \
  "$service" remove conf "$work/empty"
if [ "$(id -u)" = 0 ] && mkdir -p read && mount -t tmpfs -o size=20m none read 2>/dev/null; then
  cp whole read/pool
  chmod 600 read/pool
  mount -o remount,ro read
  ln -s read/pool pool
  expect remove-read-only 1 'pool: its volume is mounted read-only' \
    "$service" remove conf "$work/empty"
  rm pool
  umount read
else
  skip remove-read-only "cannot mount a tmpfs"
fi
mv whole pool
grep -q "^folder = $work/empty" conf && ok line-stays || fail line-stays "$(cat conf)"

# What could not be forgotten is not said to be. Of programs with a sanitizer the library may be
# loaded behind this one.
preload=$build/tests/service/remove_preload.so
troubled=(env LD_PRELOAD="$preload" ASAN_OPTIONS="verify_asan_link_order=0:${ASAN_OPTIONS:-}")
if [ -e "$preload" ]; then
  mkdir -p other/below empty
  echo 1 >other/one
  echo 2 >other/below/two
  configure "folder = $work/other/below"
  serve
  expect remove-no-answer-one 0 '^1 file could not be forgotten: .*; what is cached of it stays' \
    "${troubled[@]}" REMOVE_KILLS=$pid "$service" remove conf "$work/other/below"
  kill -9 $pid 2>/dev/null
  wait $pid 2>/dev/null
  configure "folder = $work/other"
  serve
  expect remove-no-answer 0 'what was cached of its 0 files is forgotten' \
    "${troubled[@]}" REMOVE_KILLS=$pid "$service" remove conf "$work/other"
  grep -q '^2 files could not be forgotten: the service is gone; what is cached of them' out &&
    ok not-forgotten || fail not-forgotten "$(head -c 300 out)"
  if grep -q 'could not be opened' out; then fail were-opened "$(cat out)"; else ok were-opened; fi
  kill -9 $pid 2>/dev/null
  wait $pid 2>/dev/null
  pid=
  configure "folder = $work/empty"
  expect remove-unclean 1 'of its 0 files is forgotten' \
    "${troubled[@]}" REMOVE_FAILS=msync "$service" remove conf "$work/empty"
  grep -q "$work/pool: the pool could not be closed cleanly: " out && ok unclean ||
    fail unclean "$(head -c 300 out)"
  if grep -Eq 'could not be (opened|forgotten)' out; then
    fail only-unclean "$(cat out)"
  else
    ok only-unclean
  fi
  rm pool # its last state could not be written
  "$cm" create pool --size 16M --quiet
  configure "folder = $work/other"
  expect remove-unreadable 0 '^1 file or folder could not be opened' \
    "${troubled[@]}" REMOVE_FAILS=readdir "$service" remove conf "$work/other"
  rm -r other empty
else
  skip remove-in-trouble "no such library in this build"
fi

configure "folder = $work/data"
rm pool
expect remove-no-pool 1 'pool: there is no such file' "$service" remove conf "$work/data"
grep -q "folder = $work/data" conf && ok kept || fail kept "the folder is gone from the file"

# A sealed pool: the command opens it with the key of the configuration.
(umask 077 && head -c 32 /dev/urandom >key)
if "$cm" create pool --size 16M --quiet --key-file key 2>/dev/null; then
  configure "folder = $work/data
key_file = $work/key"
  "$cm" cat data/a/file --pool pool --key-file key >/dev/null 2>&1
  sealed() { "$cm" files pool --key-file key | grep -c ' 100.0 '; }
  [ "$(sealed)" = 1 ] && ok warm-sealed || fail warm-sealed "$("$cm" files pool --key-file key)"
  sed '/^key_file/d' conf >keyless
  expect remove-without-key 1 '"key_file = FILE"' "$service" remove keyless "$work/data"
  [ "$(sealed)" = 1 ] && ok kept-sealed || fail kept-sealed "it is forgotten"
  expect remove-with-key 0 'of its 1 file is forgotten' "$service" remove conf "$work/data"
  [ "$(sealed)" = 0 ] && ok forgotten-sealed || fail forgotten-sealed "it is still there"
else
  skip remove-sealed "built without OpenSSL"
fi

if command -v systemd-analyze >/dev/null; then
  sed "s,^\(Exec[A-Za-z]*=\)\"[^\"]*/cachemax-service\",\1\"$service\"," \
    "$build/examples/service/cachemax-service.service" >cachemax-service.service
  systemd-analyze verify --man=no ./cachemax-service.service >out 2>&1 && [ ! -s out ] &&
    ok unit || fail unit "$(head -c 300 out)"
else
  skip unit "no systemd-analyze"
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
