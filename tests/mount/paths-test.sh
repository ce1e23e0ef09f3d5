#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# paths-test.sh - the commands of cachemax on files of a mount: what goes away meanwhile, and mounts
# that hang or are dead. And what the mount's log has of odd names.
#
# Usage: paths-test.sh BUILD_DIR
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check, the numbers as the last
# line. Exit status 1 when something failed.

set -u
build=${1:?usage: paths-test.sh BUILD_DIR}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

other() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
some_cached() { [ "$(cached "$1")" -gt 0 ]; }

# ---- What goes away ------------------------------------------------------------------------------

# They were there when the directory was read. The mount still knows from before that there is no
# such name.
t_vanished_listed() {
  local command dir
  for command in warm pin cached forget unpin; do
    dir=leaving.$command # the mount may remember lists, too
    mkdir -p "$below/$dir/dir"
    fails stat $dir/x $dir/dir/y
    touch "$below/$dir/x" "$below/$dir/dir/y"
    same "$(ls $dir)" "dir"$'\n'"x"
    same "$(ls $dir/dir)" y
    fails stat $dir/x
    fails stat $dir/dir/y
    status 0 "$cm" $command $dir
    fails says 'No such|denied'
    rm -r "${below:?}/$dir"
  done
}
# A file with several names counts once in each sum. Each name has its line.
t_several_names() {
  local paths
  mkdir -p names/a names/b
  head -c 100000 /dev/urandom > names/a/one
  ln names/a/one names/a/two
  ln names/a/one names/b/three
  echo x > names/b/x
  for paths in names "names/b names/a" "names/b/three names/b/x names/a/two names/a/one names"; do
    # shellcheck disable=SC2086 # words
    set -- $paths
    same "$paths: $(number all_files "$cm" cached "$@")" "$paths: 2"
    same "$paths: $(number all_size "$cm" cached "$@")" "$paths: 100002"
    same "$paths: $(number forgotten_files "$cm" forget "$@")" "$paths: 2"
  done
  status 0 "$cm" cached names
  same "$(grep -c /names/ "$work/said")" 4
  status 0 "$cm" cached --tree names
  says ' 97\.66 KiB .*/names/a$'
  says ' 97\.66 KiB .*/names/b$'
  says ' 97\.66 KiB .*/names$'
  status 0 "$cm" cached names/b
  says '^2 files: .* of 97\.66 KiB cached'
  status 0 "$cm" forget names
  says '^2 files forgotten$'
  rm -r names
}
# The log has names as a terminal may get them.
t_log() {
  local odd=$work/$'odd\e[31m\u202e\xff' other
  mkdir "$odd"
  "$cm" create "$shm/odd" --size 4M >/dev/null
  "$mount_bin" "$odd" --pool "$shm/odd" -f 2>"$work/said" &
  other=$!
  eventually mountpoint -q "$odd"
  umount "$odd"
  wait $other
  says '/odd\\x1b\[31m\\xe2\\x80\\xae\\xff: mounted; pool '
  says '/odd\\x1b\[31m\\xe2\\x80\\xae\\xff: unmounted; '
  rmdir "$odd"
}
# They go while the files before them are warmed.
t_vanished_later() {
  local pid got=0
  mkdir later later/b
  head -c 4000000 /dev/zero > later/a
  echo b > later/b/b
  echo c > later/c
  echo d > later/d
  "$cm" warm --rate 1M later "$org/later/d" >"$work/said" 2>&1 &
  pid=$!
  eventually some_cached later/a
  rm -r later/b later/c
  wait $pid || got=$?
  same $got 0
  says '^2 of 2 files, 3\.81 MiB: 3\.81 MiB cached, '
  same "$(wc -l < "$work/said")" 1
  rm -r later
}
# Not of files that were named.
t_vanished_named() {
  local pid got=0
  mkdir named
  head -c 4000000 /dev/zero > named/a
  echo c > named/c
  "$cm" warm --rate 1M named/a named/c >"$work/said" 2>&1 &
  pid=$!
  eventually some_cached named/a
  rm named/c
  wait $pid || got=$?
  same $got 1
  says 'named/c: .*[Nn]o such file'
  says '^1 of 2 files'
  rm -r named
}

# ---- What a mount says ---------------------------------------------------------------------------

# The text of its answer is text, whatever is in it. Another program has the socket's name, and
# gives each command the same answer.
t_text_of_answer() { # TEXT SHOWN
  local command device server wanted
  device=$(awk -v at="$org" '$5 == at { device = $3 } END { print device }' /proc/self/mountinfo)
  mv "$pool.control" "$work/aside"
  python3 - "$pool.control" "$device" "$1" <<'EOF' &
import os, socket, sys
path, device, text = sys.argv[1:]
s = socket.socket(socket.AF_UNIX)
s.bind(path + ".new")
os.chmod(path + ".new", 0o600)
s.listen()
os.rename(path + ".new", path)
while True:
    f = s.accept()[0].makefile("rwb")
    for line in f:
        words = line.split()
        f.read(int(words[4]))
        if words[2] == b"mount":
            f.write(b"is device %s\nend 0 done\n" % device.encode())
        else:
            f.write(b"end -3 %s\n" % text.encode())
        f.flush()
EOF
  server=$!
  eventually test -S "$pool.control"
  for command in cached warm pin forget unpin; do
    wanted=1
    [ $command != cached ] || wanted=7 # less than all is cached
    status $wanted "$cm" $command "$org/later"
    grep -qF "cachemax: $org/later: $2" "$work/said"
  done
  kill $server
  wait $server || :
  mv "$work/aside" "$pool.control"
}

# ---- A mount that hangs, or is dead --------------------------------------------------------------

state_of() { # PROCESS: its letter in /proc; nothing: it is gone
  local state=''
  read -r _ _ state _ 2>/dev/null <"/proc/$1/stat" || :
  echo "$state"
}
has_ended() { # PROCESS
  case $(state_of "$1") in '' | Z | X) return 0 ;; esac
  return 1
}
# Is it the command already, and waits?
waits() { # PROCESS
  [ "$(readlink "/proc/$1/exe")" = "$cm" ] || return 1
  case $(state_of "$1") in S | D) return 0 ;; esac
  return 1
}
# A look-up on it ends only by a signal that is fatal. The kernel does not know the names, and asks.
t_hangs() { # SIGNAL STATUS
  local command name pid got
  for command in warm pin cached forget unpin "unpin --all" "warm --list -" "record $work/t"; do
    name="$org/new $1 $command"
    # shellcheck disable=SC2086 # words
    env --default-signal="$1" "$cm" $command "${name// /_}" <<<"${name// /.}" >"$work/said" 2>&1 &
    pid=$!
    eventually waits "$pid"
    sleep 0.2 # for what it does before it waits there
    kill -"$1" "$pid"
    eventually has_ended "$pid"
    got=0
    wait "$pid" || got=$?
    same "$command: $got" "$command: $2"
  done
}
t_dead_other() { # who may not connect to its socket
  status 0 other "$cm" list
  says " dead +$org $pool - its process is gone; 'fusermount3 -u' it, then mount it again; what"
  status 8 other "$cm" warm "$org"
  says "^cachemax: $org: .*'fusermount3 -u $org', then mount it again; what is cached stays"
}

new_pool 16M
do_mount -o entry_timeout=600 || { fail mount "$(tail -n 1 "$work/log")"; summary; exit 1; }
if [ $has_below = 1 ]; then
  check "gone when it is looked at" t_vanished_listed
else
  skip "gone when it is looked at" "needs root"
fi
need_root "odd names in the log" && check "odd names in the log" t_log
check "files with several names" t_several_names
check "gone when its turn comes" t_vanished_later
check "gone, and was named" t_vanished_named
echo later > "$org/later"
check "an answer with what printf takes for numbers" t_text_of_answer '100% %d %x' '100% %d %x'
check "an answer with what printf takes for texts" t_text_of_answer '%s%s%s%s%n%n' '%s%s%s%s%n%n'
kill -STOP "$mount_pid"
check_at / "a mount that hangs: interrupted" t_hangs INT 130
check_at / "a mount that hangs: ended" t_hangs TERM 143
kill -CONT "$mount_pid"
kill -9 "$mount_pid"
wait_mount
if need_root "a dead mount is told to others" && need "a dead mount is told to others" setpriv; then
  check_at / "a dead mount is told to others" t_dead_other
fi
summary
