#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# inf-win32.sh - what the driver's INF file installs, by the installer of Wine: the service, and the
# instance with its altitude, where each version of Windows looks for it. Wine has no driver store,
# so where the file goes is not looked at. Prints "ok NAME" or "FAIL NAME: why" and a summary as the
# last line.
set -u
here=$(cd "$(dirname "$0")" && pwd)
wine_run=$here/../cross/wine-try
prefix=${WINEPREFIX:-${TMPDIR:-/tmp}/cachemax-wine}
key='HKLM\System\CurrentControlSet\Services\CacheFilter'
passed=0 failed=0
ok() { passed=$((passed + 1)); echo "ok $1"; }
fail() { failed=$((failed + 1)); echo "FAIL $1: $2"; }
work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-test.XXXXXX")
run() { timeout 60 "$wine_run" "$@" 2>&1 </dev/null 8>&-; }
remove() { run reg delete "$key" /f >/dev/null; }
exec 8>"$prefix.inf.lock" # there is one service of this name in a system
flock 8
trap 'remove; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
cd "$work" || exit 1

has() { # NAME KEY VALUE PATTERN
  run reg query "$key$2" /v "$3" >out
  if grep -Eq -- " $3 +$4" out; then ok "$1"; else fail "$1" "$(head -c 200 out | tr '\n' ' ')"; fi
}

cp "$here/../../examples/windows/driver/CacheFilter.inf" .
: >CacheFilter.sys
remove
run rundll32 setupapi.dll,InstallHinfSection DefaultInstall 132 \
  "Z:${work//\//\\}\\CacheFilter.inf" >out
has "a driver of file systems" '' Type 'REG_DWORD +0x2\b'
has "it starts on demand" '' Start 'REG_DWORD +0x3\b'
has "its group" '' Group 'REG_SZ +FSFilter Content Screener'
for place in '' '\Parameters'; do
  instances=$place'\Instances'
  has "features, '$place'" "$place" SupportedFeatures 'REG_DWORD +0x7\b'
  has "the instance, '$place'" "$instances" DefaultInstance 'REG_SZ +CacheFilter Instance'
  # Content screeners have 260000 to 269999.
  has "its altitude, '$place'" "$instances\\CacheFilter Instance" Altitude 'REG_SZ +26[0-9]{4}\b'
  has "it attaches by itself, '$place'" "$instances\\CacheFilter Instance" Flags 'REG_DWORD +0x0\b'
done

echo "$passed passed, $failed failed, 0 skipped"
[ $failed = 0 ]
