# shellcheck shell=bash
# SPDX-License-Identifier: BSD-2-Clause
#
# lib.sh NAME [BUILD_DIR] - sourced by the test of examples/NAME: $build, $program, and all of
# ../tool/lib.sh. Ends the test with status 77 if the program is not there.

: "${2:?usage: $1-test.sh BUILD_DIR}"
build=$(realpath "$2")
program=$build/examples/$1/$1
[ -x "$program" ] || {
  echo "skip $1: it is not built"
  exit 77
}
# shellcheck source=../tool/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../tool/lib.sh"
