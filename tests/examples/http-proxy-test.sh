#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# http-proxy-test.sh BUILD [READS] - examples/http-proxy against origin servers in the tests.
# READS: how many reads of changing objects must not mix versions (default 2000; 1000000 takes a
# quarter of an hour on one core). The last line is "N passed, N failed, N skipped"; status 77 if
# nothing can run.
set -u
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
[ -x "$1/examples/http-proxy/http-proxy" ] || {
  echo "skip http-proxy: not built (Debian packages libmicrohttpd-dev, libcurl4-openssl-dev)"
  echo "0 passed, 0 failed, 1 skipped"
  exit 77
}
# One that ends without its last line has failed. Lines are passed on as they come: awk may read
# many before it says the first one.
for test in http-proxy-clients-test.py http-proxy-origins-test.py http-proxy-test.py; do
  python3 "$here/$test" "$@"
  echo "status $?"
done | {
  passed=0 failed=0 skipped=0 ends=0 bad=0
  while IFS= read -r line; do
    case $line in
    [0-9]*' passed, '[0-9]*' failed, '[0-9]*' skipped')
      # shellcheck disable=SC2086 # words
      set -- $line
      passed=$((passed + $1)) failed=$((failed + $3)) skipped=$((skipped + $5)) ends=$((ends + 1))
      ;;
    'status 0') ;;
    'status '*) bad=1 ;;
    *) printf '%s\n' "$line" ;;
    esac
  done
  [ $ends = 3 ] && { [ $bad = 0 ] || [ $failed != 0 ]; } || failed=$((failed + 1))
  echo "$passed passed, $failed failed, $skipped skipped"
  [ $failed = 0 ]
}
