#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# faults-test.sh - what becomes of cachemax-mount when it gets no thread or no memory.
#
# Usage: faults-test.sh BUILD_DIR
# Each check is a kind of calls, each of which fails in turn: tests/faults/programs.py, which has
# all kinds, and is what run.sh runs. This script is for the rows of mutants.py. Prints "ok NAME" or
# "FAIL NAME: why" for every check, the numbers as the last line.

set -u
build=$(realpath "${1:?usage: faults-test.sh BUILD_DIR}")
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

in_turn() { # KIND
  local said
  said=$(python3 "$here/../faults/programs.py" "$build" --only mount --kind "$1") && return 0
  grep FAIL <<<"$said" >&2
  return 1
}

cd / || exit 1
check_at / "no thread" in_turn pthread_create
check_at / "no aligned memory" in_turn posix_memalign
check_at / "no copy of a word" in_turn strdup
check_at / "no longer table" in_turn realloc
summary
