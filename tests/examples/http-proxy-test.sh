#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# http-proxy-test.sh BUILD [READS] - examples/http-proxy against an origin server in the test.
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
exec python3 "$here/http-proxy-test.py" "$@"
