# SPDX-License-Identifier: BSD-2-Clause
"""fsspec-test.py DIR - cachemax.filesystem, under fsspec and pandas. python-test.sh runs it."""
import copy
import datetime
import hashlib
import io
import os
import pickle
import random
import subprocess
import sys
import tarfile
import time

import cachemax
from checks import DIR, Said, Skip, check, child, end, in_threads, new_file, new_pool, old, raises
from serve import Server

try:
    import aiohttp  # noqa: F401: fsspec needs the two for http
    import fsspec
    import requests  # noqa: F401
    MISSING = ""
except ImportError as e:
    MISSING = str(e)


def needs_fsspec():
    if MISSING:
        raise Skip(MISSING)


def store_class():
    """A file system like an object store: `content` by name, and `more`, which all infos say."""
    class Store(fsspec.AbstractFileSystem):
        cachable = False

        def __init__(self, **more):
            super().__init__()
            self.content, self.more, self.opens = {}, more, 0

        def info(self, path, **kwargs):
            content = self.content[path]
            etag = '"%s"' % hashlib.md5(content).hexdigest()
            return {"name": path, "size": len(content), "type": "file", "ETag": etag, **self.more}

        def ls(self, path, detail=True, **kwargs):
            return [self.info(p) if detail else p for p in self.content]

        def _open(self, path, mode="rb", **kwargs):
            self.opens += 1
            return io.BytesIO(self.content[path])
    return Store


def over(fs, cache, **options):
    return fsspec.filesystem("cachemax", pool=cache, fs=fs, skip_instance_cache=True, **options)


def over_http(cache, **options):
    return fsspec.filesystem("cachemax", pool=cache, target_protocol="http",
                             skip_instance_cache=True, **options)


def content_of(fs, url):
    with fs.open(url) as file:
        return file.read()


@check
def fsspec_right_bytes_of_random_reads():
    needs_fsspec()
    with Server() as server, new_pool() as cache:
        content = random.randbytes(2000003)
        server.files["/data"] = content, '"1"'
        for turn in range(2):
            before, pick = server.gets, random.Random(2)
            fs = over_http(cache)
            with fs.open(server.url + "/data") as file:
                for _ in range(200):
                    at, n = pick.randrange(len(content)), pick.choice([1, 5000, 100000])
                    file.seek(at)
                    assert file.read(n) == content[at:at + n]
                assert file.seek(-9, 2) and file.read() == content[-9:]
            assert fs.cat_file(server.url + "/data", start=5, end=10) == content[5:10]
            assert fs.info(server.url + "/data")["size"] == len(content)
            assert (server.gets == before) == (turn == 1), (turn, server.gets - before)


@check
def fsspec_what_has_changed_is_read_again():
    needs_fsspec()
    with Server() as server, new_pool() as cache:
        fs, url = over_http(cache), server.url + "/data"
        for etag in ('"a"', '"b"', '"a"'):
            server.files["/data"] = random.randbytes(300000), etag
            assert content_of(fs, url) == server.files["/data"][0]
        before = server.gets
        assert content_of(fs, url) == server.files["/data"][0] and server.gets == before


@check
def fsspec_without_a_proof_nothing_is_cached():
    needs_fsspec()
    with Server() as server, new_pool() as cache:
        url = server.url + "/data"
        for etag in (None, 'W/"weak"'):
            for _ in range(3):
                server.files["/data"] = random.randbytes(300000), etag
                assert content_of(over_http(cache), url) == server.files["/data"][0]
        assert cache.stats()["fill_blocks"] == cache.stats()["buffered"] == 0
        # Who knows that it never changes may say so.
        fs = over_http(cache, proof=lambda info: (b"it never changes", False))
        for turn in range(2):
            before = server.gets
            assert content_of(fs, url) == server.files["/data"][0]
        assert server.gets == before


@check
def fsspec_what_changes_while_it_is_open():
    needs_fsspec()
    with Server() as server, new_pool() as cache:
        fs, url = over_http(cache), server.url + "/data"
        first, second = random.randbytes(5000000), random.randbytes(5000000)
        server.files["/data"] = first, '"1"'
        with fs.open(url) as file:
            assert file.read(10) == first[:10]
            server.files["/data"] = second, '"2"'
            file.seek(4000000)
            raises(Exception, lambda: file.read(10))  # no bytes of another version
        assert content_of(fs, url) == second
        # A server that does not know If-Match: what was stored is forgotten at the close.
        class Careless(dict):
            def get(self, name, default):
                content, self.etag = super().get(name, default)
                return content, None if self.silent else self.etag
        server.files = Careless(server.files)
        server.files.silent = False
        proof = lambda info: (b"%d" % version, False)
        fs, version = over_http(cache, proof=proof), 1
        server.files["/data"] = first, None
        with fs.open(url) as file:
            assert file.read(10) == first[:10]
            server.files["/data"], version = (second, None), 2
            file.seek(4000000)
            file.read(10)
        version = 1
        server.files["/data"] = first, None
        assert content_of(fs, url) == first


@check
def fsspec_what_changes_and_changes_back():
    needs_fsspec()
    first, second = b"A" * 300000, b"B" * 300000
    with new_pool() as cache:
        store = store_class()()
        fs, opens = over(store, cache), 0
        store.content["x"] = first
        with fs.open("x") as file:
            store.content["x"] = second
            assert file.read(100000) == second[:100000]  # as the target alone does
            store.content["x"] = first
            file.read()
        assert content_of(fs, "x") == first
        assert content_of(fs, "x") == first and store.opens == 2
        # Both changes during one read: only the times show it.
        class Between(io.BytesIO):
            def read(self, n=-1):
                store.content["y"] = first
                store.more["LastModified"] += 1
                return super().read(n)
        store.more["LastModified"] = 1
        store.content["y"], store._open = second, lambda path, mode, **kw: Between(second)
        store.content["y"] = first
        with fs.open("y") as file:
            file.read(100000)
        del store._open
        assert content_of(fs, "y") == first
        # What cannot be asked for again is not stored.
        def gone(path, **kwargs):
            raise FileNotFoundError(path)
        store.content["z"] = first
        with fs.open("z") as file:
            store.info = gone
            assert file.read(1000) == first[:1000] and file.raw.cached() == 0
            del store.info


@check
def fsspec_times_as_proof():
    needs_fsspec()
    from cachemax.filesystem import proof_of
    now = time.time()
    assert proof_of({"size": 1, "mtime": now - 100}) == (b"mtime %r 1" % (now - 100), False)
    assert proof_of({"size": 1, "mtime": now})[1]  # too fresh
    day = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    assert proof_of({"size": 1, "LastModified": day})[1] is False
    assert proof_of({"size": 1, "LastModified": day}) != proof_of({"size": 2, "LastModified": day})
    assert proof_of({"size": 1}) == proof_of({"size": 1, "ETag": 'W/"x"'}) == (None, False)


def in_zone(zone, call):
    before = os.environ.get("TZ")
    try:
        os.environ["TZ"] = zone
        time.tzset()
        return call()
    finally:
        os.environ.pop("TZ")
        os.environ.update({"TZ": before} if before is not None else {})
        time.tzset()


@check
def fsspec_times_without_a_zone():
    """SFTP tells UTC so. Somebody else may mean local time."""
    needs_fsspec()
    from cachemax import filesystem
    utc, hour = datetime.timezone.utc, datetime.timedelta(hours=1)

    def proof(time):
        return filesystem.proof_of({"size": 1, "mtime": time})
    def proofs():
        now = datetime.datetime.now(utc)
        naive = now.replace(tzinfo=None)
        assert proof(naive) == (proof(now)[0], True)
        assert proof(naive + hour)[1]  # that clock is ahead
        assert proof(datetime.datetime.now())[1]
        assert proof(naive - hour) == (proof(now - hour)[0], False)

    def stale():
        with new_pool() as cache:
            store = store_class()(ETag=None)
            fs = over(store, cache)
            store.more["mtime"] = datetime.datetime.now(utc).replace(tzinfo=None, microsecond=0)
            for content in b"A" * 9000, b"B" * 9000:  # two changes in one second
                store.content["x"] = content
                for _ in range(2):
                    assert content_of(fs, "x") == content
    try:
        filesystem.FRESH = 300  # the machine may be slow
        for zone in "UTC0", "UTC-9", "UTC+9", "UTC+3:30":
            in_zone(zone, proofs)
            in_zone(zone, stale)
    finally:
        filesystem.FRESH = 10
    # The hour that is there twice when the summer ends: this moment is in the second one.
    real, moment = filesystem.time.time, datetime.datetime(2020, 10, 25, 1, 30, tzinfo=utc)
    try:
        filesystem.time.time = lambda: moment.timestamp() + 1
        assert in_zone("CET-1CEST,M3.5.0,M10.5.0/3",
                       lambda: proof(datetime.datetime(2020, 10, 25, 2, 30))[1])
    finally:
        filesystem.time.time = real


@check
def fsspec_members_of_archives():
    """An archive that was built again may have other content of the same size and time."""
    needs_fsspec()
    path = DIR + "/release.tar"

    def build(content):
        with tarfile.open(path + ".new", "w") as tar:
            member = tarfile.TarInfo("sub/x")
            member.size, member.mtime = len(content), 1700000000
            tar.addfile(member, io.BytesIO(content))
        os.rename(path + ".new", path)

    def targets():
        for protocol in "tar", "libarchive":
            try:
                yield fsspec.filesystem(protocol, fo=path, skip_instance_cache=True), "sub/x"
            except ImportError as e:
                print(protocol, "is not there:", e)
        from fsspec.implementations.dirfs import DirFileSystem
        tar = fsspec.filesystem("tar", fo=path, skip_instance_cache=True)
        yield DirFileSystem("sub", tar, skip_instance_cache=True), "x"
    with new_pool() as cache:
        for content in random.randbytes(20000), random.randbytes(20000):
            build(content)
            for fs, name in targets():
                for _ in range(2):
                    assert content_of(over(fs, cache), name) == content, fs
        assert cache.stats()["fill_blocks"] == cache.stats()["buffered"] == 0
        # Who knows better may say so.
        over_tar = over(fs, cache, proof=lambda info: (b"built once", False))
        for _ in range(2):
            assert content_of(over_tar, name) == content
        assert cache.stats()["hit_blocks"] > 0
    # The archive itself is cached.
    build(content)
    with Server() as server, open(path, "rb") as tar:
        server.files["/x.tar"] = tar.read(), '"1"'
        gets = []
        for url in "tar://sub/x::cachemax://", "tar://sub/x::cachemax::":
            with fsspec.open(url + server.url + "/x.tar", cachemax={
                    "pool": DIR + "/tar", "create_size": 16 << 20}) as file:
                assert file.read() == content
            gets.append(server.gets)
        assert 0 < gets[0] == gets[1]


@check
def fsspec_all_that_proves_something_is_the_proof():
    needs_fsspec()
    from cachemax.filesystem import proof_of
    # S3 says "null" for all contents where versions are suspended.
    bucket = store_class()(VersionId="null")
    with new_pool() as cache:
        fs = over(bucket, cache)
        for _ in range(3):
            bucket.content["b/x"] = random.randbytes(100000)
            for _ in range(2):
                assert content_of(fs, "b/x") == bucket.content["b/x"]
        assert bucket.opens == 3
    assert proof_of({"size": 1, "VersionId": "null"}) == (None, False)
    both = {"size": 1, "VersionId": "a", "ETag": '"1"'}
    assert proof_of(both) != proof_of({**both, "ETag": '"2"'})
    assert proof_of(both) != proof_of({**both, "VersionId": "b"})


@check
def fsspec_options_of_an_open_choose_what_is_read():
    """Such an open has nothing to do with the pool."""
    needs_fsspec()
    old_one, new_one = random.randbytes(300000), random.randbytes(300000)

    class Versions(store_class()):
        def _open(self, path, mode="rb", version_id=None, **kwargs):
            super()._open(path)
            return io.BytesIO(old_one if version_id else new_one)
    with Server() as server, new_pool() as cache:
        store = Versions()
        fs = over(store, cache)
        for name, order in ("x", ("first", None)), ("y", (None, "first")):
            store.content[name], store.opens = new_one, 0
            for version in order:
                options = {"version_id": version} if version else {}
                content = old_one if version else new_one
                for _ in range(2):
                    with fs.open(name, **options) as file:
                        assert file.read() == content
                assert fs.cat_file(name, 7, 9, **options) == content[7:9]
            assert store.opens == 4  # only what has no such options is cached
        url = server.url + "/doc"
        server.files["/doc"], server.files["/docde"] = (new_one, '"en"'), (old_one, '"de"')
        server.files["/privatede"] = old_one, '"p"'
        fs, german = over_http(cache), {"headers": {"Accept-Language": "de"}}
        for _ in range(2):
            assert content_of(fs, url) == new_one
            for name in url, server.url + "/private":
                with fs.open(name, **german) as file:
                    assert file.read() == old_one
        # These say how it is read. fsspec's own methods have them, and also these are cached.
        before = server.gets
        for options in {"cache_type": "bytes"}, {"size": 300000}, {"fill_cache": False}:
            with fs.open(url, **options) as file:
                assert file.read() == new_one
        with fs.open(url, cache_options={}, block_size=100, compression=None) as file:
            assert file.read() == new_one
        assert server.gets == before


@check
def fsspec_a_target_over_another_one():
    """Which one that is belongs to the file's id, and not where it lies in memory."""
    needs_fsspec()
    from fsspec.implementations.dirfs import DirFileSystem

    class Hosts(store_class()):
        opened, content_of_all = [], {"d/x": b"x" * 300000}

        def __init__(self, host):
            super().__init__()
            self.host, self.content = host, self.content_of_all

        def _open(self, path, mode="rb", **kwargs):
            self.opened.append(self.host)
            return super()._open(path)

    alive = []
    with new_pool() as cache:
        for host in "one", "two", "one":
            inner = Hosts(host, skip_instance_cache=True)
            alive.append(inner)  # so the next one is elsewhere
            for outer in (DirFileSystem("d", inner, skip_instance_cache=True),
                          DirFileSystem(path="d", fs=inner, skip_instance_cache=True)):
                assert content_of(over(outer, cache), "x") == b"x" * 300000
        assert Hosts.opened == ["one", "one", "two", "two"], Hosts.opened


@check
def fsspec_infos_that_come_from_old_listings():
    """Also of a directory of the target, and if the target forgets a directory by its own name."""
    needs_fsspec()
    from fsspec.implementations.dirfs import DirFileSystem

    class Lister(store_class()):
        by_parent = True

        def ls(self, path, detail=True, **kwargs):
            path = path.rstrip("/")
            if path not in self.dircache:
                self.dircache[path] = [super(Lister, self).info(p) for p in self.content
                                       if self._parent(p) == path]
            return self.dircache[path]

        def info(self, path, **kwargs):
            listed = self.dircache.get(self._parent(path), []) if self._parent(
                path) in self.dircache else []
            return next((i for i in listed if i["name"] == path), None) or super().info(path)

        def invalidate_cache(self, path=None):
            if path is None:
                self.dircache.clear()
            else:
                self.dircache.pop(self._parent(path) if self.by_parent else path, None)

    def wrapper(inner, held):
        fs = fsspec.AbstractFileSystem(skip_instance_cache=True)
        fs.info, fs.ls, fs.open, fs.held = inner.info, inner.ls, inner.open, held
        return fs
    first, second = b"A" * 300000, b"B" * 300000
    for by_parent in True, False:
        with new_pool() as cache:
            store = Lister()
            store.by_parent = by_parent
            for fs, path in ((store, "a/b/x"), (DirFileSystem("a/b", store), "x"),
                             (DirFileSystem("b", DirFileSystem("a", store)), "x"),
                             *((wrapper(store, held), "a/b/x") for held in (
                                 store, [1, store], (store,), {"file": store}))):
                fs = over(fs, cache)
                for content in first, second, first:
                    store.ls("a/b")
                    store.content["a/b/x"] = content
                    assert content_of(fs, path) == content


@check
def fsspec_a_target_with_a_cache_of_its_own():
    """Its bytes may be older than the ETag: it is read as it is, and that is said once."""
    needs_fsspec()
    from fsspec.implementations.dirfs import DirFileSystem
    for kind in "filecache", "simplecache", "blockcache":
        for below in False, True:
            with Server() as server, new_pool() as cache, Said() as said:
                first, second = b"A" * 300000, b"B" * 300000
                inner = fsspec.filesystem(kind, target_protocol="http", skip_instance_cache=True,
                                          cache_storage="%s/%s%d" % (DIR, kind, below))
                fs = over(DirFileSystem(server.url, inner) if below else inner, cache)
                path = "data" if below else server.url + "/data"
                for content, etag in (first, '"1"'), (second, '"2"'):
                    server.files["/data"] = content, etag
                    for _ in range(2):
                        assert content_of(fs, path) == first  # as the target alone
                assert cache.stats()["fill_blocks"] == cache.stats()["buffered"] == 0
                assert len(said) == 1 and "CachingFileSystem" in said[0], said
    # A cache over this one is another thing.
    with Server() as server, new_pool() as cache, Said() as said:
        server.files["/data"] = first, '"1"'
        fs = fsspec.filesystem("simplecache", fs=over_http(cache), skip_instance_cache=True,
                               cache_storage=DIR + "/over")
        assert content_of(fs, server.url + "/data") == first and not said
        assert cache.stats()["fill_blocks"] + cache.stats()["buffered"] > 0


@check
def fsspec_what_a_target_may_unpack():
    """Google's store sends it unpacked, without ranges, and its size is that of the packed one."""
    needs_fsspec()
    with new_pool() as cache:
        for encoding, stored in ("gzip", False), ("", True), (None, True):
            store = store_class()(contentEncoding=encoding)
            store.content["x"] = random.randbytes(100000)
            assert content_of(over(store, cache), "x") == store.content["x"]
            stats = cache.stats()
            assert (stats["fill_blocks"] + stats["buffered"] > 0) == stored


@check
def fsspec_a_target_that_returns_more_than_it_was_asked_for():
    needs_fsspec()

    class Longer(io.BytesIO):
        def read(self, n=-1):
            return super().read(n + 1)
    with new_pool() as cache:
        store = store_class()()
        store.content["some/name"] = random.randbytes(100000)
        store._open = lambda path, mode="rb", **kwargs: Longer(store.content[path])
        with over(store, cache).open("some/name") as file:
            e = raises(OSError, lambda: file.read(1000))
            assert "some/name" in str(e) and "in place of" in str(e), e


@check
def fsspec_what_the_target_opens_has_all_options():
    needs_fsspec()
    opened = []

    class Recorder(store_class()):
        def _open(self, path, mode="rb", **kwargs):
            opened.append((mode, {k: v for k, v in kwargs.items() if v is not None}))
            return io.BytesIO(b"x")
    with new_pool() as cache:
        fs, options = over(Recorder(), cache), {"block_size": 1 << 20, "cache_options": {"a": 1}}
        for mode, autocommit in ("wb", True), ("wb", False), ("rb", True):
            fs.open("x", mode, autocommit=autocommit, acl="private", **options)
            assert opened.pop() == (mode, {"autocommit": autocommit, "acl": "private", **options})
            fs.open("x", mode, autocommit=autocommit, acl="private")
            assert opened.pop() == (mode, {"autocommit": autocommit, "acl": "private"})


@check
def fsspec_URLs_that_name_a_host():
    """As those of SFTP do: the target learns it from its own part of the URL."""
    needs_fsspec()
    from fsspec.utils import infer_storage_options

    class Hosts(store_class()):
        protocol, hosts = "hosts", []

        def __init__(self, host, username=None, port=22, password=None):
            super().__init__(ETag='"%s"' % host)
            self.hosts.append((host, username, port, password))
            self.content["/d/x"] = host.encode() * 1000

        @classmethod
        def _strip_protocol(cls, path):
            return infer_storage_options(path)["path"]

        @staticmethod
        def _get_kwargs_from_urls(path):
            options = infer_storage_options(path)
            return {name: options[name] for name in options if name not in ("path", "protocol")}
    fsspec.register_implementation("hosts", Hosts)
    with new_pool() as cache:
        for target_options in {}, {"password": "p"}, {"host": "one", "username": "me"}:
            Hosts.hosts.clear()
            for _ in range(2):
                with fsspec.open("cachemax://hosts://me@one:7/d/x", pool=cache,
                                 target_options=target_options) as file:
                    assert file.read() == b"one" * 1000
            assert Hosts.hosts == [("one", "me", 7, target_options.get("password"))]
        with fsspec.open("cachemax://hosts://two/d/x", pool=cache) as file:
            assert file.read() == b"two" * 1000
        with fsspec.open("cachemax::hosts://two/d/x", cachemax={"pool": cache}) as file:
            assert file.read() == b"two" * 1000
        raises(KeyError, lambda: fsspec.open("cachemax://hosts://two/d/x", pool=cache,
                                             target_options={"host": "one"}))
        # One that nobody has registered.
        with fsspec.open("cachemax://nobody://one/d/x", pool=cache, fs=Hosts("one")) as file:
            assert file.read() == b"one" * 1000
        raises(ValueError, lambda: fsspec.open("cachemax://nobody://one/d/x", pool=cache))


@check
def fsspec_a_pool_that_cannot_be_used_fails_no_read():
    needs_fsspec()
    with Server() as server, new_pool() as cache:
        server.files["/data"] = random.randbytes(300000), '"1"'
        url = server.url + "/data"
        path = cache._pool.where  # in use
        for pool in (path, DIR + "/none/pool"):
            fs = fsspec.filesystem("cachemax", pool=pool, target_protocol="http",
                                   skip_instance_cache=True)
            assert content_of(fs, url) == server.files["/data"][0]
        fs = over_http(cache)
        cache.close()
        assert content_of(fs, url) == server.files["/data"][0]


@check
def fsspec_a_sealed_pool():
    needs_fsspec()
    key, pool = DIR + "/fskey", DIR + "/fspool"
    with open(key, "wb", opener=lambda p, flags: os.open(p, flags, 0o600)) as f:
        f.write(os.urandom(32))
    try:
        cachemax.open(pool, create_size=16 << 20, key_file=key).close()
    except cachemax.Error as e:
        assert "takes no keys" in str(e), e
        raise Skip(str(e))
    with Server() as server:
        server.files["/data"] = random.randbytes(300000), '"1"'
        url = server.url + "/data"
        for key_file, warm in (None, False), (key, False), (key, True):
            before = server.gets
            fs = over_http(pool, key_file=key_file)
            assert content_of(fs, url) == server.files["/data"][0]
            assert (server.gets == before) == warm
            assert (fs.cache is None) == (key_file is None)


@check
def fsspec_files_of_the_system():
    needs_fsspec()
    path, content = new_file(300000)
    warm = old(path)
    with new_pool() as cache:
        fs = fsspec.filesystem("cachemax", pool=cache, target_protocol="file")
        for _ in range(2):
            assert content_of(fs, path) == content
        assert not warm or cache.stats()["attach_kept"] == 1
        assert path in fs.glob(DIR + "/file*")
        with fs.open(DIR + "/new", "wb") as file:
            file.write(b"new")
        with fs.open(DIR + "/new", "r") as file:
            assert file.read() == "new"


@check
def fsspec_all_else_goes_to_the_target():
    needs_fsspec()
    from pathlib import Path
    with new_pool() as cache:
        fs, top = over(fsspec.filesystem("file"), cache), DIR + "/tree"
        fs.mkdir(top)
        assert os.path.isdir(top)
        fs.makedirs("cachemax://%s/a/b" % top, exist_ok=True)
        fs.makedirs(top + "/a/b", exist_ok=True)
        assert os.path.isdir(top + "/a/b") and fs.isdir(top + "/a/b")
        raises(FileExistsError, lambda: fs.makedirs(path=top + "/a/b"))
        fs.pipe_file(top + "/x", b"text")
        fs.touch(Path(top) / "y")
        fs.mv(top + "/x", top + "/z")
        if "mv_file" in vars(type(fs.fs)):  # it takes that for a directory, a newer one for a file
            raises(FileNotFoundError, lambda: fs.mv(top + "/z", top + "/none/"))
        fs.cp(top + "/z", top + "/a/z")
        fs.put_file(top + "/z", "cachemax://%s/a/w" % top)
        assert sorted(os.listdir(top)) == ["a", "y", "z"]
        assert sorted(os.listdir(top + "/a")) == ["b", "w", "z"]
        assert fs.cat_file(top + "/a/w") == b"text"
        fs.get_file(top + "/z", top + "/got")
        assert fs.modified(top + "/z") == fs.fs.modified(top + "/z")
        assert fs.created(top + "/z") == fs.fs.created(top + "/z")
        fs.rm_file(top + "/a/w")
        fs.rmdir(top + "/a/b")
        fs.rm([top + "/y", top + "/got"])
        assert sorted(fs.find(top)) == [top + "/a/z", top + "/z"]
        fs.rm("cachemax://%s/a" % top, recursive=True)
        assert os.listdir(top) == ["z"] and not fs.exists(top + "/a/z")
        with fs.transaction:
            with fs.open(top + "/late", "wb") as file:
                file.write(b"late")
            assert not os.path.exists(top + "/late")
        assert fs.cat_file(top + "/late") == b"late"
        with fs.open(top + "/later", "wb", autocommit=False) as file:
            file.write(b"x")
        assert not os.path.exists(top + "/later")
        file.commit()
        assert os.path.exists(top + "/later")
        # What a target cannot do is an error, and nothing else.
        fs = over(store_class()(), cache)
        raises(NotImplementedError, lambda: fs.rm_file("x"))
        raises(NotImplementedError, lambda: fs.modified("x"))


@check
def fsspec_methods_that_want_the_size():
    needs_fsspec()
    data, path = random.randbytes(300000), DIR + "/sized"
    with open(path, "wb") as file:
        file.write(data)
    with cachemax.open(DIR + "/sizes", create_size=16 << 20) as cache, Server() as server:
        server.files["/data"] = data, '"1"'
        for fs, name in ((over(fsspec.filesystem("file"), cache), path),
                         (over_http(cache), server.url + "/data")):
            for _ in range(2):
                assert fs.tail(name, 1000) == data[-1000:]
                assert fs.cat_file(name, start=-500) == data[-500:]
                assert fs.cat_file(name, start=-500, end=-100) == data[-500:-100]
                assert fs.read_block(name, 100, None) == data[100:]
                assert fs.head(name, 100) == data[:100]
                with fs.open(name) as file:
                    assert file.size == len(data) and file.mode == "rb"


@check
def fsspec_threads():
    needs_fsspec()
    with Server() as server, new_pool(1 << 20) as cache:
        fs = over_http(cache)
        for i in range(4):
            server.files["/%d" % i] = random.randbytes(400000), '"%d"' % i

        def work(i):
            pick = random.Random(i)
            for _ in range(20):
                name = "/%d" % pick.randrange(4)
                with fs.open(server.url + name) as file:
                    at = file.seek(pick.randrange(400000))
                    assert file.read(50000) == server.files[name][0][at:at + 50000]
        in_threads(8, work)


@check
def fsspec_pandas_reads_a_CSV():
    needs_fsspec()
    try:
        import pandas
    except ImportError as e:
        raise Skip(e)
    with Server() as server:
        lines = ["a,b"] + ["%d,%d" % (i, i * i) for i in range(20000)]
        server.files["/t.csv"] = "\n".join(lines).encode(), '"1"'
        options = {"pool": DIR + "/pandas", "create_size": 16 << 20}
        for turn in range(2):
            before = server.gets
            table = pandas.read_csv("cachemax://" + server.url + "/t.csv", storage_options=options)
            assert len(table) == 20000 and table["b"].sum() == sum(i * i for i in range(20000))
        assert server.gets == before


@check
def fsspec_pandas_reads_Parquet():
    needs_fsspec()
    try:
        import pandas
        import pyarrow  # noqa: F401
    except ImportError as e:
        raise Skip(e)
    with Server() as server:
        table = pandas.DataFrame({"a": range(50000)})
        server.files["/t.parquet"] = table.to_parquet(), '"1"'
        options = {"pool": DIR + "/pandas", "create_size": 16 << 20}
        for turn in range(2):
            before = server.gets
            assert pandas.read_parquet("cachemax://" + server.url + "/t.parquet",
                                       storage_options=options).equals(table)
        assert server.gets == before


@check
def fsspec_pools_of_a_process_are_warm_in_the_next():
    needs_fsspec()
    with Server() as server:
        server.files["/data"] = random.randbytes(300000), '"1"'
        program = """
import fsspec, sys
with fsspec.open("cachemax::" + sys.argv[2], cachemax={"pool": sys.argv[1],
                                                       "create_size": 16 << 20}) as file:
    file.read()
"""
        for turn in range(2):
            before = server.gets
            said = subprocess.run([sys.executable, "-c", program, DIR + "/next",
                                   server.url + "/data"], capture_output=True, text=True)
            assert said.returncode == 0, said.stderr
        assert server.gets == before


@check
def fsspec_a_child_of_fork_opens_pools_of_its_own():
    """Also if another thread of its parent was just opening one. What the parent has is not its."""
    needs_fsspec()
    with open(DIR + "/forked.data", "wb") as file:
        file.write(random.randbytes(300000))
    program = """
import fsspec, os, signal, sys, threading, traceback
from cachemax import filesystem
pool, data = sys.argv[1:]
def fs(pool):
    return fsspec.filesystem("cachemax", pool=pool, create_size=1 << 20, target_protocol="file")
def read(fs):
    with fs.open(data) as file:
        return len(file.read())
old = fs(pool)
assert old.cache is not None and read(old) == 300000
real, opening, go_on = filesystem.cachemax.open, threading.Event(), threading.Event()
def slow(*a, **k):
    opening.set()
    go_on.wait(60)
    return real(*a, **k)
filesystem.cachemax.open = slow
thread = threading.Thread(target=fs, args=(pool + "-slow",))
thread.start()
opening.wait(60)
pid = os.fork()
if pid == 0:
    signal.alarm(60)
    filesystem.cachemax.open = real
    try:
        new = fs(pool + "-child")
        assert new.cache is not None and read(new) == 300000
        assert fs(pool).cache is None  # its parent has that one
        os._exit(0)
    finally:
        traceback.print_exc()
        os._exit(1)
status = os.waitpid(pid, 0)[1]
go_on.set()
thread.join()
sys.exit("child: %d" % status if status else 0)
"""
    said = subprocess.run([sys.executable, "-c", program, DIR + "/forked", DIR + "/forked.data"],
                          capture_output=True, text=True, timeout=120)
    assert said.returncode == 0, said.stderr


@check
def fsspec_a_child_of_fork_says_nothing_of_its_parents_files():
    needs_fsspec()
    program = """
import fsspec, os, sys
fs = fsspec.filesystem("cachemax", pool=sys.argv[1], create_size=16 << 20, target_protocol="http")
dropped, closed = fs.open(sys.argv[2]), fs.open(sys.argv[2])
assert dropped.read(10) == closed.read(10) != b""
pid = os.fork()
if pid == 0:
    dropped = None
    closed.close()
    os._exit(7)
sys.exit(os.waitpid(pid, 0)[1] != 7 << 8)
"""
    with Server() as server:
        server.files["/data"] = random.randbytes(300000), '"1"'
        said = child(program, DIR + "/files-of-parent", server.url + "/data")
        assert (said.returncode, said.stderr) == (0, ""), said.stderr


@check
def fsspec_forgotten_is_said_of_what_was_forgotten():
    needs_fsspec()
    with Server() as server:
        server.files["/data"] = random.randbytes(300000), '"1"'

        def said_by(fails):
            with new_pool() as cache, Said() as said:
                file = over_http(cache).open(server.url + "/data")
                file.read(10)
                file.raw.revalidate = lambda: cachemax._check(cachemax.lib.CM_EIO, "asked")
                if fails:
                    cache.forget = lambda which: cachemax._check(cachemax.lib.CM_EIO, "forget")
                file.close()
                return said
        for fails, text in (False, "what is cached of it is forgotten"), (True, "could not be"):
            said = said_by(fails)
            assert len(said) == 1 and text in said[0] and "asked" in said[0], said


@check
def fsspec_open_files_can_be_pickled():
    """They are opened again, also by another process, which may not have the pool."""
    needs_fsspec()
    path, local = new_file(300000)
    program = ("import pickle, sys; file = pickle.load(sys.stdin.buffer); "
               "sys.stdout.buffer.write(file.read())")
    with Server() as server:
        server.files["/data"] = random.randbytes(300000), '"1"'
        url = server.url + "/data"
        for target, name, content in (("http", url, server.files["/data"][0]),
                                      ("file", path, local)):
            fs = fsspec.filesystem("cachemax", pool=DIR + "/pickled", create_size=16 << 20,
                                   target_protocol=target, skip_instance_cache=True)
            with fs.open(name, block_size=8192) as file:
                assert (file.path, file.fs, file.mode) == (name, fs, "rb")
                assert file.full_name == "cachemax://" + name
                assert fs.cat(file.full_name) == content
                file.seek(1000)
                for again in pickle.loads(pickle.dumps(file)), copy.copy(file):
                    assert again.read(5) == content[1000:1005] and again.least == 8192
                    again.close()
                    raises(ValueError, lambda: pickle.dumps(again))
                assert file.tell() == 1000 and file.read() == content[1000:]
                file.seek(5)
                there = subprocess.run([sys.executable, "-c", program], input=pickle.dumps(file),
                                       capture_output=True, timeout=100)
                assert there.stdout == content[5:], there.stderr


@check
def fsspec_an_open_pool_cannot_be_pickled():
    needs_fsspec()
    with new_pool() as cache:
        e = raises(TypeError, lambda: pickle.dumps(over_http(cache)))
        assert "a Cache cannot be" in str(e) and "give the path of the pool" in str(e), e


@check
def fsspec_ranges_of_numpy():
    needs_fsspec()
    try:
        import numpy
    except ImportError as e:
        raise Skip(e)
    path, content = new_file(300)
    with new_pool() as cache:
        fs = fsspec.filesystem("cachemax", pool=cache, target_protocol="file",
                               skip_instance_cache=True)
        for kind in numpy.int8, numpy.uint8, numpy.uint64:
            assert fs.cat_ranges([path], [kind(100)], [kind(120)]) == [content[100:120]], kind
            assert fs.cat_file(path, kind(100), kind(120)) == content[100:120], kind


end()
