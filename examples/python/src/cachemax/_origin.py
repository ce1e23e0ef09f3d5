# SPDX-License-Identifier: BSD-2-Clause
"""What is read through the cache: files of the system, and anything else that a function reads.
Which one it is, and what proves that it has not changed."""
import hashlib
import operator
import os

from ._binding import ffi, lib
from ._error import check

SIZE_UNKNOWN = lib.CM_SIZE_UNKNOWN
LONG_AGO = 1  # CM_CHANGED_LONG_AGO: an origin that takes care of its own power cuts


def _name(text, what):
    """Bytes for the library, whose names end at the first NUL. As open() of Python has it."""
    text = os.fsencode(text)
    if b"\0" in text:
        raise ValueError("embedded null byte in " + what)
    return text


def _id_of_key(key):
    if isinstance(key, str):
        key = key.encode()
    if isinstance(key, (bytes, bytearray, memoryview)):
        key = int.from_bytes(hashlib.blake2b(key, digest_size=16).digest(), "big") or 1
    try:  # also a number of numpy, which shows its memory, too: that is no name
        key = operator.index(key)
    except TypeError:
        raise TypeError("key %r: it must be a str, bytes or an int" % (key,)) from None
    if not 0 < key < 1 << 128:
        raise ValueError("a number as key must be from 1 to 2**128 - 1")
    return ffi.new("cm_file_id *", (key >> 64, key & ((1 << 64) - 1)))


def _validator(proof, size, taken_at, racy=False):
    v = ffi.new("cm_validator *")
    lib.cm_validator_init(v, ffi.sizeof("cm_validator"))
    proof = proof.encode() if isinstance(proof, str) else proof or b""
    lib.cm_validator_set_proof(v, proof, len(proof))
    v.taken_at = lib.cm_now() if taken_at is None else taken_at
    v.size = SIZE_UNKNOWN if size is None else size
    v.changed_ns, v.racy = LONG_AGO, lib.CM_RACY_TIMES if racy else 0
    return v


def _open(path):
    """A pipe with a name is no file, as identify() says then: no wait for its writer."""
    flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)
    try:
        return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    except BlockingIOError:  # a file with a lease of another program, which gives it back soon
        return os.open(path, flags)


class _Path:
    """A file of the system as origin. identify() of an origin returns its id, a validator, and a
    function (offset, memory) that reads the origin as of then."""
    may_end_early = True  # others may truncate it at any time
    has_one_version = True  # that of now

    def __init__(self, path, volume_id, sole_writer):
        self.where, self.sole_writer = os.fsdecode(path), sole_writer
        self.volume = ffi.NULL if volume_id is None else ffi.new(
            "char[]", _name(volume_id.encode(), "volume_id"))
        self.fd = _open(path)

    def identify(self):
        options, file_id = ffi.new("cm_identify_options *"), ffi.new("cm_file_id *")
        v = ffi.new("cm_validator *")
        lib.cm_validator_init(v, ffi.sizeof("cm_validator"))
        lib.cm_identify_options_init(options, ffi.sizeof("cm_identify_options"))
        options.volume_id = self.volume
        if self.sole_writer:
            options.flags = lib.CM_IDENTIFY_SOLE_WRITER
        check(lib.cm_identify_with(self.fd, options, file_id, v), self.where)
        return file_id, v, self.into

    def into(self, offset, memory):
        done = 0
        while done < len(memory):
            n = os.preadv(self.fd, [memory[done:]], offset + done)
            if n == 0:
                break
            done += n
        return done

    def size(self):
        return os.fstat(self.fd).st_size

    def close(self):
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self):  # a signal handler raised before a File had it
        if hasattr(self, "fd"):
            self.close()


class _Object:
    """Anything that read(offset, length) reads, as origin."""
    may_end_early = has_one_version = False

    def __init__(self, key, read, proof, size, taken_at):
        self.where, self.read = key if isinstance(key, bytes) else str(key), read
        self.id = _id_of_key(key)
        self.set_proof(proof, size, taken_at)

    def set_proof(self, proof, size, taken_at):
        if proof and not callable(proof) and taken_at is None:
            raise TypeError("a proof needs taken_at: now() from before it was asked for; or give a "
                            "function as proof, which asks for it")
        self.proof = proof, size, taken_at

    def identify(self):
        proof, size, taken_at = self.proof
        if callable(proof):
            taken_at, proof = lib.cm_now(), proof()
            if isinstance(proof, tuple):
                proof, size = proof
        return self.id, _validator(proof, size, taken_at), self.into

    def into(self, offset, memory):
        data = self.read(offset, len(memory))
        if len(data) > len(memory):
            raise ValueError("the origin returned more than it was asked for")
        memory[:len(data)] = data
        return len(data)

    def size(self):
        return None  # what came with the proof may have changed: own writes move the end

    def close(self):
        pass
