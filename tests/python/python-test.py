# SPDX-License-Identifier: BSD-2-Clause
"""python-test.py DIR - the installed Python package cachemax. python-test.sh runs it.

Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason", and "N passed, N failed, N skipped"."""
import gc
import io
import os
import pickle
import random
import signal
import sys
import threading
import time
import tracemalloc
import unittest.mock

import cachemax
from checks import (BLOCK, DIR, Skip, check, child, end, in_threads, new_file, new_pool, old,
                    pools, raises)

# ---- Reading ------------------------------------------------------------------------------------

@check
def right_bytes_of_random_reads():
    path, content = new_file(9 * (1 << 20) + 1234)
    pick = random.Random(1)
    with new_pool(4 << 20) as cache, cache.file(path) as file, cache.object(
            "object", lambda at, n: content[at:at + n], proof=lambda: "1") as thing:
        buffered = io.BufferedReader(cache.file(path), 20000)
        for _ in range(3000):
            at, n = pick.randrange(len(content) + 5000), pick.choice([1, 100, 4096, 70000])
            want = content[at:at + n]
            assert file.pread(at, n) == want and thing.pread(at, n) == want
            assert buffered.seek(at) == at and buffered.read(n) == want
            file.seek(at)
            room = bytearray(n)
            got = file.readinto(room)
            assert room[:got] == want and file.tell() == at + got
        assert cache.stats()["hit_blocks"] > 1000 and cache.stats()["evicted"] > 0
        assert cache.check()["sound"]


@check
def like_a_file_of_Python():
    path, content = new_file(300001)
    with new_pool() as cache, cache.file(path) as file:
        assert isinstance(file, io.RawIOBase) and file.readable() and file.seekable()
        assert not file.writable() and file.size == len(content)
        assert file.read() == content and file.read() == b"" and file.tell() == len(content)
        assert file.seek(-5, os.SEEK_END) and file.read(100) == content[-5:]
        assert file.seek(10) and file.seek(5, os.SEEK_CUR) == 15 and file.read(3) == content[15:18]
        raises(OSError, lambda: file.seek(-1))
        raises(ValueError, lambda: file.seek(0, 9))
        raises(io.UnsupportedOperation, lambda: file.write(b"x"))
        raises(io.UnsupportedOperation, file.fileno)
        raises((TypeError, BufferError, ValueError), lambda: file.readinto(b"constant"))
        assert file.pread(len(content) + 1, 10) == b"" and file.pread(0, 0) == b""
        raises(ValueError, lambda: file.pread(-1, 10))
        text = io.TextIOWrapper(io.BufferedReader(cache.object(
            "text", lambda at, n: b"one\ntwo\n"[at:at + n], proof=lambda: "1")))
        assert list(text) == ["one\n", "two\n"]


@check
def errors():
    path, _ = new_file(10000)
    text = str(raises(cachemax.Error, lambda: cachemax.open(DIR + "/none"), "CM_ENOENT"))
    assert "/none" in text and "no such file" in text and "create_size=BYTES makes it" in text
    for name in DIR + "/no/pool", path + "/pool":  # create_size would not make these
        text = str(raises(cachemax.Error, lambda: cachemax.open(name)))
        assert "create_size" not in text and "there is no directory %r" % name[:-5] in text, text
    raises(cachemax.Error, lambda: cachemax.open(path), "CM_ENOTPOOL")
    raises(cachemax.Error, lambda: cachemax.open(DIR + "/x", create_size=5), "CM_EPOOLSIZE")
    assert "s3r" in str(raises(ValueError, lambda: cachemax.open(DIR + "/x", policy="none")))
    for name in "create_size", "probation_bytes", "read_size_max", "fill_rate_limit":
        for error, value in (TypeError, "10M"), (TypeError, 1.5), (ValueError, -1), \
                (ValueError, 1 << 64):
            said = str(raises(error, lambda: cachemax.open(DIR + "/x", **{name: value})))
            assert said.startswith("%s %r: it must be" % (name, value)), said
    said = str(raises(cachemax.Error, lambda: cachemax.open(DIR + "/x", 1000000)))
    assert "pool size 1000000: must be a multiple of 4096 between" in said, said
    with new_pool() as cache:
        e = raises(cachemax.Error, lambda: cachemax.open(pools[-1]), "CM_EOWNED")
        assert e.code == -16 and isinstance(e, OSError)
        again = pickle.loads(pickle.dumps(e))
        assert again.code == e.code and str(again) == str(e)
        raises(FileNotFoundError, lambda: cache.file(DIR + "/none"))
        for path_of_none in DIR, "/dev/zero", "/proc/self/status":
            e = raises(cachemax.Error, lambda: cache.file(path_of_none), "CM_ENOTFILE")
            assert str(e).startswith("%r: not a regular file" % path_of_none), e
        raises(ValueError, lambda: cache.object(0, None))
        e = raises(cachemax.Error, lambda: cache.file(os.fsencode(DIR)), "CM_ENOTFILE")
        assert DIR in str(e)
        with cache.file(os.fsencode(path)) as file:
            raises(ValueError, lambda: file.pread(0, -1))
            raises(OverflowError, lambda: file.pread(1 << 64, 1))
            with file.bracket(0, 1) as bracket:
                raises(ValueError, bracket.__enter__)
            with bracket:  # but again afterwards
                assert file.info()["brackets"] == 1
            with file.sync_bracket() as sync:
                raises(ValueError, sync.__enter__)
            assert file.info()["brackets"] == 0


@check
def an_origin_that_returns_less():
    content, most = bytearray(os.urandom(100000)), 100000
    with new_pool() as cache:
        def read(at, n):
            return bytes(content[at:at + min(n, most)])
        with cache.object("key", read, proof="1", taken_at=cachemax.now(), size=200000) as thing:
            e = raises(OSError, lambda: thing.pread(0, 200000))
            assert "100000 of 200000" in str(e), e
            raises(OSError, thing.readall)
            assert thing.pread(50000, 50000) == content[50000:]  # what is there
            room = bytearray(200000)
            assert thing.seek(1) and thing.readinto(room) == 99999 and room[:99999] == content[1:]
            raises(OSError, lambda: thing.readinto(room))
            content, most = content + os.urandom(100000), 200000
            assert thing.pread(0, 300000) == content
        most = 10
        # Without a size what is less is the end.
        with cache.object("key3", read, proof="1", taken_at=cachemax.now()) as thing:
            assert thing.pread(0, 25) == content[:10] and thing.size == 10
        # So is nothing, right behind what is cached.
        with cache.object("k4", lambda at, n: bytes(65536)[at:at + n], proof=lambda: "1") as thing:
            assert thing.pread(0, 65536) and not thing.pread(65536, 9) and thing.size == 65536


def key(name):
    path = "%s/%s" % (DIR, name)
    with open(path, "wb", opener=lambda p, flags: os.open(p, flags, 0o600)) as f:
        f.write(os.urandom(32))
    return path


@check
def sealed_pools():
    mine, other, pool, data = key("mine"), key("other"), DIR + "/sealed", os.urandom(1 << 20)

    def hits(**options):
        with cachemax.open(pool, create_size=16 << 20, **options) as cache, cache.object(
                "key", lambda at, n: data[at:at + n], proof=lambda: "1", size=len(data)) as thing:
            assert thing.read() == data
            return cache.stats()["hit_blocks"], cache.info()["sealed"]
    try:
        assert hits(key_file=mine) == (0, True)
    except cachemax.Error as e:
        assert "takes no keys" in str(e), e
        raise Skip(str(e))
    for encrypt in False, True:
        kind = "encrypted" if encrypt else True
        if encrypt:
            os.unlink(pool)
            assert hits(key_file=mine, encrypt=True) == (0, kind)
        assert hits(key_file=os.fsencode(mine)) == (256, kind)  # the pool says whether it is
        with open(pool, "rb") as f:
            assert (data[8192:8256] in f.read()) != encrypt
        e = raises(cachemax.Error, lambda: cachemax.open(pool), "CM_EKEY")
        assert "no seal was given" in str(e) and "give key_file=FILE" in str(e)
        e = raises(cachemax.Error, lambda: cachemax.open(pool, key_file=other), "CM_EKEY")
        assert "another key" in str(e)
        assert hits(key_file=mine) == (256, kind)  # a refused open changes nothing
        if not encrypt:
            raises(cachemax.Error, lambda: cachemax.open(pool, key_file=mine, encrypt=True),
                   "CM_EKEY")
    with new_pool():
        pass
    e = raises(cachemax.Error, lambda: cachemax.open(pools[-1], key_file=mine), "CM_EKEY")
    assert "is not sealed" in str(e)
    os.chmod(mine, 0o644)
    for bad, why in (mine, "chmod 600"), (DIR + "/none", "No such file"):
        e = raises(cachemax.Error, lambda: cachemax.open(pool, key_file=bad), "CM_EKEY")
        assert bad in str(e) and why in str(e)
    raises(ValueError, lambda: cachemax.open(pool, encrypt=True))


@check
def proofs_of_objects():
    reads = []

    def read(at, n):
        reads.append(at)
        return bytes([version]) * max(0, min(n, 100000 - at))

    def value(**proof):
        with cache.object("key", read, taken_at=cachemax.now(), **proof) as thing:
            del reads[:]
            data = thing.read()
            assert len(set(data)) == 1 and len(data) == 100000 == thing.size
            return data[0], bool(reads)
    with new_pool() as cache:
        version = 1
        assert value(proof="a") == (1, True)
        assert value(proof="a") == (1, False)
        version = 2
        assert value(proof="a") == (1, False)  # nobody has said that it changed
        assert value(proof="b") == (2, True)
        assert value() == (2, True)
        assert value() == (2, True)
        assert value(proof="b", size=100000) == (2, True)
        cache.forget("key")
        assert value(proof="b") == (2, True)
        with cache.object("key", read, proof="b", taken_at=cachemax.now()) as thing:
            assert thing.info()["kept"] and thing.cached() == 100000
            version = 3
            assert thing.revalidate("b", taken_at=cachemax.now()) and thing.read()[0] == 2
            thing.seek(0)
            assert thing.revalidate("c", taken_at=cachemax.now()) and thing.read()[0] == 3
            version = 4
            thing.invalidate(0, 10)
            assert thing.pread(0, 1) == b"\4" and thing.pread(99999, 1) == b"\3"


@check
def an_old_proof_does_not_win():
    contents = {"1": b"a" * 10, "2": b"b" * 100000}
    with new_pool() as cache:
        def opened(version, **more):
            content = contents[version]
            return cache.object("key", lambda at, n: content[at:at + n], size=len(content), **more)
        asked = cachemax.now()  # and a thread that asked then was told "1"
        with opened("2", proof="2", taken_at=cachemax.now()) as new:
            raises(cachemax.Error, lambda: opened("1", proof="1", taken_at=asked), "CM_IGNORED")
            assert new.pread(0, 100000) == contents["2"]
            opened("2", proof="2", taken_at=asked).close()  # it is what is attached
            with new.bracket(0, 1):
                opened("2", proof="2", taken_at=cachemax.now()).close()
        # Two that prove nothing would read two versions under none.
        before = cachemax.now()
        with new_pool() as other:
            raises(cachemax.Error, lambda: other.object("key", None, proof="1", taken_at=before),
                   "CM_IGNORED")
        # Nobody knows when this was asked.
        raises(TypeError, lambda: opened("1", proof="1"))
        with opened("2", proof="2", taken_at=cachemax.now()) as new:
            raises(TypeError, lambda: new.revalidate("1"))
        # A function is asked when the proof is needed, and again if the answer is too old.
        answers = [("1", 10), ("2", 100000)]

        def ask():
            answer = answers.pop(0)
            if answers:
                new.append(opened("2", proof="2", taken_at=cachemax.now()))
            return answer
        new = []
        with cache.object("key", None, proof=ask) as old:
            assert not answers and old.size == 100000
            assert new[0].pread(0, 100000) == contents["2"]
            answers[:] = [("2", 100000)]
            assert old.revalidate() and not answers
        new[0].close()


@check
def exceptions_of_the_origin_come_out():
    with new_pool() as cache:
        def read(at, n):
            return what(at, n)
        with cache.object("key", read, proof=lambda: "1") as thing:
            for what in (lambda at, n: {}[7], lambda at, n: sys.exit("x")):
                raises((KeyError, SystemExit), lambda: thing.read(10))
            what = lambda at, n: bytes(n + 1)
            raises(ValueError, lambda: thing.read(10))
            what = lambda at, n: "text"
            raises(TypeError, lambda: thing.read(10))
            what = lambda at, n: cache.stats()
            raises(cachemax.Error, lambda: thing.read(10), "CM_ECALLBACK")
            what = lambda at, n: b"right"
            assert thing.read(10) == b"right"


@check
def warm_and_check():
    path, content = new_file(3 << 20)
    with new_pool() as cache, cache.file(path) as file:
        seen = []
        raises(ZeroDivisionError, lambda: file.warm(progress=lambda done, total: 1 / 0))
        raises(cachemax.Error, lambda: file.warm(progress=lambda d, t: True), "CM_ECANCELED")
        report = file.warm(progress=lambda done, total: seen.append((done, total)))
        assert report["result"] == "CM_OK" and report["end"] == report["cached"] == len(content)
        assert seen[-1] == (len(content), len(content)) and file.cached() == len(content)
        assert report["verified"] == 0
        before = cache.stats()["origin_reads"]
        assert file.read() == content and cache.stats()["origin_reads"] == before
        report = file.warm(verify=True)
        assert report["verified"] == len(content) and report["differed"] == 0
        report = cache.check()
        assert report["sound"] and report["valid"] == len(content) // BLOCK
        raises(cachemax.Error, lambda: cache.check(progress=lambda d, t: True), "CM_ECANCELED")
        assert cache.info()["size"] == 16 << 20
    assert cachemax.open(pools[-1], readonly=True).check()["sound"]


# ---- Writing, threads ---------------------------------------------------------------------------

@check
def threads_read_and_write_in_brackets():
    blocks = 256
    path, _ = new_file(blocks * BLOCK)
    fd = os.open(path, os.O_RDWR)
    done, locks = [0] * blocks, [threading.Lock() for _ in range(blocks)]
    os.pwrite(fd, bytes(blocks * BLOCK), 0)
    reads = [0] * 8
    with new_pool(640 << 10) as cache, cache.file(path) as file:
        def work(i):
            pick = random.Random(i)
            for _ in range(8000):
                b = pick.randrange(blocks)
                if i < 3 and pick.random() < 0.3:
                    with locks[b]:
                        new = done[b] + 1
                        with file.bracket(b * BLOCK, BLOCK):
                            os.pwrite(fd, new.to_bytes(8, sys.byteorder) * (BLOCK // 8), b * BLOCK)
                        done[b] = new
                    continue
                before = done[b]
                data = file.pread(b * BLOCK, BLOCK)
                after = done[b] + 1
                # A read beside a write may have a part of both: that is the origin's.
                versions = set(memoryview(data).cast("Q"))
                assert before <= min(versions) and max(versions) <= after, (before, versions, after)
                reads[i] += 1
        in_threads(8, work)
        assert min(reads) > 0 and cache.stats()["hit_blocks"] > 0 and sum(done) > 0
        assert cache.stats()["brackets"] == sum(done)
        for b in range(blocks):
            assert file.pread(b * BLOCK, BLOCK) == os.pread(fd, BLOCK, b * BLOCK)
        assert cache.check()["sound"]
    os.close(fd)


@check
def brackets():
    path, content = new_file(100000)
    with new_pool() as cache, cache.file(path, sole_writer=True) as file, open(path, "r+b") as f:
        assert file.read() == content
        raises(ZeroDivisionError, lambda: exec("with file.bracket(0, 1): 1 / 0", {"file": file}))
        assert file.info()["brackets"] == 0
        with file.bracket(5, 10):
            os.pwrite(f.fileno(), b"0123456789", 5)
            assert file.info()["brackets"] == 1
            raises(cachemax.Error, cache.close, "CM_EBUSY")
            raises(cachemax.Error, file.close, "CM_EBUSY")
            assert not file.closed and not cache.closed
        assert file.pread(0, 20) == content[:5] + b"0123456789" + content[15:20]
        with file.truncate_bracket(50):
            os.truncate(path, 50)
        assert file.pread(0, 100000) == content[:5] + b"0123456789" + content[15:50]
        with file.sync_bracket():
            os.fsync(f.fileno())
        assert not file.info()["bypassed"]
        raises(OSError, lambda: exec("with file.sync_bracket(): raise OSError(22, 'no')",
                                     {"file": file}))
        assert not file.info()["bypassed"]
        raises(OSError, lambda: exec("with file.sync_bracket(): raise OSError(5, 'no')",
                                     {"file": file}))
        assert file.info()["bypassed"]
        thing = cache.object("key", lambda at, n: b"", proof=lambda: "1", sole_writer=True)
        with thing.bracket() as bracket:
            bracket.changed("2")
        assert not thing.info()["want_validator"]
        bracket = thing.bracket().__enter__()
        bracket.changed("3", taken_at=1 << 62)  # in the future
        raises(cachemax.Error, bracket.__exit__, "CM_EINVAL")
        assert thing.info()["brackets"] == 0
        thing.bracket(0, 1).__enter__()  # and nobody ends it
        del thing, bracket
        gc.collect()


@check
def a_bracket_whose_owner_is_gone():
    path, content = new_file(100000)
    with new_pool() as cache, cache.file(path, sole_writer=True) as file:
        assert file.read() == content
        bracket = file.bracket(0, 10)
        bracket.__enter__()  # and a signal comes before its end
        text = str(raises(cachemax.Error, file.close, "CM_EBUSY"))
        assert "File.abort()" in text, text
        assert "File.abort()" in str(raises(cachemax.Error, cache.close, "CM_EBUSY"))
        file.abort()
        assert file.info()["brackets"] == 0 and file.pread(0, 100) == content[:100]
        raises(cachemax.Error, bracket.__exit__, "CM_EBRACKET")
        with bracket:  # it can be used again
            pass


@check
def written_by_a_sole_writer_and_warm():
    path, content = new_file(1 << 20)
    if not old(path):
        raise Skip("the file system here does not show who writes")

    def write(file, f, at):
        assert file.read() == content
        with file.bracket(at, 10):
            os.pwrite(f.fileno(), content[at:at + 10], at)

    def kept():
        with cachemax.open(pools[-1]) as cache, cache.file(path, sole_writer=True) as file:
            return file.info()["kept"] and file.cached() >= (1 << 20) - 2 * BLOCK
    with open(path, "r+b") as f:
        with new_pool() as cache, cache.file(path, sole_writer=True) as file:
            write(file, f, 0)
        assert kept()  # after the close of the file
        cache = cachemax.open(pools[-1])
        file = cache.file(path, sole_writer=True)
        write(file, f, 5000)
        cache.close()
        assert kept()  # of the cache alone
        cache = cachemax.open(pools[-1])
        file = cache.file(path, sole_writer=True)
        write(file, f, 10000)
        for _ in range(500):
            if not file.info()["racy"]:
                break
            try:
                cache.checkpoint()
            except cachemax.Error as e:
                assert e.name == "CM_ENOTSUP"
            time.sleep(0.01)
        assert not file.info()["racy"]  # a kill from here on does no harm
        cache.close()
        # A close that is refused does not wait, and the next one does all.
        with new_pool() as cache, cache.file(path, sole_writer=True) as file:
            write(file, f, 0)
            with file.bracket(0, 10):
                began = time.monotonic()
                raises(cachemax.Error, file.close, "CM_EBUSY")
                assert time.monotonic() - began < 0.4
        assert kept()
        # What others have written meanwhile is found.
        with cachemax.open(pools[-1]) as cache, cache.file(path, sole_writer=True) as file:
            write(file, f, 0)
        os.pwrite(f.fileno(), b"others", 50000)
        assert not kept()


@check
def appends_to_objects():
    for exclusive in False, True:
        store = bytearray(os.urandom(100000))
        with new_pool() as cache, cache.object(
                "key", lambda at, n: bytes(store[at:at + n]), proof="1", taken_at=cachemax.now(),
                size=len(store), sole_writer=True, exclusive=exclusive) as thing:
            assert thing.size == 100000 and thing.pread(0, 200000) == store
            with thing.bracket(len(store), 5000):
                store += os.urandom(5000)
            assert thing.size is None  # nobody has told it, and the end was not read
            raises(io.UnsupportedOperation, lambda: thing.seek(0, os.SEEK_END))
            assert thing.pread(99000, 200000) == store[99000:] and thing.size == 105000
            with thing.bracket(len(store), 5000):
                store += os.urandom(5000)
            assert thing.readall() == store
            with thing.bracket(len(store), 10) as bracket:
                store += bytes(10)
                bracket.changed("1" if exclusive else "2", len(store))
            assert thing.size == 110010
            with thing.truncate_bracket(50000):
                del store[50000:]
            assert thing.pread(0, 200000) == store and thing.size == 50000


@check
def calls_leave_the_interpreter_free():
    path, _ = new_file(1 << 20)
    with new_pool() as cache, cache.file(path) as file:
        ended = threading.Event()

        def warm():
            file.warm(bytes_per_second=2 << 20)  # sleeps in the library
            ended.set()
        thread, turns = threading.Thread(target=warm), 0
        thread.start()
        while not ended.is_set():
            turns += 1
        thread.join()
        assert turns > 1000, turns


@check
def closed_beside_readers():
    path, content = new_file(200000)
    for turn in range(100):
        cache = cachemax.open(DIR + "/closed", create_size=4 << 20)
        files = [cache.file(path) for _ in range(2)]
        go = threading.Barrier(5)

        def work(i):
            go.wait()
            if i == 4:
                files[0].close()
                if turn % 2:
                    files[1].close()
                while True:
                    try:
                        return cache.close()
                    except cachemax.Error as e:
                        assert e.name == "CM_EBUSY"
                        time.sleep(0)
            try:
                while True:
                    at = random.randrange(200000)
                    assert files[i % 2].pread(at, 5000) == content[at:at + 5000]
                    if turn % 2 == 0:
                        time.sleep(0.0001)
            except ValueError:  # closed
                pass
        in_threads(5, work)
        assert cache.closed and files[0].closed


@check
def closed_by_a_signal_handler_in_a_close():
    real, turn = threading.get_ident, 0

    def ident():
        nonlocal turn
        turn += 1
        if turn == at:
            os.kill(os.getpid(), signal.SIGUSR1)
        return real()
    before = signal.signal(signal.SIGUSR1, lambda *_: cache.close())
    try:
        for at in range(1, 9):
            cache = cachemax.open(DIR + "/twice", create_size=4 << 20)
            turn = 0
            with unittest.mock.patch.object(threading, "get_ident", ident):
                cache.close()
            assert cache.closed and turn > 0
            cachemax.open(DIR + "/twice").close()  # nobody has it
    finally:
        signal.signal(signal.SIGUSR1, before)


class Alarm(Exception):
    pass


def interrupted(call, times):
    """Calls it again and again, and lets a signal end it at any moment."""
    def ring(*arguments):
        raise Alarm
    before = signal.signal(signal.SIGALRM, ring)
    try:
        for _ in range(times):
            try:
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0.0001 + random.random() * 0.0003)
                    for _ in range(1000):  # it may ring where nobody sees it: in a __del__
                        call()
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            except Alarm:
                pass
    finally:
        signal.signal(signal.SIGALRM, before)


@check
def an_interrupt_leaves_no_call_behind():
    path, content = new_file(1 << 20)
    files = []

    def call():
        at = random.randrange(1 << 20)
        if at % 4 == 0:
            files[0].invalidate(at, 1)  # so the origin is read
        if at % 4 == 1:
            cache.stats()
        assert files[0].pread(at, 100) == content[at:at + 100]

    def open_and_close():
        with cache.file(path) as file:
            file.pread(0, 1)
    for _ in range(5):
        with new_pool() as cache:
            files[:] = [cache.file(path)]
            interrupted(call, 300)
            interrupted(open_and_close, 100)
            files[0].close()
            assert files[0].closed and not cache._pool.calls
        os.unlink(pools[-1])


@check
def an_interrupt_in_a_callback_comes_out():
    # As a signal at the first step of the callback.
    frame_of = {}

    def trace(frame, event, what):
        if frame.f_code.co_name in ("cachemax_origin", "cachemax_progress"):
            frame_of[frame.f_code.co_name] = True
            raise Alarm
    with new_pool() as cache, cache.object("key", lambda at, n: bytes(n), proof=lambda: "1",
                                           size=100000) as thing:
        for call in (lambda: thing.pread(0, 10), lambda: thing.warm(progress=lambda d, t: False),
                     lambda: cache.check(progress=lambda d, t: False)):
            thing.pread(50000, 10)
            thing.invalidate(0, 10)
            sys.settrace(trace)
            try:
                raises(Alarm, call)
            finally:
                sys.settrace(None)
        assert len(frame_of) == 2


# The beginning of a child: an object whose reads wait for `go`.
SLOW = """
import cachemax, sys, threading
cache = cachemax.open(sys.argv[1], create_size=16 << 20)
go, here = threading.Event(), threading.Event()
def slow(at, n):
    here.set()
    go.wait()
    return bytes(n)
ask = lambda: ("1", 4096)
slow_one = cache.object("slow", slow, proof=ask)
"""


@check
def the_collector_does_not_hang():
    said = child(SLOW + """
import faulthandler, gc
faulthandler.dump_traceback_later(30, exit=True)
thread = threading.Thread(target=slow_one.pread, args=(0, 4096))
thread.start()
here.wait()
for i in range(3000):
    gc.disable()
    file = cache.object("other", lambda at, n: bytes(n), proof=ask)
    file.me = file
    del file
    gc.set_threshold(1 + i % 9)
    gc.enable()
    try:
        cache.close()
        sys.exit(1)
    except cachemax.Error as e:
        assert e.name == "CM_EBUSY"
go.set()
thread.join()
cache.close()
""", DIR + "/collected")
    assert said.returncode == 0 and not said.stderr, said.stderr


@check
def use_after_close():
    path, _ = new_file(50000)
    cache = new_pool()
    closed, left = cache.file(path), cache.file(path)
    bracket, sync = closed.bracket(0, 1), closed.sync_bracket()
    closed.close()
    closed.close()
    assert closed.closed and not left.closed
    calls = [lambda f: f.read(), lambda f: f.read(1), lambda f: f.pread(0, 1), lambda f: f.seek(0),
             lambda f: f.readinto(bytearray(3)), lambda f: f.tell(), lambda f: f.size,
             lambda f: f.info(), lambda f: f.warm(), lambda f: f.cached(), lambda f: f.revalidate(),
             lambda f: f.invalidate(), lambda f: f.bracket().__enter__(), lambda f: f.readable(),
             lambda f: f.__enter__(), lambda f: f.sync_bracket().__enter__(), lambda f: next(f)]
    for call in calls:
        raises(ValueError, lambda: call(closed))
    raises(ValueError, bracket.__enter__)
    raises(ValueError, sync.__enter__)
    cache.close()
    cache.close()
    for call in calls:
        raises(ValueError, lambda: call(left))
    for call in (cache.stats, cache.info, cache.check, cache.checkpoint, lambda: cache.file(path),
                 lambda: cache.forget("x"), lambda: cache.object("x", None)):
        raises(ValueError, call)
    left.close()
    del closed, left, cache
    gc.collect()


@check
def nothing_leaks():
    path, content = new_file(100000)
    fds, kinds = lambda: len(os.listdir("/proc/self/fd")), lambda: sum(
        type(o).__module__.startswith("cachemax") for o in gc.get_objects())

    def rss():
        with open("/proc/self/statm") as f:
            return int(f.read().split()[1]) * 4096

    def round_(n):
        with new_pool(2 << 20, policy="gclock") as cache, cache.file(path) as file:
            for i in range(n):
                at = i * 7919 % 100000
                assert file.pread(at, 3000) == content[at:at + 3000]
                if i % 3 == 0:
                    file.invalidate(at, 1)  # so that the origin is read
                if i % 20 == 0:
                    with cache.object("key", lambda at, n: {}[1], proof=lambda: "1") as thing:
                        raises(KeyError, lambda: thing.read(5))
                    with cache.file(path) as other, other.bracket(0, 1):
                        other.readinto(bytearray(10))
                    cache.stats(), cache.info()
                    raises(cachemax.Error, lambda: cache.file("/"))
        os.unlink(pools[-1])
    round_(10000)
    gc.collect()
    before = fds(), kinds(), rss()
    round_(80000)
    gc.collect()
    assert (fds(), kinds()) == before[:2], (fds(), kinds(), before)
    assert rss() - before[2] < 4 << 20, (rss() - before[2])
    tracemalloc.start()
    round_(1000)
    gc.collect()
    first = tracemalloc.get_traced_memory()[0]
    round_(9000)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - first
    tracemalloc.stop()
    assert grown < 50000, grown


@check
def files_closed_in_a_callback():
    path, _ = new_file(100000)
    ask = lambda: ("1", 100000)
    with new_pool() as cache:
        def closing(at, n):
            for it in others:
                it.close()
            return bytes(n)
        others = [cache.object("a", lambda at, n: bytes(n), proof=ask), cache.file(path)]
        with cache.object("key", closing, proof=ask) as thing:
            others.append(thing)  # also itself
            assert thing.pread(0, 10) == bytes(10)
            assert not any(it.cell[0] for it in others) and thing.closed
            assert not cache._pool.unended

        def collected(at, n):
            left.clear()
            return bytes(n)

        def with_bracket():
            other = cache.object("a", lambda at, n: bytes(n), proof=ask)
            bracket = other.bracket(0, 10)
            bracket.__enter__()
            return [other, bracket]
        left = with_bracket()
        with cache.object("key2", collected, proof=ask) as thing:
            assert thing.pread(0, 10) == bytes(10)
        # A bracket is open: it says so, and stays open.
        left = with_bracket()
        others = left[:1]
        with cache.object("key3", closing, proof=ask) as thing:
            assert thing.pread(0, 10) == bytes(10)
        assert not left[0].closed
        left[1].__exit__()
        left[0].close()


@check
def no_cycles_for_the_collector():
    def bad(at, n):
        raise KeyError
    with new_pool() as cache:
        ended = []

        class Watched(cachemax.File):
            def __del__(self):
                super().__del__()
                ended.append(True)
        gc.collect()
        gc.disable()
        try:
            for read in lambda at, n: bytes(n), bad:
                thing = Watched(cache, cachemax._Object("key", read, lambda: "1", 1 << 20, None))
                for call in (lambda: thing.pread(0, 10), lambda: thing.warm(0, 100),
                             lambda: thing.warm(progress=lambda done, total: 1 / 0)):
                    try:
                        call()
                    except (KeyError, ZeroDivisionError):
                        pass
                cache.check(progress=lambda done, total: False)
                thing.close()
                del thing, call
            assert len(ended) == 2 and gc.collect() == 0
        finally:
            gc.enable()


# ---- Processes ----------------------------------------------------------------------------------

@check
def killed_and_warm_again():
    path, content = new_file(2 << 20)
    pool = DIR + "/killed"
    warm = old(path)
    said = child("""
import cachemax, os, signal, sys
cache = cachemax.open(sys.argv[1], create_size=16 << 20)
file = cache.file(sys.argv[2])
file.warm()
with cache.object("key", lambda at, n: bytes(200000)[at:at + n], proof=lambda: "1") as thing:
    thing.warm()
os.kill(os.getpid(), signal.SIGKILL)
""", pool, path)
    assert said.returncode == -signal.SIGKILL, said.stderr
    with cachemax.open(pool) as cache:
        with cache.object("key", None, proof=lambda: "1") as thing:
            assert thing.read() == bytes(200000)
        with cache.file(path) as file:
            assert file.read() == content
            assert not warm or (file.info()["kept"] and not cache.stats()["origin_reads"])
        assert cache.check()["sound"]


@check
def the_end_of_a_program_closes_the_pool():
    said = child("""
import cachemax, sys
cache = cachemax.open(sys.argv[1], create_size=16 << 20)
thing = cache.object("key", lambda at, n: bytes(200000)[at:at + n], proof=lambda: "1")
thing.read(100)
""", DIR + "/ended")
    assert said.returncode == 0 and not said.stderr, said.stderr
    with cachemax.open(DIR + "/ended", readonly=True) as cache:
        assert cache.info()["clean"]


@check
def a_child_of_fork_has_no_part_of_it():
    said = child("""
import cachemax, os, sys
cache = cachemax.open(sys.argv[1], create_size=16 << 20)
thing = cache.object("key", lambda at, n: bytes(200000)[at:at + n], proof=lambda: "1")
thing.read(100)
pid = os.fork()
if pid == 0:
    for call in (cache.stats, lambda: thing.read(1)):
        try:
            call()
            sys.exit(1)
        except cachemax.Error as e:
            assert e.name == "CM_EFORKED"
    thing.close()
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert thing.read(100) == bytes(100)
""", DIR + "/forked")
    assert said.returncode == 0 and not said.stderr, said.stderr


@check
def a_child_of_fork_does_not_hang():
    said = child(SLOW + """
import os, time
threading.Thread(target=slow_one.pread, args=(0, 4096), daemon=True).start()
here.wait()
file, path = cache.object("other", slow, proof=ask), cache.file(sys.executable)
def close():
    while True:
        try:
            cache.close()
        except cachemax.Error:
            pass
threading.Thread(target=close, daemon=True).start()
for i in range(50):
    pid = os.fork()
    if pid == 0:
        for it in file, path, slow_one, cache:
            it.close()
        os._exit(0)
    until = time.monotonic() + 20
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        if time.monotonic() > until:
            os.kill(pid, 9)
            print("hangs")
            os._exit(1)
        time.sleep(0.001)
os._exit(0)
""", DIR + "/forked2")
    assert said.returncode == 0 and not said.stderr, said.stdout + said.stderr


@check
def lines_of_the_log():
    lines = []
    with new_pool(log=lambda level, text: lines.append((level, text))) as cache:
        size = os.path.getsize(pools[-1])
        os.truncate(pools[-1], size // 2)
        cache.info()
        assert lines and all(isinstance(text, str) for _, text in lines), lines
        raises(cachemax.Error, cache.close, "CM_ETRUNCATED")
    assert cache.closed


end()
