#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# scripts-test.sh - what the programs of packaging/ and the scripts of the Debian packages do around
# a build: what is installed before, the version, what is printed, what Ctrl-C leaves, what is asked
# of systemd, and what the packages depend on. Nothing is built or installed: apt-get,
# dpkg-buildpackage and others are scripts. The last line is "N passed, N failed, N skipped".
set -u
# shellcheck source=../sleep.sh
. "$(dirname "$0")/../sleep.sh"
top=$(cd "$(dirname "$0")/../.." && pwd)
debian=$top/packaging/debian
export LC_ALL=C GIT_CONFIG_GLOBAL=/dev/null
passed=0 failed=0 skipped=0 runner=''
work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-scripts.XXXXXX") || exit 1
work=$(realpath "$work")
cleanup() {
  [ -z "$runner" ] || kill -9 -- "-$runner" 2>/dev/null
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM
check() { # NAME COMMAND...
  local name=$1
  shift
  if "$@" >"$work/out" 2>&1 </dev/null; then
    passed=$((passed + 1)) && echo "ok $name"
  else
    failed=$((failed + 1)) && echo "FAIL $name: $(tail -n 5 "$work/out" | tr '\n' ' ')"
  fi
}
skip() { skipped=$((skipped + 1)) && echo "skip $1: $2"; }
end() {
  echo "$passed passed, $failed failed, $skipped skipped"
  [ $failed = 0 ]
  exit
}
for tool in dpkg dpkg-parsechangelog make; do
  command -v $tool >/dev/null || {
    skip "all" "no $tool here"
    end
  }
done

# ---- stand-ins -----------------------------------------------------------------------------------
mkdir "$work/bin" "$work/tmp"
program() { # NAME: its text is the input
  { echo '#!/bin/sh' && cat; } >"$work/bin/$1" && chmod +x "$work/bin/$1"
}
echo 'exec "$@"' | program sudo
echo "echo \"systemctl \$*\" >>'$work/asked'" | program systemctl
# Each package is installed, or none is.
everything() {
  program dpkg-query <<END
for p; do :; done
echo "\$p" >>'$work/wanted'
echo install ok installed
END
}
nothing() { program dpkg-query <<<'exit 1'; }
no_apt() { program apt-get <<<"echo >>'$work/apt'; exit 1"; }
# It keeps what it was given, and makes what it should.
program dpkg-buildpackage <<END
rm -rf '$work/given' && cp -r debian '$work/given'
touch ../new_1_amd64.deb ../new-dbgsym_1_amd64.deb ../new_1_amd64.changes ../new_1_amd64.buildinfo
END
# As much of the source as these programs need.
source=$work/source
mkdir -p "$source/examples"
cp -r "$top/packaging" "$source"
cp "$top/examples/need.sh" "$top/examples/cleanup.sh" "$source/examples"
with_stands() { TMPDIR=$work/tmp PATH=$work/bin:$PATH "$@"; }
deb() { # git takes the source for that of another user
  GIT_TEST_ASSUME_DIFFERENT_OWNER=1 with_stands sh "$source/packaging/deb.sh" "$work/debs"
}

# ---- what is installed before, what is printed at the end ----------------------------------------
# Of each group of alternatives one; debhelper-compat is debhelper; and what no package names.
installs() {
  local group missing=''
  rm -f "$work/wanted"
  everything && deb || return
  sed -n '/^Build-Depends:/,/^[A-Z][a-z-]*-Version:/p' "$debian/control" | sed '$d' |
    sed 's/^Build-Depends://; s/([^)]*)//g; s/-compat//; s/ //g' | tr -d '\n' | tr , '\n' \
    >"$work/groups"
  printf '\nbuild-essential\n' >>"$work/groups"
  [ "$(wc -l <"$work/groups")" -gt 10 ] || return
  while read -r group; do
    grep -qxE "$group" "$work/wanted" || missing="$missing $group"
  done <"$work/groups"
  [ -z "$missing" ] || { echo "not installed:$missing" && return 1; }
}
check "deb.sh: installs what the build needs" installs
prints() {
  mkdir -p "$work/debs" && touch "$work/debs/old_0_amd64.deb" "$work/debs/foreign_1_amd64.deb"
  deb >"$work/said" && [ -e "$work/debs/new-dbgsym_1_amd64.deb" ] && tail -n 1 "$work/said" &&
    [ "$(tail -n 1 "$work/said")" = "  apt install $work/debs/new_1_amd64.deb" ]
}
check "deb.sh: prints how to install what it made, and nothing else" prints

# ---- the version ---------------------------------------------------------------------------------
given() { dpkg-parsechangelog -l "$work/given/changelog" -S "$1"; }
of_source() { git -C "$source" "$@"; }
commit() { # DATE
  of_source add . &&
    GIT_COMMITTER_DATE=$1 of_source -c user.name=n -c user.email=n@example.com commit -qm x
}
no_history() { deb && cmp "$debian/changelog" "$work/given/changelog"; }
no_commit() { of_source init -q && of_source add . && no_history; }
of_commit() {
  commit 2020-01-02T01:30:00+0200 && deb || return
  first=$(given Version) && echo "$first, $(given Date)" && cp "$work/given/changelog" "$work/first"
  [ "$first" = "$plain+git20200101233000.$(of_source rev-parse HEAD | cut -c 1-8)" ] &&
    [ "$(given Date)" = "Wed, 01 Jan 2020 23:30:00 +0000" ] &&
    dpkg --compare-versions "$first" gt "$plain"
}
again() { deb && cmp "$work/first" "$work/given/changelog"; }
of_next() {
  echo "# more" >>"$source/packaging/site.css" && commit 2020-01-02T01:30:01+0200 && deb || return
  next=$(given Version)
  dpkg --compare-versions "$next" gt "$first"
}
of_changed() {
  echo "# more" >>"$source/packaging/site.css" && deb || return
  dpkg --compare-versions "$(given Version)" gt "$next"
}
plain=$(dpkg-parsechangelog -l "$debian/changelog" -S Version)
check "deb.sh: an unpacked release has the version that it says" no_history
if command -v git >/dev/null; then
  check "deb.sh: so has a checkout without a commit" no_commit
  check "deb.sh: the version of a commit" of_commit
  check "deb.sh: the same commit has the same" again
  check "deb.sh: the next commit is newer" of_next
  check "deb.sh: what was changed since is newer" of_changed
else
  skip "deb.sh: the version of a commit" "no git here"
fi

# ---- Ctrl-C --------------------------------------------------------------------------------------
session() { # PID: the processes of its session that still run
  local stat line
  for stat in /proc/[0-9]*/stat; do
    { read -r line <"$stat"; } 2>/dev/null || continue
    # shellcheck disable=SC2086 # words
    set -- "$1" ${line##*) }
    [ "$5" != "$1" ] || [ "$2" = Z ] || echo "$stat"
  done
}
# stopped PROGRAM: a stand-in sends what a terminal sends at Ctrl-C to all that it runs.
stopped() {
  local i status left
  rm -f "$work/ticks"
  # A shell has SIGINT ignored in what it starts in the background. Nothing is between it and
  # setsid, which makes a session with the number of the process.
  TMPDIR=$work/tmp PATH=$work/bin:$PATH setsid env --default-signal=INT \
    sh "$source/packaging/$1" "$work/stopped" &
  runner=$!
  wait $runner
  status=$?
  for i in $(seq 600); do # it was killed, and may take a moment
    left=$(session $runner)
    [ -n "$left" ] || break
    sleep 0.1
  done
  kill -9 -- "-$runner" 2>/dev/null
  runner=''
  left="$left$(ls -A "$work/tmp")"
  rm -rf "$work/tmp" && mkdir "$work/tmp"
  [ $status = 130 ] && [ -z "$left" ] || { echo "status $status, left: $left" && return 1; }
}
real=$(type -P sleep) # not the function
# What tells how far apt is sleeps between two lines.
program sleep <<END
echo >'$work/ticks'
exec '$real' "\$@"
END
nothing
program apt-get <<END
until [ -e '$work/ticks' ]; do '$real' 0.05; done
kill -INT 0
END
check "deb.sh: Ctrl-C while packages are installed leaves nothing" stopped deb.sh
check "windows.sh: Ctrl-C while packages are installed leaves nothing" stopped windows.sh
everything
no_apt
program dpkg-buildpackage <<<'kill -INT 0'
program meson <<<'kill -INT 0'
check "deb.sh: Ctrl-C while it builds leaves nothing" stopped deb.sh
if [ -e /usr/include/xxhash.h ]; then
  check "windows.sh: Ctrl-C while it builds leaves nothing" stopped windows.sh
else
  skip "windows.sh: Ctrl-C while it builds leaves nothing" "no xxhash.h here"
fi

# ---- what packages depend on ---------------------------------------------------------------------
paragraph() { sed -n "/^Package: $1\$/,/^\$/p" "$debian/control"; }
# takes VERSION YES|NO DEBIAN-VERSION...: does a filter that is built with that version of nbdkit go
# with these packages of nbdkit?
takes() {
  local want=$2 version bound said
  program pkg-config <<<"echo $1"
  program dpkg-architecture <<<: # it takes seconds for what is not used here
  program dh_gencontrol <<<"printf '%s\n' \"\$@\" >'$work/variables'"
  (cd "$top" && with_stands make -s -f "$debian/rules" override_dh_gencontrol) || return
  sed -n 's/^-V\(nbdkit:[A-Za-z]*\)=\(.*\)/s,${\1},\2,/p' "$work/variables" >"$work/substitute"
  paragraph nbdkit-cachemax-filter | sed -f "$work/substitute" |
    grep -oE '\bnbdkit \([^)]*\)' | tr -d '()' >"$work/bounds"
  [ -s "$work/bounds" ] && cat "$work/bounds" || return
  shift 2
  for version in "$@"; do
    said=YES
    while read -r _ bound than; do
      dpkg --compare-versions "$version" "$bound" "$than" || said=NO
    done <"$work/bounds"
    [ $said = "$want" ] || { echo "$version: $said" && return 1; }
  done
}
check "nbdkit filter: nbdkit with the same upstream version" takes 1.32.5 YES \
  1.32.5-1 1.32.5-1+deb12u1 1.32.5-1+b1 1.32.5-1~bpo12+1 1.32.5-0~local1 1.32.5-2
check "nbdkit filter: no other" takes 1.32.5 NO \
  1.32.6-1 1.32.6-1~bpo12+1 1.32.4-9 1.32.50-1 1.34.0-1
check "nbdkit filter: the version before one of more digits" takes 1.32.9 NO 1.32.10-1 1.32.8-1
# Symbols do not say it. The package fuse3 is of the same version as the library.
fuse3_bound() {
  local built
  built=$(grep -oE 'libfuse3-dev \([^)]*\)' "$debian/control" | cut -d ' ' -f 2-)
  [ -n "$built" ] && paragraph cachemax-mount | grep -F "fuse3 $built"
}
check "cachemax-mount: no older FUSE than it was built for" fuse3_bound

# ---- scripts of packages -------------------------------------------------------------------------
# asks SCRIPT WANT ARGUMENT...: what a script of a package asks of systemd.
asks() {
  local script=$1 want=$2
  shift 2
  : >"$work/asked"
  sed "s,/run/systemd/system,$work/run," "$debian/$script" >"$work/script" &&
    with_stands sh "$work/script" "$@" && cat "$work/asked" &&
    [ "$(cat "$work/asked")" = "$want" ]
}
reload='systemctl --system daemon-reload'
mkdir "$work/run"
check "cachemax-mount: systemd reads the unit of a new version" \
  asks cachemax-mount.postinst "$reload" configure 0.1.0
check "cachemax-mount: and of the old one, if the upgrade fails" \
  asks cachemax-mount.postinst "$reload" abort-upgrade 0.1.1
check "cachemax-mount: it forgets the unit after a removal" \
  asks cachemax-mount.postrm "$reload" remove
export DPKG_ROOT=$work/root
check "cachemax-mount: nothing is asked for another root" asks cachemax-mount.postinst '' configure
unset DPKG_ROOT
rmdir "$work/run"
check "cachemax-mount: nothing is asked without systemd" asks cachemax-mount.postinst '' configure
# Those of the package's unit go, wherever that is. Other units have the same name.
purge() {
  local at=$work/root/etc/systemd/system from kept=''
  for from in /lib /usr/lib /usr/local/lib /etc /opt/lib; do
    mkdir -p "$at/a.wants" "$at/b.wants"
    ln -s "$from/systemd/system/cachemax-mount@.service" \
      "$at/a.wants/cachemax-mount@${from//\//-}.service"
  done
  ln -s /lib/systemd/system/cachemax-mount@.service "$at/b.wants/cachemax-mount@x.service"
  DPKG_ROOT=$work/root sh "$debian/cachemax-mount.postrm" purge || return
  kept=$(cd "$at" && find . -mindepth 1 | sort | tr '\n' ' ')
  echo "$kept"
  [ "$kept" = "./a.wants ./a.wants/cachemax-mount@-etc.service \
./a.wants/cachemax-mount@-opt-lib.service ./a.wants/cachemax-mount@-usr-local-lib.service " ]
}
check "cachemax-mount: a purge takes what enables its unit, and nothing else" purge

# ---- the documentation that is installed ---------------------------------------------------------
# Nothing is installed for what cannot be built there.
quickstart() {
  local status
  rm -f "$work/apt"
  nothing
  python3 "$top/packaging/docs.py" "$work/docs" || return
  with_stands sh "$work/docs/examples/quickstart.sh" "$work" >"$work/said" 2>&1
  status=$?
  cat "$work/said"
  [ $status = 3 ] && grep -q "no source to build in $work/docs" "$work/said" && [ ! -e "$work/apt" ]
}
check "quickstart.sh: without the source it says so" quickstart
end
