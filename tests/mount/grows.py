# SPDX-License-Identifier: BSD-2-Clause
"""grows.py - a file becomes longer behind the mount, and what is open follows.

For coherence-test.sh.

Usage: grows.py BARE [empty], in the mount; BARE is the same directory behind it. Others write into
a file, first behind its end, then far behind it. sendfile, splice, copy_file_range and a mapping
ask nobody for the end: they have to find the new one all the same, by descriptors that are open,
and never a zero where others have written something else. `empty`: also of a file that was empty,
of which the kernel never had a page.
"""
import ctypes
import os
import random
import sys
import time

bare = sys.argv[1]
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int,
                      ctypes.c_long]
libc.write.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
LONG = 1 << 20
null = os.memfd_create("mapped")


def sent(fd):
    """What sendfile gives, from the begin to the end."""
    to = os.memfd_create("sent")
    n = 0
    while True:
        done = os.sendfile(to, fd, n, LONG)
        if done == 0:
            break
        n += done
    data = os.pread(to, n, 0)
    os.close(to)
    return data


def spliced(fd):
    r, w = os.pipe()
    n = os.splice(fd, w, 60000, offset_src=0)
    data = os.read(r, n) if n else b""
    os.close(r)
    os.close(w)
    return data


def copied(fd):
    to = os.open("copy", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    n = os.copy_file_range(fd, to, LONG, 0, 0)
    data = os.pread(to, n, 0)
    os.close(to)
    return data


def mapped(at, size):
    """What the mapping shows. Where it would raise SIGBUS, write() stops."""
    os.ftruncate(null, 0)
    os.lseek(null, 0, os.SEEK_SET)
    n = 0
    while n < size:
        done = libc.write(null, at + n, min(4096, size - n))
        if done <= 0:
            break
        n += done
    return os.pread(null, n, 0)


def grow(name, flags, size, ends):
    want = random.Random(7).randbytes(max(ends)).replace(b"\0", b"z")
    with open(bare + "/" + name, "wb") as f:
        f.write(want[:size])
    fd = os.open(name, flags)
    at = libc.mmap(None, LONG, 1, 1, fd, 0)
    ways = [sent, spliced, copied, lambda fd: mapped(at, end)]
    end = size
    for way in ways if size else []:
        assert way(fd)[:size] == want[:size], (name, "before", way)
    for end in ends:
        with open(bare + "/" + name, "r+b", buffering=0) as f:
            f.seek(size)
            f.write(want[size:end])
        began = time.monotonic()
        for way in ways:
            while True:
                got = way(fd)
                # Behind an end that the kernel does not know yet a mapping shows zeros.
                seen = got.rstrip(b"\0") if way is ways[3] else got
                if seen != want[:len(seen)]:
                    bad = next(k for k in range(len(seen)) if seen[k] != want[k])
                    sys.exit(f"{name}: {way} shows {seen[bad]} at {bad} of {end}")
                if got == want[:min(end, 60000) if way is spliced else end]:
                    break
                if time.monotonic() - began > 30:
                    sys.exit(f"{name}: after 30 s {way} ends at {len(got)} of {end}")
                time.sleep(0.02)
        assert os.fstat(fd).st_size == end
        size = end
    libc.munmap(ctypes.c_void_p(at), LONG)
    os.close(fd)


for kind, how in ("r", os.O_RDONLY), ("w", os.O_RDWR):
    grow("grows-" + kind, how, 5000, (5500, 8192, 8193, 300000))
    if len(sys.argv) > 2:
        grow("grows-empty-" + kind, how, 0, (1, 70000))
