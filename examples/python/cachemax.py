# SPDX-License-Identifier: BSD-2-Clause
"""The calls of cachemax.h for Python, with ctypes alone. Copy this module into your program.

    import cachemax
    with cachemax.Cache("/mnt/pmem/pool") as cache:
        with cache.open(*cachemax.identify(fd)) as file:
            data = file.read(0, 1 << 20, lambda offset, length: os.pread(fd, length, offset))
            with file.bracket(offset, len(new)):        # before a write of the origin
                os.pwrite(fd, new, offset)

Negative results raise cachemax.Error, an OSError; its `code` and `name` say which. Positive results
are no errors: functions return them. Exceptions of the origin come out of File.read(). Threads may
share a Cache and a File, because ctypes leaves the interpreter's lock during a call.
The *_init() functions of the library get the sizes of the structs below, so a newer library works,
too. It is the one that CACHEMAX_LIBRARY names, or the installed one. Read next: cat.py, a small
program; docs/embedding.md explains the calls.
"""
import ctypes
import os
from ctypes import (CFUNCTYPE, POINTER, Structure, byref, c_char_p, c_int, c_int64, c_size_t,
                    c_uint8, c_uint32, c_uint64, c_void_p, sizeof)

LONG_AGO = 1  # Validator.changed_ns of servers
SIZE_UNKNOWN = APPEND = 2**64 - 1
SOLE_WRITER, IGNORED = 1, 1  # flag of Cache.open() and identify(); result of File.revalidate()
_ORIGIN_FAILED = -1001


class FileId(Structure):
    _fields_ = [("hi", c_uint64), ("lo", c_uint64)]


class Validator(Structure):
    _fields_ = [("struct_size", c_uint32), ("racy", c_uint32), ("taken_at", c_uint64),
                ("size", c_uint64), ("changed_ns", c_int64), ("proof", c_uint8 * 32)]


class FileInfo(Structure):
    _fields_ = [("struct_size", c_uint32), ("attached", c_uint32), ("id", FileId),
                ("incarnation", c_uint64), ("size", c_uint64), ("dirty", c_uint32),
                ("racy", c_uint32), ("kept", c_uint32), ("brackets", c_uint32),
                ("bypassed", c_uint32), ("want_validator", c_uint32), ("expires_ns", c_int64)]


class IdentifyOptions(Structure):
    _fields_ = [("struct_size", c_uint32), ("flags", c_uint32), ("volume_id", c_char_p),
                ("reserved", c_uint64 * 2)]


class CreateOptions(Structure):
    _fields_ = [("struct_size", c_uint32), ("flags", c_uint32), ("size", c_uint64),
                ("max_files", c_uint64), ("progress", c_void_p), ("progress_ctx", c_void_p),
                ("log", c_void_p), ("log_ctx", c_void_p), ("reserved", c_uint64 * 4)]


_LOG = CFUNCTYPE(None, c_void_p, c_int, c_char_p)
_ORIGIN = CFUNCTYPE(c_int64, c_void_p, c_uint64, c_void_p, c_size_t)


class Options(Structure):
    _fields_ = [("struct_size", c_uint32), ("flags", c_uint32), ("verify", c_uint32),
                ("memory_durability", c_uint32), ("fill_rate_limit", c_uint64),
                ("alloc", c_void_p), ("free", c_void_p), ("alloc_ctx", c_void_p), ("log", _LOG),
                ("log_ctx", c_void_p), ("probation_bytes", c_uint64), ("policy", c_uint32),
                ("wear_weight", c_uint32), ("join_timeout_ns", c_uint64),
                ("read_size_max", c_uint64), ("reserved", c_uint64 * 2), ("check_key", c_void_p),
                ("seal", c_void_p), ("unseal", c_void_p), ("seal_ctx", c_void_p)]


class Error(OSError):
    def __init__(self, code, call):
        self.code, self.name = code, _lib.cm_errname(code).decode()
        super().__init__("%s: %s" % (call, _lib.cm_strerror(code).decode()))


def _check(result, function, arguments):
    if -1000 <= result < 0:
        raise Error(result, function.__name__)
    return result


_CALLS = {  # name: (result, parameters); _check looks at the results of type c_int and c_int64
    "cm_strerror": (c_char_p, c_int), "cm_errname": (c_char_p, c_int), "cm_now": (c_uint64,),
    "cm_validator_init": (None, c_void_p, c_size_t),
    "cm_validator_set_proof": (None, POINTER(Validator), c_char_p, c_size_t),
    "cm_options_init": (None, c_void_p, c_size_t),
    "cm_create_options_init": (None, c_void_p, c_size_t),
    "cm_identify_options_init": (None, c_void_p, c_size_t),
    "cm_create": (c_int, c_char_p, POINTER(CreateOptions)),
    "cm_open": (c_int, c_char_p, POINTER(Options), POINTER(c_void_p)),
    "cm_close": (c_int, c_void_p),
    "cm_identify_with": (c_int, ctypes.c_ssize_t, POINTER(IdentifyOptions), POINTER(FileId),
                         POINTER(Validator)),
    "cm_file_open": (c_int, c_void_p, POINTER(FileId), POINTER(Validator), c_uint32,
                     POINTER(c_void_p)),
    "cm_file_close": (c_int, c_void_p),
    "cm_file_lookup": (c_int, c_void_p, POINTER(FileId), POINTER(Validator), POINTER(FileInfo)),
    "cm_file_get_info": (c_int, c_void_p, POINTER(FileInfo)),
    "cm_file_revalidate": (c_int, c_void_p, POINTER(Validator)),
    "cm_file_set_ttl": (c_int, c_void_p, c_uint64),
    "cm_read_through": (c_int64, c_void_p, c_uint64, c_void_p, c_size_t, _ORIGIN, c_void_p),
    "cm_write_begin": (c_int, c_void_p, c_uint64, c_uint64, POINTER(c_uint64)),
    "cm_write_end": (c_int, c_void_p, POINTER(c_uint64), POINTER(Validator)),
    "cm_stats": (c_int, c_void_p, c_void_p), "cm_stat_name": (c_char_p, ctypes.c_uint),
    "cm_stat_value": (c_uint64, c_void_p, ctypes.c_uint),
}
_lib = ctypes.CDLL(os.environ.get("CACHEMAX_LIBRARY", "libcachemax.so.0"))
for _name, (_result, *_parameters) in _CALLS.items():
    _function = getattr(_lib, _name)
    _function.restype, _function.argtypes = _result, _parameters
    if _result in (c_int, c_int64):
        _function.errcheck = _check
now = _lib.cm_now


def _new(struct, init):
    s = struct()
    init(byref(s), sizeof(s))
    return s


def create(path, size):
    """Makes a pool of `size` bytes."""
    options = _new(CreateOptions, _lib.cm_create_options_init)
    options.size = size
    _lib.cm_create(os.fsencode(path), byref(options))


def identify(fd, flags=0, volume_id=None):
    """Id and validator of an open file, for Cache.open()."""
    file_id, validator = FileId(), _new(Validator, _lib.cm_validator_init)
    options = _new(IdentifyOptions, _lib.cm_identify_options_init)
    options.flags, options.volume_id = flags, volume_id and volume_id.encode()
    _lib.cm_identify_with(fd, byref(options), byref(file_id), byref(validator))
    return file_id, validator


def validator_of(proof, taken_at, size=SIZE_UNKNOWN, changed_ns=LONG_AGO):
    """Validator of an object that is no file. `taken_at`: now() before the origin was asked."""
    v = _new(Validator, _lib.cm_validator_init)
    _lib.cm_validator_set_proof(byref(v), proof, len(proof))
    v.taken_at, v.size, v.changed_ns = taken_at, size, changed_ns
    return v


class _Closing:
    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        handle, self._handle = self._handle, c_void_p()
        try:
            if handle:
                self._end(handle)
        except Error as e:
            if e.name == "CM_EBUSY":  # nothing was closed: something is still in use
                self._handle = handle
            raise


class Cache(_Closing):
    _end = _lib.cm_close

    def __init__(self, path, log=None, **options):
        """`options`: fields of Options. `log`: gets level and text, from any thread."""
        self._handle, o = c_void_p(), _new(Options, _lib.cm_options_init)
        for name, value in options.items():
            getattr(o, name)  # a wrong name is an error
            setattr(o, name, value)
        if log:
            o.log = self._log = _LOG(lambda _, level, text: log(level, text.decode()))
        _lib.cm_open(os.fsencode(path), byref(o), byref(self._handle))

    def open(self, file_id, validator=None, flags=0):
        return File(self._handle, file_id, validator, flags)

    def lookup(self, file_id):
        """Validator and FileInfo of a file that is not attached; Error CM_EABSENT."""
        validator, info = _new(Validator, _lib.cm_validator_init), FileInfo(sizeof(FileInfo))
        _lib.cm_file_lookup(self._handle, byref(file_id), byref(validator), byref(info))
        return validator, info

    def stats(self):
        """All counters that the library has, by name."""
        room = (c_uint32 * 1024)(4096)
        _lib.cm_stats(self._handle, room)
        result, i = {}, 0
        while (name := _lib.cm_stat_name(i)) is not None:
            result[name.decode()], i = _lib.cm_stat_value(room, i), i + 1
        return result


class File(_Closing):
    _end = _lib.cm_file_close

    def __init__(self, cache, file_id, validator, flags):
        self._handle = c_void_p()
        self.ignored = _lib.cm_file_open(cache, byref(file_id), validator and byref(validator),
                                         flags, byref(self._handle)) == IGNORED

    def read(self, offset, length, origin):
        """Reads through. `origin(offset, length)` returns bytes, fewer only at the file's end."""
        failed, buffer = [], ctypes.create_string_buffer(length)

        def call(_, at, to, n):
            try:
                data = origin(at, n)
                if len(data) > n:
                    raise ValueError("the origin returned more than it was asked for")
                ctypes.memmove(to, data, len(data))
                return len(data)
            except BaseException as e:  # it must not look like the end of the file
                failed.append(e)
                return _ORIGIN_FAILED
        n = _lib.cm_read_through(self._handle, offset, buffer, length, _ORIGIN(call), None)
        if n < 0:
            raise failed[-1]
        return buffer[:n]

    def info(self):
        info = FileInfo(sizeof(FileInfo))
        _lib.cm_file_get_info(self._handle, byref(info))
        return info

    def revalidate(self, validator):
        return _lib.cm_file_revalidate(self._handle, byref(validator))

    def set_ttl(self, ttl_ns):
        _lib.cm_file_set_ttl(self._handle, ttl_ns)

    def bracket(self, offset, length):
        """Enter it before the write. Set its `after` to a validator taken after the write."""
        return Bracket(self._handle, offset, length)


class Bracket:
    after = None  # a Validator

    def __init__(self, file, offset, length):
        self._file, self._range, self._id = file, (offset, length), c_uint64()

    def __enter__(self):
        _lib.cm_write_begin(self._file, *self._range, byref(self._id))
        return self

    def __exit__(self, *exception):
        _lib.cm_write_end(self._file, byref(self._id), self.after and byref(self.after))
