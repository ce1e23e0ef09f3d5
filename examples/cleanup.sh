#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# cleanup.sh - for scripts that build packages, after need.sh: however such a script ends, the
# directory $work is removed, if it has made one, and what need.sh has begun ends.
work=''
cleanup() {
  trap - EXIT
  trap '' HUP INT TERM
  need_end
  # A second try, in case a compiler that was just ending wrote something.
  [ -z "$work" ] || rm -rf "$work" 2>/dev/null || { sleep 0.5 && rm -rf "$work"; }
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
