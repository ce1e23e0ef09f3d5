#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# day.sh BUILD_DIR [--keep] [--timeout SEC] - a day of operation, in a guest with systemd.
#
# Makes a small Debian with systemd by debootstrap, installs BUILD_DIR in it, and boots it three
# times under qemu. One directory is mounted by the unit cachemax-mount@.service, and another one by
# a line of fstab. day-steps.sh says what happens then: warm, watch, exclude, resize, upgrade, a
# kill, a restart of the machine, the pool's device taken away, removal. Each has its check.
#
# Emulated, it takes about ten minutes; the Debian is kept in ${XDG_CACHE_HOME:-~/.cache}/
# cachemax-guest (100 MB). Needs root (debootstrap). Each boot may take --timeout seconds (1200).
# --keep: the images and logs stay, and are named. The last line is "N passed, N failed, N skipped";
# exit status 1 when one failed, 77 when no guest can be had.
set -u -o pipefail
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin
here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$(dirname "$here")")
build='' keep='' timeout=1200
while [ $# -gt 0 ]; do
  case $1 in
  --keep) keep=1 ;;
  --timeout) timeout=${2:?}; shift ;;
  -h | --help) sed -n '/^# day.sh/,/^set/s/^# \{0,1\}//p' "$0"; exit 0 ;;
  -*) echo "day.sh: unknown option $1" >&2; exit 2 ;;
  *) build=$1 ;;
  esac
  shift
done
build=$(realpath "${build:?usage: day.sh BUILD_DIR [--keep] [--timeout SEC]}") || exit 2
skip() { echo "skip day: $1"; echo "0 passed, 0 failed, 1 skipped"; exit 77; }
die() { echo "FAIL day: $1"; echo "0 passed, 1 failed, 0 skipped"; exit 1; }
[ "$(id -u)" = 0 ] || skip "needs root (debootstrap)"
[ "$(uname -m)" = x86_64 ] || skip "the guest is a PC; this machine is not"
[ -x "$build/examples/mount/cachemax-mount" ] || skip "cachemax-mount is not built (libfuse3)"
# shellcheck source=../../examples/need.sh
. "$top/examples/need.sh"
need debootstrap qemu-system-x86 e2fsprogs meson >&2 ||
  skip "qemu or debootstrap cannot be installed"

work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-day.XXXXXX") || exit 1
qemu=''
cleanup() {
  need_end
  [ -z "$qemu" ] || { kill -9 "$qemu" && wait "$qemu"; } 2>/dev/null
  [ -n "$keep" ] && echo "kept: $work" >&2 || rm -rf --one-file-system "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# ---- Debian, with this machine's release: its libraries fit the build ---------------------------

suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
packages=systemd,systemd-sysv,udev,kmod,procps,fuse3,linux-image-cloud-amd64,initramfs-tools
cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/cachemax-guest
base=$cache/day-$suite-$(echo "$packages" | md5sum | cut -c 1-8).tar.gz
mkdir -p "$cache" || die "cannot make $cache"
if [ ! -f "$base" ]; then
  mirror=${MIRROR:-$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 2>/dev/null |
    grep -v security | head -n 1)}
  echo "making a $suite with systemd"
  debootstrap --variant=minbase --include="$packages" "$suite" "$work/root" ${mirror:+"$mirror"} \
    > "$work/debootstrap.log" 2>&1 || skip "debootstrap: $(tail -n 1 "$work/debootstrap.log")"
  rm -rf "$work"/root/var/cache/apt/archives/*.deb "$work"/root/usr/share/{doc,man,locale}/*
  tar -C "$work/root" -czf "$base.$$" . && mv "$base.$$" "$base" || die "cannot write $base"
else
  mkdir "$work/root" && tar -C "$work/root" -xpzf "$base" || die "cannot unpack $base"
fi

# ---- The machine --------------------------------------------------------------------------------

root=$work/root
DESTDIR=$root meson install -C "$build" --no-rebuild > "$work/install.log" 2>&1 ||
  die "meson install: $(tail -n 1 "$work/install.log")"
unit=$(find "$root" -name cachemax-mount@.service -path '*systemd*')
[ -n "$unit" ] || die "the unit is not installed"
helper=$(find "$root/usr" -name mount.fuse.cachemax)
ln -s "${helper#"$root"}" "$root/usr/sbin/mount.fuse.cachemax" 2>/dev/null # for mount(8)
# Libraries that only parts of the tool need (its benchmarks) are those of this machine.
for lib in $(find "$root/usr/local" -type f -exec ldd {} + 2>/dev/null |
  sed -n 's/^.*=> \(\/[^ ]*\) (0x.*/\1/p' | sort -u); do
  [ -e "$root$lib" ] || { mkdir -p "$root${lib%/*}" && cp -L "$lib" "$root$lib"; } || die "$lib"
done
chroot "$root" ldconfig || die "ldconfig"
mkdir -p "$root"/etc/cachemax/mounts/srv "$root"/mnt/pool "$root"/var/lib/pools "$root"/srv \
  "$work"/srv/data "$work"/srv/www "$work"/pool
# Everything is stored at once, so that what is warm can be counted.
echo 'OPTIONS=--pool /mnt/pool/data -o probation=0' > "$root/etc/cachemax/mounts/srv/data.conf"
cat > "$root/etc/fstab" <<'FSTAB'
/dev/vdb            /srv      ext4           defaults  0 2
/dev/vdc            /mnt/pool ext4           defaults,nofail,x-systemd.device-timeout=5min  0 2
/var/lib/pools/www  /srv/www  fuse.cachemax  nofail    0 0
FSTAB
cp "$here/day-steps.sh" "$root/root/"
cat > "$root/etc/systemd/system/day.service" <<'UNIT'
[Unit]
Description=A stage of the day
After=cachemax-mount@srv-data.service srv-www.mount
SuccessAction=poweroff
FailureAction=poweroff
[Service]
Type=oneshot
TimeoutStartSec=infinity
ExecStart=/bin/sh -c 'bash /root/day-steps.sh $(sed "s/.*day=\\([a-z]*\\).*/\\1/" /proc/cmdline)'
StandardOutput=file:/dev/ttyS1
StandardError=inherit
[Install]
WantedBy=multi-user.target
UNIT
systemctl() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin systemctl "$@"; }
systemctl enable day.service cachemax-mount@srv-data.service > "$work/enable.log" 2>&1 ||
  die "systemctl enable: $(tail -n 1 "$work/enable.log")"
for f in 1 2 3 4; do head -c 1048576 /dev/urandom > "$work/srv/data/f$f"; done
echo "a line" > "$work/srv/data/day.log"
cp "$work/srv/data/f1" "$work/srv/www/index"
(cd "$work/srv" && md5sum data/f? data/day.log www/index > sums)
"$build/src/tool/cachemax" create "$work/pool/data" --size 64M --quiet &&
  "$build/src/tool/cachemax" create "$root/var/lib/pools/www" --size 16M --quiet || die "create"
image() { # NAME MB DIRECTORY
  truncate -s "${2}M" "$work/$1.img" && mkfs.ext4 -q -F -d "$3" "$work/$1.img" ||
    die "cannot make $work/$1.img"
}
image srv 64 "$work/srv"
image pool 160 "$work/pool"
kernel=$(find "$root/boot" -name 'vmlinuz-*') initrd=$(find "$root/boot" -name 'initrd.img-*')
cp "$kernel" "$work/vmlinuz" && cp "$initrd" "$work/initrd" || die "no kernel"
image root 1200 "$root"
rm -rf --one-file-system "$root"

# ---- The day ------------------------------------------------------------------------------------

passed=0 failed=0 skipped=0
boot() { # STAGE: counts what it says
  local began=$SECONDS out=$work/$1.out disk drives=()
  : > "$out"
  for disk in root srv pool; do # vda, vdb, vdc
    drives+=(-drive "file=$work/$disk.img,format=raw,if=virtio")
  done
  qemu-system-x86_64 -nodefaults -no-user-config -nographic -no-reboot -machine pc,accel=tcg \
    -cpu max -smp 2 -m 768M -kernel "$work/vmlinuz" -initrd "$work/initrd" "${drives[@]}" \
    -append "root=/dev/vda rw console=ttyS0 panic=-1 no_timer_check day=$1" \
    -serial "file:$work/$1.log" -serial "file:$out" < /dev/null > "$work/qemu.log" 2>&1 &
  qemu=$!
  while kill -0 $qemu 2>/dev/null && [ $((SECONDS - began)) -lt "$timeout" ]; do sleep 0.5; done
  kill -9 $qemu 2>/dev/null
  wait $qemu 2>/dev/null
  qemu=''
  sed -i 's/\r$//' "$out"
  grep -E '^(ok|FAIL|skip) ' "$out"
  passed=$((passed + $(grep -c '^ok ' "$out"))) failed=$((failed + $(grep -c '^FAIL ' "$out")))
  skipped=$((skipped + $(grep -c '^skip ' "$out")))
  if grep -q "^end of $1" "$out"; then
    echo "guest: the $1 took $((SECONDS - began)) s"
    return 0
  fi
  failed=$((failed + 1))
  echo "FAIL $1: no end after $((SECONDS - began)) s"
  tail -n 30 "$work/$1.log" "$work/qemu.log" | sed 's/^/  | /'
  return 1
}
boot morning && boot evening && boot night
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
