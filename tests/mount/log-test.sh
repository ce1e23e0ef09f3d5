#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# log-test.sh - the standard descriptors of a mount: closed when it starts, or with a reader that
# has stopped.
#
# Usage: log-test.sh BUILD_DIR [--service]
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check, the numbers as the
# last line. Exit status 1 when something failed.

set -u
build=${1:?usage: log-test.sh BUILD_DIR [--service]}
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

is_mounted() { [ "$(stat -f -c %t "$org" 2>/dev/null)" = 65735546 ]; }
let_go() {
  umount -l "$org" 2>/dev/null
  [ ! -f "$shm/pid" ] || kill -KILL "$(cat "$shm/pid")" 2>/dev/null
  stop_service 2>/dev/null
}
begin() {
  rm -f "$shm/pid"
  new_pool 16MiB
  [ $via = pool ] || start_service
}

# ---- Closed ------------------------------------------------------------------------------------

# closed NAME OPTION...: starts a mount without those of the standard descriptors that stand in its
# name. They get /dev/null, and DIR is served.
closed() {
  local name=$1
  shift
  echo content > "$org/file"
  case $name in
  *" 0") "$mount_bin" "$@" <&- 2>>"$work/log" ;;
  *" 1") "$mount_bin" "$@" >&- 2>>"$work/log" ;;
  *" 2") "$mount_bin" "$@" 2>&- ;;
  *) "$mount_bin" "$@" <&- >&- 2>&- ;;
  esac
}
t_closed() { # DESCRIPTORS
  begin
  closed "descriptors closed: $1" "$org" "${backing[@]}" -o io_uring="$io_uring"
  is_mounted
  same "$(timeout 20 cat "$org/file")" content
  echo more > "$org/more"
  same "$(timeout 20 ls "$org" | tr '\n' ' ')" 'file more '
  fusermount3 -u "$org"
  [ $via = pool ] || stop_service
  eventually is_clean
  same "$(cat "$org/file")" content # what it printed went nowhere
}
for which in 0 1 2 'all of them'; do
  check_at "$work" "descriptors closed: $which" t_closed "$which"
done

# In the foreground it prints all the while.
t_closed_foreground() {
  local pid
  begin
  echo content > "$org/file"
  "$mount_bin" "$org" "${backing[@]}" -o io_uring="$io_uring" -f <&- >&- 2>&- &
  pid=$!
  echo $pid > "$shm/pid"
  eventually is_mounted
  same "$(timeout 20 cat "$org/file")" content
  for fd in 0 1 2; do
    same "$(readlink "/proc/$pid/fd/$fd")" /dev/null
  done
  kill -TERM $pid
  wait $pid
  if [ $via = service ]; then
    fails grep -q cachemax-mount "$socket.writes"
    stop_service
  fi
  is_clean
}
check_at "$work" "descriptors closed: in the foreground" t_closed_foreground

# ---- A reader that has stopped -----------------------------------------------------------------

mkfifo "$work/fifo"
fill() { dd if=/dev/zero of="$work/fifo" bs=4096 oflag=nonblock 2>/dev/null || :; }
drain() { dd if="$work/fifo" bs=65536 iflag=nonblock 2>/dev/null || :; }
ends() { # PID: within half a minute
  timeout 30 tail -s 0.1 --pid="$1" -f /dev/null || { kill -KILL "$1"; return 1; }
}
# Nobody reads its log, which is full: it serves, and ends when it has to.
begin_full() {
  begin
  echo content > "$org/file"
  exec 8<>"$work/fifo"
  fill
  "$mount_bin" "$org" "${backing[@]}" -o io_uring="$io_uring" -f 2>"$work/fifo" 8>&- &
  pid=$!
  echo $pid > "$shm/pid"
  eventually is_mounted
  same "$(timeout 20 cat "$org/file")" content
}
end_full() {
  kill -TERM "$pid"
  ends "$pid"
  wait "$pid"
  [ $via = pool ] || stop_service
  is_clean
}
t_full() {
  local pid
  begin_full
  end_full
}
check_at "$work" "a log that nobody reads" t_full
# libfuse has something to say, too. And what other libraries print would not wait either.
t_refused() {
  local pid io_uring=off
  export FAILING_ANSWER=$shm/refuse
  LD_PRELOAD=$(realpath "$(find "$build" -name failing_answer.so)") begin_full
  : > "$shm/refuse"
  timeout 20 stat "$org/file" >/dev/null
  [ ! -e "$shm/refuse" ]
  same "$(timeout 20 cat "$org/file")" content
  grep -q '^flags:.*4...$' "/proc/$pid/fdinfo/2" # O_NONBLOCK
  drain >/dev/null
  : > "$shm/refuse"
  fails timeout 20 stat "$org/none" >/dev/null 2>&1
  [ ! -e "$shm/refuse" ]
  drain > "$work/refused"
  grep -aq '^cachemax-mount: cannot answer a request: Cannot allocate memory$' "$work/refused"
  end_full
  unset FAILING_ANSWER
}
if grep -Eq '__(asan|tsan)_init' "$mount_bin"; then
  skip "an answer is refused, and nobody reads the log" "a sanitizer's build takes no LD_PRELOAD"
else
  check_at "$work" "an answer is refused, and nobody reads the log" t_refused
fi
# A line is missing at least: its mode. That it is mounted it may say later.
t_read_again() {
  local pid
  begin_full
  timeout 20 "$cm" mode "$org" bypass >/dev/null
  drain > "$work/again"
  timeout 20 "$cm" mode "$org" normal >/dev/null
  drain >> "$work/again"
  grep -aq 'cachemax-mount: [0-9]* lines are missing here: nobody had read those' "$work/again"
  grep -aq '^cachemax-mount: pool .*: mode normal$' "$work/again"
  end_full
}
[ $via = service ] || check_at "$work" "a log that is read again" t_read_again
exec 8>&-

# A reader that is only slow gets to know why it does not begin.
t_slow_reader() {
  begin
  { head -c 65536 /dev/zero; "$mount_bin" "$org" --pool "$pool.none" "$@" || :; } 2>&1 |
    { sleep 1; cat; } | tr -d '\0' > "$work/slow"
  grep -q "^cachemax-mount: .*$pool.none" "$work/slow"
}
if [ $via = pool ]; then
  check_at "$work" "a slow reader of why it does not begin" t_slow_reader
  check_at "$work" "the same, in the foreground" t_slow_reader -f
fi

# Who has started it reads what it says up to its end.
t_background() {
  begin
  timeout 30 sh -c '"$@" 2>&1 | cat' sh "$mount_bin" "$org" "${backing[@]}" \
    -o io_uring="$io_uring" > "$work/said"
  is_mounted
  fusermount3 -u "$org"
  [ $via = pool ] || stop_service
  eventually is_clean
}
check_at "$work" "in the background it lets go of the standard error" t_background

summary
