#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""boot-test.py - a guest boots from a disk that nbdkit serves through the filter.

Usage: boot-test.py BUILD_DIR

The disk has a boot sector, GRUB, and a partition with ext4, on which are a Debian kernel and
busybox. qemu (without KVM, as tests/guest) knows nothing but the NBD socket: the boot loader, the
kernel, the initial file system and the root file system are read through the filter. boot-init.sh
is what the guest does. qemu logs each of its writes; the log, applied to the disk as it was made,
is what the disk must be.

Boot 1, with an empty pool: nbdkit is killed with SIGKILL while the guest writes, and started again;
the guest goes on. After its end nbdkit is killed again. Boot 2: the guest finds what it wrote, and
what is read comes from the pool, but for blocks that were written, and for those that a kill loses
with the probation buffer. After a third kill the whole disk, read through the filter, and the file
beneath are compared with what they must be.

The last line is "N passed, N failed, N skipped"; exit status 1 when something failed, 77 if nothing
can be run here.
"""
import hashlib
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), 'cut'))
import replay  # noqa: E402
from serve import (  # noqa: E402
    Failed, Server, blocks, buffered, calls, cold_part, counter, eventually, get, leave, make, put,
    run, sanitized, want, works)

MIB = 1 << 20
PARTITION = MIB  # where it begins
SIZE = 112 * MIB
POOL = 64 * MIB
BUFFER = buffered(POOL)
WARM = 0.94  # of the bytes that boot 2 reads
GUEST_LIMIT = 300  # seconds for one boot: for a hang, not for a slow machine
UP_LIMIT = 120  # seconds until its first line; then once more: emulated kernels hang, if rarely
GRUB = '/usr/lib/grub/i386-pc'
FEATURES = ('none,has_journal,extent,huge_file,flex_bg,64bit,dir_nlink,extra_isize,metadata_csum,'
            'filetype,sparse_super,large_file,dir_index')  # all of them known to GRUB
CONSOLE = 'console=ttyS0 panic=-1 no_timer_check tsc=reliable'  # as guest.sh has it
INITIAL = '''#!/bin/busybox sh
/bin/busybox mkdir -p /bin /dev /root
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs dev /dev
for m in $(cat /modules); do
  case $m in xfs | fuse | nd_* | nfit | libnvdimm) continue ;; esac
  insmod /lib/modules/$m.ko 2>/dev/null
done
until [ -b /dev/vda1 ]; do usleep 10000; done
mount -t ext4 /dev/vda1 /root && exec switch_root /root /sbin/init
echo no root file system >/dev/ttyS1
poweroff -f
'''


# ---- The disk ------------------------------------------------------------------------------------
def initial_files(base):
    """The initial file system of tests/guest with another /init: the last of two counts."""
    os.mkdir('initial')
    put('initial/init', INITIAL.encode())
    os.chmod('initial/init', 0o755)
    over = subprocess.run([base + '/busybox', 'cpio', '-o', '-H', 'newc'], cwd='initial',
                          input=b'init\n', stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          check=True).stdout
    return get(base + '/base.cpio') + over


def root_files(base):
    """The directory `files`: what is on the disk, with sums of all of it."""
    for name in ('bin', 'boot', 'data', 'dev', 'proc', 'run', 'sbin', 'sys'):
        os.makedirs('files/' + name)
    shutil.copy(base + '/busybox', 'files/bin/busybox')
    shutil.copy(os.path.join(HERE, 'boot-init.sh'), 'files/sbin/init')
    os.chmod('files/sbin/init', 0o755)
    shutil.copy(base + '/vmlinuz', 'files/boot/vmlinuz')
    put('files/boot/initrd', initial_files(base))
    source = random.Random(1)
    for n in range(16):
        put('files/data/%d' % n, source.randbytes(MIB // 2 + n * 1000))
    sums = ''
    for where, _, names in os.walk('files'):
        for name in names:
            path = os.path.join(where, name)
            sums += '%s  %s\n' % (hashlib.md5(get(path)).hexdigest(), path[len('files'):])
    put('files/made.sums', sums.encode())


def make_disk(base):
    root_files(base)
    put('grub.cfg', b'set root=(hd0,msdos1)\nlinux /boot/vmlinuz %s\ninitrd /boot/initrd\nboot\n'
        % CONSOLE.encode())
    works('grub-mkimage', '-O', 'i386-pc', '-p', '/boot', '-c', 'grub.cfg', '-o', 'core',
          'biosdisk', 'part_msdos', 'ext2', 'linux', 'boot')
    core = get('core')
    want(len(core) < PARTITION - 512, 'GRUB does not fit')
    with open('disk', 'wb') as f:
        f.write(get(GRUB + '/boot.img')[:446])
        f.write(struct.pack('<B3sB3sII', 0x80, b'\xff' * 3, 0x83, b'\xff' * 3, PARTITION // 512,
                            (SIZE - PARTITION) // 512))
        f.seek(510)
        f.write(b'\x55\xaa' + core)
        f.truncate(SIZE)
    works('mkfs.ext4', '-q', '-F', '-b', '4096', '-m', '0', '-O', FEATURES, '-d', 'files', '-E',
          'offset=%d,lazy_itable_init=0,lazy_journal_init=0,nodiscard' % PARTITION, 'disk',
          '%dk' % ((SIZE - PARTITION) // 1024))
    works('cp', '--sparse=always', 'disk', 'oracle')


def check_files():
    """What e2fsck says of the file system on the disk."""
    works('dd', 'if=disk', 'of=partition', 'bs=1M', 'skip=%d' % (PARTITION // MIB), 'conv=sparse',
          'status=none')
    status, text = run('e2fsck', '-fn', 'partition')
    want(status == 0, 'e2fsck: %s' % text[-300:])


# ---- The guest -----------------------------------------------------------------------------------
class Guest:
    """qemu with a disk that is the server's export; its writes go to the file `writes`, too."""

    def __init__(self):
        put('writes', b'')
        put('kernel.log', b'')
        socket = os.path.abspath('socket')
        self.process = subprocess.Popen(
            ['qemu-system-x86_64', '-nodefaults', '-no-user-config', '-nographic', '-no-reboot',
             '-machine', 'pc,accel=tcg', '-cpu', 'max', '-smp', '1', '-m', '256M',
             '-blockdev', 'driver=nbd,node-name=nbd,server.type=unix,server.path=%s,'
             'reconnect-delay=%d' % (socket, GUEST_LIMIT),
             '-blockdev', 'driver=file,node-name=log,filename=writes',
             '-blockdev', 'driver=blklogwrites,node-name=logged,file=nbd,log=log',
             '-device', 'virtio-blk-pci,drive=logged,write-cache=on',
             '-serial', 'file:kernel.log', '-serial', 'stdio'],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=open('qemu.log', 'wb'))
        self.said, self.written = [], set()
        up = threading.Timer(UP_LIMIT, self.process.kill)
        up.start()
        self.up = bool(self.process.stdout.readline())
        up.cancel()
        self.late = threading.Timer(GUEST_LIMIT, self.process.kill)
        self.late.start()

    def wait(self, word):
        """For a line that begins with `word`. Returns it."""
        for line in self.process.stdout:
            self.said.append(line.decode(errors='replace').strip())
            if self.said[-1].startswith(word):
                return self.said[-1]
            if self.said[-1].startswith('FAIL'):
                break
        raise Failed('the guest does not say "%s": %s; qemu: %s; kernel: %s' % (
            word, self.said[-3:], get('qemu.log').decode()[-300:],
            get('kernel.log').decode(errors='replace')[-400:]))

    def stop(self):
        """Lets it come to its end."""
        self.process.stdin.write(b'stop\n')
        self.process.stdin.flush()
        said = self.wait('done')
        status = self.process.wait()
        want(status == 0, 'qemu ended with status %d' % status)
        self.end()
        self.note_writes()
        return said

    def note_writes(self):
        """They are part of the oracle now."""
        if os.path.getsize('writes') == 0:
            return
        with open('writes', 'rb') as log:
            disk = os.open('oracle', os.O_RDWR)
            for entry in replay.entries(log):
                replay.write(disk, log, entry)
                if entry[4]:
                    self.written |= blocks([(entry[2], entry[4])])
            os.close(disk)

    def end(self):
        self.late.cancel()
        self.process.kill()
        self.process.wait()


def boot(guests):
    guests.append(Guest())
    if not guests[-1].up:
        guests[-1].end()
        guests[-1].note_writes()
        guests.append(Guest())
    guests[-1].wait('working')


def serve():
    return Server('file', 'disk', 'cachemax-id=vm', 'logfile=calls', below=('log',))


def hit_ratio():
    """Of the bytes that were wanted, those that did not come from the plugin. As the pool says, and
    as the plugin's own calls say: these also have the reads beside the pool."""
    hit = counter('hit_bytes')
    return hit / (hit + counter('origin_bytes')), hit / (hit + sum(n for _, n in calls('Read')))


# ---- The two boots -------------------------------------------------------------------------------
def first_boot(guests):
    server = serve()
    boot(guests)
    print('ok it boots from the disk, with an empty pool: %.0f %% of the bytes hit'
          % (100 * hit_ratio()[0]), flush=True)
    server.end(signal.SIGKILL)
    server = serve()
    eventually(lambda: calls('Write'), 'the guest does not go on')
    said = guests[-1].stop()
    server.end(signal.SIGKILL)
    want(get('disk') == get('oracle'), 'the disk is another one than was written')
    print('ok a kill of nbdkit while the guest writes: %s' % said, flush=True)


def second_boot(guests):
    server = serve()
    before = set().union(*[g.written for g in guests])
    boot(guests)
    ratios = hit_ratio()
    cold = blocks(calls('Read')) - before
    want(counter('attach_kept') == 1, 'the disk was attached cold')
    guests[-1].stop()
    server.end(signal.SIGKILL)
    text = ('%.2f %% of the bytes hit, %.2f %% as the calls of the plugin say; %d blocks are cold '
            'that boot 1 did not write, of %d at most'
            % (100 * ratios[0], 100 * ratios[1], len(cold), BUFFER))
    want(min(ratios) >= WARM and len(cold) <= BUFFER, 'not warm after the kill: ' + text)
    print('ok it boots again, after a kill: ' + text, flush=True)


def whole_disk():
    server = serve()
    works('nbdcopy', server.uri, 'copy')
    want(cold_part(size=SIZE) < 1, 'nothing hits')
    server.end()
    want(get('copy') == get('oracle'), 'the filter serves other bytes than were written')
    want(get('disk') == get('oracle'), 'the disk is another one than was written')
    check_files()
    print('ok every byte of the disk is the one that was written, and its files are in order')


def main():
    if not shutil.which('qemu-system-x86_64') or not shutil.which('grub-mkimage') or \
            not os.path.exists(GRUB + '/boot.img'):
        leave('needs qemu and GRUB (Debian: qemu-system-x86 grub-pc-bin)')
    status, text = run('bash', os.path.join(os.path.dirname(HERE), 'guest', 'guest.sh'), '--base')
    base = text.strip().split('\n')[-1]
    if status == 77:
        leave(base.replace('skip: ', ''))
    elif status != 0:
        print('FAIL guest.sh --base: %s' % base)
        print('0 passed, 1 failed, 0 skipped')
        sys.exit(1)
    sanitized()
    top = tempfile.mkdtemp(prefix='cachemax-nbd-boot.')
    os.chdir(top)
    guests, done = [], 0
    try:
        make_disk(base)
        make(size=str(POOL))
        for step in (lambda: first_boot(guests), lambda: second_boot(guests), whole_disk):
            step()
            done += 1
    except Failed as e:
        print('FAIL %s' % e)
    finally:
        for g in guests:
            g.end()
        for s in list(Server.live):
            s.process.kill()
            s.process.wait()
        os.chdir('/')
        shutil.rmtree(top, ignore_errors=True)
    print('%d passed, %d failed, 0 skipped' % (done, done < 3))
    sys.exit(done < 3)


main()
