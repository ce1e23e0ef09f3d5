#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# options-test.sh - the command line of cachemax-mount, as far as nothing is mounted; needs no FUSE.
#
# Usage: options-test.sh BUILD_DIR
# Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check, the numbers as the last
# line. Exit status 1 when something failed.
set -u
build=$(realpath "${1:?usage: options-test.sh BUILD_DIR}") || exit 1
mount_bin=$build/examples/mount/cachemax-mount
passed=0 failed=0 skipped=0
work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-options.XXXXXX")
trap '! mountpoint -q "$work/ro" || umount "$work/ro"; rm -rf --one-file-system "$work"' EXIT
cd "$work" || exit 1
mkdir dir

# says NAME STATUS PATTERN COMMAND...: exit status, and a line that matches; with !PATTERN none
# does.
says() {
  local name=$1 want=$2 pattern=${3#!} expected=0 got matches=0
  [ "$3" = "$pattern" ] || expected=1 # of grep
  shift 3
  "$@" >out 2>&1 </dev/null
  got=$?
  grep -Eq -- "$pattern" out || matches=1
  if [ $got = "$want" ] && [ $matches = $expected ]; then
    passed=$((passed + 1))
    echo "ok $name"
  else
    failed=$((failed + 1))
    echo "FAIL $name: status $got ($want expected), says: $(head -n 2 out | tr '\n' ' ')"
  fi
}
if [ ! -x "$mount_bin" ]; then
  echo "skip everything: there is no $mount_bin"
  echo "0 passed, 0 failed, 1 skipped"
  exit 77
fi

says "--help" 0 '^usage: cachemax-mount DIR\.\.\. --pool POOL' "$mount_bin" --help
says "--version" 0 '^cachemax-mount [0-9.]+, libcachemax [0-9.]+, libfuse' "$mount_bin" --version
# shellcheck disable=SC2016
if [ -c /dev/full ]; then
  says "--help is lost" 1 'standard output: cannot be written' sh -c '"$0" --help >/dev/full' \
    "$mount_bin"
  says "--version is lost" 1 'standard output: cannot be written' \
    sh -c '"$0" --version >/dev/full' "$mount_bin"
else
  skipped=$((skipped + 1))
  echo "skip lost output: no /dev/full here"
fi

# What a terminal must not get of a name: commands, ends of lines, other directions of writing.
odd=$'no\e[31m\n\u202e\xff' escaped='no\\x1b\[31m\\x0a\\xe2\\x80\\xae\\xff'
says "an odd name of a directory" 1 "/$escaped: No such file" "$mount_bin" "$odd" --pool pool
says "an odd name of a pool" 3 "/?$escaped: does not exist" "$mount_bin" dir --pool "$odd"
says "an odd name of an option" 2 "unknown option '--$escaped'" "$mount_bin" dir "--$odd"
says "an odd value" 2 "attr_timeout=$escaped: expected" "$mount_bin" dir --pool pool \
  -o "attr_timeout=$odd"
says "an odd pattern" 2 "advise=$escaped: expected" "$mount_bin" dir --pool pool --advise "$odd"
says "-- ends the options" 1 '/-dir: No such file' "$mount_bin" --pool pool -- -dir
mkdir ./-dir
# Only root may have several directories.
says "options after --" 1 '/-f: (No such file|several directories in one process need root)' \
  "$mount_bin" --pool pool -- -dir -f
says "-- and no directory" 2 'no directory' "$mount_bin" --pool pool --
says "a mistyped switch" 2 "unknown option '--pol'; did you mean '--pool'" "$mount_bin" dir \
  --pol pool
says "a mistyped switch with a value" 2 "did you mean '--volume-id'" "$mount_bin" dir --volume-di=x
says "the beginning of a switch" 2 "did you mean '--one-file-system'" "$mount_bin" dir --one-file
says "an option of -o as a switch" 2 "option '--key-file=k'; write it as -o key_file=FILE" \
  "$mount_bin" dir --key-file=k
says "a mistyped -o" 2 "unknown option -o 'atr_timeout'; did you mean 'attr_timeout'" "$mount_bin" \
  dir -o atr_timeout=1
says "a switch like none" 2 '!did you mean' "$mount_bin" dir --frobnicate
says "a letter like none" 2 '!did you mean' "$mount_bin" dir -x
says "an -o like none" 2 '!did you mean' "$mount_bin" dir -o nonempty
says "an -o of two letters" 2 '!did you mean' "$mount_bin" dir -o xy
says "where all of them are" 2 '--help lists all' "$mount_bin" dir -o nonempty

# The mount ends because there is no pool in the file.
few=(prlimit --nofile=100:100)
[ "$(id -u)" != 0 ] || few+=(setpriv --bounding-set=-sys_resource)
head -c 100000 /dev/zero > no-pool
command -v prlimit setpriv >/dev/null &&
  says "few descriptors" 3 'may open 100 files only .*LimitNOFILE' "${few[@]}" \
    "$mount_bin" dir --pool no-pool -f

says "--pool twice" 2 "option '--pool' is there twice, and takes one value" "$mount_bin" dir \
  --pool a --pool b
says "-o pool after --pool" 2 "option '-o pool' is there twice" "$mount_bin" dir --pool=a -o pool=b
says "--service twice" 2 "option '--service' is there twice" "$mount_bin" dir --service a \
  --service=a

says "another coherence" 2 'coherence=weak: expected local, close-to-open or strict' \
  "$mount_bin" dir --pool pool --coherence=weak
says "-o of another coherence" 2 'expected local, close-to-open or strict' "$mount_bin" dir \
  -o pool=pool,coherence=open
says "times that are trusted too soon" 2 'trust-times=1: expected 2 to 3600 seconds' "$mount_bin" \
  dir --pool pool --coherence=close-to-open --trust-times=1
says "trusted times without others" 2 '--trust-times needs --coherence=close-to-open or strict' \
  "$mount_bin" dir --pool pool -o trust-times=5
says "a coherence without a level" 2 'expected local, close-to-open or strict' "$mount_bin" dir \
  --pool pool --coherence
says "strict with a time-out" 2 'strict has no time-outs' "$mount_bin" dir --pool pool \
  -o attr_timeout=1 --coherence=strict
says "strict with a time-out of 0" 3 'pool: does not exist' "$mount_bin" "$work" --pool pool \
  --coherence strict -o entry_timeout=0

says "-o paranoid has no value" 2 'paranoid=1: expected no value' "$mount_bin" dir \
  -o pool=pool,paranoid=1
says "a mistyped --paranoid" 2 "did you mean '--paranoid'" "$mount_bin" dir --paranoia
says "a mistyped -o paranoid" 2 "-o 'paranoi'; did you mean 'paranoid'" "$mount_bin" dir -o paranoi
says "a switch with a value that has none" 2 "option '--paranoid=1': --paranoid takes no value" \
  "$mount_bin" dir --paranoid=1

says "neither pool nor service" 2 'no pool given .--pool POOL, or --service SOCKET' "$mount_bin" dir
says "pool and service" 2 'exclude each other' "$mount_bin" dir --pool pool --service=socket
says "a service without a name" 2 'needs the name of a socket' "$mount_bin" dir --service
says "a mistyped --service" 2 "did you mean '--service'" "$mount_bin" dir --servise socket
says "-o of a pool with a service" 2 '^cachemax-mount: -o verify needs --pool: ' "$mount_bin" dir \
  --service socket -o verify=always
says "-o of a pool before a service" 2 '^cachemax-mount: -o probation needs --pool: ' "$mount_bin" \
  dir -o ro,probation=5 --service socket

says "a size that is none" 2 'max-file-size=64X: expected a size' "$mount_bin" dir \
  --max-file-size 64X
for size in 10MB 1.5G; do
  says "a size like $size" 2 'a whole number of bytes, or with K, M, G or T \(no MB, no fraction' \
    "$mount_bin" dir --max-file-size $size
done
says "a size that is too large" 2 'expected a size' "$mount_bin" dir --max-file-size=9999999999T
says "no size at all" 2 'expected a size' "$mount_bin" dir -o max-file-size=0
says "a pattern that cannot be" 2 \
  'exclude=/a: a pattern is a path below the directory, .* must not begin' "$mount_bin" dir \
  --exclude=/a
says "a pattern that is missing" 2 'include=: a value is missing' "$mount_bin" dir --include
says "an owner that is missing" 2 'nobody-there: there is no such user' "$mount_bin" dir \
  -o exclude-owner=nobody-there
says "advice that is none" 2 'advise=a=fast: expected PATTERN=ADVICE' "$mount_bin" dir \
  --advise a=fast
says "advice for nothing" 2 'advise=: a pattern is missing' "$mount_bin" dir --advise==keep
says "advice with a service" 2 '^cachemax-mount: --advise needs --pool: ' "$mount_bin" dir \
  -o service=s,advise=a=keep
says "a limit with a service" 2 '^cachemax-mount: -o fill_rate needs --pool: ' "$mount_bin" dir \
  -o service=s,fill_rate=1M
says "a policy that is none" 2 'policy=lru: expected auto, s3r or gclock' "$mount_bin" dir \
  -o policy=lru
says "a wrong rate" 2 'fill_rate=-1: expected' "$mount_bin" dir -o fill_rate=-1
says "a wrong number of drive writes" 2 'drive_writes=0: expected' "$mount_bin" dir \
  -o drive_writes=0
says "a mistyped rule" 2 "did you mean '--exclude'" "$mount_bin" dir --exclud a
says "rules" 3 'pool: does not exist' "$mount_bin" "$work" --pool pool --include a/b \
  --exclude='*.tmp' --exclude-owner 12345 --max-file-size=1g

# What `cachemax create` refuses, too, is not advised.
ln -s nowhere dangling
says "a pool that is a dangling link" 3 \
  'pool dangling: is a symbolic link to a file that does not exist; delete the link' \
  "$mount_bin" "$work" --pool dangling
rm dangling
says "a pool without a directory" 3 \
  "pool none/p: there is no directory '.*/none'; make it first" \
  "$mount_bin" ./-dir --pool none/p
# What mount(8) gives its helper. -f: nothing is mounted.
ln -s "$mount_bin" mount.fuse.cachemax
helper=$work/mount.fuse.cachemax
# mount(8) gives the options of fstab before those of its command line.
says "helper: two pools" 32 'pool .*/second: does not exist' "$helper" none "$work/dir" -o \
  "pool=$work/first,pool=$work/second"
says "helper: no source" 1 'usage: mount.fuse.cachemax POOL.SOCKET DIR' "$helper" dir -o pool=pool
says "helper: no pool" 1 'no pool given: the source, -o pool=POOL, or -o service=SOCKET' \
  "$helper" none dir
says "helper: options anywhere, fake" 0 '!.' "$helper" -f none -n dir -v -o pool=pool -t \
  fuse.cachemax
says "helper: letters in one word" 0 '!.' "$helper" none dir -sfnv -o no_such_option,pool=pool
says "helper: another type" 1 'not of ext4' "$helper" none dir -o pool=pool -t ext4
says "helper: another letter" 1 'unknown option -z' "$helper" none dir -o pool=pool -sz
says "helper: another word" 1 'unknown option --frob=1' "$helper" none dir -o pool=pool --frob=1
says "helper: -o without options" 1 'a value is missing after -o' "$helper" none dir -o
says "helper: -t without a type" 1 'a value is missing after -t' "$helper" none dir -o pool=pool -ft
says "helper: -s behind what it is for" 0 '!.' "$helper" none dir -fo no_such_option,pool=pool -s
says "helper: another source" 1 "source $work: it is neither the pool nor the directory" \
  "$helper" "$work" dir -o pool=pool
says "helper: a mount that fails" 32 'pool: does not exist' "$helper" none "$work" -o pool=pool
says "helper: remount" 1 'cannot be changed; unmount it' "$helper" none dir -o remount,pool=pool
says "helper: --help" 0 '^usage: cachemax-mount' "$helper" --help
fstab=rw,suid,nosuid,dev,nodev,exec,noexec,auto,noauto,nofail,_netdev,user,user=root,nouser,users
fstab=$fstab,owner,group,noatime,nodiratime,relatime,strictatime,sync,async,dirsync,defaults
fstab=$fstab,x-systemd.automount,X-mount.mkdir,x-a=b,comment=text,ro,one-file-system,volume-id=n
says "helper: options of all file systems" 0 '!.' "$helper" none dir -f -o "$fstab,pool=pool"
says "options of all file systems" 3 'pool: does not exist' "$mount_bin" "$work" \
  -o "$fstab,pool=pool"
says "one with a value that has none" 2 '-o nosuid=1: expected no value' "$mount_bin" dir \
  -o nosuid=1,pool=pool
says "-o pool and -o service" 2 'exclude each other' "$mount_bin" dir -o pool=pool,service=socket
says "-o pool without a name" 2 '-o pool needs a file name' "$mount_bin" dir -o pool=
says "a mistyped -o of a switch" 2 "did you mean 'volume-id'" "$mount_bin" dir -o volum-id=x
says "a comma in a name" 3 'pool a,b: does not exist' "$mount_bin" "$work" -o 'ro,pool=a\,b,noatime'
says "a backslash in a name" 3 'pool b\\\\c: does not exist' "$mount_bin" "$work" -o 'pool=b\\c'
says "--help fits 100 columns" 0 '!.{101}' "$mount_bin" --help

# A pool at another place of the command line.
: >file
says "a pool without --pool" 2 "is file the pool\? write 'cachemax-mount dir --pool file'" \
  "$mount_bin" dir file
says "a pool without --pool, before" 2 "write 'cachemax-mount dir --pool file'" "$mount_bin" \
  file dir
says "a pool alone" 2 "write 'cachemax-mount DIR --pool file'" "$mount_bin" file
says "helper: the directory before the pool" 1 \
  "write 'mount -t fuse.cachemax file dir': the pool stands before" "$helper" dir file
says "helper: the directory as pool" 1 'no pool given: .*is a directory.*-o pool=POOL' "$helper" \
  dir dir

# The socket of a service, in a directory that this user may not enter. The program lies where
# everybody may look, as a build may not.
chmod 755 .
mkdir -p private/deep/own mounted own
chmod 0 private
as_user=(env)
cp "$mount_bin" mount_bin
[ "$(id -u)" != 0 ] || as_user=(setpriv --reuid=65534 --regid=65534 --clear-groups)
if "${as_user[@]}" ./mount_bin --version >/dev/null 2>&1; then
  for socket in private/socket private/deep/socket; do
    says "$socket of another user" 3 \
      "service .*$socket: its directory is closed to this user: a service is for the user" \
      "${as_user[@]}" ./mount_bin mounted --service $socket
  done
else
  skipped=$((skipped + 1))
  echo "skip the socket of another user: cannot run the mount as one"
fi
chmod 700 private
[ "$(id -u)" != 0 ] || chown 65534 own

# A pool that its own user may not write, by its mode, and one that nobody may change.
"$build/src/tool/cachemax" create mounted/pool --size 1M -q
chmod 400 mounted/pool
[ "$(id -u)" != 0 ] || chown 65534 mounted mounted/pool
if "${as_user[@]}" ./mount_bin --version >/dev/null 2>&1; then
  says "a pool of mode 0400" 3 \
    'mounted/pool: permission denied by its mode, 0400: its owner must .*[(]chmod u[+]rw[)]$' \
    "${as_user[@]}" ./mount_bin own --pool mounted/pool -f
else
  skipped=$((skipped + 1))
  echo "skip a pool of mode 0400: cannot run the mount as another user"
fi
[ "$(id -u)" != 0 ] || chown 0 mounted mounted/pool
chmod 600 mounted/pool
for flag in i a; do
  if [ "$(id -u)" != 0 ] || ! chattr +$flag mounted/pool 2>/dev/null; then
    skipped=$((skipped + 1))
    echo "skip a pool with the flag $flag: no such flag here, or not root"
    continue
  fi
  says "a pool with the flag $flag" 3 \
    "mounted/pool: may not be changed by anybody: .*'chattr [+]$flag'; .*'chattr -$flag'[)]\$" \
    "$mount_bin" dir --pool mounted/pool -f
  chattr -$flag mounted/pool
done

# A pool that cannot be written.
mkdir ro
if [ "$(id -u)" != 0 ] || ! mount -t tmpfs -o size=4M none ro 2>/dev/null; then
  skipped=$((skipped + 1))
  echo "skip a pool on a read-only volume: mounting is not permitted"
else
  "$build/src/tool/cachemax" create ro/pool --size 1M -q
  mount -o remount,ro ro
  says "a pool on a read-only volume" 3 'ro/pool: its volume is mounted read-only: put it' \
    "$mount_bin" dir --pool ro/pool -f
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
