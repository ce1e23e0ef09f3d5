#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# guest.sh - runs one program on a real DAX file system, or on an ordinary disk, in a guest.
#
# Boots a stock Debian kernel under qemu with an emulated NVDIMM whose contents are an ordinary file
# here (--image). The guest mounts it with -o dax, so that mmap(MAP_SYNC) really succeeds, and runs
# the program there as root, in the mounted directory. A power cut is the end of qemu; the image is
# then what the memory held: run it again with the same image to see what a program finds. The
# program can also cut the power itself, at an instruction of its choice: ioperm(0xf4, 1, 1), then
# outb(1, 0xf4) does not return.
#
# With --disk the image is a virtio disk with a volatile cache, and there is no DAX. A power cut
# loses what the guest had not written. With --lose it also loses a part of what the guest had
# written and not flushed, in any order (tests/cut/replay.py).
#
# usage: guest.sh --image FILE [option...] -- PROGRAM [ARG...]
#        guest.sh --base    only prints the directory that has vmlinuz, base.cpio and busybox
#   --image FILE        what the NVDIMM holds; made and formatted if missing
#   --size MB           its size when it is made (256; a multiple of 2)
#   --fs ext4|xfs       its file system when it is made (ext4; xfs needs 320 MB)
#   --files DIR         what is in the file system when it is made: files and directories
#   --disk              an ordinary disk instead of the NVDIMM
#   --lose SEED         ... of which a power cut loses a part of what was not flushed
#   --also FILE         another NVDIMM, that a guest had before: /dev/nvdimm1 ... (repeatable)
#   --port SOCKET       the guest's /dev/vport0p1 is this Unix socket here
#   --qmp SOCKET        qemu listens there for commands
#   --kill-after SEC    cut the power SEC seconds (0.5, say) after the program's start
#   --from WORD         ... after the first line of its output that begins with WORD
#   --timeout SEC       give up after SEC seconds in all (300)
#   --add FILE          put FILE and the libraries it needs into the guest, in /run/add (repeatable)
#   --clock SEC         the guest's clock is SEC seconds ahead of this machine's
#   --mce               poison: when the program prints "inject-mce 0xPHYSICAL ao", raise a machine
#                       check for that address; "inject-mce 0xPHYSICAL ar 0xFROM 0xTO" waits until
#                       the program counter lies in [FROM, TO), as if the instruction there had
#                       read the address. Takes the larger kernel, which can handle it
#   --log FILE          keep the guest's kernel log there
#
# The program's standard output and error both come out on standard output. Only busybox is in the
# guest besides. Kernel and busybox are kept in ${XDG_CACHE_HOME:-$HOME/.cache}/cachemax-guest.
# Always emulated (no KVM): it works everywhere, also where a KVM is there but does not.
#
# Exit status: the program's own (128 + N if signal N ended it);
#   77   cannot be run here: qemu or the kernel package cannot be had (the reason is printed)
#   122  the power was cut, as asked        124  --timeout passed
#   125  this script or the guest failed (the kernel log goes to stderr)
set -u -o pipefail
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin
here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$(dirname "$here")")

image='' size=256 fs=ext4 kill_after='' from='' timeout=300 clock=0 mce='' log='' flavour=cloud
files='' disk='' lose='' only_base='' port='' qmp=''
add=() also=()
die() { echo "guest.sh: $*" >&2; exit 125; }
skip() { echo "skip: $*"; exit 77; }
usage() { sed -n '/^# usage:/,/^# Exit/s/^# \{0,1\}//p' "$0"; }

all=("$@")
while [ $# -gt 0 ]; do
  case $1 in
  --) shift; break ;;
  -h | --help) usage; exit 0 ;;
  --mce) mce=1 flavour=full; shift; continue ;;
  --disk) disk=1; shift; continue ;;
  --base) only_base=1; shift; continue ;;
  --*) [ $# -ge 2 ] || die "$1 wants a value" ;;
  *) die "unexpected '$1' (is '--' missing before the program?)" ;;
  esac
  case $1 in
  --image) image=$2 ;;
  --size) size=$2 ;;
  --fs) fs=$2 ;;
  --files) files=$2 ;;
  --lose) lose=$2 ;;
  --kill-after) kill_after=$2 ;;
  --from) from=$2 ;;
  --timeout) timeout=$2 ;;
  --add) add+=("$2") ;;
  --clock) clock=$2 ;;
  --log) log=$2 ;;
  --also) also+=("$2") ;;
  --port) port=$2 ;;
  --qmp) qmp=$2 ;;
  *) die "unknown option $1" ;;
  esac
  shift 2
done
if [ -z "$only_base" ]; then
  [ -n "$image" ] && [ $# -gt 0 ] || { usage >&2; exit 125; }
  program=$(command -v -- "$1") && program=$(realpath -- "$program") || die "no program '$1'"
  shift
fi

[ "$(uname -m)" = x86_64 ] || skip "the guest is a PC; this machine is not"
# shellcheck source=../../examples/need.sh
. "$top/examples/need.sh"
need qemu-system-x86 e2fsprogs xfsprogs xz-utils >&2 || skip "qemu or mkfs cannot be installed"

work=$(mktemp -d "${TMPDIR:-/tmp}/cachemax-guest.XXXXXX") || die "no temporary directory"
qemu='' watchers=() new=''
cleanup() { # ends what this run started; "wait" keeps bash from reporting the kills
  local p
  for p in $qemu ${watchers[@]+"${watchers[@]}"}; do
    kill -9 "$p" 2>/dev/null
    wait "$p" 2>/dev/null
  done
  rm -rf "$work" ${new:+"$new"}
}
trap cleanup EXIT
trap 'exit 125' INT TERM HUP

# ---- The kernel and busybox: Debian packages, unpacked but not installed -------------------------

package_of() { # the package that holds the kernel itself
  apt-cache depends "linux-image-$1" 2>/dev/null |
    awk '$1 == "Depends:" && $2 ~ /^linux-image-/ { print $2; exit }'
}
fetch() { # fetch PACKAGE: download it and unpack it into $work/root
  mkdir -p "$work/deb" && (cd "$work/deb" && apt-get -q download "$1") >"$work/apt.log" 2>&1 &&
    dpkg -x "$work"/deb/*.deb "$work/root" && rm -r "$work/deb"
}

# In the order of loading. What is not found is built in, or not needed.
modules='crc32c_generic crc32c-intel libcrc32c libnvdimm nd_btt nd_pmem nfit crc16 mbcache jbd2 ext4
  xfs fuse virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk
  virtio_console'

make_init() {
  cat <<'INIT'
#!/bin/busybox sh
# Kernel messages are the control channel: whole lines, never mixed with the program's output, which
# has a serial port of its own.
say() { echo "guest: $*" >/dev/kmsg; }
fail() { say "fail $*"; sync; poweroff -f; }
/bin/busybox mkdir -p /bin /dev /proc /sys /root
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
chmod 1777 /tmp
for m in $(cat /modules); do
  case $m in
  ext4|xfs) [ $m = "$FS" ] || continue ;;
  virtio*) [ "$DISK$PORT" ] || continue ;;
  esac
  insmod /lib/modules/$m.ko 2>/dev/null
done
appears() { # TEST PATH WHAT: waits until it is there
  i=0
  while ! eval "[ $1 $2 ]"; do
    [ $((i += 1)) -le 6000 ] || fail "no $3" # a minute: the host may be busy
    usleep 10000
  done
}
link_nvdimms() { # /dev/nvdimm0 and so on: by address, which is the order of guest.sh
  appears "$NVDIMMS -le" '"$(ls /dev | grep -c "^pmem")"' NVDIMM
  n=0
  for r in $(for d in /sys/bus/nd/devices/region*; do
    printf '%020d %s\n' $(($(cat $d/resource))) ${d##*region}
  done | sort | cut -d ' ' -f 2); do
    ln -s pmem$r /dev/nvdimm$n
    n=$((n + 1))
  done
}
make_fsdax() {
  # A namespace found by ACPI NFIT has no struct pages, and so no DAX, until an info block makes it
  # "fsdax" (as "ndctl create-namespace -e namespace0.0 -m fsdax -M mem" does). The block stays in
  # the image's first 2 MB; later boots find it by themselves.
  nd=/sys/bus/nd
  pmem=$(readlink /dev/nvdimm0)
  r=${pmem#pmem}
  if [ "$(cat /sys/block/$pmem/queue/dax)" != 1 ]; then
    echo namespace$r.0 >$nd/drivers/nd_pmem/unbind
    # Usually pfn0.0; another one if that number was taken while the namespace was probed.
    appears -n '"$(cat $nd/devices/region$r/pfn_seed)"' "pfn seed"
    seed=$(cat $nd/devices/region$r/pfn_seed)
    appears -e $nd/devices/$seed "pfn device"
    echo ram >$nd/devices/$seed/mode
    echo 2097152 >$nd/devices/$seed/align
    cat /proc/sys/kernel/random/uuid >$nd/devices/$seed/uuid
    echo namespace$r.0 >$nd/devices/$seed/namespace
    echo $seed >$nd/drivers/nd_pmem/bind
    appears -b /dev/$pmem "fsdax device"
  fi
}
if [ "$DISK" ]; then
  at=/mnt/disk
  appears -b /dev/vda disk
  grep -q back /sys/block/vda/queue/write_cache || fail "the disk has no cache to flush"
  mount -t $FS /dev/vda $at || fail "cannot mount $FS"
else
  at=/mnt/pmem
  link_nvdimms
  make_fsdax
  mount -t $FS -o dax /dev/$pmem $at || fail "cannot mount $FS with dax"
  # -o dax is only a request; the kernel may mount without it.
  grep -q "^/dev/$pmem .*[ ,]dax" /proc/mounts || fail "mounted without dax"
fi
stty -F /dev/ttyS1 raw -echo
cd $at || fail cd
say start
# Not "exec": the program's end must not be the end of process 1.
sh /run/program </dev/null >/dev/ttyS1 2>&1
rc=$?
cd /
stty -F /dev/ttyS1 cooked 2>/dev/null # waits until the output is out
umount $at || say "umount failed"
say "exit $rc"
poweroff -f
INIT
}

make_base() { # DIR: fills it with vmlinuz, busybox and base.cpio
  local dir=$1 package m f root=$work/base
  command -v apt-get >/dev/null || skip "no apt-get to fetch a kernel with"
  case $flavour in cloud) m=cloud-amd64 ;; *) m=amd64 ;; esac
  package=$(package_of $m)
  if [ -z "$package" ]; then # no package lists, as in a fresh container
    { [ "$(id -u)" = 0 ] && apt-get -qq update; } >/dev/null 2>&1
    package=$(package_of $m)
  fi
  [ -n "$package" ] || skip "apt does not know linux-image-$m"
  for f in "$package" busybox-static; do
    fetch "$f" || skip "cannot fetch $f: $(tail -n 1 "$work/apt.log")"
  done
  mkdir -p "$root"/{bin,lib/modules,proc,sys,dev,tmp,run,mnt/pmem,mnt/disk} || die mkdir
  cp "$(find "$work/root" -path '*bin/busybox' -type f)" "$root/bin/busybox" || die busybox
  for m in $modules; do
    f=$(find "$work/root" -name "$m.ko*" -print -quit)
    case $f in
    '') continue ;;
    *.xz) xz -dc "$f" >"$root/lib/modules/$m.ko" ;;
    *) cp "$f" "$root/lib/modules/$m.ko" ;;
    esac || die "module $m"
    echo "$m" >>"$root/modules"
  done
  make_init >"$root/init" && chmod 755 "$root/init"
  (cd "$root" && find . | "$root/bin/busybox" cpio -o -H newc) >"$dir/base.cpio" 2>/dev/null &&
    [ -s "$dir/base.cpio" ] || die cpio
  cp "$work"/root/boot/vmlinuz-* "$dir/vmlinuz" && cp "$root/bin/busybox" "$dir/busybox" ||
    die "no kernel in $package"
  rm -rf "$work/root"
}

cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/cachemax-guest
mkdir -p "$cache" && cache=$(realpath "$cache") || die "cannot make $cache"
base=$cache/$flavour-$({ echo "$modules"; make_init; declare -f make_base; } | md5sum | cut -c1-12)
if [ ! -d "$base" ]; then
  new=$(mktemp -d "$cache/new.XXXXXX") || die "no $cache"
  make_base "$new"
  chmod 755 "$new"
  mv -T "$new" "$base" 2>/dev/null || rm -rf "$new" # another run was first
  new=''
fi
[ -z "$only_base" ] || { echo "$base"; exit 0; }

# ---- This run's own part of the initramfs: the program, its libraries, --add ---------------------

quote() { local a; for a; do printf "'%s' " "${a//\'/\'\\\'\'}"; done; }
over=$work/over
mkdir -p "$over/run/add" && cp "$program" "$over/run/main" || die "cannot copy $program"
for f in ${add[@]+"${add[@]}"}; do cp -r "$f" "$over/run/add/" || die "cannot copy $f"; done
for lib in $(for f in "$program" ${add[@]+"${add[@]}"}; do ldd "$f" 2>/dev/null; done |
  sed -n 's/^.*\(=>\)\{0,1\}[[:space:]]\(\/[^ ]*\) (0x.*/\2/p' | sort -u); do
  mkdir -p "$over$(dirname "$lib")" && cp -L "$lib" "$over$lib" || die "cannot copy $lib"
done
# As a child of this shell, so that a signal gives 128 + N.
printf 'ulimit -c 0\n%s\nexit $?\n' "$(quote /run/main "$@")" >"$over/run/program"
(cd "$over" && find . | "$base/busybox" cpio -o -H newc 2>/dev/null) >"$work/over.cpio" || die cpio
cat "$base/base.cpio" "$work/over.cpio" >"$work/initrd" || die initrd

# ---- What the NVDIMM or the disk holds -----------------------------------------------------------

# The file system of an NVDIMM starts 2 MB into the image, behind the "fsdax" info block.
head=2097152
[ -z "$disk" ] || head=0
proto() { # DIR: what is in it, for mkfs.xfs
  local f
  for f in "$1"/*; do
    if [ -d "$f" ]; then
      echo "${f##*/} d--755 0 0"
      proto "$f"
    elif [ -f "$f" ]; then
      echo "${f##*/} ---644 0 0 $f"
    fi
  done
  echo '$'
}
if [ ! -e "$image" ]; then
  [ -z "$files" ] || { printf 'none\n0 0\nd--755 0 0\n'; proto "$files"; } >"$work/proto"
  truncate -s $(((size << 20) - head)) "$work/fs" || die "cannot make $work/fs"
  case $fs in
  # DAX wants blocks of the page's size; mke2fs makes smaller ones below 512 MB.
  ext4) mkfs.ext4 -q -F -b 4096 -m 0 ${files:+-d "$files"} \
    -E lazy_itable_init=0,lazy_journal_init=0,nodiscard "$work/fs" ;;
  xfs) mkfs.xfs -q -f -m reflink=0 ${files:+-p "$work/proto"} "$work/fs" ;;
  *) die "no such file system: $fs" ;;
  esac || die "mkfs failed"
  truncate -s "${size}M" "$image.new" &&
    dd if="$work/fs" of="$image.new" bs=2097152 seek=$((head / 2097152)) conv=sparse,notrunc \
      status=none &&
    rm "$work/fs" && mv "$image.new" "$image" || die "cannot make $image"
fi
case $(tail -c +$((head + 1)) "$image" | head -c 4 | tr -d '\0') in
XFSB) fs=xfs ;;
*) fs=ext4 ;;
esac
bytes=$(stat -L -c %s "$image")
[ $((bytes % 2097152)) -eq 0 ] || die "$image: size is not a multiple of 2 MB"
all_bytes=$bytes
for f in ${also[@]+"${also[@]}"}; do
  all_bytes=$((all_bytes + $(stat -L -c %s "$f"))) || die "cannot read $f"
done

# ---- Boot ----------------------------------------------------------------------------------------

ram=512
# On a busy machine the emulator is late. That is no reason to panic, nor to take the HPET for a
# clock, with which the guest was seen to hang.
patient='no_timer_check tsc=reliable'
for_init="${disk:+DISK=1 }${port:+PORT=1 }NVDIMMS=$((1 + ${#also[@]}))"
# shellcheck disable=SC2054 # the commas are qemu's
args=(
  -nodefaults -no-user-config -nographic -no-reboot
  -machine pc,nvdimm=on,nvdimm-persistence=mem-ctrl,accel=tcg
  -cpu "max${mce:+,vendor=GenuineIntel}" -smp 1 # recovery from machine checks wants an Intel CPU
  -m "${ram}M,slots=$((1 + ${#also[@]})),maxmem=$((ram + all_bytes / 1048576 + 1024))M"
  -kernel "$base/vmlinuz" -initrd "$work/initrd"
  -rtc "base=$(date -u -d "@$(($(date +%s) + clock))" +%Y-%m-%dT%H:%M:%S)"
  # FS= is for /init: the kernel hands it unknown NAME=VALUE as environment.
  -append "console=ttyS0 panic=-1 $patient printk.devkmsg=on FS=$fs $for_init"
  -serial "file:$work/kernel.log" -serial "file:$work/output"
  -device isa-debug-exit,iobase=0xf4,iosize=1
)
if [ -n "$disk" ]; then
  args+=(-blockdev "driver=file,node-name=file,filename=$image")
  drive=file
  if [ -n "$lose" ]; then
    cp --sparse=always "$image" "$work/before" && : >"$work/writes" || die "cannot copy $image"
    args+=(-blockdev "driver=file,node-name=log,filename=$work/writes"
      -blockdev driver=blklogwrites,node-name=logged,file=file,log=log)
    drive=logged
  fi
  args+=(-device "virtio-blk-pci,drive=$drive,write-cache=on")
else
  args+=(-object "memory-backend-file,id=mem,share=on,mem-path=$image,size=$bytes"
    -device nvdimm,id=nv,memdev=mem)
fi
n=0
for f in ${also[@]+"${also[@]}"}; do
  n=$((n + 1))
  args+=(-object "memory-backend-file,id=mem$n,share=on,mem-path=$f,size=$(stat -L -c %s "$f")"
    -device "nvdimm,id=nv$n,memdev=mem$n")
done
[ -z "$port" ] || args+=(-device virtio-serial-pci -device virtserialport,chardev=port
  -chardev "socket,id=port,path=$port,server=on,wait=off")
[ -z "$qmp" ] || args+=(-qmp "unix:$qmp,server=on,wait=off")
monitor=/dev/null
if [ -n "$mce" ]; then
  monitor=$work/monitor
  mkfifo "$monitor" && exec 7<>"$monitor" || die "cannot make $monitor"
  args+=(-monitor stdio)
fi
: >"$work/output"
: >"$work/kernel.log"
qemu-system-x86_64 "${args[@]}" <"$monitor" >"$work/qemu.log" 2>&1 &
qemu=$!
tail -n +1 -s 0.05 -f --pid=$qemu "$work/output" &
tail=$!

# Stops the guest at a moment when it runs the program, in [FROM, TO): in its kernel an "ar" would
# be a panic, and elsewhere in the program it would not be the reader's.
stop_in() { # FROM TO
  local n regs rip
  for _ in {1..2000}; do
    n=$(grep -c 'CPL=' "$work/qemu.log")
    printf 'stop\ninfo registers\n' >&7
    until [ "$(grep -c 'CPL=' "$work/qemu.log")" -gt "$n" ]; do
      kill -0 $qemu && sleep 0.01 || return
    done
    regs=$(tail -n 60 "$work/qemu.log")
    rip=$(grep -o 'RIP=[0-9a-f]*' <<<"$regs" | tail -n 1)
    if [ "$(grep -o 'CPL=.' <<<"$regs" | tail -n 1)" = CPL=3 ] &&
      [ $((16#${rip#RIP=})) -ge $(($1)) ] && [ $((16#${rip#RIP=})) -lt $(($2)) ]; then
      return
    fi
    echo cont >&7
    sleep 0.00$((RANDOM % 10))
  done
}
if [ -n "$mce" ]; then
  # Status: VAL UC EN MISCV ADDRV S, and AR where asked, with the MCACOD of "memory scrubbing" or
  # "data load"; then RIPV MCIP, and EIPV; last, that the address is physical and the unit 4 kB.
  (tail -n +1 -s 0.01 -f --pid=$qemu "$work/output" |
    sed -u -n 's/^inject-mce \(0x[0-9a-f]* a[or].*\)$/\1/p' |
    while read -r at kind from to; do
      case $kind in
      ao) echo "mce 0 9 0xbd000000000000c0 0x5 $at 0x8c" >&7 ;;
      ar)
        sleep 0.1
        stop_in "$from" "$to"
        echo "mce 0 9 0xbd80000000000134 0x7 $at 0x8c" >&7
        echo cont >&7
        ;;
      esac
    done) 2>/dev/null &
  watchers+=($!)
fi

now() { echo "${EPOCHREALTIME/./}"; } # microseconds
deadline=$(($(now) + timeout * 1000000)) started='' cut_at='' cut='' late='' hung=''
boot_deadline=$((deadline - timeout * 500000))
while kill -0 "$qemu"; do
  t=$(now)
  if [ -z "$started" ] && grep -q 'guest: start' "$work/kernel.log" &&
    { [ -z "$from" ] || grep -q "^$from" "$work/output"; }; then
    started=$t
    [ -z "$kill_after" ] ||
      cut_at=$((t + $(awk -v s="$kill_after" 'BEGIN { printf "%d", s * 1e6 }')))
  fi
  if [ -n "$cut_at" ] && [ "$t" -ge "$cut_at" ]; then
    cut=1
    kill -9 "$qemu"
    wait "$qemu"
  elif [ -z "$started${GUEST_AGAIN:-}" ] && [ "$t" -ge $boot_deadline ] &&
    ! grep -q 'guest: start' "$work/kernel.log"; then
    hung=1
    kill -9 "$qemu"
    wait "$qemu"
  elif [ "$t" -ge "$deadline" ]; then
    late=1
    kill -9 "$qemu"
    wait "$qemu"
  else
    sleep 0.02
  fi
done 2>/dev/null
wait "$qemu" 2>/dev/null
ended=$?
wait "$tail" 2>/dev/null # it ends with qemu
if [ -n "$hung" ]; then # an emulated kernel rarely hangs in its boot; that tells nothing
  echo "guest.sh: no boot within $((timeout / 2)) s: once more" >&2
  cleanup
  GUEST_AGAIN=1 exec bash "$0" "${all[@]}"
fi
[ -z "$log" ] || cp "$work/kernel.log" "$log"
rc=$(sed -n 's/.*guest: exit \([0-9]*\).*/\1/p' "$work/kernel.log" | head -n 1)
[ -z "$rc" ] || exit "$rc"
if [ -n "$cut" ] || [ "$ended" = 3 ]; then # 3: outb(1, 0xf4)
  [ -z "$lose" ] ||
    python3 "$top/tests/cut/replay.py" "$work/before" "$work/writes" 0 \
      "$(stat -c %s "$work/writes")" end "$lose" "$image" -- true >&2 || die "replay.py failed"
  exit 122
fi
if [ -n "$late" ]; then
  tail -n 20 "$work/kernel.log" >&2
  echo "guest.sh: no end after $timeout s" >&2
  exit 124
fi
cat "$work/qemu.log" >&2
tail -n 40 "$work/kernel.log" >&2
echo "guest.sh: the guest ended without a status" >&2
exit 125
