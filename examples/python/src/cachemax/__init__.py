# SPDX-License-Identifier: BSD-2-Clause
"""A crash-proof, persistent block read cache in one file, for Python.

    import cachemax
    with cachemax.open("/mnt/pmem/pool", create_size=1 << 30) as cache:
        with cache.file("/mnt/slow/data") as file:
            data = file.read()

README.md beside the package explains it; docs/embedding.md of the library has the whole contract.

How it works. An open pool is a _Pool. All calls of the library that use one go through its run(),
which notes that they run, because a cache must not be closed below them. A signal handler may raise
an exception between any two steps of Python, the collector may call File.__del__ there, and after a
fork() a lock may be held by nobody. So run() has no lock: it makes its note first and looks then
whether the cache or the file is closed; who closes says so first and looks then for notes. A File
that is closed while another thread reads, or where the library cannot be called (in a callback),
waits in _Pool.unended until a call ends. The interpreter's own lock is free during the calls.

Versions. All Files of one origin share what is cached, and each may have another proof: the origin
changes, and a File that is opened later finds the new version. The older one may read the old
version of its origin all the same. So each File knows the number of the version that its own proof
is of (_bind), and it gets and stores blocks of this version alone. If the library has another one,
the File reads its origin beside the cache.
"""
import collections
import errno
import io
import logging
import operator
import os
import threading
import time
import weakref

from ._binding import ffi, lib
from ._bracket import Bracket, Sync, no_copy
from ._error import AccessError, Error, ExistsError, NotFoundError  # noqa: F401: for users
from ._error import check as _check
from ._origin import SIZE_UNKNOWN, _id_of_key, _name, _Object, _Path

__all__ = ["open", "Cache", "File", "Error", "now", "version", "ADVISE_NORMAL",
           "ADVISE_SEQUENTIAL", "ADVISE_NOREUSE", "ADVISE_KEEP"]
ADVISE_NORMAL, ADVISE_SEQUENTIAL = lib.CM_ADVISE_NORMAL, lib.CM_ADVISE_SEQUENTIAL
ADVISE_NOREUSE, ADVISE_KEEP = lib.CM_ADVISE_NOREUSE, lib.CM_ADVISE_KEEP
POLICIES = {"auto": 0, "s3r": 1, "gclock": 2}
SEALED = {0: False, 1: True, 2: "encrypted"}
DURABILITIES = {1: "volatile", 2: "pagecache", 3: "dax", 4: "checkpoint"}
NOTE_TRIES = 50  # of 10 ms: until the times of a file that was written are old enough (20 ms)
PIECE = 4 << 20  # of reads up to the end of a file
BLOCK = 4096
LAST = (1 << 63) - 1  # where a read may end at most
PLACES = 64  # of marks, see File._mark_told
TRIES = 3  # of a read, if the file gets another version meanwhile and again has the wanted one
ANY = 0  # all versions are right: the origin has only that of now
BRACKET = "a bracket is open (File.abort() ends those whose owner is gone)"
_FAILED = -1001  # no error of the library is below -1000
_LEVELS = {0: logging.ERROR, 1: logging.WARNING}
_logger = logging.getLogger("cachemax")
_memory = ffi.new_allocator(should_clear_after_alloc=False)


def now():
    """The library's clock, for taken_at."""
    return lib.cm_now()


def version():
    """Of the library that is running."""
    return ffi.string(lib.cm_version()).decode()


# ---- Callbacks of the library -------------------------------------------------------------------

class _Call:
    """One call with callbacks. An exception in them ends the call, and comes out of it. It does not
    hold its handle, nor an exception that came out: no cycles are left for the collector."""
    failed = None

    def __init__(self, into=None, progress=None):
        self.into, self.progress = into, progress

    def result(self, code, where):
        failed, self.failed = self.failed, None
        try:
            if failed is not None and code < 0:
                raise failed
            return _check(code, where)
        finally:
            del failed


def _failed_outside(kind, exception, traceback):
    """A signal handler may raise before a callback is in its `try`. The call gets that, too."""
    ffi.from_handle(traceback.tb_frame.f_locals["ctx"]).failed = exception


@ffi.def_extern(error=_FAILED, onerror=_failed_outside)
def cachemax_origin(ctx, offset, to, length):
    call = ffi.from_handle(ctx)
    try:
        with memoryview(ffi.buffer(to, length)) as memory:
            return call.into(offset, memory)
    except BaseException as e:  # it must not look like the end of the file
        call.failed = e
        return _FAILED


@ffi.def_extern(error=1, onerror=_failed_outside)
def cachemax_progress(ctx, done, total):
    call = ffi.from_handle(ctx)
    try:
        return bool(call.progress and call.progress(done, total))
    except BaseException as e:  # also KeyboardInterrupt
        call.failed = e
        return 1


@ffi.def_extern()
def cachemax_log(ctx, level, text):
    ffi.from_handle(ctx).log(level, ffi.string(text))


# ---- The cache ----------------------------------------------------------------------------------

class _Pool:
    """The state of a Cache that its files share."""

    def __init__(self, where, log):
        self.where, self.user_log, self.pid = where, log, os.getpid()
        self.cell, self.said = ffi.new("cm_cache **"), []  # the open cache, or NULL
        self.calls, self.unended = {}, collections.deque()  # calls: their File or None
        self.told = [object() for _ in range(PLACES)]  # see File._mark_told
        self.written = {}  # weak references to files that may need one more validator
        # The thread that is in close(). A signal handler may come in the middle, and close, too.
        self.closing, self.closer = threading.RLock(), None
        self.handle = ffi.new_handle(self)

    def log(self, level, text):
        own, for_error = os.fsencode(self.where) + b": ", not self.cell[0] and level == 0
        text = text[len(own) * (for_error and text.startswith(own)):].decode(errors="replace")
        if for_error:  # the exception has the name itself
            self.said.append(text)
        elif self.user_log:
            self.user_log(level, text)
        else:
            _logger.log(_LEVELS.get(level, logging.INFO), "%s", text)

    def run(self, file, function, *arguments):
        """Calls function(the file or the cache, *arguments). (Since Python 3.10 signals come at
        calls and jumps only: not between `try` and the note, nor before it is taken back.)"""
        if os.getpid() != self.pid:
            raise Error(lib.CM_EFORKED, self.where)
        token = object()
        while True:
            try:
                self.calls[token] = file
                if self.closer is None:
                    self.usable(file)
                    return function((self if file is None else file).cell[0], *arguments)
                if self.closer == threading.get_ident():
                    raise ValueError("the cache is being closed: %r" % self.where)
            finally:
                self.calls.pop(token, None)
                if self.unended:
                    self.end_files()
            time.sleep(0.001)  # another thread is in close(), which may find that it cannot

    def usable(self, file):
        if not self.cell[0]:
            raise ValueError("the cache is closed: %r" % self.where)
        if file is not None and file._ended:
            raise ValueError("I/O operation on closed file")

    def busy(self, file):
        return any(f is file for f in list(self.calls.values()))

    def end_files(self):
        for file in list(self.unended):
            if self.busy(file):
                continue
            try:
                self.unended.remove(file)
            except ValueError:
                continue  # another thread has taken it
            try:
                file._end()
            except Exception as e:  # also of a target, which the caller may not know
                _logger.warning("closing %r: %s", file._source.where, e)

    def note_written(self, tries):
        for key, ref in list(self.written.items()):
            file = ref()
            if file is None or file._note(tries):
                self.written.pop(key, None)
            else:
                tries = 1  # for this one there was time enough

    def close(self):
        if os.getpid() != self.pid or not self.cell[0]:
            return
        self.note_written(NOTE_TRIES)
        self.end_files()
        with self.closing:
            outer = self.closer
            try:
                self.closer = threading.get_ident()
                busy = bool(self.calls)
                rc = lib.CM_EBUSY if busy else lib.cachemax_close(self.cell)
            finally:
                self.closer = outer
        self.end_files()
        if rc == lib.CM_ECALLBACK and outer is not None:
            raise Error(lib.CM_EBUSY, self.where, "still in use: it is being closed")
        if rc == lib.CM_EBUSY:  # nothing was closed
            raise Error(rc, self.where, "still in use: " + (
                "a call of another thread" if busy else BRACKET))
        _check(rc, self.where)

    def close_at_last(self):
        try:
            self.close()
        except Error as e:
            _logger.warning("%s", e)


def _bytes(name, value):
    """The argument `name`: cffi's own errors do not say which one is wrong."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError("%s %r: it must be an int, a number of bytes" % (name, value)) from None
    if not 0 <= number < 1 << 64:
        raise ValueError("%s %r: it must be a number of bytes from 0 to 2**64 - 1" % (name, value))
    return number


def open(pool, create_size=None, *, policy="auto", readonly=False, fill_rate_limit=0,
         probation_bytes=0, read_size_max=0, log=None, key_file=None, encrypt=False):
    """Opens a pool. `create_size`: makes it first, if it does not exist, with so many bytes, a
    multiple of 4096. `key_file`: the file with the key of a sealed pool; a pool that is made is
    sealed then. `encrypt`: and its blocks are encrypted. A pool that is sealed alone is refused
    then.

    `log(level, text)` gets the library's lines, from any thread; without it they go to
    logging.getLogger("cachemax"). The other options are fields of cm_options."""
    if policy not in POLICIES:
        raise ValueError("policy %r: it must be one of %s" % (policy, ", ".join(POLICIES)))
    options = ffi.new("cm_options *")
    lib.cm_options_init(options, ffi.sizeof("cm_options"))
    options.policy, options.flags = POLICIES[policy], lib.CM_OPEN_READONLY if readonly else 0
    options.fill_rate_limit = _bytes("fill_rate_limit", fill_rate_limit)
    options.probation_bytes = _bytes("probation_bytes", probation_bytes)
    options.read_size_max = _bytes("read_size_max", read_size_max)
    if create_size is not None:
        create_size = _bytes("create_size", create_size)
    if encrypt and key_file is None:
        raise ValueError("encrypt needs a key_file")
    return Cache(os.fspath(pool), create_size, options, log, key_file, encrypt)


class Cache:
    """An open pool: see open(). Threads may share it."""
    __reduce_ex__, _instead = no_copy, "it is an open pool; give the path of the pool instead"

    def __init__(self, path, create_size, options, log, key_file=None, encrypt=False):
        self._pool = pool = _Pool(os.fsdecode(path), log)
        path = _name(path, "the name of the pool")
        makes = create_size is not None and not os.path.exists(path)
        if key_file is not None:
            pool.seal = _seal(key_file, encrypt or (not makes and lib.seal_file_encrypts(path)))
            options.seal = lib.seal_file_of(pool.seal)
        if makes:
            create = ffi.new("cm_create_options *")
            lib.cm_create_options_init(create, ffi.sizeof("cm_create_options"))
            create.size, create.log, create.log_ctx = create_size, lib.cachemax_log, pool.handle
            create.seal = options.seal
            rc = lib.cm_create(path, create)
            if rc != lib.CM_EEXIST:  # another process may have been faster
                _check(rc, pool.where, "; ".join(pool.said))
        options.log, options.log_ctx = lib.cachemax_log, pool.handle
        # Also at the end of the program: a pool that was closed keeps all that it has.
        self._last = weakref.finalize(self, pool.close_at_last)
        rc = lib.cm_open(path, options, pool.cell)
        if rc == lib.CM_ENOENT:
            parent = os.path.dirname(path) or b"."
            pool.said.append("create_size=BYTES makes it" if os.path.isdir(parent) else
                             "there is no directory %r" % os.fsdecode(parent))
        if rc == lib.CM_EKEY:
            pool.said.append("give key_file=FILE for a sealed pool, for another one none")
        _check(rc, pool.where, "; ".join(pool.said))

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    @property
    def closed(self):
        return not self._pool.cell[0]

    def close(self):
        """Leaves the pool clean. Files that are still open are closed for good.

        Error CM_EBUSY, and nothing is closed: a call is running in another thread, or a bracket is
        open."""
        self._pool.close()

    def _call(self, function, *arguments):
        return _check(self._pool.run(None, function, *arguments), self._pool.where)

    def file(self, path, *, volume_id=None, sole_writer=False):
        """A file of the system, read through the cache. Its id and validator are cm_identify's.

        `volume_id`: a name for its volume, if the system has none that lasts. `sole_writer`: no
        other process writes the file while it is open here."""
        return File(self, _Path(path, volume_id, sole_writer),
                    lib.CM_SOLE_WRITER if sole_writer else 0)

    def object(self, key, read, *, proof=None, size=None, taken_at=None, sole_writer=False,
               exclusive=False):
        """Anything else, read through the cache. read(offset, length) returns bytes, fewer only at
        the end. It may be called by several threads, and must not use this cache.

        `key`: a name (str, bytes), or a number of 128 bits. `proof`: str or bytes that change
        whenever the content may have changed, as an ETag; with it `taken_at` is needed: now() from
        before it was asked for, but after the open of the cache. (Error CM_IGNORED: it is too old;
        ask again.) Or a function that asks for it: it returns the proof, or the proof and the size,
        and is called at the open, and by revalidate(). None: there is no proof, and the object is
        cold at each open. `sole_writer`: as for file(). `exclusive`: CM_EXCLUSIVE, a stronger
        promise; the proof is a version of your own, which writes do not change."""
        return File(self, _Object(key, read, proof, size, taken_at),
                    (lib.CM_SOLE_WRITER if sole_writer else 0) |
                    (lib.CM_EXCLUSIVE if exclusive else 0))

    def forget(self, which):
        """Forgets a File or a key, durably. A path is no key: of a file of the system give the
        File."""
        self._call(lib.cm_forget, which._id if isinstance(which, File) else _id_of_key(which))
        if isinstance(which, File) and which._pool is self._pool:
            which._bind(nothing_known=True)

    def checkpoint(self):
        """Call it every few seconds. It stores what waits in memory and is read often. On ext4,
        xfs, btrfs and f2fs what is cached also survives a crash of the system then. On other
        volumes without DAX it raises CM_ENOTSUP, when the first is done."""
        self._pool.note_written(1)
        self._call(lib.cm_checkpoint)

    def stats(self):
        """All counters since the open, by name (cachemax.h: CM_STAT_MAP)."""
        room = ffi.new("uint64_t[512]")
        data = ffi.cast("cm_stats_data *", room)
        data.struct_size = 4096
        self._call(lib.cm_stats, data)
        result = {}
        while True:
            name = lib.cm_stat_name(len(result))
            if name == ffi.NULL:
                return result
            result[ffi.string(name).decode()] = lib.cm_stat_value(data, len(result))

    def info(self):
        """What the pool is: size, slots, durability, and so on (cachemax.h: cm_info)."""
        info = ffi.new("cm_info *", {"struct_size": ffi.sizeof("cm_info")})
        self._call(lib.cm_get_info, info)
        result = _fields(info)
        result["durability"] = DURABILITIES.get(result["durability"], result["durability"])
        result["sealed"] = SEALED.get(result["sealed"], result["sealed"])
        return result

    def check(self, repair=False, progress=None):
        """Verifies the whole pool. Returns a dict; "sound" is False if damage is left.

        progress(done, total) may cancel it by returning True: Error CM_ECANCELED."""
        report = ffi.new("cm_check_report *", {"struct_size": ffi.sizeof("cm_check_report")})
        call = _Call(progress=progress)
        handle = ffi.new_handle(call)
        rc = self._pool.run(None, lib.cm_check, lib.CM_CHECK_REPAIR if repair else 0,
                            lib.cachemax_progress, handle, report)
        rc = call.result(rc, self._pool.where)
        return dict(_fields(report), sound=rc != lib.CM_DAMAGED)


def _seal(key_file, encrypts):
    why = ffi.new("const char **")
    seal = lib.seal_file_read(_name(key_file, "key_file"), bool(encrypts), why)
    if seal == ffi.NULL:
        raise Error(lib.CM_EKEY, os.fsdecode(key_file), ffi.string(why[0]).decode())
    return ffi.gc(seal, lib.seal_file_free)


def _fields(struct):
    names = [name for name, kind in ffi.typeof(struct).item.fields if kind.type.kind == "primitive"]
    return {name: getattr(struct, name) for name in names if name != "struct_size"}


# ---- Files --------------------------------------------------------------------------------------

class File(io.RawIOBase):
    """What Cache.file() and Cache.object() return: a file to read. It never writes the origin.

    pread() is for threads that share it; read() and seek() move one position for all."""
    _ended, _abandoned, _position = True, False, 0  # until it is open
    __reduce_ex__, _instead = no_copy, "it is an open file; open the origin again instead"
    # What was presented last, what reads the origin as of then, and the number of the version that
    # this is, or None if the library has another one. All are set in one step.
    _presented = None

    def __init__(self, cache, source, flags=0):
        super().__init__()
        self._cache, self._pool, self._source = cache, cache._pool, source
        self.cell, self._ends = ffi.new("cm_file **"), []  # _ends: who takes what is in it ends it
        # For each change of _presented. Nothing is called under it, so nobody waits for long. A
        # signal handler may come in the middle, and change it, too.
        self._lock = threading.RLock()
        try:
            self._open(flags)
        except BaseException:
            self._ends[:] = [True]
            self.close()
            raise

    def _open(self, flags):
        self._id, *presented = self._source.identify()
        self._presented = *presented, None
        rc = self._cache._call(lib.cm_file_open, self._id, presented[0], flags, self.cell)
        self._ends.append(True)
        self._ended = False
        is_bound = self._bind()
        for _ in range(3):  # what it proves may be older than a bracket that has just ended
            if rc != lib.CM_IGNORED:
                return
            rc, is_bound = self._revalidate()
        # Else two threads that prove nothing could store two versions under none.
        if rc == lib.CM_IGNORED and not is_bound:
            raise Error(rc, self._source.where, "the proof is too old: ask for it again")

    def _revalidate(self):
        """(What the library says, has it the version that is read here)."""
        def present(file):  # in the call, so the origin is not closed meanwhile
            own, into = self._source.identify()[1:]
            mine = own, into, None
            with self._lock:
                before = self._presented
                if own.taken_at >= before[0].taken_at:  # else another thread has asked later
                    self._presented = mine
            rc = lib.cm_file_revalidate(file, own)
            if rc == lib.CM_EINVAL:  # it is no validator, and changed nothing
                self._swap(mine, before)
            return rc
        return self._call(present), self._bind()

    # ---- Its version, among those of others that have it open ----

    def _swap(self, seen, new):
        """False: another thread has presented something, or has found a version, since `seen`."""
        with self._lock:
            if self._presented is not seen:
                return False
            self._presented = new
            return True

    def _bind(self, proof=None, again=False, nothing_known=False):
        """Finds out whether the library has the version that was presented last (or that of this
        proof), and its number. What it has, and what proves that, are asked for in one call.
        `again`: some time has gone by, so a racy proof is none. `nothing_known`: what the library
        knew was dropped. If nobody has presented another one since, nobody will find later what is
        stored."""
        while True:
            own, into, version = seen = self._presented
            if self._source.has_one_version:
                number, other, new = ANY, None, (own, into, ANY)
            else:
                own = own if proof is None else proof
                number, other = self._look(own, again, nothing_known)
                new = own, into, number or None  # 0: nothing of it can be cached
            if number is None and proof is not None:
                return False
            if self._swap(seen, new):
                break
        if number is None and again and version:
            self._say_moved(other)
        return number is not None

    def _look(self, own, again, nothing_known):
        """(The number of the version that the library has, if this is its proof, else None.
        Whether it has another proof; else it has none: a proof from before what was forgotten
        proves nothing, so presenting that again would be of no use.)"""
        known, info = ffi.new("cm_validator *"), self._new_info()
        lib.cm_validator_init(known, ffi.sizeof("cm_validator"))
        rc = self._pool.run(None, lib.cm_file_lookup, self._id, known, info)
        has_proof = lib.cm_validator_equal(known, known)  # without one it is equal to none
        if lib.cm_validator_equal(known, own):
            is_own = not (again and (known.racy or own.racy))
        else:
            is_own = not has_proof and (nothing_known or not lib.cm_validator_equal(own, own))
        return info.incarnation if rc == 0 and is_own else None, has_proof

    def _say_moved(self, other):
        _logger.warning("%r: %s; this file is read without the cache until revalidate()",
                        self._source.where, "others have presented a newer version" if other else
                        "what was cached of it was forgotten")

    def _own_info(self):
        """What the library knows of the version that is read here. None: it has another one."""
        for _ in range(TRIES):
            info = self._info()
            if self._presented[2] in (ANY, info.incarnation):
                return info
            if not self._bind(again=True):
                break
            if self._presented[2] is None:
                return info  # it is not cached at all
        return None

    def _origin_of_version(self):
        """The origin for cm_warm(), which would go on with another version. Its callback must not
        ask which one that is, so another thread does."""
        (_, origin, version), where = self._presented, self._source.where

        def into(offset, memory):
            def look():
                try:
                    seen.append(self._info().incarnation)
                except BaseException as e:  # it is closed
                    failed.append(e)
            seen, failed, thread = [], [], threading.Thread(target=look, daemon=True)
            thread.start()
            thread.join()
            if failed:
                raise failed.pop()
            if seen[0] not in (version, 0):  # 0: nothing of it can be stored
                raise Error(lib.CM_EMOVED, where)
            return origin(offset, memory)
        return origin if version == ANY else into

    def _call(self, function, *arguments):
        return _check(self._pool.run(self, function, *arguments), self._source.where)

    # ---- Bytes that a File keeps beside the library ----

    def _place(self):
        return self._id.lo % PLACES

    def _mark_told(self):
        """Whoever tells the library that a part of the object has changed leaves another mark, for
        all Files of the object, before the call returns. (What forgets the whole object gives it
        another version.) Other objects may have the same place: what is kept of them is read once
        more then. A mark is a new object: threads need no lock, and no later mark is equal to one
        that somebody holds."""
        self._pool.told[self._place()] = object()

    def _may_keep(self, version, told):
        """May bytes still be used that are of this version, and were read after the mark `told` was
        seen? Who ends a bracket leaves the mark first and ends it then. So here the mark comes
        last: an ended bracket is seen by one of the two."""
        info = self._info()
        return (info.incarnation == version and not info.brackets and
                self._pool.told[self._place()] is told)

    def close(self):
        """Error CM_EBUSY, and it stays open: a bracket is open."""
        if not self._ends:
            return
        if id(self) in self._pool.written and not self._ended and self._note(
                1 if self._abandoned else NOTE_TRIES):
            self._pool.written.pop(id(self), None)
        self._ended = True
        if self._pool.busy(self) and os.getpid() == self._pool.pid:
            self._pool.unended.append(self)
            self._pool.end_files()  # if the last call has ended meanwhile
        else:
            self._end()

    def _end(self):
        rc = 0
        try:
            self._ends.pop()
            rc = self._pool.run(None, self._close)
        except IndexError:
            return  # another thread does it
        except (ValueError, Error):
            if self._pool.cell[0] and os.getpid() == self._pool.pid:
                return self._later()  # this thread is in the cache's close()
            # Else the cache is closed, and with it the file; or this is a child.
        except BaseException:  # of a signal handler
            self._ends.append(True)
            raise
        if rc == lib.CM_ECALLBACK:  # an origin closed it, or the collector came there
            return self._later()
        if rc == lib.CM_EBUSY:
            self._ended = False
            self._ends.append(True)
            raise Error(rc, self._source.where, "still in use: " + BRACKET)
        super().close()
        self._source.close()

    def _note(self, tries):
        """Right after an own write the times prove nothing to the next open, because one more write
        could have the same ones. So a moment later they are presented again. True: done."""
        def present(file):
            info, validator = self._info(), self._source.identify()[1]
            if validator.racy & ~lib.CM_RACY_TIMES or not (info.racy or info.want_validator):
                return True  # no time would help; or it is done
            if info.brackets:
                return None
            return not validator.racy and lib.cm_file_revalidate(file, validator) == 0
        try:
            for i in range(tries):
                if i:
                    time.sleep(0.01)
                done = self._pool.run(self, present)
                if done or done is None:
                    return bool(done)
            return False
        except (ValueError, OSError):  # it is closed, or in a callback; then the file is cold
            return True

    def _later(self):
        self._ends.append(True)
        self._pool.unended.append(self)

    def _close(self, cache):
        rc = lib.cachemax_file_close(self.cell)
        if rc == lib.CM_EBUSY and self._abandoned:  # nobody has the bracket any more
            lib.cm_file_abort(self.cell[0])
            rc = lib.cachemax_file_close(self.cell)
        return rc

    def __del__(self):
        self._abandoned = True
        try:
            File.close(self)
        except AttributeError:
            pass  # it never began to open

    @property
    def closed(self):
        return self._ended or not self._pool.cell[0]

    def _usable(self):
        if self.closed:
            raise ValueError("I/O operation on closed file")

    def readable(self):
        self._usable()
        return True

    def seekable(self):
        self._usable()
        return True

    def fileno(self):
        """Not the origin's: who got that would read beside the cache."""
        raise io.UnsupportedOperation("fileno")

    def tell(self):
        self._usable()
        return self._position

    def seek(self, offset, whence=os.SEEK_SET):
        self._usable()
        offset = operator.index(offset)
        if not -LAST - 1 <= offset <= LAST:
            raise OverflowError("a position of more than 63 bits")
        if whence == os.SEEK_CUR:
            offset += self._position
        elif whence == os.SEEK_END:
            size = self.size
            if size is None:
                raise io.UnsupportedOperation("the size is not known yet")
            offset += size
        elif whence != os.SEEK_SET:
            raise ValueError("whence must be 0, 1 or 2")
        if offset < 0:
            raise OSError(errno.EINVAL, "a negative position")
        if offset > LAST:
            raise OSError(errno.EOVERFLOW, "a position of more than 63 bits")
        self._position = offset
        return offset

    @property
    def size(self):
        """In bytes; None: not known before the end was read."""
        size = (self._own_info() or self._presented[0]).size
        return self._source.size() if size == SIZE_UNKNOWN else size

    @staticmethod
    def _new_info():
        info = ffi.new("cm_file_info *")
        info.struct_size = ffi.sizeof("cm_file_info")
        return info

    def _info(self):
        info = self._new_info()
        self._call(lib.cm_file_get_info, info)
        return info

    def info(self):
        """What the cache knows of the file (cachemax.h: cm_file_info)."""
        result = _fields(self._info())
        del result["cached_bytes"]
        if result["size"] == SIZE_UNKNOWN:
            result["size"] = None
        return result

    def _read(self, offset, to, length):
        for _ in range(TRIES):
            _, origin, version = self._presented
            n = lib.CM_EMOVED if version is None else self._read_version(
                version, offset, to, length, origin)
            if n != lib.CM_EMOVED:
                return n
            if not self._bind(again=True):
                break
        return self._read_beside(offset, to, length)

    def _read_version(self, version, offset, to, length, origin):
        """A hit goes straight to memory of the caller. A miss does not: its other threads might
        change what is stored from there. CM_EMOVED: the library has another version."""
        n = self._pool.run(self, lib.cachemax_read_whole, offset, to, length, version)
        if n == lib.CM_EMOVED:
            return n
        if n != lib.CM_EABSENT:
            return _check(n, self._source.where)
        n, own = self._fill(version, offset, length, origin)
        n = min(n, length)
        if n > 0:
            ffi.memmove(to, own, n)
        return n

    def _fill(self, version, offset, length, origin):
        """(What the library says, the memory that the bytes are in)."""
        own, call = _memory("char[]", length), _Call(origin)
        handle, wanted = ffi.new_handle(call), ffi.new("uint64_t *", version)
        n = self._pool.run(self, lib.cm_read_through_version, offset, own, length, wanted,
                           lib.cachemax_origin, handle)
        if n == lib.CM_EMOVED and call.failed is None:
            return n, own
        return call.result(n, self._source.where), own

    def _read_beside(self, offset, to, length):
        """The origin alone, in whole blocks up to a known end, as the library asks for them."""
        size, into = self.size, self._presented[1]
        length, before = min(length, PIECE), offset % BLOCK
        count = (before + length + BLOCK - 1) // BLOCK * BLOCK
        if size is not None:
            length = max(0, min(length, size - offset))
            count = max(0, min(count, size - (offset - before)))
        memory = _memory("char[]", count)

        def read(_):  # in a call, so the origin is not closed meanwhile
            with memoryview(ffi.buffer(memory, count)) as view:
                return into(offset - before, view) if length else 0
        n = max(0, min(length, self._pool.run(self, read) - before))
        ffi.memmove(to, memory + before, n)
        return n

    def _read_to_end(self, offset, to, length):
        """0 bytes only at the end: it is an error if an object ends before its size."""
        n = self._read(offset, to, length)
        if n or not length or self._source.may_end_early:
            return n
        size = self.size
        if size is None or offset >= size:
            return 0
        n = self._read(offset, to, length)  # it may have grown between the two
        if n == 0:
            raise OSError(errno.EIO, "the origin ended at %d of %d bytes" % (offset, size),
                          self._source.where)
        return n

    def write(self, data):
        """Not here: the origin is written by other means, inside of a bracket()."""
        raise io.UnsupportedOperation("write the origin itself, inside of bracket()")

    def pread(self, offset, length):
        """Bytes from `offset` on, fewer than `length` only at the end. Moves no position."""
        offset, length = operator.index(offset), operator.index(length)
        if length < 0 or offset < 0:
            raise ValueError("a negative length" if length < 0 else "a negative offset")
        if offset > LAST:
            raise OverflowError("an offset of more than 63 bits")
        size, done, n = self.size, 0, 1
        if size is not None:
            if offset >= size:
                return b""
            length = min(length, size - offset)
        memory = _memory("char[]", length)
        while n and (done < length or done == 0):
            n = self._read_to_end(offset + done, memory + done, length - done)
            done += n
        return bytes(ffi.buffer(memory, done))

    def readinto(self, buffer):
        with ffi.from_buffer(buffer, require_writable=True) as memory:
            if self._position > LAST - len(memory):  # the library does not take such an end
                size = self.size
                if size is not None and self._position >= size:
                    return 0
            n = self._read_to_end(self._position, memory, len(memory))
        self._position += n
        return n

    def readall(self):
        pieces = []
        while True:
            pieces.append(self.pread(self._position, PIECE))
            self._position += len(pieces[-1])
            if len(pieces[-1]) < PIECE:
                return b"".join(pieces)

    def cached(self, offset=0, length=None):
        """How many bytes of the range are cached."""
        if self._own_info() is None:
            return 0
        return self._call(lib.cm_file_cached, offset, SIZE_UNKNOWN if length is None else length)

    def warm(self, offset=0, length=None, bytes_per_second=0, progress=None, verify=False):
        """Reads ahead of need what is not cached, and stores it. Returns a dict; "result" is
        "CM_OK", or the name of the reason why something was not stored. verify: what is cached is
        compared with the origin, too; "differed" says how many bytes were of wrong blocks."""
        options = ffi.new("cm_warm_options *")
        lib.cm_warm_options_init(options, ffi.sizeof("cm_warm_options"))
        if self._own_info() is None:
            raise Error(lib.CM_EMOVED, self._source.where)
        call = _Call(self._origin_of_version(), progress)
        report = ffi.new("cm_warm_report *")
        handle = ffi.new_handle(call)
        options.flags = lib.CM_WARM_VERIFY if verify else 0
        options.bytes_per_second, options.progress = bytes_per_second, lib.cachemax_progress
        options.progress_ctx, report.struct_size = handle, ffi.sizeof("cm_warm_report")
        try:
            rc = self._pool.run(self, lib.cm_warm, offset, SIZE_UNKNOWN if length is None else
                                length, options, lib.cachemax_origin, handle, report)
        finally:
            if verify:  # it may have found changes. They are all older than this mark
                self._mark_told()
        rc = call.result(rc, self._source.where)
        return dict(_fields(report), result=ffi.string(lib.cm_errname(rc)).decode())

    def advise(self, advice):
        """How the file will be read. It holds for all that have the file open, until the next
        advice or until the last of them closes it. ADVISE_NORMAL. ADVISE_SEQUENTIAL: reads more of
        the origin at once, at any offset (a quarter of read_size_max; in a small pool less).
        ADVISE_NOREUSE: serves hits, but stores nothing. ADVISE_KEEP: what is stored from now on
        counts as used often."""
        self._call(lib.cm_file_advise, operator.index(advice))

    # ---- Changes of the origin ----

    def revalidate(self, proof=None, size=None, taken_at=None):
        """Looks whether the origin has changed, and forgets what is cached if it has. An object
        needs its new proof, with taken_at, if it has no function that asks. Returns False if the
        proof is too old: take a new one."""
        if proof is not None:
            self._source.set_proof(proof, size, taken_at)
        return self._revalidate()[0] != lib.CM_IGNORED

    def invalidate(self, offset=0, length=None):
        """Somebody else has changed this part of the origin."""
        try:
            self._call(lib.cm_invalidate, offset, SIZE_UNKNOWN if length is None else length)
        finally:  # a read right before it may have been served from the pool
            self._mark_told()

    def bracket(self, offset=0, length=None):
        """Write the origin in a `with` of it; without a length: the whole rest of the file."""
        return Bracket(self, lib.cm_write_begin, offset,
                       SIZE_UNKNOWN if length is None else length)

    def truncate_bracket(self, size):
        """The same for a change of the origin's size."""
        return Bracket(self, lib.cm_truncate_begin, size)

    def abort(self):
        """Ends all brackets of the file, for an owner that is gone: a thread that has died, or a
        signal handler that has raised right at the end of a `with`. Forgets what is cached."""
        self._call(lib.cm_file_abort)
        self._bind(nothing_known=True)

    def sync_bracket(self):
        """Sync the origin in a `with` of it; an exception there says that it failed."""
        return Sync(self)
