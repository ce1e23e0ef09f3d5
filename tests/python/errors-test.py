# SPDX-License-Identifier: BSD-2-Clause
"""errors-test.py DIR - exceptions of the installed Python package cachemax. python-test.sh runs it.

Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason", and "N passed, N failed, N skipped"."""
import errno
import os
import pickle
import signal
import threading

import cachemax
from checks import BLOCK, DIR, Skip, check, end, new_file, new_pool, pools, raises


@check
def kinds_of_the_system():
    e = raises(FileNotFoundError, lambda: cachemax.open(DIR + "/none"), "CM_ENOENT")
    assert isinstance(e, cachemax.Error) and e.code < 0 and e.errno == errno.ENOENT, e.errno
    assert str(e).startswith("%r: " % (DIR + "/none")) and "(CM_ENOENT)" in str(e)
    assert e.strerror and e.strerror in str(e) and DIR in repr(e)
    again = pickle.loads(pickle.dumps(e))
    assert type(again) is type(e) and str(again) == str(e) and again.errno == e.errno
    raises(FileNotFoundError, lambda: cachemax.open(DIR + "/no/pool", 1 << 20), "CM_ENOENT")
    for code, kind, number in ((-5, FileExistsError, errno.EEXIST),
                               (-6, PermissionError, errno.EACCES), (-7, OSError, errno.ENOSPC)):
        e = raises(kind, lambda: cachemax._check(code, "pool"))
        assert isinstance(e, cachemax.Error) and e.code == code and e.errno == number, e
        assert str(e) == "'pool': %s (%s)" % (e.strerror, e.name)
    with new_pool() as cache:
        assert raises(cachemax.Error, lambda: cachemax.open(pools[-1])).errno == errno.EBUSY
        assert raises(cachemax.Error, lambda: cache.file(DIR), "CM_ENOTFILE").errno is None


@check
def a_pipe_with_a_name():
    """It is refused at once, and is not waited for."""
    if not hasattr(os, "mkfifo"):
        raise Skip("there are no pipes with names")
    name = DIR + "/pipe"
    os.mkfifo(name)

    def late():
        os.close(os.open(name, os.O_RDWR | os.O_NONBLOCK))  # ends the wait
        waited.append(name)
    waited = []
    timer = threading.Timer(20, late)
    timer.start()
    with new_pool() as cache:
        e = raises(cachemax.Error, lambda: cache.file(name), "CM_ENOTFILE")
        assert str(e).startswith("%r: not a regular file" % name), e
    timer.cancel()
    timer.join()
    assert not waited, "it waited for a writer"


@check
def a_file_with_a_lease():
    """Its owner is told, and the open waits until it has given the lease back."""
    import fcntl
    path, content = new_file(BLOCK)
    told = []
    with open(path, "r+b") as owner:
        def give_back(*_):
            told.append(path)
            fcntl.fcntl(owner, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        before = signal.signal(signal.SIGIO, give_back)
        try:
            try:
                fcntl.fcntl(owner, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            except OSError as e:
                raise Skip(e)
            with new_pool() as cache, cache.file(path) as file:
                assert file.read() == content and told
        finally:
            signal.signal(signal.SIGIO, before)


@check
def names_that_cannot_be_printed():
    """Each stands there once, as Python's own errors have it."""
    key = DIR + "/key\x1b[31m"
    with open(key, "wb") as file:
        file.write(b"k" * 32)
    os.chmod(key, 0o644)  # everybody may read it: it is refused
    for odd in b"/pool\x1b[31m\nforged: line", b"/pool\xff":
        pool, none = os.fsencode(DIR) + odd, os.fsencode(DIR) + b"/none" + odd
        with cachemax.open(pool, create_size=1 << 20) as cache:
            errors = [(pool, raises(cachemax.Error, lambda: cachemax.open(pool), "CM_EOWNED"))]
        for call in (lambda: cachemax.open(none), lambda: cachemax.open(none, 1 << 20)):
            errors.append((none, raises(FileNotFoundError, call)))
        errors.append((key.encode(), raises(OSError, lambda: cachemax.open(pool, key_file=key))))
        for name, e in errors:
            assert str(e).startswith("%r: " % os.fsdecode(name)), ascii(str(e))
            assert str(e).count(repr(os.fsdecode(name))[1:-1]) == 1, str(e)
        for e in [e for _, e in errors] + [raises(ValueError, cache.stats)]:
            assert str(e).isprintable() and repr(e).isprintable(), ascii(str(e))


@check
def names_of_objects():
    """A key of bytes stands there as it is, quoted once."""
    with new_pool() as cache:
        for key in "k\x1b", b"k\xff":
            with cache.object(key, lambda at, n: b"", proof=lambda: "1", size=9000) as thing:
                assert str(raises(OSError, thing.read)).endswith("bytes: %r" % key)
                with thing.bracket(0, 5):
                    e = raises(cachemax.Error, thing.close, "CM_EBUSY")
                assert str(e).startswith("%r: " % key), e


@check
def names_with_a_null_byte():
    path, _ = new_file(10000)
    for pool in DIR + "/cut\0off", os.fsencode(DIR + "/cut\0off"):
        raises(ValueError, lambda: cachemax.open(pool, create_size=1 << 20))
    raises(ValueError, lambda: cachemax.open(DIR + "/cut", 1 << 20, key_file=path + "\0"))
    assert not os.path.exists(DIR + "/cut")
    with new_pool() as cache:
        raises(ValueError, lambda: cache.file(path, volume_id="a\0b"))
        raises(ValueError, lambda: cache.file(path + "\0"))
        assert cache.object("a\0b", lambda at, n: b"x"[at:at + n]).read() == b"x"  # not a name


end()
