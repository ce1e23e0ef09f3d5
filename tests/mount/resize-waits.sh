# shellcheck shell=bash
# SPDX-License-Identifier: BSD-2-Clause
#
# resize-waits.sh - a part of resize-test.sh, which sources it: nobody waits for ever.

# After a check that failed in the middle the mount would wait, or be without its pool, for ever. So
# would the commands of all checks behind it. It tries every 5 s to open the pool.
let_go() {
  rm -f "$SLOW_MAKE" "$SLOW_STAT" "$SLOW_FSTAT" "$SLOW_SYNC" "$FAIL_HOLD" "$FAIL_OPEN" \
    "$FAIL_READ" "$FAIL_SYNC"
  for _ in $(seq 100); do
    serves && break
    sleep 0.1
  done
}
t_hangs() { # a request waits for the origin, and keeps the gate open
  local was
  was=$(size)
  touch "$SLOW_STAT"
  python3 -c 'import os, sys; os.fstat(os.open(sys.argv[1], os.O_RDONLY))' "$org/a" &
  client=$!
  eventually test -e "$SLOW_STAT.waits"
  status 1 timeout 30 "$cm" resize "$pool" 24M
  says 'or a file system below the mount does not answer'
  rm "$SLOW_STAT"
  wait $client
  still "$was"
}
asks() { pgrep -f "^$cm list --json"; }
t_asked_in_vain() { # nor does its socket: who reads what a command prints comes to the end of it
  mv "$pool.control" "$shm/aside"
  trap 'mv "$shm/aside" "$pool.control"' EXIT
  rm -f "$SLOW_STAT.waits"
  touch "$SLOW_STAT"
  timeout 30 bash -c '"$0" list --json | cat >"$1"' "$cm" "$work/listed"
  test -e "$SLOW_STAT.waits"
  grep -A4 "\"directory\": \"$org\"" "$work/listed" | grep -q '"answers": false'
  rm "$SLOW_STAT"
  eventually fails asks # what it has left there ends
}
