# SPDX-License-Identifier: BSD-2-Clause
"""The calls of cachemax.h for the tests of the live views, with ctypes alone: these run with any
Python, and need no package that is built first. (examples/python is the package for users.)

Negative results raise Error; its `code` and `name` say which. Positive results are no errors:
functions return them. The library is the one that CACHEMAX_LIBRARY names.
"""
import ctypes
import os
from ctypes import (CFUNCTYPE, POINTER, Structure, byref, c_char_p, c_int, c_int64, c_size_t,
                    c_uint8, c_uint32, c_uint64, c_void_p, sizeof)

LONG_AGO = 1  # Validator.changed_ns of servers
SIZE_UNKNOWN = 2**64 - 1
SOLE_WRITER, IGNORED = 1, 1  # flag of Cache.open(); result of cm_file_open()
_ORIGIN_FAILED = -1001


class FileId(Structure):
    _fields_ = [("hi", c_uint64), ("lo", c_uint64)]


class Validator(Structure):
    _fields_ = [("struct_size", c_uint32), ("racy", c_uint32), ("taken_at", c_uint64),
                ("size", c_uint64), ("changed_ns", c_int64), ("proof", c_uint8 * 32)]


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
    "cm_open": (c_int, c_char_p, POINTER(Options), POINTER(c_void_p)),
    "cm_close": (c_int, c_void_p),
    "cm_file_open": (c_int, c_void_p, POINTER(FileId), POINTER(Validator), c_uint32,
                     POINTER(c_void_p)),
    "cm_file_close": (c_int, c_void_p),
    "cm_read_through": (c_int64, c_void_p, c_uint64, c_void_p, c_size_t, _ORIGIN, c_void_p),
    "cm_stats": (c_int, c_void_p, c_void_p), "cm_stat_name": (c_char_p, ctypes.c_uint),
    "cm_stat_value": (c_uint64, c_void_p, ctypes.c_uint),
}
_lib = ctypes.CDLL(os.environ["CACHEMAX_LIBRARY"])
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
