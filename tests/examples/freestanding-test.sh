#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# freestanding-test.sh - examples/freestanding: the driver reads the right bytes, cold, warm, after
# a write and after a restart; the program needs nothing of a C library.
#
# Usage: freestanding-test.sh BUILD_DIR
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check and a summary as the
# last line. Exit status 1 when something failed, 77 if the program is not there.
set -u
build=$(realpath "${1:?usage: freestanding-test.sh BUILD_DIR}")
program=$build/examples/freestanding/block-driver
[ -x "$program" ] || {
  echo "skip freestanding: it is not built"
  exit 77
}
# shellcheck source=../tool/lib.sh
. "$(dirname "$0")/../tool/lib.sh"
expect runs 0 'ok warm after a restart' "$program"
check all-is-right sh -c '! grep -q FAIL out'
check cold-and-warm grep -q 'ok warm: the disk is not asked' out
check needs-no-library sh -c '! nm -u "$1" | grep -q .' - "$program"
check is-static sh -c '! readelf -d "$1" | grep -q NEEDED' - "$program"
summary
