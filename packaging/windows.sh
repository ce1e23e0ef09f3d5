#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# windows.sh OUT - builds the packages for Windows (x86-64) on Debian or Ubuntu, into OUT:
#
# - cachemax-VERSION-windows-x86-64.msi: the programs, for C:\Program Files\cachemax and the path
#   of the system.
# - cachemax-VERSION-windows-x86-64.zip: the same programs, the library as DLL and as static
#   library, headers, files for pkg-config and CMake, and the documentation as text.
#
# cachemax-winfsp is in neither, because it is built with the SDK of WinFsp, and the driver is
# built with Microsoft's tools: docs/windows.md. Installs what the build needs, if it may.
set -eu
case $#,${1:-} in
1,-h | 1,--help)
  sed -n '/^# windows.sh/,/^set/s/^# \{0,1\}//p' "$0"
  exit 0
  ;;
1,-* | 1, | [!1]*)
  echo "usage: windows.sh OUT; --help says more" >&2
  exit 2
  ;;
esac
mkdir -p "$1"
out=$(CDPATH='' cd -- "$1" && pwd)
top=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$top" # for the names of the pages
. "$top/examples/need.sh"
. "$top/examples/cleanup.sh"
need gcc-mingw-w64-x86-64 libxxhash-dev meson msitools ninja-build pkg-config wixl zip >&2
work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-windows.XXXXXX")
# Only the header of xxHash: /usr/include has those of this system, too.
mkdir "$work/xxhash"
cp /usr/include/xxhash.h "$work/xxhash/"
{
  PATH=$top/tests/cross:$PATH meson setup "$work/build" "$top" --prefix=/ --bindir=bin \
    --libdir=lib --buildtype=release -Db_ndebug=true -Dtests=false --strip \
    --cross-file "$top/tests/cross/mingw64.ini" -Dxxhash_header="$work/xxhash"
  ninja -C "$work/build"
} >"$work/log" 2>&1 || {
  tail -n 30 "$work/log" >&2
  exit 1
}
version=$(meson introspect --projectinfo "$work/build" |
  sed 's/.*"version": "\([^"]*\)".*/\1/')
name=cachemax-$version-windows-x86-64
DESTDIR=$work/$name meson install -C "$work/build" >/dev/null
rm -r "$work/$name/share" # manual pages
python3 packaging/docs.py "$work/$name"
# Text as the editors of Windows want it.
find "$work/$name" -name '*.md' -exec sed -i 's/$/\r/' {} +
sed 's/$/\r/' LICENSE >"$work/$name/LICENSE.txt"
rm -f "$out/$name.zip" "$out/$name.msi"
cd "$work" # both want short names
zip -qrX "$out/$name.zip" "$name"
wixl --arch x64 -D VERSION="$version" -D FROM="$name" -o "$out/$name.msi" \
  "$top/packaging/windows/cachemax.wxs"
tab=$(printf '\t')
# wixl has no word for an upgrade to the same version: without this another build of it would be a
# second product. 1: the parts that are installed stay chosen; 512: up to and with this version.
msiinfo export "$out/$name.msi" Upgrade |
  sed "s/${tab}1${tab}${tab}WIX_UPGRADE/${tab}513${tab}${tab}WIX_UPGRADE/" >"$work/Upgrade.idt"
grep -q "${tab}513${tab}" "$work/Upgrade.idt" || {
  echo "windows.sh: this wixl has another table of upgrades; change the line above" >&2
  exit 1
}
msibuild "$out/$name.msi" -i "$work/Upgrade.idt"
# "=-*": of the system, set now, taken back at the removal. "[~]": the path as it was.
cat >"$work/Environment.idt" <<EOF
Environment${tab}Name${tab}Value${tab}Component_
s72${tab}l255${tab}L255${tab}s72
Environment${tab}Environment
path${tab}=-*PATH${tab}[~];[INSTALLDIR]${tab}command
EOF
msibuild "$out/$name.msi" -i "$work/Environment.idt"
for action in RemoveEnvironmentStrings,3300 WriteEnvironmentStrings,5200; do
  msibuild "$out/$name.msi" -q "INSERT INTO \`InstallExecuteSequence\` (\`Action\`, \`Sequence\`) \
VALUES ('${action%,*}', ${action#*,})"
done
echo "$out/$name.msi"
echo "$out/$name.zip"
