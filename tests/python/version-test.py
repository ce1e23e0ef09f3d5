# SPDX-License-Identifier: BSD-2-Clause
"""version-test.py DIR - files that stay open while another one of the same origin finds a newer
version of it. python-test.sh runs it."""
import errno
import io
import logging
import threading
import time

import cachemax
from checks import BLOCK, Skip, check, end, in_threads, new_pool, raises
from serve import Server

try:
    import aiohttp  # noqa: F401: fsspec needs the two for http
    import fsspec
    import requests  # noqa: F401
    MISSING = ""
except ImportError as e:
    MISSING = str(e)
SIZE = 600000
OLD, NEW = bytes([1]) * SIZE, bytes([2]) * (SIZE + 1000)


def needs_fsspec():
    if MISSING:
        raise Skip(MISSING)


def is_right(cache, key, content, proof):
    """What a new open of the object finds cached, and all of it."""
    read = lambda at, n: content[at:at + n]
    with cache.object(key, read, proof=proof, size=len(content), taken_at=cachemax.now()) as it:
        return it.read() == content


class LogLines(logging.Handler):
    """What is logged meanwhile."""

    def __enter__(self):
        self.seen = []
        logging.getLogger("cachemax").addHandler(self)
        return self

    def __exit__(self, *exception):
        logging.getLogger("cachemax").removeHandler(self)

    def emit(self, record):
        self.seen.append(record.getMessage())


class Objects:
    """Two files of one key. The first was opened with the old content, the second with the new."""

    def __init__(self, size=True):
        self.cache, self.reads, self.size = new_pool(), [], size
        self.old = self.open(OLD, "old")
        assert self.old.pread(0, 10) == OLD[:10]
        self.new = self.open(NEW, "new")
        assert self.new.pread(0, 10) == NEW[:10]
        del self.reads[:]

    def open(self, content, proof):
        def read(at, n):
            self.reads.append(proof)
            return content[at:at + n]
        return self.cache.object("key", read, proof=proof, taken_at=cachemax.now(),
                                 size=len(content) if self.size else None)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.cache.close()


@check
def version_an_old_object_reads_its_own_origin():
    for size in True, False:
        with Objects(size=size) as case:
            old, new = case.old, case.new
            assert old.pread(0, 10) == OLD[:10]  # cached, but of the new version
            assert old.pread(500000, 10) == OLD[500000:500010]  # not cached
            assert old.pread(SIZE - 5, 100) == OLD[-5:] and old.pread(SIZE, 100) == b""
            assert old.size == (SIZE if size else None) and old.read() == OLD
            if size:
                assert old.seek(-7, 2) == SIZE - 7 and old.readall() == OLD[-7:]
            memory = bytearray(100)
            old.seek(3)
            assert old.readinto(memory) == 100 and memory == OLD[:100]
            assert old.cached() == 0
            with old.bracket():
                pass
            assert old.size is None  # the write may have moved the end
            assert set(case.reads) == {"old"}
            assert new.pread(500000, 10) == NEW[500000:500010] and new.read() == NEW
            old.close()
            assert is_right(case.cache, "key", NEW, "new")


@check
def version_an_old_object_is_not_read_behind_its_end():
    """A store may refuse that."""
    with Objects() as case:
        def strict(at, n):
            asked.append((at, n))
            if at + n > SIZE:
                raise OSError(errno.EIO, "416 range not satisfiable")
            return OLD[at:at + n]
        asked, case.old._source.read, memory = [], strict, bytearray(SIZE)
        assert case.old.pread(SIZE - 5, 100) == OLD[-5:] and case.old.pread(SIZE, 100) == b""
        case.old.seek(SIZE - 5)
        assert case.old.readinto(memory) == 5 and case.old.readinto(memory) == 0
        for file in case.old, io.BufferedReader(case.old):
            file.seek(0)
            assert file.read() == OLD and file.read() == b""
        assert asked and case.old.cached() == 0
        case.old.close()
        raises(ValueError, lambda: case.old.readinto(memory))


@check
def version_an_object_that_cannot_be_cached_and_grows():
    """Another file's own write has moved the end."""
    content = [OLD]
    with new_pool() as cache:
        first, second = [cache.object(
            "key", lambda at, n: content[0][at:at + n], proof="old", size=SIZE,
            taken_at=cachemax.now(), sole_writer=True) for _ in range(2)]
        raises(OSError, lambda: exec("with it.sync_bracket(): raise OSError(5, 'no')",
                                     {"it": first}))
        assert second.read() == OLD
        with first.truncate_bracket(len(NEW)):
            content[0] = NEW
        memory = bytearray(2000)
        second.seek(SIZE)
        assert second.readinto(memory) == 1000 and second.readinto(memory) == 0
        assert second.cached() == 0


@check
def version_an_old_object_and_what_is_not_cached():
    with Objects() as case:
        assert case.old.pread(500000, 10) == OLD[500000:500010]
        assert case.new.pread(500000, 10) == NEW[500000:500010]
        assert case.new.read() == NEW


@check
def version_an_old_object_and_a_new_one_that_is_forgotten():
    with Objects() as case:
        case.cache.forget(case.new)
        for at in 0, 500000, 0:
            assert case.old.pread(at, 10) == OLD[at:at + 10]
            assert case.new.pread(at, 10) == NEW[at:at + 10]
        del case.reads[:]
        assert case.new.pread(0, 10) == NEW[:10] and not case.reads  # it is cached again


@check
def version_a_file_of_which_all_is_forgotten_by_others():
    """Its proof is older than that, so it proves nothing: the warning does not speak of others."""
    def by_key(cache, other):
        cache.forget("key")

    def by_file(cache, other):
        cache.forget(other)

    def by_abort(cache, other):
        other.abort()
    for forget in by_key, by_file, by_abort:
        with Objects() as case, case.open(NEW, "new") as other, LogLines() as lines:
            assert case.new.pread(0, 10) == NEW[:10]
            forget(case.cache, other)
            for _ in range(2):
                assert case.new.pread(0, 10) == NEW[:10] and case.new.size == len(NEW)
            assert len(lines.seen) == 1 and "was forgotten" in lines.seen[0], lines.seen
            assert case.new.revalidate("new", len(NEW), cachemax.now())
            assert case.new.pread(0, 10) == NEW[:10] and case.new.cached() > 0
            assert case.old.pread(0, 10) == OLD[:10]
            assert len(lines.seen) == 2 and "newer version" in lines.seen[1], lines.seen


@check
def version_an_old_object_that_is_told_of_the_new_version():
    with Objects() as case:
        assert case.old.pread(0, 10) == OLD[:10]
        assert case.old.revalidate("new", len(NEW), cachemax.now())
        del case.reads[:]
        assert case.old.pread(0, 10) == NEW[:10] and not case.reads
        assert case.old.size == len(NEW) and case.old.cached() > 0


@check
def version_an_object_that_is_what_it_was_before():
    with Objects() as case:
        assert case.new.revalidate("old", SIZE, cachemax.now())
        assert case.old.pread(0, 10) == OLD[:10]
        del case.reads[:]
        assert case.old.pread(0, 10) == OLD[:10] and not case.reads  # cached


def attach_in_a_thread(cache):
    """Opens the new version, as another thread does in the middle of a call. Returns its File."""
    opened = []

    def attach():
        opened.append(cache.object("key", lambda at, n: NEW[at:at + n], proof="new",
                                   size=len(NEW), taken_at=cachemax.now()))
    thread = threading.Thread(target=attach)
    thread.start()
    thread.join()
    return opened[0]


@check
def version_warming_an_old_object():
    for options in {}, {"verify": True}:
        with Objects() as case:
            raises(cachemax.Error, lambda: case.old.warm(**options), "CM_EMOVED")
            assert not case.reads
            assert case.new.warm(**options)["result"] == "CM_OK"
            assert case.new.read() == NEW


@check
def version_a_new_one_while_the_old_one_is_warmed():
    """It comes between two reads of the origin, and during one."""
    for options in {}, {"verify": True}:
        for when in "between", "during":
            with new_pool() as cache:
                def read(at, n):
                    if when == "during" and at > 0 and not others:
                        others.append(attach_in_a_thread(cache))
                    return OLD[at:at + n]

                def progress(done, total):
                    if when == "between" and done > 0 and not others:
                        others.append(attach_in_a_thread(cache))
                others = []
                old = cache.object("key", read, proof="old", size=SIZE, taken_at=cachemax.now())
                raises(cachemax.Error, lambda: old.warm(
                    bytes_per_second=2 << 20, progress=progress, **options), "CM_EMOVED")
                assert others[0].read() == NEW, when


def warmed_while(happens):
    """Warms an object, and has another thread do happens(file) meanwhile."""
    with new_pool() as cache:
        def progress(done, total):
            if done > 0 and not threads:
                threads.append(threading.Thread(target=happens, args=(file,)))
                threads[0].start()
                threads[0].join()
        threads = []
        file = cache.object("key", lambda at, n: OLD[at:at + n], proof="old", size=SIZE,
                            taken_at=cachemax.now(), sole_writer=True)
        return file.warm(bytes_per_second=2 << 20, progress=progress)


@check
def version_a_file_that_cannot_be_cached_any_more_while_it_is_warmed():
    """The sync fails between two reads of the origin, and when a read has begun."""
    def fails(file):
        raises(OSError, lambda: exec("with file.sync_bracket(): raise OSError(5, 'no')",
                                     {"file": file}))

    def fails_later(file):
        def info():
            fails(file)
            del file._info
            return file._info()
        file._info = info
    for happens in fails, fails_later:
        assert warmed_while(happens)["result"] == "CM_NOT_STORED_MODE"


@check
def version_a_file_that_is_closed_while_it_is_warmed():
    assert "closed file" in str(raises(ValueError, lambda: warmed_while(lambda file: file.close())))


@check
def version_a_new_one_while_the_old_one_is_read():
    with new_pool() as cache:
        def read(at, n):
            if at > 0 and not others:
                others.append(attach_in_a_thread(cache))
            return OLD[at:at + n]
        others = []
        with cache.object("key", read, proof="old", size=SIZE, taken_at=cachemax.now()) as old:
            assert old.pread(0, 10) == OLD[:10]
            assert old.pread(400000, 100000) == OLD[400000:500000] and others
            assert old.read() == OLD
        assert others[0].read() == NEW
        assert is_right(cache, "key", NEW, "new")


class Changing:
    """One object that a thread revalidates while it changes and another revalidate() comes."""

    def __init__(self):
        self.content, self.proof, self.results = OLD, "old", []
        self.cache = new_pool()
        self.file = self.cache.object("key", lambda at, n: self.content[at:at + n],
                                      proof=lambda: self.ask())
        assert self.file.pread(0, 10) == OLD[:10]
        self.thread = threading.Thread(target=self.work)
        self.waits, self.goes = threading.Event(), threading.Event()

    def work(self):
        self.results.append(self.file.revalidate())

    def wait(self):
        """The thread does, once."""
        if threading.current_thread() is self.thread and not self.waits.is_set():
            self.waits.set()
            assert self.goes.wait(60)

    def go(self):
        """And it ends."""
        self.goes.set()
        self.thread.join()

    def ask(self):
        return self.proof, len(self.content)

    def change(self):
        self.thread.start()
        assert self.waits.wait(60)
        self.content, self.proof = NEW, "new"
        assert self.file.revalidate()

    def check(self):
        with self.cache:
            assert self.file.read() == NEW and self.file.size == len(NEW)
            assert self.file.cached() == len(NEW)


@check
def version_another_one_comes_right_after_a_look():
    case = Changing()
    pool, run = case.cache._pool, case.cache._pool.run

    def looked(file, function, *arguments):
        result = run(file, function, *arguments)
        if threading.current_thread() is threading.main_thread():
            case.go()  # the first call of revalidate()
        elif function is cachemax.lib.cm_file_lookup:
            case.wait()
        return result
    pool.run = looked
    case.change()
    pool.run = run
    assert case.results == [True]
    case.check()


@check
def version_another_one_comes_before_an_older_proof():
    case = Changing()

    def ask():
        result = case.proof, len(case.content)
        case.wait()
        return result
    case.ask = ask
    case.change()
    case.go()
    assert case.results == [False]  # too old
    case.check()


@check
def version_a_proof_that_is_refused_is_none():
    with Objects() as case:
        raises(cachemax.Error, lambda: case.new.revalidate("later", 1, cachemax.now() + 10 ** 15),
               "CM_EINVAL")
        assert case.new.revalidate("newer", SIZE, cachemax.now()) and case.new.size == SIZE
        assert case.new.pread(0, 10) == NEW[:10] and case.new.cached() > 0


@check
def version_threads_with_files_of_their_own():
    """Each file gives the bytes of its own version only, whatever the others attach."""
    contents = [bytes([v]) * 100000 for v in range(4)]
    with new_pool() as cache:
        def work(i):
            for turn in range(40):
                content, proof = contents[(i + turn) % 4], "v%d" % ((i + turn) % 4)
                read = lambda at, n: content[at:at + n]
                try:
                    it = cache.object("key", read, proof=proof, taken_at=cachemax.now(),
                                      size=len(content))
                except cachemax.Error as e:
                    assert e.name == "CM_IGNORED", e  # another thread has asked later
                    continue
                with it:
                    for at in 0, 50000, 0, 99000:
                        assert it.pread(at, 1000) == content[at:at + 1000]
        in_threads(4, work)
        for v, content in enumerate(contents):
            assert is_right(cache, "key", content, "v%d" % v)


@check
def version_own_writes_and_what_is_forgotten():
    """These make no file an old one."""
    store, big = bytearray(OLD), 8 << 30
    read = lambda at, n: bytes(store[at:at + n]).ljust(min(n, big - at), b"\0")
    for proof in "1", None:
        with new_pool() as cache, cache.object("key", read, proof=proof, sole_writer=True,
                                               taken_at=cachemax.now()) as thing:
            def is_cached():
                assert thing.pread(0, 2 * BLOCK) == store[:2 * BLOCK]
                return thing.cached(0, 2 * BLOCK) == 2 * BLOCK
            def of_all(data):  # so much is forgotten as a whole, and has another number then
                before = thing.info()["incarnation"]
                assert thing.pread(6 << 30, 1) == b"\0"
                with thing.bracket():
                    store[:4] = data
                assert is_cached() and thing.info()["incarnation"] != before
            assert is_cached()
            of_all(b"abcd")
            with thing.bracket(0, 4) as bracket:
                store[:4] = b"efgh"
                if proof:
                    bracket.changed("2")
            assert is_cached()
            of_all(b"ijkl")
            thing.invalidate()
            assert is_cached()
            thing.abort()
            assert is_cached()
            cache.forget(thing)
            assert is_cached()
        with new_pool() as cache, cache.object("key", read, proof=proof, sole_writer=True,
                                               taken_at=cachemax.now()) as thing:
            assert is_cached()
            raises(OSError, lambda: exec("with thing.sync_bracket(): raise OSError(5, 'no')",
                                         {"thing": thing}))
            assert not is_cached() and thing.warm()["result"] == "CM_NOT_STORED_MODE"


class Case:
    """A web server with OLD, and a file system over it and a pool."""

    def __init__(self, kind):
        needs_fsspec()
        self.kind, self.server, self.cache = kind, Server(), new_pool()
        self.server.odd = self.answer

    def answer(self, handler, content, etag, first, last):
        if self.kind == "whole":  # it knows no ranges
            return 200, {"ETag": etag}, content
        if self.kind == "edge" and handler.headers.get("If-Match") == '"old"':
            return 206, {"Content-Range": "bytes %d-%d/%d" % (first, last, SIZE),
                         "ETag": '"old"'}, OLD[first:last + 1]  # it has not heard of the new one
        return None

    def become(self, content, etag):
        self.server.files["/data"] = content, etag

    def __enter__(self):
        self.server.__enter__()
        self.become(OLD, '"old"')
        self.url = self.server.url + "/data"
        self.fs = fsspec.filesystem("cachemax", pool=self.cache, target_protocol="http",
                                    skip_instance_cache=True)
        return self

    def __exit__(self, *exception):
        self.cache.close()
        self.server.__exit__()

    def is_right(self):
        """Also in a later session, with nothing but what is cached."""
        with self.fs.open(self.url) as file:
            if file.read() != self.server.files["/data"][0]:
                return False
        gets = self.server.gets
        with self.fs.open(self.url) as file:
            return file.read() == self.server.files["/data"][0] and self.server.gets == gets


def old_file_of_the_web(kind, fails):
    """Its bytes are those of the version that it was opened with, or the read fails."""
    for at in 400000, 50000:
        with Case(kind) as case:
            old = case.fs.open(case.url, block_size=BLOCK)
            assert old.read(100) == OLD[:100]
            case.become(NEW, '"new"')
            with case.fs.open(case.url, block_size=BLOCK) as new:
                assert new.read(100000) == NEW[:100000]  # so it is cached
                old.seek(at)
                if fails:
                    assert "412" in str(raises(Exception, lambda: old.read(1000)))
                else:
                    assert old.read(1000) == OLD[at:at + 1000]
                raises(Exception, lambda: old.raw.warm())
                old.close()
            assert case.is_right()


@check
def version_an_old_file_of_the_web():
    old_file_of_the_web("plain", True)


@check
def version_an_old_file_of_a_server_without_ranges():
    """Its answer of the old version goes on."""
    old_file_of_the_web("whole", False)


@check
def version_an_old_file_of_a_server_that_still_has_it():
    """As some edges of a network do: HEAD and GET may reach different ones."""
    old_file_of_the_web("edge", False)


@check
def version_an_old_read_and_a_new_proof_of_the_same_file():
    """A thread has begun to read the origin, and another one calls revalidate()."""
    with Case("plain") as case, case.fs.open(case.url, block_size=BLOCK) as file:
        into = file.raw._presented[1]
        assert into(0, memoryview(bytearray(10))) == 10
        case.become(NEW, '"new"')
        assert file.raw.revalidate()
        assert "has changed" in str(raises(Exception, lambda: into(0, memoryview(bytearray(10)))))
        assert file.read() == NEW and file.raw.cached() > 0


def old_file_of_a_store(old_info, new_info, new_content):
    """A target that proves something in its infos only, and whose files stay what they are."""
    needs_fsspec()

    class Store(fsspec.AbstractFileSystem):
        cachable = False
        now = OLD, old_info

        def info(self, path, **kwargs):
            return {"name": path, "size": len(self.now[0]), "type": "file", **self.now[1]}

        def _open(self, path, mode="rb", **kwargs):
            return io.BytesIO(self.now[0])
    with new_pool() as cache:
        store = Store()
        fs = fsspec.filesystem("cachemax", pool=cache, fs=store, skip_instance_cache=True)
        old = fs.open("b/k", block_size=BLOCK)
        assert old.read(1000) == OLD[:1000]
        store.now = new_content, new_info
        with fs.open("b/k", block_size=BLOCK) as new:
            assert new.read(100000) == new_content[:100000]
            assert old.read(50000) == OLD[1000:51000]  # as from the target alone
            assert old.read() == OLD[51000:]
            assert new.read() == new_content[100000:]
        old.close()
        assert fs.cat_file("b/k") == new_content


@check
def version_an_old_file_of_a_store():
    old_file_of_a_store({"ETag": '"old"'}, {"ETag": '"new"'}, NEW)


@check
def version_an_old_file_with_the_time_of_the_new_one():
    """It is so fresh that it proves nothing."""
    now = {"mtime": time.time() + 1000}
    old_file_of_a_store(now, now, NEW[:SIZE])


end()
