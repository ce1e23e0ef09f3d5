#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# need.sh - installs missing Debian packages. quickstart.sh and tests/run.sh source it.

# need PACKAGE...: installs the packages that are missing. If it cannot, it says what to do and
# returns 1. It sets need_log and need_ticker while it works. need_end removes both, also in a trap.
need_log='' need_ticker=''
need() {
  missing=
  for p in "$@"; do
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
  done
  [ -n "$missing" ] || return 0
  if ! command -v apt-get >/dev/null; then
    echo "missing:$missing (Debian packages); install the same software and run this again" >&2
    return 1
  fi
  sudo=
  if [ "$(id -u)" != 0 ]; then
    sudo=sudo
    if ! command -v sudo >/dev/null; then
      echo "missing:$missing; as root: apt-get install$missing" >&2
      return 1
    fi
  fi
  echo "installing:$missing"
  need_log=$(mktemp "${TMPDIR:-/tmp}/cachemax-apt.XXXXXX") || return 1
  need_tick "$need_log" &
  need_ticker=$!
  # Not in the background: sudo may have to ask for a password. If another apt holds the lock, this
  # waits for it.
  # shellcheck disable=SC2086 # a list
  { $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
    -o DPkg::Lock::Timeout=120 $missing ||
    { $sudo apt-get update -qq -o DPkg::Lock::Timeout=120 &&
      $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
        -o DPkg::Lock::Timeout=120 $missing; }
  } >"$need_log" 2>&1 || {
    tail -n 5 "$need_log" >&2
    echo "could not install:$missing" >&2
    need_end
    return 1
  }
  need_end
}

need_end() {
  [ -z "$need_ticker" ] || kill "$need_ticker" 2>/dev/null || :
  [ -z "$need_log" ] || rm -f "$need_log"
  need_ticker='' need_log=''
}

# need_tick LOG: prints every 10 s on stderr how far apt is and how long the rest may take. Each
# package is unpacked and set up. What is fetched before does not count: it may be fast, or slow.
# Ends when LOG is gone.
need_tick() {
  trap 'kill $! 2>/dev/null; exit 0' TERM
  passed=0 fetching=0
  while :; do
    sleep 10 &
    wait $!
    passed=$((passed + 10))
    [ -f "$1" ] || exit 0
    steps=$(sed -n 's/.* \([0-9]*\) newly installed.*/\1/p' "$1" | tail -n 1)
    steps=$((${steps:-0} * 2))
    at=$(grep -c -E '^(Unpacking |Setting up )' "$1" || :)
    if [ "$at" = 0 ] || [ "$steps" -lt "$at" ]; then
      fetching=$passed
      echo "  installing: $passed s" >&2
    else
      left=$(((passed - fetching) * (steps - at) / at))
      echo "  installing: step $at of $steps, about $left s left" >&2
    fi
  done
}
