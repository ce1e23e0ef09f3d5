# SPDX-License-Identifier: BSD-2-Clause
"""What is around own writes of the origin, and around its fsync."""
import errno
import logging
import weakref

from ._binding import ffi, lib
from ._error import Error, check as _check
from ._origin import SIZE_UNKNOWN, _Path, _validator

_logger = logging.getLogger("cachemax")


def no_copy(self, protocol):
    """In place of __reduce_ex__: a copy would have the same handle, and close it when it dies."""
    raise TypeError("a %s cannot be copied or pickled: %s" % (type(self).__name__, self._instead))


class Bracket:
    """See File.bracket(). With sole_writer what is cached beside the write stays, also for the next
    open: a file of the system is identified again at the end of the bracket, and, because its times
    are too fresh then, once more when the File or the Cache is closed, or by checkpoint(). (The
    close may wait for that, up to half a second. After a kill before it the file is cold.) For an
    object call changed() with its new proof in the bracket, after the write. Without sole_writer a
    new version of the file begins when it is identified next."""
    _after, __reduce_ex__ = ffi.NULL, no_copy
    _instead = "it is around one write of one File"

    def __init__(self, file, begin, *range_):
        self._file, self._begin, self._range = file, begin, range_
        self._open = ffi.new("cm_bracket *")

    def __enter__(self):
        if self._open.id:
            raise ValueError("the bracket is open already")
        self._after = ffi.NULL
        try:
            self._file._call(self._begin, *self._range, self._open)
        except BaseException:  # also of a signal handler, when it has begun
            if self._open.id:
                self._end(ffi.NULL)
            raise
        return self

    def _end(self, after):
        def end(file, validator):
            return lib.cm_write_end(file, self._open, validator)
        self._file._mark_told()  # nothing that is kept is used before the end: _may_keep()
        rc = self._file._pool.run(self._file, end, after)
        if rc == lib.CM_EINVAL and after:  # changed() got no validator: it is still open
            self._file._pool.run(self._file, end, ffi.NULL)
        self._open.id = 0
        _check(rc, self._file._source.where)
        if after:
            self._file._bind(after)
        else:
            self._file._presented[0].size = SIZE_UNKNOWN  # the write may have moved the end

    def changed(self, proof, size=None, taken_at=None):
        """The proof after the write. `taken_at`: as for object(); None: it was asked for just now,
        after the write, so that no other one can be newer."""
        taken_at, source = lib.cm_now() if taken_at is None else taken_at, self._file._source
        self._after = _validator(proof, size, taken_at)
        if not callable(source.proof[0]):
            source.set_proof(proof, size, taken_at)

    def __exit__(self, *exception):
        after, source = self._after, self._file._source
        if isinstance(source, _Path) and source.sole_writer:
            try:
                after = source.identify()[1]
            except Error as e:
                _logger.warning("%s", e)
            self._file._pool.written[id(self._file)] = weakref.ref(self._file)
        self._end(after)


class Sync:
    """See File.sync_bracket()."""
    __reduce_ex__, _instead = no_copy, "it is around one sync of one File"

    def __init__(self, file):
        self._file, self._open, self._entered = file, ffi.new("cm_sync *"), False

    def __enter__(self):
        if self._entered:
            raise ValueError("the sync bracket is open already")
        self._file._call(lib.cm_sync_begin, self._open)
        self._entered = True
        return self

    def __exit__(self, kind, exception, traceback):
        self._entered = False
        if getattr(exception, "errno", None) in (errno.EINVAL, errno.EROFS):
            return  # it cannot be synced at all: nothing is known
        self._file._call(lib.cm_sync_end, self._open, kind is None, ffi.NULL)
