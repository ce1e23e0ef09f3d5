# SPDX-License-Identifier: BSD-2-Clause
"""The cache under every file system of fsspec, and so under pandas, pyarrow, dask and others.

    pandas.read_csv("cachemax://https://host/data.csv",
                    storage_options={"pool": "/mnt/pmem/pool", "create_size": 1 << 30})

How it works. Each open asks the target file system what the file is now (info). If that has a
proof, what is cached of the same proof is served, and only the rest is read from the target. A
proof is strong ETag, version and checksums together, as many as there are; else size and time of
change, unless the time is so fresh that another change could have the same one. (Times of members
of an archive prove nothing.) Without a proof the file is not cached. Nor is it if the open has
options that may choose what is read (headers of the web, a version).
After each read of the target its info is asked for again, before the bytes are stored: if it has
changed, they are not, and the file is read without the cache from then on. From the web that is
left out if the answer has the ETag. (_web.py reads from there.) When a file is closed after a read
of the target, its info is asked for once more, and if it has changed, what was stored is forgotten.
A file that was opened before another one found a newer version is read without the cache, too.
Each read of the target is a request. So reads in a row read ahead (_RemoteFile), and several files,
or parts of one, are asked for at the same time (_several.py).
Trouble with the pool never fails a read: the file is then read without it, and a warning is logged.
One process owns a pool at a time. Within a process all share it, until the process ends. A child of
fork() opens pools of its own, for file systems that it makes itself. One that its parent has made
reads without a pool there. Not from the web: there fsspec itself refuses that (RuntimeError: "not
fork-safe"). A file that its parent has opened here fails (CM_EFORKED).
"""
import datetime
import errno
import functools
import io
import logging
import operator
import os
import threading
import time
from contextlib import closing

import fsspec
from fsspec.archive import AbstractArchiveFileSystem
from fsspec.core import split_protocol
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import stringify_path, update_storage_options

import cachemax
from . import _several, _web
from ._identity import Identity
from ._origin import _id_of_key, _validator

STRONG = ("VersionId", "version_id", "generation", "ETag", "etag", "md5Hash", "md5", "Content-MD5",
          "content_md5", "sha256", "sha1", "crc32c", "Digest")
TIMES = ("mtime", "LastModified", "last_modified", "modified", "updated")
FRESH = 10  # seconds; more if the clocks of server and client may differ by more than a few
# Options of an open that say how it is read. All others may say what: which version, whose file.
HOW = {"cache_type", "fill_cache", "size"}
# File systems with caches: fsspec's own, and those that reach others which they do not show.
CACHES = ("CachingFileSystem", "GenericFileSystem", "DaskWorkerFileSystem")
FEW = 100  # file systems in a list of one
BUFFER = 64 << 10  # of a file, if its open names no block_size
MOST = 4 << 20  # of one request of a target: for reads in a row, and in pools that are opened here
THREADS = 32  # of one call that reads several files, or several parts of one
HANDLES = 8  # of one file of a target: it may make a request for the open of each
_logger = logging.getLogger("cachemax")
_pools, _lock = {}, threading.Lock()
_said = set()  # what was warned of


def _numbers(*values):
    """As ints, those of numpy, too, and None as it is."""
    return [value if value is None else operator.index(value) for value in values]


def _in_child():
    """A child of fork() has no part of its parent's pools, and another thread may have had the
    lock."""
    global _pools, _lock
    _pools, _lock = {}, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def _is_strong(value):
    """Not so a weak ETag: other bytes may have the same. Nor "null": S3 says so in place of a
    version while a bucket's versions are suspended."""
    return bool(value) and str(value) != "null" and not str(value).startswith("W/")


def _moment_of(value):
    """(Seconds since 1970 of a time of change, is it too fresh). A datetime without a zone is UTC,
    as SFTP tells it. It is also too fresh if it would be so in local time, which others may mean
    (with both moments of the hour that is there twice when a summer time ends)."""
    now, fresh = time.time(), False
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            fresh = any(abs(now - value.replace(fold=fold).timestamp()) < FRESH for fold in (0, 1))
            value = value.replace(tzinfo=datetime.timezone.utc)
        value = value.timestamp()
    return value, fresh or now - value < FRESH


def proof_of(info):
    """What an info proves: (bytes or None, is it too fresh to be sure)."""
    strong = ["%s %s" % (name, info[name]) for name in STRONG if _is_strong(info.get(name))]
    if strong:
        return " ".join(strong + [str(info.get("size"))]).encode(), False
    for name in TIMES:
        if isinstance(info.get(name), (int, float, datetime.datetime)):
            value, fresh = _moment_of(info[name])
            return b"%s %r %r" % (name.encode(), value, info.get("size")), fresh
    return None, False


def _proof_without_times(info):
    return proof_of({name: value for name, value in info.items() if name not in TIMES})


def _file_systems_of(fs):
    """Those that it keeps, also several in a list or the like. (A long one is data: a listing.)"""
    for value in list(object.__getattribute__(fs, "__dict__").values()):
        if isinstance(value, dict) and len(value) <= FEW:
            value = list(value.values())
        several = isinstance(value, (list, tuple, set, frozenset)) and len(value) <= FEW
        yield from (one for one in (list(value) if several else [value])
                    if isinstance(one, fsspec.AbstractFileSystem))


def _layers(fs, path=None):
    """[(a file system, the path in it or None: not known)]: this one, and all below it."""
    found, left = [], [(fs, path)]
    while left:
        fs, path = left.pop()
        if any(fs is known for known, _ in found):
            continue
        found.append((fs, path))
        if type(fs) is DirFileSystem and path is not None:
            left.append((fs.fs, fs._join(path)))
            continue
        left.extend((value, None) for value in _file_systems_of(fs))
    return found


def _cache_of(fs):
    """The kind of a cache of its own that the target reads through, or None. It may give bytes that
    are older than what the server says now, and nobody here can empty it."""
    kinds = {kind.__name__ for layer, _ in _layers(fs) for kind in type(layer).__mro__}
    return next((kind for kind in CACHES if kind in kinds), None)


def _at_once(fs):
    """May it be called by several threads? fsspec says so of those that are asynchronous. Others
    may have one connection, with one answer at a time."""
    return all(getattr(layer, "async_impl", False) for layer, _ in _layers(fs))


def _is_in_archive(fs):
    """Members of an archive have the times that somebody gave them. An archive that was built again
    may have the same ones for other content."""
    return any(isinstance(layer, AbstractArchiveFileSystem) for layer, _ in _layers(fs))


def _invalidate(fs, path):
    """Listings of directories may be old, and infos are taken from them. Not all file systems pass
    that on to those below, and some understand `path` as the directory."""
    for layer, path in _layers(fs, path):
        layer.invalidate_cache(path)
        if path is not None:
            layer.invalidate_cache(layer._parent(path))


def pool_of_process(path, create_size, key_file=None):
    path = os.path.realpath(path)
    with _lock:
        cache = _pools.get(path)
        if cache is None or cache.closed:
            cache = _pools[path] = cachemax.open(path, create_size, key_file=key_file,
                                                        read_size_max=MOST)
        return cache


class _Unproven(Exception):
    """Without a proof nobody can know whether what is cached is still right."""


class _Changed(Exception):
    """The bytes may be of another version than the one that is cached: they are not stored."""


def _inner(fs, path):
    """What a directory (dirfs) is of, and the path there."""
    while type(fs) is DirFileSystem:
        fs, path = fs.fs, fs._join(path)
    return fs, path


class _Remote:
    """A file of a target as origin. It is opened at the first read that misses, and for reads at
    the same time once more."""
    may_end_early = True  # as the target's own file may, when it has changed
    has_one_version = False

    def __init__(self, fs, path, proof, identity):
        self.fs, self.where, self.proof_of = fs, path, proof
        self.handles = _several.Handles()
        self.lock, self.etag, self.length = threading.Lock(), None, None
        self.state, self.changed, self.has_ranges = None, False, True
        self.id = _id_of_key(repr((path, identity.of(fs))))
        self.web, self.url = _inner(fs, path)
        layers = _layers(self.web) if proof is proof_of else [(self.web, path)]
        if any(_web.is_web(layer) for layer, _ in layers) and not _web.is_own(self.web):
            raise _Unproven("%r: no file system of fsspec reads it from the web" % path)

    def ask(self):
        """The info, and what must not change while it is read. Of the rules here that is also all
        times: they show that an object has been another one meanwhile."""
        _invalidate(self.fs, self.where)
        info = self.fs.info(self.where)
        proof, racy = self.proof_of(info)
        times = [info.get(name) for name in TIMES] if self.proof_of is proof_of else []
        return info, (proof, info.get("size"), times), racy

    def identify(self):
        taken_at = cachemax.now()
        info, state, racy = self.ask()
        if (info.get("contentEncoding") or "identity") != "identity":
            raise _Unproven("%r: it is packed there, and may come unpacked" % self.where)
        if state[0] is None or state[1] is None:
            raise _Unproven("%r: no proof, or no size" % self.where)
        if state[1] == 0:  # an empty file needs no cache
            raise _Unproven("%r: size 0, as some servers say of any file" % self.where)
        with self.lock:
            is_new = state != self.state
            self.state, self.length, self.etag = state, state[1], info.get("ETag")
            if is_new:  # and what is opened from here on is of that
                self.has_ranges = True
                self.close()
        return (self.id, _validator(state[0], self.length, taken_at, racy),
                functools.partial(self.into, state=state))

    def open(self):
        if _web.is_web(self.web):
            return _web.File(self.web, self.url, self.length,
                             self.etag if _is_strong(self.etag) else None)
        return self.fs.open(self.where, "rb", cache_type="none")

    def handles_at_once(self, file):
        """A server that knows no ranges would send the whole file to each."""
        if isinstance(file, _web.File):
            return THREADS if file.ranges and file.whole is None else 1
        return HANDLES if _at_once(self.fs) else 1

    def read(self, offset, memory):
        """(How many bytes, is it proven that they are of the version that the info told)."""
        return self.handles.run(self.open, self.handles_at_once, self.read_with, offset, memory)

    def read_with(self, file, offset, memory):
        done, all_proven = 0, True
        while done < len(memory):
            data, proven = self.part(file, offset + done, len(memory) - done)
            if not data:
                return done, all_proven and proven
            memory[done:done + len(data)] = data
            done, all_proven = done + len(data), all_proven and proven
        return done, all_proven

    def part(self, file, first, count):
        if isinstance(file, _web.File):
            file.ranges = self.has_ranges
            return file.part(first, count, strict=not self.changed)
        file.seek(first)
        data = file.read(count)
        if len(data) > count:
            raise OSError(errno.EIO, "the target has returned %d bytes in place of %d" % (
                len(data), count), self.where)
        return data, False

    def into(self, offset, memory, state):
        """`state`: what was proven when the read began. The bytes must be of that."""
        try:
            done, proven = self.read(offset, memory)
        except _web.Unclear as e:
            self.changed, self.has_ranges = True, False
            raise _Changed(str(e)) from e
        if not proven:
            try:
                self.changed = self.changed or self.ask()[1] != state
            except Exception as e:  # of the target
                self.changed = True
                raise _Changed("%r: %s" % (self.where, e)) from e
        if self.changed or self.state != state:
            raise _Changed("%r has changed while it is open" % self.where)
        return done

    def size(self):
        return self.length

    def close(self):
        self.handles.close()


class _RemoteFile(cachemax.File):
    """Each read of the target is a request, so reads in a row grow: from the third miss on so much
    is read ahead that it is twice what the row has had. What nobody has asked for yet waits here,
    and not in the pool alone: there it would have been read once more than it was, and may be gone
    before it is read."""
    # Reads in a row, each where the last one ended: where that was, how many, how many bytes. And
    # what is read ahead: (as of which _presented, and which mark of changes that were told before
    # it was read, from where, bytes, the memory) or None.
    _row, _ahead = (0, 0, 0), None

    def _say_moved(self, other):
        pass  # _read() does

    def readinto(self, buffer):
        at = self._position
        if at != self._row[0]:
            self._row, self._ahead = (at, 0, 0), None
        n = super().readinto(buffer)
        end, reads, done = self._row
        self._row = at + n, reads + 1, done + n
        return n

    def _with_ahead(self, offset, length):
        end, reads, done = self._row
        if offset != end or reads < 2:
            return length
        end = offset + min(MOST, 2 * done) + cachemax.BLOCK - 1
        end = min(end - end % cachemax.BLOCK, self._source.length)
        return max(length, end - offset)

    def _fill(self, version, offset, length, origin):
        told, seen = self._pool.told[self._place()], self._presented
        wanted = self._with_ahead(offset, length)
        if wanted > length:
            try:
                n, memory = super()._fill(version, offset, wanted, origin)
                if n > length and seen[1] is origin and seen[2] == version:
                    self._ahead = seen, told, offset, n, memory
                return n, memory
            except _Changed:
                raise
            except Exception:  # what was asked for may be read all the same
                pass
        return super()._fill(version, offset, length, origin)

    def _take_ahead(self, offset, to, length):
        """How many bytes were read ahead from there on, and are of the version that is read. No
        change of it was told since."""
        ahead = self._ahead
        if ahead is None or os.getpid() != self._pool.pid:
            return 0
        seen, told, first, count, memory = ahead
        if seen is not self._presented or not self._may_keep(seen[2], told):
            self._ahead = None
            return 0
        n = min(length, first + count - offset) if offset >= first else 0
        if n <= 0:
            return 0
        cachemax.ffi.memmove(to, memory + (offset - first), n)
        if offset + n == first + count:
            self._ahead = None
        return n

    def _read_beside(self, offset, to, length):
        self._source.changed = True
        raise _Changed("%r: others have found a newer version, or have forgotten what was cached" %
                       self._source.where)

    def _read(self, offset, to, length):
        if not self._source.changed:
            try:
                return self._take_ahead(offset, to, length) or super()._read(offset, to, length)
            except _Changed as e:
                _logger.warning("%s; from here on it is read without the cache", e)

        def read(_):  # in a call, so the target is not closed meanwhile
            with memoryview(cachemax.ffi.buffer(to, length)) as memory:
                return self._source.read(offset, memory)[0]
        return self._pool.run(self, read)

    def warm(self, *arguments, **options):
        try:
            return super().warm(*arguments, **options)
        except _Changed as e:  # it names the file
            raise OSError(errno.EIO, str(e)) from e

    def close(self):
        is_child = os.getpid() != self._pool.pid  # it has stored nothing
        if not self.closed and self._source.handles.used and not is_child:
            try:
                self.revalidate()
            except Exception as e:  # of the target, or the cache was closed before
                self._forget(e)
        self._ahead = None
        super().close()

    def _forget(self, why):
        try:
            self._cache.forget(self)
            what = "is forgotten"
        except (ValueError, cachemax.Error) as e:
            what = "could not be forgotten (%s)" % e
        _logger.warning("%r: %s; what is cached of it %s", self._source.where, why, what)


def _reopen(fs, path, block_size, position):
    file = fs.open(path, "rb", block_size=block_size)
    if position:
        file.seek(position)
    return file


class _Buffered(io.BufferedReader):
    """With what methods of fsspec, and its users, want of a file."""
    mode = "rb"

    def __init__(self, fs, path, raw, buffer_size):
        super().__init__(raw, buffer_size)
        self.fs, self.path, self.least = fs, path, buffer_size

    @property
    def full_name(self):
        return self.fs.unstrip_protocol(self.path)

    def __reduce__(self):
        """As fsspec's own files: it is opened again, perhaps in another process, and is what the
        target has then. The position is the same."""
        return _reopen, (self.fs, self.path, self.least, self.tell())

    def __reduce_ex__(self, protocol):  # io's own refuses
        return self.__reduce__()

    def read1(self, size=-1):
        """io's own asks the raw file for `size` bytes alone if its buffer is empty. A reader of
        text wants 8 KiB, and a request of the target for each would be slow."""
        if 0 < size < self.least:
            self.peek(1)  # fills the buffer if it is empty
        return super().read1(size)

    @property
    def size(self):
        return self.raw.size


class CachemaxFileSystem(fsspec.AbstractFileSystem):
    """`pool`: a path, or an open cachemax.Cache (then the file system cannot be pickled).
    `create_size`: bytes of a pool that is made if it does not exist. `key_file`: the file with the
    key of a sealed pool. The target: that of the URL (cachemax://https://host/file, or
    cachemax::https://host/file), or `fs`, or `target_protocol`; and `target_options`. `proof`: a
    function of your own in place of proof_of, for a target that says too little or never changes.
    `identity`: a name for those options of the target that are objects, as credentials.
    `url_options`: what fsspec found of the target in the URL.
    """
    protocol = "cachemax"
    root_marker = ""

    def __init__(self, pool=None, create_size=None, target_protocol=None, target_options=None,
                 fs=None, fo=None, proof=proof_of, key_file=None, identity=None, url_options=None,
                 **kwargs):
        super().__init__(**kwargs)
        if pool is None or (fs is None and target_protocol is None):
            raise ValueError('a pool and a target are needed, as in fsspec.open("cachemax://https:'
                             '//host/file", pool="/mnt/pmem/pool")')
        options = dict(url_options or {})
        update_storage_options(options, target_options)  # KeyError: the URL says another thing
        self.fs = fs or fsspec.filesystem(target_protocol, **options)
        if proof is proof_of and _is_in_archive(self.fs):
            proof = _proof_without_times
        self.fo, self.proof_of, self.cache = fo, proof, pool
        if not isinstance(identity, (str, type(None))):
            raise TypeError("identity %r: it must be a str" % (identity,))
        self.identity = Identity(identity, proof in (proof_of, _proof_without_times))
        other = _cache_of(self.fs)
        if other is not None:
            self.cache = None
            _logger.warning("the target reads through a cache of its own (%s), whose bytes may be "
                            "old; files are read without the pool", other)
        elif not isinstance(pool, cachemax.Cache):
            self.cache = None
            try:
                self.cache = pool_of_process(pool, create_size, key_file)
            except cachemax.Error as e:
                _logger.warning("%s; files are read without the cache", e)
        if self.cache is not None and not isinstance(self.fs, LocalFileSystem):
            self._say_nameless()
        self._strip_protocol = self._target_path  # each target has its own names

    def _say_nameless(self):
        objects = []
        self.identity.of(self.fs, objects)
        for option, value in objects:
            what = type(self.fs).__name__, option, type(value).__name__
            if what not in _said:
                _said.add(what)
                _logger.warning("%s: its option %r is an object (%s) that says nothing of what it "
                                "stands for, so other file systems and processes do not find what "
                                "is cached of this one; identity=NAME gives it a name", *what)

    @classmethod
    def _get_kwargs_from_urls(cls, path):
        url = path[len("cachemax://"):]  # of the target, as in cachemax://sftp://host/file
        target = split_protocol(url)[0]
        if not target:
            return {}
        try:
            options = fsspec.get_filesystem_class(target)._get_kwargs_from_urls(url)
        except (ValueError, ImportError):  # an unknown one, which `fs` may be
            options = {}
        return {"target_protocol": target, **({"url_options": options} if options else {})}

    def _target_path(self, path):
        if isinstance(path, (list, tuple)):
            return [self._target_path(p) for p in path]
        path = stringify_path(path)
        if path.startswith("cachemax://"):
            path = path[len("cachemax://"):]
        return self.fs._strip_protocol(path or self.fo or "")

    def info(self, path, **kwargs):
        return self.fs.info(self._strip_protocol(path), **kwargs)

    def ls(self, path, detail=True, **kwargs):
        return self.fs.ls(self._strip_protocol(path), detail=detail, **kwargs)

    def invalidate_cache(self, path=None):
        self.fs.invalidate_cache(path and self._strip_protocol(path))

    def _open(self, path, mode="rb", block_size=None, autocommit=True, cache_options=None,
              **kwargs):
        if mode == "rb":
            file = self._open_cached(path, block_size, kwargs)
            if file is not None:
                return file
        if block_size is not None:
            kwargs["block_size"] = block_size
        if cache_options is not None:
            kwargs["cache_options"] = cache_options
        if not autocommit:  # the caller puts it into the transaction
            return self.fs._open(path, mode, autocommit=False, **kwargs)
        return self.fs.open(path, mode, **kwargs)

    def _open_cached(self, path, block_size, options):
        """None: it must be read without the cache."""
        if self.cache is not None and HOW.issuperset(options):
            try:
                return _Buffered(self, path, self._attach(path), block_size or BUFFER)
            except _Unproven as e:
                _logger.info("%s: it is read without the cache", e)
            except (cachemax.Error, ValueError) as e:
                _logger.warning("%s; %r is read without the cache", e, path)
        return None

    def cat_file(self, path, start=None, end=None, **kwargs):
        start, end = _numbers(start, end)
        try:
            return super().cat_file(path, start, end, **kwargs)
        except ValueError:  # of a target that streams what has no size: it cannot seek
            if start is None or start < 0 or end is None or end < 0:
                return super().cat_file(path, **kwargs)[start:end]
        data = self.fs.cat_file(self._strip_protocol(path), start=start, end=end, **kwargs)
        return data if len(data) <= end - start else data[start:end]  # all: it knows no ranges

    def cat(self, path, recursive=False, on_error="raise", **kwargs):
        paths = self.expand_path(path, recursive=recursive)
        if len(paths) == 1 and not isinstance(path, list) and (
                paths[0] == self._strip_protocol(path)):
            return self.cat_file(paths[0], **kwargs)
        out = {}
        with closing(_several.each(lambda path: self.cat_file(path, **kwargs), paths,
                                   self._threads())) as results:
            for path, (data, failed) in zip(paths, results):
                if failed is not None and on_error == "raise":
                    raise failed
                if failed is None or on_error == "return":
                    out[path] = data if failed is None else failed
        return out

    def cat_ranges(self, paths, starts, ends, max_gap=None, on_error="return", **kwargs):
        """As fsspec's, but each file is opened once. on_error="return": an exception is in the
        place of its bytes."""
        if max_gap is not None:
            raise NotImplementedError
        if not isinstance(paths, list):
            raise TypeError("paths must be a list")
        starts = starts if isinstance(starts, list) else [starts] * len(paths)
        ends = ends if isinstance(ends, list) else [ends] * len(paths)
        if not len(paths) == len(starts) == len(ends):
            raise ValueError("paths, starts and ends must have the same length")
        kwargs.pop("batch_size", None)  # of asynchronous ones
        paths, files = [self._strip_protocol(path) for path in paths], {}
        for path in paths:
            if path not in files:
                files[path] = _several.Shared(functools.partial(
                    self._open_cached, path, None, kwargs))
            files[path].readers += 1

        def part(wanted):
            return files[wanted[0]].read(self._range, *wanted, kwargs)
        out = []
        try:
            with closing(_several.each(part, list(zip(paths, starts, ends)),
                                       self._threads())) as results:
                for data, failed in results:
                    if failed is not None and on_error != "return":
                        raise failed
                    out.append(data if failed is None else failed)
        finally:
            for file in files.values():  # if not all was read
                file.close()
        return out

    def _range(self, file, path, start, end, options):
        start, end = _numbers(start, end)
        if file is not None:
            size = file.size
            first = max(0, size + start) if (start or 0) < 0 else start or 0
            length = (size if end is None else end if end >= 0 else size + end) - first
            if length >= 0:
                return file.raw.pread(first, length) if length else b""
        return self.cat_file(path, start, end, **options)

    def _threads(self):
        return THREADS if _at_once(self.fs) else 1

    def _attach(self, path):
        if isinstance(self.fs, LocalFileSystem):
            return self.cache.file(path)
        return _RemoteFile(self.cache, _Remote(self.fs, path, self.proof_of, self.identity))

    @property
    def transaction(self):
        return self.fs.transaction

    def start_transaction(self):
        return self.fs.start_transaction()

    def end_transaction(self):
        self.fs.end_transaction()


def _of_target(name, first, count):
    """A call of the target. Its arguments from `first` on are so many paths of the target."""
    def path(self, value):
        bare = self._strip_protocol(value)
        if isinstance(value, str) and value.endswith("/") and not bare.endswith("/"):
            bare += "/"  # it means: into this directory
        return bare

    def call(self, *arguments, **options):
        arguments = [path(self, value) if first <= i < first + count else value
                     for i, value in enumerate(arguments)]
        options = {key: path(self, value) if key in PATHS else value
                   for key, value in options.items()}
        return getattr(self.fs, name)(*arguments, **options)
    call.__name__ = name
    setattr(CachemaxFileSystem, name, call)


# What is left are reads (cat, get, head, ...), which go through open(), and other names of these.
PATHS = ("path", "path1", "path2", "rpath")
for _name in ("mkdir", "makedirs", "rmdir", "rm", "rm_file", "touch", "pipe_file", "created",
              "modified", "sign", "checksum", "ukey", "exists", "isfile", "isdir", "find", "walk",
              "glob", "du"):
    _of_target(_name, 0, 1)
for _name in ("mv", "copy", "cp_file"):
    _of_target(_name, 0, 2)
for _name in ("put", "put_file"):
    _of_target(_name, 1, 1)
