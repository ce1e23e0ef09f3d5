#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# program-test.sh BUILD - cachemax-service as a program: its exit statuses, what it says on the
# standard error, the files that it makes, and two services at one place.
# Also the small client, examples/service/through.c, as it is built here and as a program that uses
# what is installed.
# The last line is "N passed, N failed, N skipped".
set -u
top=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
build=$(CDPATH='' cd -- "$1" && pwd)
service=$1/examples/service/cachemax-service tool=$1/src/tool/cachemax
passed=0 failed=0 skipped=0
unset JOURNAL_STREAM
work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-program.XXXXXX") || exit 1
pids=''
# shellcheck disable=SC2086 # words
trap 'kill -KILL $pids 2>/dev/null; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
cd "$work" || exit 1
ok() { passed=$((passed + 1)) && echo "ok $1"; }
fail() { failed=$((failed + 1)) && echo "FAIL $1: $2"; }
check() { # NAME COMMAND...
  name=$1
  shift
  if "$@"; then ok "$name"; else fail "$name" "$*"; fi
}
# says NAME STATUS TEXT ARGUMENT...: the program ends with this status, and the standard error has a
# line that begins with the text, all of it before a *.
says() {
  name=$1 want=$2 text=$3
  shift 3
  timeout 60 "$service" "$@" >out 2>err
  status=$?
  while read -r line; do
    # shellcheck disable=SC2254 # a pattern
    case $line in $text)
      [ $status = "$want" ] && ok "$name" && return
      ;;
    esac
  done <err
  fail "$name" "status $status, $(cat out err)"
}
config() { # FILE LINE...
  file=$1
  shift
  printf '%s\n' "$@" >"$file"
}
# start NAME CONFIG [VARIABLE=VALUE]: a service in the background; $pid.
start() {
  : >"log.$2"
  # A shell has SIGINT ignored in what it begins in the background.
  env --default-signal=INT ${3:+"$3"} "$service" "$2" 2>"log.$2" &
  pid=$! tries=0
  pids="$pids $pid"
  until grep -q 'serves ' "log.$2" || ! kill -0 $pid 2>/dev/null || [ $tries = 600 ]; do
    sleep 0.1
    tries=$((tries + 1))
  done
  check "$1" grep -q 'serves ' "log.$2"
}
# ends NAME SIGNAL STATUS: the service of $pid.
ends() {
  kill "-$2" $pid
  wait $pid 2>/dev/null
  status=$?
  pids=$(echo "$pids" | sed "s/ $pid\$//")
  check "$1" test $status = "$3"
}
us='cachemax-service:'

# ---- The command line and the configuration ------------------------------------------------------
for arguments in '' 'a b' '-x' 'check a' check-config remove; do
  # shellcheck disable=SC2086 # words
  says "arguments: $arguments" 2 'usage: cachemax-service FILE' $arguments
done
says 'no configuration' 2 "$us none.conf: No such file or directory" none.conf
says 'no configuration to check' 2 "$us none.conf: No such file or directory" check-config none.conf
config bad.conf "pool = $work/pool" 'clients = many'
bad="$us bad.conf:2: clients: it must be a number from 1 to 1000"
says 'a bad configuration' 2 "$bad" bad.conf
says 'a bad configuration to check' 2 "$bad" check-config bad.conf
config good.conf "pool = $work/pool" "socket = $work/socket"

for option in --help -h --version -V; do
  "$service" $option >out 2>err
  check "it answers $option" \
    sh -c "test $? = 0 && grep -Eqx '(usage: )?cachemax-service (FILE|[0-9.]+)' out"
done

# Names that come from elsewhere do not reach the terminal as they are.
odd=$(printf 'o\033[31m\nx')
odd_says() { # NAME STATUS TEXT ARGUMENT...: as says; and nothing is written as it is
  name=$1
  says "$@"
  check "$name: it is plain" test "$(cat out err | LC_ALL=C tr -d '\n -~' | wc -c)" = 0
}
odd_says 'an odd name' 2 "$us o*x1b[[]31m*x0ax: No such file or directory" "$odd"
odd_says 'an odd name to check' 2 "$us o*x1b[[]31m*x0ax: No such file or directory" \
  check-config "$odd"
odd_says 'an odd path to check' 2 "$us o*x1b[[]31m*x0ax: it must be an absolute path" \
  check-config good.conf "$odd" "/$odd"
config odd.conf "pool = $work/$(printf 'o\033[31m')" "socket = $work/socket"
odd_says 'an odd pool' 1 "$us $work/o*x1b[[]31m: there is no such file; make it *" odd.conf
odd_says 'an odd option' 2 "$us unknown option '-o*x1b[[]31m*x0ax'" "-$odd"
odd_says 'an odd folder to remove' 2 "$us o*x1b[[]31m*x0ax: it must be an absolute path" \
  remove good.conf "$odd"

# ---- What cannot be used -------------------------------------------------------------------------
says 'no pool' 1 "$us $work/pool: there is no such file; make it with 'cachemax create'" \
  good.conf
check 'it is said once' test "$(wc -l <err)" = 1
check 'nothing is left of it' test ! -e socket.writes
not_now='the service would not start now'
says 'no pool, to check' 0 "$us $not_now: $work/pool: there is no such file; make it with*" \
  check-config good.conf
# `create` refuses these names, too.
ln -s nowhere dangling
ln -s circle circle
for refused in dangling circle none/pool good.conf/pool; do
  config refused.conf "pool = $work/$refused" "socket = $work/socket"
  case $refused in
  dangling) said='is a symbolic link to a file that does not exist; delete *' ;;
  circle) said='symbolic links in this path lead in a circle, or there are too many; mend *' ;;
  *) said="there is no directory '$work/${refused%/pool}'; make it first, *" ;;
  esac
  says "a name that create refuses: $refused" 1 "$us $work/$refused: $said" refused.conf
  says "to check: $refused" 0 "$us $not_now: $work/$refused: $said" check-config refused.conf
done
rm dangling circle
"$tool" create pool --size 4M --quiet && "$tool" create other --size 4M --quiet || exit 1
if "$service" check-config good.conf >out 2>err && [ "$(cat out)" = 'good.conf: in order' ] &&
  [ ! -s err ]; then
  ok 'a good configuration'
else
  fail 'a good configuration' "$(cat out err)"
fi
head -c 100000 "$service" >junk
head -c 100000 /dev/zero >zeros
chmod 600 junk zeros
config junk.conf "pool = $work/junk" "socket = $work/socket"
says 'no pool at all' 1 "$us $work/junk: not a cachemax pool" junk.conf
check 'it is said once' test "$(wc -l <err)" = 1
says 'no pool at all, to check' 0 "$us $not_now: $work/junk: not a cachemax pool" \
  check-config junk.conf
config zeros.conf "pool = $work/zeros" "socket = $work/socket"
says 'a file of zeros' 1 "$us $work/zeros: not a cachemax pool: the file begins with zeros. *" \
  zeros.conf
# Of its own user: by its mode, and by a flag that keeps out everybody.
config own.conf "pool = $work/own/pool" "socket = $work/own/socket"
mkdir own
cp other own/pool
chmod 755 . own
chmod 400 own/pool
cp "$service" own/service
denied="$us $work/own/pool: permission denied by its mode, 0400: its owner must be able to read"
denied="$denied and write it (chmod u+rw)"
if [ "$(id -u)" != 0 ]; then
  says 'a pool of mode 0400' 1 "$denied" own.conf
elif chown -R 65534 own && chmod 644 own.conf &&
  setpriv --reuid=65534 --regid=65534 --clear-groups own/service --version >/dev/null 2>&1; then
  setpriv --reuid=65534 --regid=65534 --clear-groups own/service own.conf 2>err
  status=$?
  check 'a pool of mode 0400' test "$status $(cat err)" = "1 $denied"
  chown 0 own/pool
  denied="$us $work/own/pool: permission denied; it is for its owner, so run this as that user, or"
  setpriv --reuid=65534 --regid=65534 --clear-groups own/service own.conf 2>err
  status=$?
  check 'a pool of another user' test "$status $(cat err)" = "1 $denied as root"
else
  echo "skip a pool of mode 0400: cannot run the service as another user"
  skipped=$((skipped + 1))
fi
[ "$(id -u)" != 0 ] || chown -R 0 own
chmod 600 own/pool
if chattr +i own/pool 2>/dev/null; then
  says 'a pool with the flag i' 1 \
    "$us $work/own/pool: may not be changed by anybody: it has the flag of 'chattr +i'; take *" \
    own.conf
  chattr -i own/pool
else
  echo "skip a pool with the flag i: no such flag here, or not root"
  skipped=$((skipped + 1))
fi
rm -r own
chmod 700 .
says 'a directory is no configuration' 2 "$us $work: Is a directory" "$work"
cat >hold.py <<'END'
import ctypes, fcntl, os, struct, subprocess, sys
if 'HIDDEN' in os.environ: # PR_SET_DUMPABLE: only CAP_SYS_PTRACE sees which files it has open
    ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
pool = open(sys.argv[1], 'r+b')
fcntl.fcntl(pool, fcntl.F_OFD_SETLK, struct.pack('hhqqi', fcntl.F_WRLCK, 0, 0, 0, 0))
sys.exit(subprocess.run(sys.argv[2:]).returncode)
END
cp other aged
for at in 12 4108; do # the version, in both superblocks
  printf '\1\0\0\0' | dd of=aged bs=1 seek=$at conv=notrunc 2>/dev/null
done
config aged.conf "pool = $work/aged" "socket = $work/socket"
if python3 hold.py aged true 2>/dev/null; then
  python3 hold.py aged "$service" check-config aged.conf >out 2>err
  check 'a pool of another version that a process has open, to check' \
    grep -q 'aged: is open in process [0-9]*, with a pool format .* not know (1); end' err
  without=''
  [ "$(id -u)" != 0 ] || without='setpriv --bounding-set=-sys_ptrace'
  # shellcheck disable=SC2086 # words
  HIDDEN=1 python3 hold.py aged $without "$service" check-config aged.conf >out 2>err
  check 'the same, and it cannot be seen which process' \
    grep -q 'aged: is open in another process, with a pool format .* not know (1); end' err
fi
cp other featured
for at in 31 4127; do # a feature to come
  printf '\200' | dd of=featured bs=1 seek=$at conv=notrunc 2>/dev/null
done
config featured.conf "pool = $work/featured" "socket = $work/socket"
if python3 hold.py featured true 2>/dev/null; then
  python3 hold.py featured "$service" check-config featured.conf >out 2>err
  check 'a pool with another feature that a process has open, to check' \
    grep -q 'featured: is open in process [0-9]*, with a pool feature .* not know; end' err
fi
config nowhere.conf "pool = $work/pool" "socket = $work/no/socket"
says 'no directory' 1 "$us $work/no/socket.writes: No such file or directory" nowhere.conf
says 'no directory, to check' 2 "$us $work/no/socket: there is no such directory; make it first" \
  check-config nowhere.conf
check 'it is said once' test "$(wc -l <err)" = 1
{ head -c 65536 /dev/zero; "$service" nowhere.conf; } 2>&1 | { sleep 1; cat; } | tr -d '\0' >err
check 'a slow reader of why it does not begin' grep -q "^$us $work/no/socket.writes: No such" err
# A unit makes its directory when it begins (RuntimeDirectory=).
config run.conf "pool = $work/pool" 'socket = /run/cachemax-none/socket'
says 'no directory below /run, to check' 0 \
  "$us socket = /run/cachemax-none/socket: there is no such directory now" check-config run.conf
config up.conf "pool = $work/pool" 'socket = /run/../cachemax-none/socket'
says 'no directory, and a path that leaves /run, to check' 2 \
  "$us /run/../cachemax-none/socket: there is no such directory; make it first" check-config up.conf
# A limit is said, and does not kill it.
cat >limited.sh <<END
#!/bin/sh
ulimit -f 8
exec "$service" "\$@"
END
chmod +x limited.sh
config limited.conf "pool = $work/pool" "socket = $work/limited"
there=$service service=$work/limited.sh
says 'a limit for the size of files' 1 \
  "$us $work/limited.writes: this process may not make a file of that size (ulimit -f)" limited.conf
service=$there
rm limited.writes
long=$work/$(printf '%0108d' 0)
config long.conf "pool = $work/pool" "socket = $long"
says 'a long socket' 2 "$us long.conf:2: socket: the name of a socket is too long" long.conf
: >open.writes
chmod 644 open.writes
config open.conf "pool = $work/pool" "socket = $work/open"
says 'writes that others may read' 1 \
  "$us $work/open.writes: others may use it too; it should have mode 0600. Delete it *" open.conf
mkdir shared
chmod 777 shared
config shared.conf "pool = $work/pool" "socket = $work/shared/socket"
others="$us $work/shared/socket: others may put a socket of their own there*"
says 'a directory that others may write' 0 "$others" check-config shared.conf
start 'it serves there all the same' shared.conf
check 'it warns' grep -q 'shared/socket: others may put a socket of their own there' log.shared.conf
ends 'its end' TERM 0
chmod 1777 shared
says 'others may not take it away, and may come first' 0 "$others" check-config shared.conf
chmod 777 shared
mkdir own
ln -s "$work/own" shared/link
config link.conf "pool = $work/pool" "socket = $work/shared/link/socket"
others="$us $work/shared/link/socket: others may put a socket of their own there*"
says 'a link that others may replace' 0 "$others" check-config link.conf
chmod 1777 shared
"$service" check-config link.conf >out 2>err
check 'a link that they may not replace' test ! -s err
echo mine >file
config file.conf "pool = $work/pool" "socket = $work/file"
says 'a file where the socket should be' 1 "$us $work/file: it is no socket; move it away" file.conf
check 'that file stays' grep -qx mine file

# What is no lock of the service stays: what has no such first word, or several lines, or may be
# read by others, or has a second name.
for kind in path lines mode names word part; do
  said='it is no lock of a service; move it away'
  case $kind in
  path)
    echo "$work/pool" >socket.lock
    said="it lacks the first word of a service's lock. If an older service has made it, delete it *"
    ;;
  lines) printf 'cachemax-lock /notes\n/more\n' >socket.lock ;;
  mode)
    echo 'cachemax-lock /notes' >socket.lock
    said="its mode is 0644; a service's lock has 0600: if it is one, set that; else move it away"
    ;;
  names)
    echo 'cachemax-lock /notes' >socket.lock
    ln socket.lock second
    said="it has 2 names; a service's lock has one: remove the others, or move it away"
    ;;
  word) echo 'cachemax-locked /notes' >socket.lock ;;
  part) printf cachemax- >socket.lock ;;
  esac
  chmod $([ $kind = mode ] && echo 644 || echo 600) socket.lock
  cp socket.lock before
  says "a file where the lock should be: $kind" 1 "$us $work/socket.lock: $said" good.conf
  check "that file stays: $kind" cmp -s before socket.lock
  rm -f socket.lock second
done
# One of a service that was killed, or that found no room for its line.
for kind in whole cut empty readable; do
  case $kind in
  whole) echo "cachemax-lock $work/pool" >socket.lock ;;
  cut) printf 'cachemax-lock /po' >socket.lock ;;
  empty | readable) : >socket.lock ;; # it says nothing, so nobody loses anything
  esac
  chmod $([ $kind = readable ] && echo 644 || echo 600) socket.lock
  start "a lock that was left: $kind" good.conf
  ends "the end after it: $kind" TERM 0
  check "the lock names the pool: $kind" grep -qx "cachemax-lock $work/pool" socket.lock
  check "the lock is its owner's: $kind" test "$(stat -c %a socket.lock)" = 600
done
# A list of mounts in part may lack the one that matters.
short=$build/tests/short_mounts.so
if [ ! -e "$short" ] || grep -Eq '__(asan|tsan|msan)_init' "$service"; then
  echo "skip a list of mounts in part: no short_mounts.so, or a build that takes no LD_PRELOAD"
  skipped=$((skipped + 1))
else
  cat >short.sh <<END
#!/bin/sh
SHORT_MOUNTS=40 LD_PRELOAD=$short exec "$service" "\$@"
END
  chmod +x short.sh
  there=$service service=$work/short.sh
  says 'a list of mounts in part' 2 "$us good.conf: it cannot be seen on which mount it lies: *" \
    good.conf
  service=$there
fi

# What a start refuses, a check refuses, too.
mkdir run run/dir run/d.writes
echo some >run/file
echo other >run/foreign.lock
echo other >run/f.writes
chmod 644 run/f.writes
ln -s file run/l.writes
for refused in dir:'it is no socket; move it away' file:'it is no socket; move it away' \
  foreign.lock:'it is no lock of a service; *' d.writes:'Is a directory' \
  f.writes:'others may use it too; it should have mode 0600. *' l.writes:'*symbolic links'; do
  at=${refused%%:*}
  beside=${at%.lock}
  config place.conf "pool = $work/pool" "socket = $work/run/${beside%.writes}"
  says "the socket is $at, to check" 2 "$us $work/run/$at: ${refused#*:}" check-config place.conf
  says "the socket is $at" 1 "$us $work/run/$at: ${refused#*:}" place.conf
done
rm -r run
mkdir run
cp other run/pool
ln -s pool run/link
for at in pool link; do
  config place.conf "pool = $work/run/pool" "socket = $work/run/$at"
  for how in '' check-config; do
    # shellcheck disable=SC2086 # a word, or none
    says "the socket is the pool: $at $how" 2 "$us $work/run/pool: is the socket, too; *" \
      $how place.conf
  done
done
check 'it stays' cmp -s other run/pool
check 'and nothing is made' test "$(echo run/*)" = 'run/link run/pool'
if unshare -m true 2>/dev/null; then
  cat >readonly.sh <<END
#!/bin/sh
exec unshare -m sh -c 'mount --bind "$work/run" "$work/run" &&
  mount -o remount,bind,ro "$work/run" && exec "$service" "\$@"' sh "\$@"
END
  chmod +x readonly.sh
  config place.conf "pool = $work/run/pool" "socket = $work/socket"
  there=$service service=$work/readonly.sh
  says 'a volume that is read-only' 2 "$us $work/run/pool: its volume is mounted read-only, *" \
    check-config place.conf
  config place.conf "pool = $work/pool" "socket = $work/run/socket"
  says 'a socket on a volume that is read-only, to check' 2 \
    "$us $work/run/socket: its volume is mounted read-only, *" check-config place.conf
  says 'a socket on a volume that is read-only' 1 \
    "$us $work/run/socket.writes: Read-only file system" place.conf
  service=$there
  cat >room.sh <<END
#!/bin/sh
exec unshare -m sh -c 'mount -t tmpfs -o "\$ROOM" room "$work/run" &&
  exec "$service" "\$@"' sh "\$@"
END
  chmod +x room.sh
  service=$work/room.sh
  for room in size=16k:'there is no space for it' \
    nr_inodes=1:'there is no room for another file on its volume'; do
    export ROOM="${room%%:*}"
    says "a socket where there is no room, to check: $ROOM" 2 \
      "$us $work/run/socket.writes: ${room#*:}" check-config place.conf
    says "a socket where there is no room: $ROOM" 1 "$us $work/run/socket.writes: *" place.conf
  done
  export ROOM=size=1m,nr_inodes=10
  check 'a socket where there is room, to check' "$service" check-config place.conf >out
  service=$there
fi
rm -r run

# Its own files beside the socket are emptied and written over, so nothing else may be one of them.
mkdir run
for own in writes lock failed; do
  said="run/socket.$own: is a file of the service itself, beside its socket, *"
  cp other run/socket.$own
  config own.conf "pool = $work/run/socket.$own" "socket = $work/run/socket"
  says "the pool is SOCKET.$own" 2 "$us $work/$said" own.conf
  says "the pool is SOCKET.$own, to check" 2 "$us $work/$said" check-config own.conf
  ln -s socket.$own run/link
  config own.conf "pool = $work/run/link" "socket = $work/run/socket"
  says "the pool is a link to SOCKET.$own" 2 "$us $work/run/link: is a file of the service *" \
    own.conf
  config own.conf "pool = $work/pool" "socket = $work/run/socket" \
    "key_file = $work/run/socket.$own"
  says "the key is SOCKET.$own" 2 "$us $work/$said" own.conf
  check "SOCKET.$own stays" cmp -s other run/socket.$own
  rm run/*
  says "the key will be SOCKET.$own" 2 "$us $work/$said" check-config own.conf
  config run/socket.$own "pool = $work/pool" "socket = $work/run/socket"
  says "the configuration is SOCKET.$own" 2 "$us $said" run/socket.$own
  rm run/*
done
rm -r run

# ---- One that serves -----------------------------------------------------------------------------
start 'it serves' good.conf
check 'it says what' grep -qx "$us serves $work/pool at $work/socket" log.good.conf
check 'only its owner may connect' test "$(stat -c %a socket socket.writes | tr '\n' ' ')" = \
  '600 600 '
config elsewhere.conf "pool = $work/pool" "socket = $work/elsewhere"
says "the pool is in use" 1 "$us $work/pool: is open in process $pid" \
  elsewhere.conf
# busy NAME: what the tool says of a pool that a service has.
busy() {
  "$tool" files pool >out 2>err
  status=$?
  check "$1" test "$status" = 4
  check "$1: what to do" \
    grep -q "pool: is open in process [0-9]* (cachemax-service), a service: .*stop it first" err
}
busy 'the command on its pool'
# What clients noted must stay, also if none of them lives. The first numbers: writes that have
# begun and ended at the first place.
printf '\7' | dd of=socket.writes bs=1 conv=notrunc 2>/dev/null
printf '\7' | dd of=socket.writes bs=1 seek=8 conv=notrunc 2>/dev/null
cp socket.writes before
config both.conf "pool = $work/other" "socket = $work/socket"
says 'the socket is in use' 1 "$us $work/socket: another service listens there" both.conf
check 'the writes are those of the first service' cmp -s before socket.writes
check 'the configuration can be checked meanwhile' "$service" check-config good.conf >out
check 'the first service lives' kill -0 $pid
ends 'killed' KILL 137
check 'it has left its socket' test -S socket
start 'it serves where a killed one has left its socket' good.conf
ends 'SIGTERM' TERM 0
check 'it says so' grep -qx "$us ends: Terminated" log.good.conf
check 'the socket is gone' test ! -e socket
if unshare -m true 2>/dev/null; then # as systemd starts it
  cat >elsewhere.sh <<END
#!/bin/sh
exec unshare -m "$service" "\$@"
END
  chmod +x elsewhere.sh
  there=$service service=$work/elsewhere.sh
  start 'in a mount namespace of its own' good.conf
  service=$there
  busy 'the command on its pool then'
  ends 'its end there' TERM 0
fi
start 'again' good.conf
ends 'SIGINT' INT 0
check 'the pool is clean' sh -c "'$tool' info --json pool | grep -q '\"clean\": *true'"
(ulimit -n 100 && exec timeout 60 "$service" good.conf 2>log.few) &
until grep -q 'serves ' log.few 2>/dev/null || ! kill -0 $! 2>/dev/null; do sleep 0.1; done
kill $!
wait $!
check 'too few descriptors are allowed' grep -qx \
  "$us 64 clients may need 512 open files, and 100 are allowed" log.few
: >log.good.conf
start 'with weights for the journal' good.conf "JOURNAL_STREAM=$(stat -c %d:%i log.good.conf)"
check 'a line has its weight' grep -qx "<6>serves $work/pool at $work/socket" log.good.conf
ends 'its end' TERM 0
if command -v python3 >/dev/null; then
  cat >notified.py <<'END'
import os, signal, socket, subprocess, sys
name = sys.argv[1]
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(name.replace('@', '\0', 1))
s.settimeout(60)
p = subprocess.Popen(sys.argv[2:], env=dict(os.environ, NOTIFY_SOCKET=name))
told = s.recv(100)
c = socket.socket(socket.AF_UNIX)
c.connect('socket')
p.send_signal(signal.SIGTERM)
sys.exit(p.wait() or told != b'READY=1')
END
  check 'it tells the service manager' python3 notified.py "$work/notify" "$service" good.conf
  check 'an abstract socket, too' python3 notified.py "@$work/notify" "$service" good.conf
fi
if command -v python3 >/dev/null; then
  mkdir asked
  python3 -B "$top/tests/service/program.py" "$build/tests/service/loud_service" \
    "$build/src/tool/cachemax" "$work/asked" >said
  check 'the checks in Python ended' test $? = 0
  cat said
  passed=$((passed + $(grep -c '^ok ' said)))
  failed=$((failed + $(grep -c '^FAIL ' said)))
fi
start 'with the journal elsewhere' good.conf JOURNAL_STREAM=1:2
check 'a line has no weight' grep -qx "$us serves $work/pool at $work/socket" log.good.conf
ends 'its end by a hang-up' HUP 0

# ---- It waits for what it reads at its start, and is ended meanwhile -----------------------------
# ended NAME SIGNAL STATUS FILE: the pipe `pipe`, which the service with this configuration opens,
# never has anything.
mkfifo -m 600 pipe
ended() {
  exec 9<>pipe
  env --default-signal=INT "$service" "$4" 2>err 9>&- &
  pid=$! tries=0
  pids="$pids $pid"
  # The shell that becomes the service has the pipe, too, and would lose the signal.
  until { grep -qs '^cachemax-servi' "/proc/$pid/comm" &&
    find "/proc/$pid/fd" -lname "$work/pipe" | grep -q .; } || ! kill -0 $pid 2>/dev/null ||
    [ $tries = 600 ]; do
    sleep 0.1
    tries=$((tries + 1))
  done
  kill "-$2" $pid
  # A service that did not hear it is waited for in vain, and killed.
  timeout 20 tail -s 0.1 --pid=$pid -f /dev/null || kill -KILL $pid
  wait $pid 2>/dev/null
  status=$?
  exec 9>&-
  check "$1" test "$status, $(cat err)" = "$3, "
}
ended 'SIGTERM while it waits for its configuration' TERM 143 pipe
ended 'SIGINT while it waits for its configuration' INT 130 pipe

# ---- A sealed pool -------------------------------------------------------------------------------
through=$build/examples/service/through
head -c 3000001 /dev/urandom >origin
for key in key other; do
  (umask 077 && head -c 32 /dev/urandom >$key)
done
config sealed.conf "pool = $work/sealed" "socket = $work/socket" "key_file = $work/key"
if "$tool" create sealed --size 8M --quiet --key-file key --encrypt 2>err; then
  config keyless.conf "pool = $work/sealed" "socket = $work/socket"
  config other.conf "pool = $work/sealed" "socket = $work/socket" "key_file = $work/other"
  config plain.conf "pool = $work/pool" "socket = $work/socket" "key_file = $work/key"
  config gone.conf "pool = $work/sealed" "socket = $work/socket" "key_file = $work/gone"
  config relative.conf "pool = $work/sealed" "socket = $work/socket" "key_file = key"
  config early.conf "pool = $work/later" "socket = $work/socket" "key_file = $work/key"
  config pipe.conf "pool = $work/pool" "socket = $work/socket" "key_file = $work/pipe"
  ended 'SIGTERM while it waits for its key' TERM 143 pipe.conf
  ended 'SIGINT while it waits for its key' INT 130 pipe.conf
  needs="$us $work/*: *; give the key that it was made with (\"key_file = FILE\")*"
  sleep 1 # the origin's times are old enough to be a proof
  start 'it serves a sealed pool' sealed.conf
  "$through" origin "$work/socket" >out 2>err
  check 'a client reads through it' cmp -s origin out
  check 'its configuration can be checked meanwhile' \
    sh -c "'$service' check-config sealed.conf >out"
  ends 'its end' TERM 0
  check 'all is cached' sh -c "'$tool' files sealed --key-file key | grep -q ' 100.0 '"
  start 'it is opened again' sealed.conf
  "$through" origin "$work/socket" >out 2>err
  check 'the client reads the same' cmp -s origin out
  if [ -e /dev/full ]; then
    "$through" origin "$work/socket" >/dev/full 2>err
    check 'the client says why its output fails' grep -q '^standard output: No space left' err
  fi
  ends 'its second end' TERM 0
  check 'it was warm' sh -c "'$tool' stats sealed --json | grep -Eq '\"hit_blocks\": *[1-9]'"
  before=$(sha256sum <sealed)
  for how in '' check-config; do
    none=$([ "$how" ] && echo 2 || echo 1)
    # shellcheck disable=SC2086 # a word, or none
    {
      says "no key ${how:-at the start}" "$none" "$needs" $how keyless.conf
      check 'it is said once' test "$(wc -l <err)" = 1
      says "another key ${how:-at the start}" "$none" "$needs" $how other.conf
      says "a key for a plain pool ${how:-at the start}" "$none" "$needs" $how plain.conf
      says "a key that is not there ${how:-at the start}" 2 \
        "$us key_file = $work/gone: No such file or directory" $how gone.conf
      says "a relative key ${how:-at the start}" 2 \
        "$us relative.conf:3: key_file: it must be an absolute path" $how relative.conf
      chmod 640 key
      says "a key that others may read ${how:-at the start}" 2 \
        "$us key_file = $work/key: others than its owner may read it: chmod 600" $how sealed.conf
      chmod 600 key
    }
  done
  says 'which key is wrong, to check' 2 "$us $work/sealed: is sealed with another key; give*" \
    check-config other.conf
  says 'that a key is missing, to check' 2 "$us $work/sealed: is sealed, and no seal was given;*" \
    check-config keyless.conf
  check 'a pool that comes later' sh -c "'$service' check-config early.conf >out"
  check 'the pool is as it was' test "$before" = "$(sha256sum <sealed)"
else
  says 'no OpenSSL' 2 "$us key_file = $work/key: this program was built without OpenSSL*" \
    sealed.conf
fi
rm -f socket.writes

# ---- A small client ------------------------------------------------------------------------------
# reads NAME TEXT: the client's output is the file; TEXT is all that it says.
reads() {
  timeout 60 "$through" origin "$work/socket" >out 2>err
  status=$?
  if [ $status = 0 ] && cmp -s origin out && [ "$(cat err)" = "$2" ]; then
    ok "$1"
  else
    fail "$1" "status $status, $(cat err)"
  fi
}
reads 'a client without a service' "$work/socket: no service there now"
sleep 1 # a file that was just written is not stored
start 'a service for it' good.conf
offered() { # blocks, ever
  "$tool" stats pool --json | tr ',' '\n' |
    awk -F: '/"fill_blocks"|"buffered"/ { n += $2 } END { print n + 0 }'
}
before=$(offered)
reads 'it reads' ''
for _ in $(seq 300); do # the client has not waited for what it gave to the service
  [ $(($(offered) - before)) -lt 725 ] || break # of 733; a few may find no place
  sleep 0.1
done
ends 'the service stores' TERM 0
check 'what it has read is cached' sh -c "'$tool' files pool | grep -Eq ' (100|99)\.[0-9] '"
start 'the service is back' good.conf
reads 'it reads what is cached' ''
# What the client opens has no number of a standard descriptor: what a program prints would go to
# the table of the outside writes, or to the service.
seq 10000 11000 >text
touch -d '1 hour ago' text
"$through" text "$work/socket" <&- >&- 2>&-
check 'a client without its standard descriptors' \
  sh -c "! grep -aq '^10[0-9][0-9][0-9]$' socket.writes"
if DESTDIR=$work/root meson install -C "$build" --no-rebuild >out 2>&1; then
  pc=$(dirname "$(find "$work/root" -name cachemax_client.pc)")
  so=$(find "$work/root" -name libcachemax_client.so)
  lib=$(dirname "$so")
  check 'its names' test "$(nm -D --defined-only "$so" | sed 's/.* //' | grep -c '^cmc_')" -gt 15
  check 'no other names' sh -c "! nm -D --defined-only '$so' | grep -v ' cmc_\| A CACHE'"
  # shellcheck disable=SC2046 # words
  check 'a program with what is installed' cc -std=c11 -Wall -Wextra -Werror -o through \
    "$top/examples/service/through.c" \
    $(PKG_CONFIG_SYSROOT_DIR=$work/root PKG_CONFIG_PATH=$pc pkg-config --cflags --libs \
      cachemax_client)
  through="env LD_LIBRARY_PATH=$lib $work/through"
  $through origin "$work/socket" >out
  check 'it reads the file' cmp -s origin out
else
  fail 'what is installed' "$(cat out)"
fi
through=$build/examples/service/through
check 'a socket that is none' sh -c "'$through' origin '$work/pool' 2>&1 >out |
  grep -qx 'no cache: $work/pool: it is no socket'"
check 'the file was read' cmp -s origin out
check 'and nothing is left' test ! -e pool.writes
check 'a file that is not there' test "$("$through" none "$work/socket" 2>&1)" = \
  'none: No such file or directory'
ends 'its end, with a client that is gone' TERM 0

# ---- Checkpoints ---------------------------------------------------------------------------------
# checkpointed NAME COMMAND: the command succeeds some seconds from now.
checkpointed() {
  for _ in $(seq 600); do
    ! "$2" || break
    sleep 0.1
  done
  check "$1" "$2"
}
survives() { "$tool" info kept --json | grep -q '"durability": *"checkpoints"'; }
made() { "$tool" stats kept --json | sed -n 's/.*"checkpoints": *\([0-9]*\).*/\1/p'; }
two_more() { [ "$(made)" -ge $((before + 2)) ]; } # one may be that of the begin
"$tool" create kept --size 8M --quiet && "$tool" cat origin --pool kept >out || exit 1
config kept.conf "pool = $work/kept" "socket = $work/socket"
head -c 1000000 origin >second # it is old enough when it is read
"$tool" info kept >said
if grep -q 'power cut, until a program makes checkpoints' said; then
  check 'the command says who does' grep -q '(cachemax-mount, cachemax-service and ' said
  start 'it serves a pool that another program has filled' kept.conf
  checkpointed 'it makes a checkpoint when it begins' survives
  before=$(made)
  "$through" second "$work/socket" >out 2>err
  checkpointed 'it makes them after something has changed' two_more
  ends 'its end, with checkpoints' TERM 0
else
  echo "skip checkpoints: the volume of $work does not keep what it syncs: $("$tool" info kept)"
  skipped=$((skipped + 1))
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
