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
# One that ends without its last line has failed.
for test in http-proxy-clients-test.py http-proxy-origins-test.py http-proxy-test.py; do
  python3 "$here/$test" "$@"
  echo "status $?"
done | awk '
  /^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$/ {
    passed += $1; failed += $3; skipped += $5; ends++; next
  }
  /^status [0-9]+$/ { bad += $2 != 0; next }
  { print; fflush() }
  END {
    if (ends != 3 || (bad && !failed)) failed++
    printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
    exit failed > 0
  }'
