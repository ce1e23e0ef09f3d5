#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# check-format.sh TOP - is every C file laid out as .clang-format says? Versions of clang-format
# differ, so only version 14 (Debian 12) is asked; with another one the test is skipped (status 77).
# "clang-format -i FILE" mends a file. Byte tables in tests/unit/golden are laid out by hand.
set -u
[ $# = 1 ] || {
  echo "usage: check-format.sh TOP" >&2
  exit 2
}
cd "$1" || exit 1
for tool in clang-format-14 clang-format; do
  case $($tool --version 2>/dev/null) in
  *'version 14.'*) break ;;
  *) tool='' ;;
  esac
done
[ -n "$tool" ] || {
  echo "skip format: no clang-format 14 here (Debian package clang-format-14)"
  exit 77
}
files=$(find src include examples tests \( -name '*.[ch]' -o -name '*.cpp' \) \
  ! -path 'tests/unit/golden/*')
# shellcheck disable=SC2086 # words
wrong=$($tool -n --Werror $files 2>&1 | sed -n 's/:[0-9]*:[0-9]*: error: .*//p' | sort | uniq -c)
if [ -n "$wrong" ]; then
  echo "FAIL files are laid out as .clang-format says"
  echo "$wrong" | sed 's/^/  /'
  echo "0 passed, 1 failed, 0 skipped"
  exit 1
fi
echo "ok files are laid out as .clang-format says"
echo "1 passed, 0 failed, 0 skipped"
