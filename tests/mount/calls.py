#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""calls.py - makes the same calls on a file system and on the mount above it, and compares.

  calls.py BARE MOUNT FEATURES

Each call has a name and a result: the name of the error, or a value. On the mount the result must
be the one of the bare file system, or the one in DIFFERENT below. FEATURES is
docs/mount-features.md: every name in DIFFERENT must stand in its table. Needs root. Exit status 1
says what differs.
"""
import ctypes
import errno
import fcntl
import mmap
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile

LIBC = ctypes.CDLL(None, use_errno=True)

# What the mount answers where the file system behind it answers something else.
DIFFERENT = {
    'RWF_NOWAIT': 'EOPNOTSUPP', 'RWF_ATOMIC': 'EOPNOTSUPP', 'RWF_DONTCACHE': 'EOPNOTSUPP',
    'FALLOC_FL_COLLAPSE_RANGE': 'EOPNOTSUPP', 'FALLOC_FL_INSERT_RANGE': 'EOPNOTSUPP',
    'FALLOC_FL_UNSHARE_RANGE': 'EOPNOTSUPP',
    'FICLONE': 'EOPNOTSUPP', 'FICLONERANGE': 'EOPNOTSUPP', 'FIDEDUPERANGE': 'EOPNOTSUPP',
    'FS_IOC_FIEMAP': 'EOPNOTSUPP', 'FIBMAP': 0, 'FIGETBSZ': (4096,),
    'FS_IOC_GETFSUUID': 'ENOTTY', 'FS_IOC_GETVERSION': 'ENOTTY', 'FS_IOC_GETFSLABEL': 'ENOTTY',
    'FITRIM': 'ENOTTY',
    'FS_IOC_ENABLE_VERITY': 'ENOTTY', 'FS_IOC_GET_ENCRYPTION_POLICY': 'ENOTTY',
    'lseek': 'ok', 'O_DIRECT': 'ok', 'STATX_DIOALIGN': False, 'statx attributes': False,
    'quotactl': 'ENOSYS', 'idmapped mount': 'EINVAL',
    'atime': False, 'mtime of mappings': False, 'SEEK_HOLE': 10000,
}


def result(call, *args, **words):
    """'ok' or the name of the error."""
    try:
        call(*args, **words)
        return 'ok'
    except OSError as e:
        return 'EOPNOTSUPP' if e.errno == errno.EOPNOTSUPP else errno.errorcode[e.errno]
    except ValueError as e:
        return str(e)


def libc(name, *args):
    """A call that Python does not have."""
    if getattr(LIBC, name)(*args) < 0:
        raise OSError(ctypes.get_errno(), name)


def long(n):
    return ctypes.c_long(n)


def ioctls(out, fd, other, top):
    """Flags have checks of their own. FITRIM gets an empty range."""
    numbers = {'FS_IOC_GETFSUUID': (0x80111500, 17), 'FS_IOC_GETVERSION': (0x80087601, 8),
               'FS_IOC_GETFSLABEL': (0x81009431, 256), 'FS_IOC_ENABLE_VERITY': (0x40806685, 128),
               'FS_IOC_GET_ENCRYPTION_POLICY': (0x400C6615, 12), 'FITRIM': (0xC0185879, 24)}
    for name, (number, size) in numbers.items():
        out[name] = result(fcntl.ioctl, fd, number, bytes(size))
        out[name + ' '] = result(fcntl.ioctl, top, number, bytes(size))
    out['FICLONE'] = result(fcntl.ioctl, other, 0x40049409, fd)
    out['FICLONERANGE'] = result(fcntl.ioctl, other, 0x4020940D,
                                 fd.to_bytes(8, 'little') + bytes(24))
    out['FIDEDUPERANGE'] = result(fcntl.ioctl, fd, 0xC0189436, bytearray(
        struct.pack('QQHHIqQQiI', 0, 4096, 1, 0, 0, other, 0, 0, 0, 0)))
    out['FS_IOC_FIEMAP'] = result(fcntl.ioctl, fd, 0xC020660B,
                                  bytes(8) + b'\xff' * 8 + bytes(16))
    out['FIONREAD'] = struct.unpack('i', fcntl.ioctl(fd, 0x541B, bytes(4)))
    out['FIGETBSZ'] = struct.unpack('i', fcntl.ioctl(fd, 2, bytes(4)))
    os.fsync(fd)
    try:
        out['FIBMAP'] = struct.unpack('i', fcntl.ioctl(fd, 1, bytes(4)))[0]
    except OSError as e:
        out['FIBMAP'] = errno.errorcode[e.errno]


def reads_and_writes(out, fd):
    for name, flag in (('RWF_HIPRI', 1), ('RWF_DSYNC', 2), ('RWF_SYNC', 4), ('RWF_NOWAIT', 8),
                       ('RWF_APPEND', 16), ('RWF_ATOMIC', 0x40), ('RWF_DONTCACHE', 0x80)):
        out[name] = result(os.preadv, fd, [bytearray(10)], 0, flag)
        out[name + ' '] = result(os.pwritev, fd, [b'a'], 0, flag)
    os.ftruncate(fd, 10000)
    for name, mode in (('fallocate', 0), ('FALLOC_FL_KEEP_SIZE', 1), ('FALLOC_FL_PUNCH_HOLE', 3),
                       ('FALLOC_FL_COLLAPSE_RANGE', 8), ('FALLOC_FL_ZERO_RANGE', 16),
                       ('FALLOC_FL_INSERT_RANGE', 32), ('FALLOC_FL_UNSHARE_RANGE', 64)):
        out[name] = result(libc, 'fallocate', fd, mode, long(4096), long(4096))
    os.ftruncate(fd, 10000)
    out['pwrite at the end of numbers'] = result(os.pwrite, fd, b'a', (1 << 63) - 2)
    out['ftruncate, large'] = result(os.ftruncate, fd, 1 << 44)
    os.ftruncate(fd, 10000)
    out['truncate, too large'] = result(os.truncate, 'f', (1 << 63) - 1)
    os.ftruncate(fd, 10000)
    out['lseek'] = result(os.lseek, fd, 1 << 62, 0)
    out['SEEK_DATA at the end'] = result(os.lseek, fd, 20000, os.SEEK_DATA)
    os.ftruncate(fd, 0)
    os.ftruncate(fd, 10000)
    os.pread(fd, 10, 0)
    out['SEEK_HOLE'] = os.lseek(fd, 0, os.SEEK_HOLE)
    os.pwrite(fd, b'x' * 10000, 0)
    out['mmap'] = result(mmap.mmap, fd, 4096)
    out['mmap, MAP_SYNC'] = result(mmap.mmap, fd, 4096, flags=0x80003)
    p = os.pipe()
    out['splice'] = result(os.splice, fd, p[1], 100, 0), result(os.splice, p[0], fd, 100, None, 0)
    out['sendfile'] = result(os.sendfile, p[1], fd, 0, 100)
    out['copy_file_range, overlapping'] = result(os.copy_file_range, fd, fd, 1000, 0, 50)
    direct = os.open('f', os.O_RDONLY | os.O_DIRECT)
    out['O_DIRECT'] = result(os.pread, direct, 100, 7)
    for name in 'readahead', 'sync_file_range':
        out[name] = result(libc, name, fd, long(0), long(4096), 0)
    out['posix_fadvise'] = result(os.posix_fadvise, fd, 0, 0, os.POSIX_FADV_DONTNEED)
    out['syncfs'] = result(libc, 'syncfs', fd)


def locks(out, fd):
    out['flock'] = result(fcntl.flock, fd, fcntl.LOCK_EX)
    out['lockf'] = result(fcntl.lockf, fd, fcntl.LOCK_EX)
    out['F_SET_RW_HINT'] = result(fcntl.fcntl, fd, 1036, struct.pack('Q', 2))
    out['F_GET_SEALS'] = result(fcntl.fcntl, fd, 1034)
    with open('lease', 'w', encoding='utf-8') as f:
        out['F_SETLEASE'] = result(fcntl.fcntl, f, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        fcntl.fcntl(f, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def names(out, top):
    for flag, name in (1, 'RENAME_NOREPLACE'), (2, 'RENAME_EXCHANGE'), (4, 'RENAME_WHITEOUT'):
        for n in 'r1', 'r2':
            with open(n, 'w', encoding='utf-8'):
                pass
        out[name] = result(libc, 'renameat2', -100, b'r1', -100, b'r2', flag)
    out['mknod'] = (result(os.mknod, 'socket', 0o140644),
                    result(os.mknod, 'null', 0o020644, os.makedev(1, 3)),
                    result(os.open, 'null', os.O_RDONLY))
    out['bind'] = result(socket.socket(socket.AF_UNIX).bind, 'bound')
    for n in 255, 256:
        out['%d characters' % n] = result(os.mkdir, 'n' * n)
    os.makedirs('a/b')
    os.mkdir('c')
    out['rename'] = result(os.rename, 'c', 'a'), result(os.rename, 'a', 'a/b/c')
    out['rmdir'] = result(os.rmdir, 'a'), result(os.rmdir, 'a/.'), result(os.rmdir, 'a/b/..')
    out['unlink'] = result(os.unlink, 'a')
    out['open'] = (result(os.open, 'a', os.O_CREAT), result(os.open, 'a', os.O_WRONLY),
                   result(os.open, 'symlink', os.O_RDONLY | os.O_NOFOLLOW),
                   result(os.open, 'f/', os.O_RDONLY), result(os.open, 'f', os.O_DIRECTORY))
    d = os.open('c', os.O_RDONLY)
    os.rmdir('c')
    out['a removed directory'] = (os.fstat(d).st_nlink, os.listdir(d),
                                  result(os.open, 'z', os.O_CREAT, dir_fd=d))
    out['F_NOTIFY'] = result(fcntl.fcntl, top, fcntl.F_NOTIFY, 2)
    out['name_to_handle_at'] = result(libc, 'name_to_handle_at', -100, b'f',
                                      bytearray_c(struct.pack('Ii', 128, 0) + bytes(128)),
                                      ctypes.byref(ctypes.c_int()), 0)
    out['O_TMPFILE'] = result(os.open, '.', os.O_TMPFILE | os.O_RDWR)
    out['fsync of a directory'] = result(os.fsync, top)


def bytearray_c(data):
    return (ctypes.c_char * len(data)).from_buffer_copy(data)


def xattrs(out):
    os.mkfifo('fifo')
    for path in 'f', 'fifo', 'symlink', '.':
        for name in 'user.a', 'trusted.a', 'security.a', 'unknown.a', 'user.':
            out['setxattr %s %s' % (name, path)] = result(os.setxattr, path, name, b'1',
                                                          follow_symlinks=False)
    out['setxattr, long'] = result(os.setxattr, 'f', 'user.long', b'1' * 70000)
    out['setxattr, flags'] = (result(os.setxattr, 'f', 'user.b', b'1', os.XATTR_REPLACE),
                              result(os.setxattr, 'f', 'user.a', b'1', os.XATTR_CREATE),
                              result(os.removexattr, 'f', 'user.b'))
    out['listxattr'] = sorted(os.listxattr('f'))


def statx(path):
    buf = ctypes.create_string_buffer(256)
    libc('statx', -100, path, 0, 0xFFFFF, buf)
    return struct.unpack_from('I', buf, 0)[0], struct.unpack_from('Q', buf, 56)[0]


def times(out, fd, reader):
    mask, attributes = statx(b'f')
    out['statx'] = mask & 0xFFF
    out['STATX_DIOALIGN'] = bool(mask & 0x2000)
    out['statx attributes'] = bool(attributes & 0x30)  # immutable, append-only
    for s in -7, 5, 7258118400:
        os.utime('f', (s, s))
        out['utime %d' % s] = os.stat('f').st_mtime
    second = 10 ** 9

    def moved(what, path='f', field='st_atime_ns'):
        os.utime(path, ns=(second, second), follow_symlinks=False)
        what()
        return getattr(os.lstat(path), field) != second
    moved(lambda: os.pread(reader, 10, 0))
    out['atime'] = moved(lambda: os.pread(reader, 10, 0))  # of what is in the page cache
    out['atime of a directory'] = moved(lambda: os.listdir('.'), '.')
    out['atime of a link'] = moved(lambda: os.readlink('symlink'), 'symlink')
    m = mmap.mmap(fd, 4096)
    out['mtime of mappings'] = moved(lambda: m.__setitem__(0, 65), field='st_mtime_ns')
    m.flush()
    out['mtime after msync'] = os.stat('f').st_mtime_ns != second
    out['links of a directory'] = (os.stat('.').st_nlink, os.mkdir('more'), os.stat('.').st_nlink)
    for name, call in (('rename', lambda: os.rename('f', 'g')), ('link', lambda: os.link('g', 'h')),
                       ('unlink', lambda: os.unlink('h')), ('chmod', lambda: os.fchmod(fd, 0o604)),
                       ('xattr', lambda: os.setxattr(fd, 'user.c', b'1'))):
        before, parent = os.fstat(fd).st_ctime_ns, os.stat('.').st_mtime_ns
        call()
        out['ctime, ' + name] = (os.fstat(fd).st_ctime_ns > before,
                                 os.stat('.').st_mtime_ns >= parent)
    os.unlink('g')
    out['without a name'] = (os.fstat(fd).st_nlink, result(os.fchmod, fd, 0o600),
                             result(os.ftruncate, fd, 5), result(os.setxattr, fd, 'user.d', b'1'),
                             result(os.open, '/proc/self/fd/%d' % fd, os.O_RDWR))


def idmapped():
    """A copy of the mount, with the users of another namespace."""
    if subprocess.run(['unshare', '-U', '-r', 'true'], stderr=subprocess.DEVNULL,
                      check=False).returncode:
        return 'no namespace of users can be made'  # in a chroot, say
    with subprocess.Popen(['unshare', '-U', '-r', 'cat'], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as p:
        p.stdin.write(b'\n')
        p.stdin.flush()
        p.stdout.readline()  # it has its map
        users = os.open('/proc/%d/ns/user' % p.pid, os.O_RDONLY)
        tree = LIBC.syscall(428, -100, b'.', 1)
        done = LIBC.syscall(442, tree, b'', 0x1000, struct.pack('QQQQ', 0x100000, 0, 0, users), 32)
        error = ctypes.get_errno()
        os.close(tree)
        p.stdin.close()
    return 'ok' if done == 0 else errno.errorcode[error]


def calls(place):
    out = {}
    os.chdir(place)
    here = tempfile.mkdtemp(dir=place)
    os.chdir(here)
    with open('f', 'wb') as f:
        f.write(b'x' * 10000)
    os.symlink('f', 'symlink')
    fd, reader, top = os.open('f', os.O_RDWR), os.open('f', os.O_RDONLY), os.open('.', os.O_RDONLY)
    with open('other', 'w+b') as other:
        ioctls(out, fd, other.fileno(), top)
    reads_and_writes(out, fd)
    locks(out, fd)
    names(out, top)
    xattrs(out)
    times(out, fd, reader)
    v = os.statvfs('.')
    out['statvfs'] = v.f_bsize, v.f_frsize, v.f_namemax, v.f_blocks
    out['quotactl'] = result(lambda: libc('syscall', 443, top, 0x80000700, 0, 0))
    out['idmapped mount'] = idmapped()
    os.chdir('/')
    shutil.rmtree(here)
    return out


def main():
    os.umask(0o022)
    signal.signal(signal.SIGIO, signal.SIG_IGN)  # leases, F_NOTIFY
    bare, mount = calls(sys.argv[1]), calls(sys.argv[2])
    wrong = 0
    for name, value in mount.items():
        allowed = DIFFERENT.get(name.strip())
        if value != bare[name] and (value != allowed or name.strip() not in DIFFERENT):
            print('%s: %r on the file system, %r on the mount' % (name, bare[name], value),
                  file=sys.stderr)
            wrong = 1
    with open(sys.argv[3], encoding='utf-8') as f:
        table = [line for line in f if line.startswith('|')]
    for name in DIFFERENT:
        if not any(name in line for line in table):
            print('%s: not in %s' % (name, sys.argv[3]), file=sys.stderr)
            wrong = 1
    return wrong


if __name__ == '__main__':
    sys.exit(main())
