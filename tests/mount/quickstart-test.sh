#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# quickstart-test.sh [BUILD] - the README's first command: what it prints, and that it leaves
# nothing behind, however it ends. The last line is "N passed, N failed, N skipped".
#
# BUILD (default ${TMPDIR:-/tmp}/cachemax-build) has the programs. Where a run has to be stopped in
# some phase, one of them is replaced by a script that says that it was reached and waits; so
# nothing here depends on how fast the machine is. As root, other users and broken machines are made
# in a mount namespace.
set -u
# shellcheck source=../sleep.sh
. "$(dirname "$0")/../sleep.sh"
top=$(cd "$(dirname "$0")/../.." && pwd)
examples=${CM_EXAMPLES:-$top/examples}
build=$(realpath "${1:-${TMPDIR:-/tmp}/cachemax-build}")
work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-quick-test.XXXXXX")
work=$(realpath "$work")
chmod 755 "$work"
passed=0 failed=0 skipped=0
# wanted NAME: see CM_CHECKS in lib.sh.
wanted() { [[ -z "${CM_CHECKS:-}" || $1 =~ $CM_CHECKS ]]; }
ok() { passed=$((passed + 1)); echo "ok $1"; }
skip() { skipped=$((skipped + 1)); echo "skip $1: $2"; }
fail() { # NAME WHY
  failed=$((failed + 1))
  echo "FAIL $1: $2"
  tail -n 12 "$work/out" | sed 's/^/  /'
}
cleanup() {
  exec 2>/dev/null
  [ -z "${runner:-}" ] || kill -9 -- "-$runner"
  for m in $(awk -v w="$work/" 'index($5, w) == 1 { print $5 }' /proc/self/mountinfo | tac); do
    fusermount3 -u -z "$m" || umount -l "$m"
  done
  rm -rf --one-file-system "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

# ---- places --------------------------------------------------------------------------------------
files() { # DIR: some files to read, one of them odd
  mkdir -p "$1/docs"
  cp "$top"/docs/*.md "$1/docs"
  : >"$1/empty"
  printf 'x' >"$1/odd name with 'quotes'"
  truncate -s 3M "$1/sparse"
}
# programs: a build whose programs are those of $build, to replace some of them.
programs() {
  bin=$work/bin
  rm -rf "$bin"
  mkdir -p "$bin/src/tool" "$bin/examples/mount" "$bin/examples/quickstart"
  for p in src/tool/cachemax examples/mount/cachemax-mount \
    examples/quickstart/{throttle,quickread}; do
    if [ "${1:-}" = copy ]; then cp "$build/$p" "$bin/$p"; else ln -s "$build/$p" "$bin/$p"; fi
  done
}
# at CALL PROGRAM BODY: a shell script in the place of the program, run at its CALLth call instead
# of it. Otherwise, and with "$real" in BODY, it runs the program.
at() {
  rm -f "$bin/$2" "$work/calls"
  cat >"$bin/$2" <<EOF
#!/bin/bash
real=$build/$2
echo >>$work/calls
[ "\$(wc -l <$work/calls)" != $1 ] || {
  $3
}
exec "\$real" "\$@"
EOF
  chmod +x "$bin/$2"
}
block="echo >$work/reached; exec sleep 600"

# ---- what is left --------------------------------------------------------------------------------
# clean NAME [PID]: says what a run left; files below $tmp, mounts, programs, pools.
clean() {
  wanted "$1" || return 0
  left=
  [ -z "$(ls -A "$tmp")" ] || left="files: $(find "$tmp" | head -n 3 | tr '\n' ' ')"
  ! grep -q " $work/" /proc/self/mountinfo ||
    left="$left mounts: $(grep -o " $work/[^ ]*" /proc/self/mountinfo | tr '\n' ' ')"
  printf '%s\n' "$tmp" "cachemax-quickstart.$2." >"$work/names" # else grep would find itself
  for p in $(grep -lsaFf "$work/names" /proc/[0-9]*/cmdline); do
    left="$left program: $(tr '\0' ' ' <"$p" | cut -c 1-100)"
  done
  for p in /dev/shm/cachemax-quickstart."$2".*; do
    [ ! -e "$p" ] || left="$left pool: $p"
  done
  if [ -z "$left" ]; then ok "$1: nothing is left"; else fail "$1: nothing is left" "$left"; fi
}
# ended NAME: waits for $runner, 2 minutes at most; sets $got.
ended() {
  local i
  for i in $(seq 1200); do
    kill -0 "$runner" 2>/dev/null || break
    sleep 0.1
  done
  if [ "$i" = 1200 ]; then
    kill -9 -- "-$runner" "$runner" 2>/dev/null
    echo "it did not end within 2 minutes" >>"$work/out"
  fi
  wait "$runner" 2>/dev/null
  got=$?
}
# runs NAME STATUS PATTERN [DIR]: with $bin's programs, to its end.
runs() {
  local name=$1 want=$2 pattern=$3 got
  wanted "$1" || return 0
  shift 3
  tmp=$work/tmp
  mkdir -p "$tmp"
  TMPDIR=$tmp CACHEMAX_BUILD=$bin sh "$examples/quickstart.sh" "$@" >"$work/out" 2>&1 &
  runner=$!
  ended
  if grep 'quickstart\.sh: [0-9]*: ' "$work/out"; then
    fail "$name" "an error of the shell"
  elif [ $got = "$want" ] && grep -q -- "$pattern" "$work/out"; then
    ok "$name"
  else
    fail "$name" "status $got"
  fi
  clean "$name" $runner
  runner=
}
# stopped NAME SIGNAL STATUS [DIR]: the same, with a signal once a program was reached. Ctrl-C goes
# to all programs of the terminal, the others to the script only.
stopped() {
  local name=$1 signal=$2 want=$3 got to
  wanted "$1" || return 0
  shift 3
  tmp=$work/tmp
  mkdir -p "$tmp"
  rm -f "$work/reached" "$work/calls"
  # A shell has SIGINT ignored in what it starts in the background, and nobody could trap it then.
  TMPDIR=$tmp CACHEMAX_BUILD=${use-$bin} setsid env --default-signal=INT,TERM,HUP sh \
    "$examples/quickstart.sh" "$@" \
    >"$work/out" 2>&1 &
  runner=$!
  while [ ! -e "$work/reached" ] && kill -0 $runner 2>/dev/null; do sleep 0.05; done
  to=$runner
  [ "$signal" != INT ] || to=-$runner
  kill -"$signal" -- $to 2>/dev/null
  ended
  if [ $got = "$want" ]; then ok "$name"; else fail "$name" "status $got"; fi
  clean "$name" $runner
  runner=
}

# What is no directory is refused at once; for an empty name, in a directory that must not be
# mounted over.
wrong_usage() {
  runs "no such directory" 2 'none does not exist' "$work/none"
  : >"$work/file"
  runs "a file for a directory" 2 'file is not a directory' "$work/file"
  runs "two directories" 2 'one directory at most, but got 2' "$work" "$work"
  runs "an unknown option" 2 'unknown option --fast' --fast
  mkdir -p "$work/here"
  echo x >"$work/here/file"
  cd "$work/here" || exit 1
  runs "an empty name" 2 'name is empty' ''
  cd "$OLDPWD" || exit 1
  mkdir -p "$work/shut"
  chmod 0 "$work/shut"
  if (cd "$work/shut") 2>/dev/null; then
    skip "a directory that may not be entered" "$(id -un) may enter all"
  else
    runs "a directory that may not be entered" 2 'shut may not be entered by' "$work/shut"
  fi
  rmdir "$work/shut"
}

# ---- without FUSE there is little to see ---------------------------------------------------------
for p in src/tool/cachemax examples/quickstart/quickread examples/mount/cachemax-mount; do
  [ -x "$build/$p" ] || {
    skip everything "there is no $build/$p"
    echo "$passed passed, $failed failed, $skipped skipped"
    exit 77
  }
done
if ! (: <>/dev/fuse) 2>/dev/null || ! command -v fusermount3 >/dev/null; then
  skip "all but the usage" "no FUSE here for $(id -un)"
  programs
  wrong_usage
  echo "$passed passed, $failed failed, $skipped skipped"
  [ $failed = 0 ]
  exit
fi

# An ordinary user may not mount over the slow storage, a FUSE mount, unless that lets others in.
nested=yes
[ "$(id -u)" = 0 ] || grep -q '^user_allow_other' /etc/fuse.conf 2>/dev/null || nested=no

# ---- whole runs ----------------------------------------------------------------------------------
org=$work/org
files "$org"
find "$org" -type f -exec sha256sum {} + >"$work/before"
programs
runs "files are read" 0 'every byte equals the origin; the pools check sound' "$org"
if ! wanted "files are read"; then
  :
elif find "$org" -type f -exec sha256sum {} + | cmp -s - "$work/before"; then
  ok "the directory is as it was"
else
  fail "the directory is as it was" "it is not"
fi
# gains FILE: do the last lines say what the rows say?
gains() {
  awk -v nested="$nested" '
    function times(a, b) { return sprintf(a < b ? "%.2f" : "%.1f", a / b) }
    function said(line, storage, where, origin, rows) {
      return line == sprintf("%s: the warm cache%s is %s times as fast, " \
        "right after a restart %s times", storage, where, times(plain[origin], warm[rows]),
        times(plain[origin], again[rows])) }
    BEGIN { own = "this machine\047s own storage" }
    $0 == own { rows = "own" }
    /^slow storage: the same files/ { rows = "slow" }
    /^  without the cache/ { plain[rows] = $4 }
    /^  warm / { warm[rows] = $2 }
    /^  warm, after a restart/ { again[rows] = $5 }
    /^slow storage: the warm/ { a = nested == "no" ? said($0, "slow storage", " above", "slow",
      "own") : said($0, "slow storage", "", "slow", "slow") }
    index($0, own ": the warm") == 1 { b = said($0, own, "", "own", "own") }
    /^\(this machine.s storage is faster/ { c = 1 }
    END { exit !(a && b && c == (warm["own"] > plain["own"])) }' "$1"
}
# Every read takes 5 ms at least in the slow storage, and none once all is in the pool.
n=$(find "$org" -type f -size +0 | wc -l)
if ! wanted "files are read"; then
  :
elif awk -v n="$n" -v nested="$nested" '
  /^this machine/ { own = 1 } /^slow storage: .* 64 MB\/s and 5 ms a read/ { slow = 1; own = 0 }
  own && /without the cache/ { a = 1 }
  slow && /without the cache/ { b = $4 >= 5 * n }
  own && /warm, after a restart/ { c = $9 > 90 }
  slow && /^  cold/ { d = $2 > 0 }
  slow && /warm, after a restart/ { e = $9 > 90 }
  END { exit !(a && b && c && (d && e || nested == "no")) }' "$work/out" && gains "$work/out"; then
  ok "the table has both storages, and what the cache gains"
else
  fail "the table has both storages, and what the cache gains" "see there"
fi
if wanted "the recorded picture"; then
  sed -n 's/^<text[^>]*>\(.*\)<\/text>$/\1/p' "$top/docs/quickstart.svg" >"$work/out"
  if nested=yes gains "$work/out"; then
    ok "the recorded picture says what its table says"
  else
    fail "the recorded picture" "its last lines are others than its rows"
  fi
fi
# The mount's calls: 1 and 2 this machine's own storage, 3 and 4 the slow one. The second knows the
# files by another name; before the fourth the kernel forgets the names in the slow storage, which
# is on FUSE and could then number its files anew.
if [ "$(id -u)" != 0 ]; then
  skip "names are forgotten between two mounts" "needs root"
elif wanted "names are forgotten between two mounts"; then
  # shellcheck disable=SC2016
  at 4 examples/mount/cachemax-mount \
    'LIBMOUNT_FORCE_MOUNT2=always mount -i -o remount,rw "$1"
     echo "forgotten: $1"'" >$work/forgotten"
  sed -i '/^exec/i [ "$(wc -l <'"$work/calls"')" != 2 ] || exec "$real" "$@" --volume-id another' \
    "$bin/examples/mount/cachemax-mount"
  runs "names are forgotten between two mounts" 0 'the pools check sound' "$org"
  if grep -q 'forgotten: .*/slow' "$work/forgotten" && awk '/^slow storage/ { slow = 1 }
    slow && /warm, after a restart/ { warm = $9 > 90 } END { exit !warm }' "$work/out"; then
    ok "the slow storage is warm all the same"
  else
    fail "the slow storage is warm all the same" "$(cat "$work/forgotten")"
  fi
  if awk '/^slow storage/ { slow = 1 } !slow && /warm, after a restart/ { cold = $9 < 90 }
    /^  \(only [0-9]* of [1-9][0-9]* blocks came from the pool/ { said++; own = !slow }
    END { exit !(cold && said == 1 && own) }' "$work/out"; then
    ok "what is cold after a restart is said"
  else
    fail "what is cold after a restart is said" "see there"
  fi
  programs
fi
wrong_usage
mkdir "$work/nothing"
: >"$work/nothing/empty"
runs "nothing to read" 2 'no files with something in them' "$work/nothing"

# Files of its own: how many of the project's files fit depends on which of them are drawn.
mkdir "$work/many"
head -c 4800000 /dev/zero | split -b 16000 -a 3 - "$work/many/"
"$build/examples/quickstart/quickread" sample "$work/many" "$work/names" "$work/n" 64 5 0.1 \
  >"$work/out"
read -r n bytes <"$work/n"
if grep -q "^this is a sample, .*: $n of 300 " "$work/out" &&
  [ $((n * 5 + bytes / 64000)) -le 100 ] && [ "$n" -ge 10 ]; then
  ok "a large directory is sampled"
else
  fail "a large directory is sampled" "$n files, $bytes bytes"
fi
truncate -s 1G "$work/nothing/huge"
"$build/examples/quickstart/quickread" sample "$work/nothing" "$work/names" "$work/n" 64 5 4 \
  >"$work/out"
if grep -q 'files larger than 64 MiB' "$work/out" && [ "$(cat "$work/n")" = "2 67108864" ]; then
  ok "a huge file is read from its beginning only"
else
  fail "a huge file is read from its beginning only" "$(cat "$work/n")"
fi

# quickread's calls: 1 sample, 2 drop, 3 origin, 4 drop, 5 cold, 6 drop, 7 warm, 8 restart; 9 slow
# storage, 10 cold, 11 drop, 12 warm, 13 restart.
programs
at 5 examples/quickstart/quickread "echo more >>$org/docs/crash.md"
runs "a file is written meanwhile" 1 'were changed while they were read' "$org"
at 7 examples/quickstart/quickread '"$real" "$@"; sed -i s/^....../000000/ "$5"; exit'
runs "wrong bytes" 1 '^WRONG BYTES' "$org"

# ---- stopped in each phase -----------------------------------------------------------------------
mkdir "$work/path"
blocking() { # PROGRAM: one that blocks, first in $PATH
  rm -f "$work/path/"*
  printf '#!/bin/bash\n%s\n' "$block" >"$work/path/$1"
  chmod +x "$work/path/$1"
}
if dpkg-query -W build-essential meson ninja-build pkg-config libxxhash-dev libfuse3-dev \
  >/dev/null 2>&1; then
  blocking ninja
  use='' PATH=$work/path:$PATH stopped "Ctrl-C while building" INT 130 "$org"
else
  skip "Ctrl-C while building" "something for building is not installed"
fi
programs
blocking tar
PATH=$work/path:$PATH stopped "Ctrl-C while copying" INT 130
for phase in "1 INT choosing files" "3 TERM reading the origin" "5 INT reading cold" \
  "8 TERM reading after the restart" "9 INT reading the slow storage" \
  "10 INT reading the slow storage cold" \
  "13 HUP reading it after the restart"; do
  read -r call signal name <<<"$phase"
  [ "$call" -lt 10 ] || [ $nested = yes ] || continue
  at "$call" examples/quickstart/quickread "$block"
  stopped "$signal while $name" "$signal" "$((128 + $(kill -l "$signal")))" "$org"
done
programs
rm "$bin/src/tool/cachemax" "$bin/examples/mount/cachemax-mount"
# shellcheck disable=SC2016
printf '#!/bin/bash\n[ "$1" != cat ] || { %s; }\nexec %s "$@"\n' "$block" \
  "$build/src/tool/cachemax" >"$bin/src/tool/cachemax"
chmod +x "$bin/src/tool/cachemax"
stopped "Ctrl-C while 'cachemax cat' reads" INT 130 "$org"
programs
at 1 examples/mount/cachemax-mount "$block"
stopped "TERM while mounting" TERM 143 "$org"
programs
at 1 examples/quickstart/throttle "$block"
stopped "Ctrl-C while mounting the slow storage" INT 130 "$org"

# ---- a cache, a storage that dies ----------------------------------------------------------------
programs
at 1 examples/mount/cachemax-mount 'echo "cachemax-mount: out of luck" >&2; exit 1'
runs "mounting fails" 0 "mounting failed: cachemax-mount: out of luck; 'cachemax cat'" "$org"
programs
cat >"$work/kill-mount" <<EOF
for p in \$(grep -lsaP 'cachemax-mount\\0\\Q$org\\E\\0' /proc/[0-9]*/cmdline); do
  p=\${p%/cmdline}
  kill -9 \${p#/proc/}
done
EOF
at 5 examples/quickstart/quickread "bash $work/kill-mount"
runs "the mount is killed" 3 'quickread:' "$org"

# ---- other users, broken machines ----------------------------------------------------------------
# in_ns COMMAND: there a user may open /dev/fuse; $etc is what lies over /etc.
etc=
in_ns() {
  # shellcheck disable=SC2016
  unshare -m bash -c 'set -e
    mount --make-rprivate /
    mount --bind "$1" /dev/fuse
    [ -z "$2" ] || mount --bind "$2" /etc
    shift 2
    exec "$@"' - "$work/fuse" "$etc" "$@"
}
ns=no
if [ "$(id -u)" = 0 ]; then
  if mknod -m 666 "$work/fuse" c 10 229 2>/dev/null && in_ns true 2>"$work/out"; then
    ns=yes
    as_user=(in_ns setpriv --reuid=65534 --regid=65534 --clear-groups)
  else
    skip "as an ordinary user, and on broken machines" \
      "no mount namespace here: $(tail -n 1 "$work/out" 2>/dev/null)"
  fi
else
  as_user=(env)
fi
# of_user NAME STATUS PATTERN COMMAND...: what the user runs, and what is left in that namespace. It
# reads $userorg.
userorg=$work/userorg
of_user() {
  local name=$1 want=$2 pattern=$3 got
  wanted "$1" || return 0
  shift 3
  tmp=$work/usertmp
  rm -rf "$tmp" && mkdir -p "$tmp"
  [ "$(id -u)" != 0 ] || chown -R 65534:65534 "$tmp" "$work/userorg"
  # shellcheck disable=SC2016
  TMPDIR=$tmp CACHEMAX_BUILD=$bin "$@" bash -c 'sh "$1/examples/quickstart.sh" "$2"
    rc=$?
    echo "mounts left: $(grep -c " $3/[^ ]* [^ ]* [^-]*- fuse\." /proc/self/mountinfo)"
    exit $rc' - "$src" "$userorg" "$work" >"$work/out" 2>&1
  got=$?
  if [ $got = "$want" ] && grep -q -- "$pattern" "$work/out"; then
    ok "$name"
  else
    fail "$name" "status $got"
  fi
}
mounts() { # NAME N
  wanted "$1" || return 0
  if grep -q "^mounts left: $2\$" "$work/out"; then
    ok "$1: $2 mounts are left"
  else
    fail "$1: mounts" "not $2"
  fi
}
# What fusermount3 unmounts by for ordinary users; a minimal root has no such table.
mtab=yes
if [ ! -r /etc/mtab ]; then
  mtab=no
  if [ $ns = yes ]; then
    cp -a /etc "$work/etc-mtab"
    ln -sf /proc/self/mounts "$work/etc-mtab/mtab"
    etc=$work/etc-mtab mtab=yes
  elif [ "$(id -u)" != 0 ]; then
    skip "as an ordinary user" "no /etc/mtab here"
  fi
fi
if { [ "$(id -u)" != 0 ] || [ $ns = yes ]; } && [ $mtab = yes ]; then
  programs copy # the build, and the source, may lie where others cannot look
  src=$work/src
  mkdir -p "$src/examples"
  cp -r "$examples/." "$src/examples"
  files "$work/userorg"
  echo secret >"$work/userorg/secret"
  echo secret >"$work/userorg/docs/secret"
  mkdir "$work/userorg/closed"
  chmod 0 "$work/userorg/secret" "$work/userorg/docs/secret" "$work/userorg/closed"
  of_user "files that may not be read" 0 \
    'skipped 2 files and 1 directory that cannot be read (.*: Permission denied)' \
    "${as_user[@]}"
  mounts "files that may not be read" 0
  if ! wanted "files that may not be read"; then
    :
  elif grep -q '^user_allow_other' /etc/fuse.conf 2>/dev/null; then
    skip "no user_allow_other" "/etc/fuse.conf has it here"
  elif awk '/may not mount over a FUSE mount.*user_allow_other/ { first = !begun } /^reading/ {
    begun = 1 } /^slow storage/ { slow = 1 } slow && /^  (cold|warm|again)/ { vain = 1 }
    /^slow storage: the warm cache above is .* times as fast/ { last = 1 }
    END { exit !(first && last && !vain) }' "$work/out"; then
    ok "no user_allow_other: it is said at once, and nothing is read in vain"
  else
    fail "no user_allow_other: it is said at once, and nothing is read in vain" "see there"
  fi
  clean "files that may not be read" none
  mkdir "$work/fake"
  # shellcheck disable=SC2016
  printf '#!/bin/sh\necho "fusermount3: no luck with $*" >&2\nexit 1\n' >"$work/fake/fusermount3"
  chmod 755 "$work/fake" "$work/fake/fusermount3"
  of_user "fusermount3 fails, umount works" 0 \
    'fusermount3 -u: fusermount3: no luck with -u' "${as_user[@]}" env \
    "PATH=$work/fake:$PATH"
  mounts "fusermount3 fails, umount works" 0
  cp "$work/fake/fusermount3" "$work/fake/umount"
  of_user "nothing unmounts" 4 'fusermount3 -u: fusermount3: no luck with -u' "${as_user[@]}" env \
    "PATH=$work/fake:$PATH"
  if ! wanted "nothing unmounts"; then
    :
  elif grep -q "left behind: the mount on $work/userorg; as root: umount -l" "$work/out"; then
    ok "what is left is named"
  else
    fail "what is left is named" "no"
  fi
  [ "$(id -u)" = 0 ] || fusermount3 -u -z "$work/userorg"
fi
if [ $ns = yes ]; then
  cp -a /etc "$work/etc" # programs, source and files are there: mtab is yes
  rm -f "$work/etc/mtab"
  etc=$work/etc
  of_user "no /etc/mtab, a user" 0 'there is no /etc/mtab, without which fusermount3' \
    "${as_user[@]}"
  mounts "no /etc/mtab, a user" 0
  of_user "no /etc/mtab, root" 0 'the pools check sound' in_ns
  mounts "no /etc/mtab, root" 0
  clean "no /etc/mtab" none
  etc=
  if setpriv --reuid=65534 --regid=65534 --clear-groups sh -c '(: <>/dev/fuse) 2>/dev/null'; then
    skip "a user without /dev/fuse" "every user may open it here"
  else
    of_user "a user without /dev/fuse" 0 'may not open /dev/fuse (as root: chmod' setpriv \
      --reuid=65534 --regid=65534 --clear-groups
    mounts "a user without /dev/fuse" 0
    if ! wanted "a user without /dev/fuse"; then
      :
    elif grep -q '^  warm .* 100\.0 %' "$work/out"; then
      ok "the user's own files are warm"
    else
      fail "the user's own files are warm" "they are not"
    fi
    without=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    userorg=$work/theirs
    files "$userorg"
    of_user "a user without /dev/fuse, another's files" 0 'own files warm: copying' "${without[@]}"
    if ! wanted "a user without /dev/fuse, another's files"; then
      :
    elif awk '/may not open \/dev\/fuse/ { first = !begun } /copying/ { begun = 1 }
      /^  warm .* 100\.0 %/ { warm = 1 } END { exit !(first && warm) }' "$work/out"; then
      ok "they are copied, and warm; why is said first"
    else
      fail "they are copied, and warm; why is said first" "see there"
    fi
    chown 65534 "$userorg" # and none of the files
    of_user "a user without /dev/fuse, some of another" 0 '^  again, not warm .* 0\.0 %' \
      "${without[@]}"
    if ! wanted "a user without /dev/fuse, some of another"; then
      :
    elif grep -q '^  (only 0 of [1-9]' "$work/out"; then
      ok "what stays cold is not called warm"
    else
      fail "what stays cold is not called warm" "see there"
    fi
  fi
elif [ "$(id -u)" != 0 ]; then
  skip "no /etc/mtab" "needs root"
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
