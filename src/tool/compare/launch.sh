#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# cachemax-compare: behind these lines is a zip file with the program, which Python runs.
case $* in
--version | -V)
  echo "cachemax-compare @VERSION@" # by bundle.py
  exit
  ;;
esac
command -v python3 >/dev/null || {
  echo "cachemax: compare needs Python 3; install the package python3" >&2
  exit 1
}
exec python3 -B "$0" "$@"
