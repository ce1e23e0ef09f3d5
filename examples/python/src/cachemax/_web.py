# SPDX-License-Identifier: BSD-2-Clause
"""A file of the web, read in parts.

A file of fsspec takes the first bytes of any answer for the part that it has asked for, also if the
server knows no ranges and answers with the whole file. So the requests are made here. An answer
counts only if it says which part it is, and nothing in it speaks against the version.
"""
import errno
import os
import re
import weakref

from fsspec.asyn import sync

PIECE = 1 << 20
KEPT = 8  # answers of a file system that go on; each has one of aiohttp's 100 connections
PART = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)[ \t]*", re.ASCII | re.IGNORECASE)  # Content-Range
OWN = ("range", "accept-encoding", "if-match", "if-range")  # headers that are made here


def is_web(fs):
    return "http" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)


def is_own(fs):
    """Is it fsspec's own file system of the web? Another one may read in a way of its own."""
    from fsspec.implementations.http import HTTPFileSystem
    return isinstance(fs, HTTPFileSystem) and type(fs)._open is HTTPFileSystem._open


class Unclear(Exception):
    """Nobody can know whether the answer is this part of this version."""


def _is_packed(answer):
    return answer.headers.get("Content-Encoding", "") not in ("", "identity")


def _drop(answer):
    """Also what has come of it: aiohttp keeps a connection that has nothing to send any more for
    the next request, but may have stopped to read from it until this is taken."""
    try:
        if answer.connection is None:
            answer.content.read_nowait()
    except Exception:
        pass
    answer.close()


class _Body:
    """What an answer has, piece by piece. `at`: how much is taken. `answer`: None if it was ended.
    """

    def __init__(self, answer, keep):
        self.answer, self.ahead, self.at = answer, b"", 0
        if keep and answer.connection is None:  # see _drop()
            self.ahead = answer.content.read_nowait()
        elif keep:
            answer.connection.protocol.force_close()  # nobody else uses the connection after it

    async def take(self, count):
        """Up to so many bytes; fewer at the end."""
        pieces = [self.ahead[:count]]
        self.ahead = self.ahead[count:]
        count -= len(pieces[0])
        while count:
            piece = await self.answer.content.read(min(count, PIECE))
            if not piece:
                break
            pieces.append(piece)
            count -= len(piece)
        data = b"".join(pieces)
        self.at += len(data)
        return data

    def end(self):
        answer, self.answer, self.ahead = self.answer, None, b""
        if answer is not None:
            _drop(answer)


class _Kept:
    """The newest answers of a session that go on, and that nobody takes from now. All calls are in
    the loop of the session. The references are weak: a File may be given up without close()."""
    of = weakref.WeakKeyDictionary()  # a _Kept by session

    def __init__(self, connector):
        self.bodies = []
        # Half of the connections are for other requests.
        limits = [getattr(connector, name, 0) for name in ("limit", "limit_per_host")]
        self.most = min([KEPT] + [limit // 2 for limit in limits if limit])

    @classmethod
    def of_session(cls, session):
        if session not in cls.of:
            cls.of[session] = cls(session.connector)
        return cls.of[session]

    def remove(self, body):
        self.bodies = [ref for ref in self.bodies if ref() not in (None, body)]

    def add(self, body):
        self.bodies.append(weakref.ref(body))
        while len(self.bodies) > self.most:
            oldest = self.bodies.pop(0)()
            if oldest is not None:
                oldest.end()


class File:
    """`length`: of the file. `etag`: a strong one, of the only version that is read; or None."""

    def __init__(self, fs, url, length, etag):
        self.fs, self.url, self.length, self.etag = fs, url, length, etag
        self.ranges = True
        self.whole = None  # an answer with the whole file, which goes on, or None

    def part(self, first, count, strict):
        """(Bytes from `first` on, is it proven that they are of this version). Unclear, if strict:
        the next part will be taken out of the whole file."""
        count = min(count, self.length - first)
        if count <= 0:
            return b"", True
        # Not here meanwhile: after a Ctrl-C the coroutine goes on, and nobody else may read it.
        whole, self.whole = self.whole, None
        try:
            data, proven, self.whole = sync(self.fs.loop, self._part, whole, first, count, strict)
        except Unclear:
            self.ranges = False
            raise
        return data, proven

    async def _part(self, whole, first, count, strict):
        session = await self.fs.set_session()
        kept = _Kept.of_session(session)
        kept.remove(whole)  # so nobody ends it meanwhile
        if whole is not None and whole.answer is not None and whole.at <= first:
            try:
                data, proven = await self._of_whole(whole, first, count, strict)
                self._keep(whole, kept)
                return data, proven, whole
            except Exception:  # the server does not wait for ever: ask again
                pass
        if whole is not None:
            whole.end()
        answer, whole = await self._ask(session, first, count), None
        try:
            if answer.status == 416 and not strict and not self.etag:  # it has become shorter
                return b"", False, None
            self._refuse(self._trouble(answer, first, count, strict), strict)
            if answer.status == 200:
                body = _Body(answer, True)
                data, proven = await self._of_whole(body, first, count, strict)
                whole = body
                self._keep(whole, kept)
                return data, proven, whole
            data = await _Body(answer, False).take(count + 1)
            if len(data) > count or not data:
                self._refuse("has %s bytes than it says" % ("more" if data else "fewer"), strict)
            return data, self._is_proven(answer), None
        finally:
            if whole is None:
                _drop(answer)

    def _keep(self, whole, kept):
        if whole.at < self.length:
            kept.add(whole)
        else:
            whole.end()

    def _refuse(self, why, strict):
        if why and strict:
            raise Unclear("%r: the server's answer %s" % (self.url, why))
        if why:
            raise OSError(errno.EIO, "the server's answer " + why, self.url)

    async def _ask(self, session, first, count):
        kwargs = dict(self.fs.kwargs)
        headers = {name: value for name, value in (kwargs.pop("headers", None) or {}).items()
                   if name.lower() not in OWN}
        headers["Accept-Encoding"] = "identity"
        if self.ranges:
            headers["Range"] = "bytes=%d-%d" % (first, first + count - 1)
        if self.etag:
            headers["If-Match"] = self.etag
        answer = await session.get(self.fs.encode_url(self.url), headers=headers, **kwargs)
        if answer.status == 404:
            _drop(answer)
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.url)
        if answer.status != 416:
            answer.raise_for_status()
        return answer

    def _trouble(self, answer, first, count, strict):
        """What speaks against it, or None. Not strict: it may be of another version, if no ETag
        tells."""
        headers, careful = answer.headers, strict or self.etag
        if _is_packed(answer):  # another ETag
            return "is compressed" if strict or answer.status != 200 else None
        etag, told = headers.get("ETag"), headers.get("Content-Length")
        if self.etag and etag and etag != self.etag and (strict or etag != "W/" + self.etag):
            return "has the ETag %r, and the file's is %r" % (etag, self.etag)
        if answer.status == 200:
            if told is None:
                return "names neither length nor ETag" if strict and not etag else None
            return "has %r bytes, and the file has %d" % (
                told, self.length) if careful and told != str(self.length) else None
        part = PART.fullmatch(", ".join(headers.getall("Content-Range", ())))
        if answer.status != 206 or not part or int(part[1]) != first:
            return "(status %d) is not the part that was asked for" % answer.status
        if int(part[2]) >= first + count:
            return "is longer than the part that was asked for"
        if careful and part[3] not in ("*", str(self.length)):
            return "is of a file of %s bytes, and this one has %d" % (part[3], self.length)
        return None

    def _is_proven(self, answer):
        return self.etag is not None and answer.headers.get("ETag") == self.etag

    async def _of_whole(self, whole, first, count, strict):
        """The answer goes on: the next part may be behind this one. If nothing but the end of the
        connection tells its end, it may be a broken one."""
        while whole.at < first and await whole.take(min(first - whole.at, PIECE)):
            pass
        data = await whole.take(count) if whole.at == first else b""
        if len(data) < count and not _is_packed(whole.answer):  # else no length is known
            self._refuse("ends at %d, and the file has %d bytes" % (whole.at, self.length), strict)
        return data, self._is_proven(whole.answer)

    def close(self):
        whole, self.whole = self.whole, None
        if whole is not None:
            self.fs.loop.call_soon_threadsafe(whole.end)
