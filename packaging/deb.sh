#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# deb.sh OUT - builds the Debian packages of this source, for this machine's architecture, into OUT.
#
# packaging/debian is copied to where the tools want it, in a copy of the source: what git has of
# it, or, in an unpacked release, all of it. Of a commit the version says its time and its hash, so
# apt takes the packages of a later one for newer. Installs what the build needs, if it may.
set -eu
case $#,${1:-} in
1,-h | 1,--help)
  sed -n '/^# deb.sh/,/^set/s/^# \{0,1\}//p' "$0"
  exit 0
  ;;
1,-* | 1, | [!1]*)
  echo "usage: deb.sh OUT; --help says more" >&2
  exit 2
  ;;
esac
mkdir -p "$1"
out=$(CDPATH='' cd -- "$1" && pwd)
top=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$top/examples/need.sh"
. "$top/examples/cleanup.sh"
need build-essential debhelper dh-python meson pkg-config libfuse3-dev liblmdb-dev liblzma-dev \
  libmicrohttpd-dev libseccomp-dev libsqlite3-dev libssl-dev libxxhash-dev nbdkit \
  nbdkit-plugin-dev python3-cffi python3-dev python3-setuptools >&2
work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-deb.XXXXXX")
mkdir "$work/source"
cd "$top"
# Root may build in a user's checkout.
of_git() { git --no-optional-locks -c safe.directory="$top" "$@"; }
hash='' at='' # of the commit, if there is one
if [ -e .git ]; then
  need git >&2
  of_git ls-files -z >"$work/files" || {
    echo "deb.sh: git cannot list the files of $top (its message is above)" >&2
    exit 1
  }
  # A file that is not in the work tree is left out.
  tar -c --null --ignore-failed-read -T "$work/files" >"$work/source.tar"
  if hash=$(of_git rev-parse -q --verify HEAD); then
    at=$(of_git log -1 --format=%ct)
    # What was changed since is newer than the commit.
    [ -z "$(of_git status --porcelain -uno)" ] || at=$(date +%s)
    hash=$(echo "$hash" | cut -c 1-8)
  fi
else
  tar -c --exclude=./build . >"$work/source.tar"
fi
tar -x -C "$work/source" -f "$work/source.tar"
rm "$work/source.tar"
cd "$work/source"
cp -r packaging/debian debian
[ -z "$hash" ] || sed -i \
  -e "1s/)/+git$(date -u -d "@$at" +%Y%m%d%H%M%S).$hash)/" \
  -e "0,/^ -- /s/^\( -- .*>  \).*/\1$(LC_ALL=C date -u -R -d "@$at")/" debian/changelog
# A build on a busy machine is no faster for more jobs than processors.
dpkg-buildpackage -b -us -uc -j"$(nproc)" >"$work/log" 2>&1 || {
  {
    grep -E 'error:|ERROR' "$work/log" | cut -c 1-300 | head -n 20
    tail -n 5 "$work/log" | cut -c 1-300
    cp "$work/log" "$out/build.log"
    echo "deb.sh: the build failed; $out/build.log has all that it said"
  } >&2
  exit 1
}
cp "$work"/*.deb "$work"/*.changes "$work"/*.buildinfo "$out"
echo "to install all of them but those with symbols for debuggers:"
line='  apt install'
for name in "$work"/*.deb; do # what lay in OUT before is not meant
  name=${name##*/}
  case $name in *-dbgsym_*) continue ;; esac
  package=$out/$name
  case $package in # in quotes, if a shell would take it apart
  *[!A-Za-z0-9_/.+~-]*) package="'$(echo "$package" | sed "s/'/'\\\\''/g")'" ;;
  esac
  line="$line $package"
done
echo "$line"
