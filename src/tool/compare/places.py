# SPDX-License-Identifier: BSD-2-Clause
"""places.py - the directories that a comparison makes, and the mount: made, found again, removed.

Each of the two volumes gets one directory of a fixed name. A file in it marks it as ours, and a run
that is alive has that file locked; so what a killed run left is known, and nothing else is ever
removed. Children end when this process ends, however it ends.
"""
import ctypes
import errno
import fcntl
import mmap
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time

NAME = "cachemax-compare.d"
MARK = "made-by-cachemax-compare"
MARK_TEXT = b"The test files of 'cachemax compare'. 'cachemax compare --clean DIR' removes them.\n"
MOUNT_SECONDS = 60
REMOVE_SECONDS = 10


class Refused(Exception):
    """A message for the user; the run ends."""


# As text.c: what a terminal should not get, such as in a name, and bytes that are not UTF-8.
UNSHOWN = re.compile("[\x00-\x1f\\\\\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
                     "\udc80-\udcff]")


def plain(text):
    """The text with \\x1b and the like for these."""
    def shown(found):
        return "".join("\\\\" if b == 0x5c else "\\x%02x" % b
                       for b in found.group().encode("utf-8", "surrogateescape"))
    return UNSHOWN.sub(shown, text)


def one_line(output):
    """What a program has printed, for a message."""
    return "; ".join(output.decode("utf-8", "replace").strip().splitlines())


def say(text):
    sys.stderr.write("cachemax: %s\n" % plain(text))
    sys.stderr.flush()


def reason(error):
    return "the volume is full" if error.errno == errno.ENOSPC else error.strerror


def program(name, beside=()):
    """The path of a program: beside this one, in a directory of the build, or in PATH."""
    here = os.path.dirname(os.path.realpath(sys.argv[0]))
    for folder in ["", *beside]:
        path = os.path.join(here, folder, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return shutil.which(name)


def _die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def start(command, **more):
    """A child that Ctrl-C does not reach, and that ends with this process."""
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True,
                            preexec_fn=_die_with_parent, **more)


def is_mounted(path):
    """Also of a mount whose process has ended."""
    want = os.fsencode(path)
    with open("/proc/self/mountinfo", "rb") as f:
        for line in f:
            at = line.split(b" ")[4]
            for code in b" ", b"\t", b"\n", b"\\":
                at = at.replace(b"\\%03o" % code[0], code)
            if at == want:
                return True
    return False


def detach(path):
    tools = [["fusermount3", "-u", "-z", path], ["umount", "-l", path]]
    for command in tools:
        if shutil.which(command[0]) and is_mounted(path):
            subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, start_new_session=True)


class Place:
    """The directory NAME inside another one."""

    def __init__(self, parent):
        self.parent = os.path.realpath(parent)
        self.path = os.path.join(self.parent, NAME)
        self.tree = os.path.join(self.path, "tree")
        self.lock = self.fd = -1
        self.ours = False  # what is at the path is to be removed
        if not os.path.isdir(self.parent):
            raise Refused("%s: %s" % (parent, "not a directory" if os.path.exists(parent) else
                                      "no such directory"))

    def open(self):
        """Opens the directory. From then on what is removed is removed from it, whatever is put at
        its path. False: it is no directory of this user's."""
        self.fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        return os.fstat(self.fd).st_uid == os.geteuid()

    def take(self):
        """True: there is such a directory of ours, and it is locked now. False: there is none."""
        well, empty = False, False
        try:
            if self.open():
                empty = not os.listdir(self.fd)
                self.lock = os.open(MARK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)
                # A run that was killed at once may have written nothing of it.
                well = MARK_TEXT.startswith(os.read(self.lock, 200))
        except FileNotFoundError:
            if self.fd < 0:
                return False
        except OSError:
            pass
        if not well:
            self.forget()
            if empty:
                os.rmdir(self.path)  # killed before it had a mark, or after
                return False
            raise Refused("%s: was not made by 'cachemax compare' of this user, so it stays; move "
                          "it away" % self.path)
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.forget()
            raise Refused("%s: is in use by a 'cachemax compare' that runs" % self.path)
        except OSError:
            pass  # a file system without locks
        self.ours = True
        return True

    def forget(self):
        for fd in self.lock, self.fd:
            if fd >= 0:
                os.close(fd)
        self.lock = self.fd = -1

    def clean(self):
        """Removes what a killed run left. True: there was something."""
        there = self.take()
        self.remove()
        return there

    def make(self):
        if self.clean():
            say("%s: left by a run that was killed, removed" % self.path)
        try:
            self.ours = True
            try:
                os.mkdir(self.path, 0o700)
            except OSError:
                self.ours = False
                raise
            if not self.open() or os.listdir(self.fd):
                self.ours = False
                raise Refused("%s: somebody else put a directory in its place" % self.path)
            self.lock = os.open(MARK, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600,
                                dir_fd=self.fd)
            os.write(self.lock, MARK_TEXT)
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                pass
            os.mkdir(self.tree, 0o700)
        except OSError as e:
            raise Refused("%s: cannot be made: %s" % (self.path, reason(e)))

    def remove(self):
        """On FUSE and NFS a removed file stays under another name until it is closed everywhere; so
        what is not empty is tried again. What vanishes meanwhile, too."""
        until = time.monotonic() + REMOVE_SECONDS
        while self.ours:
            try:
                self._remove()
                self.ours = False
            except OSError as e:
                again = e.errno in (errno.ENOTEMPTY, errno.ENOENT, errno.EBUSY)
                if not os.path.lexists(self.path):
                    self.ours = False  # it was removed when a signal came
                elif again and time.monotonic() < until:
                    time.sleep(0.05)
                else:
                    self.ours = False
                    say("%s: cannot be removed: %s; try 'cachemax compare --clean %s'" %
                        (self.path, e.strerror, self.parent))
        self.forget()

    def _remove(self):
        """The mark goes last, so that the rest can be found again."""
        detach(self.tree)
        if is_mounted(self.tree):
            raise OSError(0, "the mount on it cannot be ended")
        names = os.listdir(self.fd) if self.fd >= 0 else []
        for name in names:
            if name == MARK:
                continue
            if stat.S_ISDIR(os.lstat(name, dir_fd=self.fd).st_mode):
                shutil.rmtree("/proc/self/fd/%d/%s" % (self.fd, name))
            else:
                os.unlink(name, dir_fd=self.fd)
        lock, self.lock = self.lock, -1
        if lock >= 0:
            os.close(lock)
        if MARK in names:
            os.unlink(MARK, dir_fd=self.fd)
        os.rmdir(self.path)

    def free(self):
        v = os.statvfs(self.parent)
        return v.f_bavail * v.f_frsize

    def device(self):
        return os.stat(self.parent).st_dev

    def file_system(self):
        """Its type, and where it is from, as the system says."""
        best, found = -1, ("unknown", "unknown")
        device = self.device()
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as f:
            for line in f:
                left, right = line.rstrip("\n").split(" - ", 1)
                at = left.split(" ")[4]
                inside = self.parent == at or self.parent.startswith(at.rstrip("/") + "/")
                if inside and len(at) >= best and os.path.exists(at) and \
                        os.stat(at).st_dev == device:
                    best, found = len(at), tuple(right.split(" ")[:2])
        return found


class Mount:
    """cachemax-mount over a directory. While it is there, `below` is the directory under it."""

    def __init__(self, tree, pool, log):
        self.tree, self.pool, self.log, self.process = tree, pool, log, None
        self.below = os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def begin(self):
        mount = program("cachemax-mount", ["../../examples/mount"])
        if not mount:
            raise Refused("there is no cachemax-mount beside this command, nor in PATH; it is "
                          "built if libfuse3 is installed")
        with open(self.log, "wb") as log:
            self.process = start([mount, "-f", "-o", "any_owner", "--pool", self.pool, "--",
                                  self.tree], stdout=log, stderr=log)
        until = time.monotonic() + MOUNT_SECONDS
        while not is_mounted(self.tree):
            if self.process.poll() is not None or time.monotonic() > until:
                with open(self.log, "rb") as log:
                    why = one_line(log.read())[-1500:]
                raise Refused("cannot mount: cachemax-mount %s: %s" %
                              ("failed" if self.process.returncode is not None else "hangs",
                               why or "it did not say why"))
            time.sleep(0.01)

    def end(self):
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(MOUNT_SECONDS)
            except subprocess.TimeoutExpired:
                detach(self.tree)
                self.process.kill()
                self.process.wait()
            self.process = None
        if self.below >= 0:
            os.close(self.below)
            self.below = -1


def check_mounting():
    """What can be known without an attempt."""
    if not os.path.exists("/dev/fuse"):
        raise Refused("cannot mount: there is no /dev/fuse; load the module fuse, and in a "
                      "container pass the device in")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        raise Refused("cannot mount: no permission for /dev/fuse")
    if os.geteuid() != 0 and not shutil.which("fusermount3"):
        raise Refused("cannot mount: an ordinary user needs fusermount3, of the package fuse3")


def write_file(fd, name, size):
    """Random bytes, so that nothing can be compressed; on the media, and not in memory."""
    piece = 1 << 20
    f = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=fd)
    try:
        left = size
        while left > 0:
            left -= os.write(f, os.urandom(min(piece, left)))
        os.fsync(f)
        os.posix_fadvise(f, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(f)


def drop_pages(fd, name):
    f = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=fd)
    try:
        os.posix_fadvise(f, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(f)


def takes_direct(path):
    """Can this file be read with O_DIRECT?"""
    try:
        f = os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        with mmap.mmap(-1, 4096) as page:
            return os.preadv(f, [page], 0) == 4096
    except OSError:
        return False
    finally:
        os.close(f)
