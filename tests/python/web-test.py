# SPDX-License-Identifier: BSD-2-Clause
"""web-test.py DIR - cachemax.filesystem over web servers that answer otherwise than asked.
python-test.sh runs it."""
import errno
import gzip
import logging
import random
import unittest

from checks import Skip, check, end, new_pool, raises
from serve import Server

try:
    import aiohttp  # noqa: F401: fsspec needs the two for http
    import fsspec
    import requests  # noqa: F401
    MISSING = ""
except ImportError as e:
    MISSING = str(e)
CONTENT = b"".join(b"%07d\n" % i for i in range(1 << 17))  # 1 MiB
logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # of connections that were cut


def needs_fsspec():
    if MISSING:
        raise Skip(MISSING)


class Case:
    """A server with CONTENT, a pool, and the file system `fs` over both."""

    def __init__(self, etag='"e"', **options):
        needs_fsspec()
        self.server, self.cache = Server(), new_pool()
        self.server.files["/data"] = CONTENT, etag
        self.options = {"target_protocol": "http", **options}

    def __enter__(self):
        self.server.__enter__()
        self.url = self.server.url + "/data"
        self.fs = fsspec.filesystem("cachemax", pool=self.cache, skip_instance_cache=True,
                                    **self.options)
        return self

    def __exit__(self, *exception):
        self.cache.close()
        self.server.__exit__()

    def reads(self, path=None):
        """In three ways: a piece from the middle, from the begin, and pieces backwards."""
        path = path or self.url
        with self.fs.open(path) as file:
            file.seek(500000)
            assert file.read(1000) == CONTENT[500000:501000]
        with self.fs.open(path) as file:
            assert file.read() == CONTENT
        with self.fs.open(path) as file:
            for at in range(900000, 0, -300000):
                assert file.seek(at) == at and file.read(70000) == CONTENT[at:at + 70000]

    def is_warm(self, path=None):
        before = self.server.gets
        self.reads(path)
        return self.server.gets == before

    def stored(self):
        stats = self.cache.stats()
        return stats["fill_blocks"] + stats["buffered"]


def whole(handler, content, etag, first, last):
    """As a server that knows no ranges."""
    return 200, {"ETag": etag} if etag else {}, content


@check
def web_a_server_without_ranges():
    with Case() as case:
        case.server.odd = whole
        case.reads()
        assert case.server.gets < 8  # what it sends is read on, not thrown away after each part
        assert case.is_warm()
        case.server.odd = None
        assert case.is_warm()


@check
def web_a_server_without_ranges_below_a_directory():
    from fsspec.implementations.dirfs import DirFileSystem
    with Case() as case:
        case.server.odd = whole
        http = fsspec.filesystem("http", skip_instance_cache=True)
        case.fs = fsspec.filesystem("cachemax", pool=case.cache, skip_instance_cache=True,
                                    fs=DirFileSystem(case.server.url, http))
        case.reads("data")
        assert case.is_warm("data")


@check
def web_many_files_of_a_server_without_ranges():
    """Each answer that goes on has a connection. There are 100, so only the newest go on."""
    needs_fsspec()
    options = {"client_kwargs": {"timeout": aiohttp.ClientTimeout(total=60)}}
    with Case(target_options=options) as case:
        case.server.odd = whole
        files = []
        for n in range(110):
            case.server.files["/%d" % n] = CONTENT, '"e"'
            files.append(case.fs.open("%s/%d" % (case.server.url, n), block_size=4096))
            assert files[-1].read(100) == CONTENT[:100]

        def reads_on(n, at):
            before = case.server.gets
            files[n].seek(at)
            assert files[n].read(100) == CONTENT[at:at + 100]
            return case.server.gets == before
        assert all(reads_on(n, 300000) for n in range(109, 101, -1))  # 102 is the newest now
        assert not reads_on(101, 300000) and reads_on(101, 500000)
        assert not reads_on(109, 500000) and reads_on(102, 500000)  # the oldest was ended
        assert not reads_on(0, 300000) and reads_on(0, 500000)
        for file in files:
            file.close()


@check
def web_a_server_without_ranges_and_few_connections():
    """No answer is kept if it has the only connection."""
    needs_fsspec()

    async def session(**more):
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1),
                                     timeout=aiohttp.ClientTimeout(total=60))
    with Case(target_options={"get_client": session}) as case:
        case.server.odd = whole
        with case.fs.open(case.url) as file, case.fs.open(case.url) as other:
            assert file.read(100) == CONTENT[:100]
            assert case.fs.info(case.url)["size"] == len(CONTENT)
            assert other.seek(500000) and other.read(100) == CONTENT[500000:500100]
            assert file.seek(800000) and file.read(100) == CONTENT[800000:800100]


@check
def web_answers_that_end_before_the_file():
    """Their end looks like that of a whole file. It is an error, also without the cache."""
    def close(size):
        return lambda *request: (200, {"ETag": '"e"', "Connection": "close"}, CONTENT[:size])

    def chunks(size):
        return lambda *request: (200, {"ETag": '"e"', "Transfer-Encoding": "chunked"},
                                 b"%x\r\n%b\r\n0\r\n\r\n" % (size, CONTENT[:size]))

    def empty(handler, content, etag, first, last):
        part = (0, len(content) - 1) if first is None else (first, last)
        return 206, {"Content-Range": "bytes %d-%d/%d" % (*part, len(content)), "ETag": etag}, b""

    def none(handler, content, etag, first, last):
        return 416, {"ETag": etag}, b""
    for odd in close(600000), chunks(600000), close(0), empty, none:
        with Case() as case:
            for call in (lambda file: len(file.read()),
                         lambda file: len(file.raw.pread(590000, 20000)),
                         lambda file: len(file.raw.pread(700000, 20000))):
                case.server.odd = odd
                with case.fs.open(case.url) as file:
                    assert raises(OSError, lambda: call(file)).errno == errno.EIO
            with case.fs.open(case.url) as file:
                assert raises(OSError, file.raw.warm).errno == errno.EIO
            case.server.odd = None
            case.reads()
            # It goes on with an answer that has ended meanwhile.
            case.cache.forget(case.fs.open(case.url).raw)
            odds = [odd]
            case.server.odd = lambda *request: (odds.pop() if odds else whole)(*request)
            with case.fs.open(case.url) as file:
                assert file.read() == CONTENT
            case.reads()


@check
def web_a_page_in_place_of_one_part():
    for page in (200, {}, b"Sorry, maintenance\n"), (200, {"ETag": '"page"'}, b"x" * len(CONTENT)):
        with Case() as case:
            pages = [page]
            case.server.odd = lambda handler, content, etag, first, last: (
                pages.pop() if pages and first else None)
            with case.fs.open(case.url) as file:
                assert file.read(1000) == CONTENT[:1000]
                file.seek(500000)
                assert file.read(1000) == CONTENT[500000:501000] and not pages
                assert file.read() == CONTENT[501000:]
            case.reads()
            assert case.is_warm()
            # It stays: an error, no bytes of the page.
            case.cache.forget(case.fs.open(case.url).raw)
            case.server.odd = lambda handler, content, etag, first, last: page
            with case.fs.open(case.url) as file:
                file.seek(500000)
                assert case.url in str(raises(OSError, lambda: file.read(1000)))
            case.server.odd = None
            case.reads()


@check
def web_a_server_without_ETag_and_ranges():
    """Somebody says that the file never changes."""
    with Case(None, proof=lambda info: (b"fixed", False)) as case:
        case.server.odd = whole
        case.reads()
        assert case.is_warm()


@check
def web_answers_that_are_not_the_part():
    def part(first, last, of=len(CONTENT), content=CONTENT, at=None, etag='"e"'):
        return 206, {"Content-Range": "bytes %d-%d/%s" % (first, last, of), "ETag": etag}, (
            content[first:last + 1] if at is None else content[at[0]:at[1]])
    odds = {
        "no Content-Range": lambda a, b: (206, {"ETag": '"e"'}, CONTENT[a:b + 1]),
        "two Content-Ranges": lambda a, b: (206, {
            "Content-Range": "bytes %d-%d/%d" % (a, b, len(CONTENT)), "ETag": '"e"',
            "content-range": "bytes 0-%d/%d" % (b - a, len(CONTENT))}, CONTENT[:b + 1 - a]),
        "several parts": lambda a, b: (
            206, {"ETag": '"e"', "Content-Type": "multipart/byteranges; boundary=x"},
            b"--x\r\nContent-Range: bytes %d-%d/%d\r\n\r\n%b\r\n--x--" % (
                a, b, len(CONTENT), CONTENT[a:b + 1])),
        "begins before": lambda a, b: part(a // 5000 * 5000, b),
        "is longer": lambda a, b: part(a, b + 1),
        "says that it is longer": lambda a, b: part(a, b + 1, at=(a, b + 1)),
        "is longer than it says": lambda a, b: part(a, b, at=(a, b + 1001)),
        "is empty": lambda a, b: part(a, b, at=(0, 0)),
        "of a longer file": lambda a, b: part(a, b, len(CONTENT) + 1, bytes(len(CONTENT))),
        "with another ETag": lambda a, b: part(a, b, content=bytes(len(CONTENT)), etag='"f"'),
        "status 416": lambda a, b: (416, {}, b""),
        "status 203": lambda a, b: (203, {"ETag": '"e"'}, b"x" * (b + 1 - a)),
        "packed": lambda a, b: (206, {**part(a, b)[1], "Content-Encoding": "gzip"},
                                gzip.compress(CONTENT[a:b + 1])),
    }
    for name, odd in odds.items():
        with Case() as case:
            case.server.odd = lambda handler, content, etag, first, last: (
                odd(first, last) if first else None)
            with case.fs.open(case.url) as file:
                assert file.read(10) == CONTENT[:10]
                before = case.stored()
                file.seek(700001)
                assert file.read(100000) == CONTENT[700001:800001], name
                assert file.seek(100) == 100 and file.read() == CONTENT[100:], name
                assert case.stored() == before, name
            case.server.odd = None
            case.reads()


@check
def web_units_without_case():
    for form in "Bytes %d-%d/%d", "BYTES %d-%d/*", "bytes %d-%d/%d \t":
        with Case() as case:
            case.server.odd = lambda handler, content, etag, first, last: None if first is None \
                else (206, {"Content-Range": form % (first, last, len(content))[:form.count("%")],
                            "ETag": etag}, content[first:last + 1])
            case.reads()
            assert case.is_warm(), form


@check
def web_a_server_that_tells_the_ETag_at_HEAD_only():
    """Its info is asked for again after each part."""
    with Case() as case:
        case.server.odd = lambda handler, content, etag, first, last: (
            206, {"Content-Range": "bytes %d-%d/%d" % (first, last, len(content))},
            content[first:last + 1]) if first is not None else None
        case.reads()
        assert case.is_warm()
        other = CONTENT[::-1]
        case.cache.forget(case.fs.open(case.url).raw)
        with case.fs.open(case.url) as file:
            file.read(10)
            case.server.files["/data"] = other, '"f"'
            file.seek(500000)
            file.read(10)
        case.server.files["/data"] = CONTENT, '"e"'
        case.reads()


@check
def web_a_server_that_packs():
    """If the client takes it, it sends the whole file as gzip, under another ETag."""
    for always in False, True:
        with Case() as case:
            def odd(handler, content, etag, first, last):
                if always or "gzip" in handler.headers.get("Accept-Encoding", ""):
                    packed = gzip.compress(content)
                    return 200, {"ETag": 'W/"e"', "Content-Encoding": "gzip",
                                 "Transfer-Encoding": "chunked"}, (
                        b"%x\r\n%b\r\n0\r\n\r\n" % (len(packed), packed))
            case.server.odd = odd
            case.reads()
            assert case.is_warm() != always and (case.stored() == 0) == always
    with Case() as case:  # HEAD tells the packed length, which is larger
        case.server.files["/data"] = gzip.compress(b"abc"), '"e"'
        case.server.odd = lambda handler, content, *more: (
            200, {"ETag": '"e"', "Content-Encoding": "gzip"}, content)
        with case.fs.open(case.url) as file:
            assert file.read() == b"abc"
        assert case.stored() == 0


@check
def web_headers_of_the_target():
    """They go with each request, but no wish for another encoding."""
    headers = {"X-Token": "t", "accept-encoding": "gzip"}
    with Case(target_options={"headers": headers}) as case:
        seen = []
        case.server.odd = lambda handler, *more: seen.append(handler.headers)
        case.reads()
        assert seen
        for said in seen:
            assert said["X-Token"] == "t" and said["If-Match"] == '"e"'
            assert said.get_all("Accept-Encoding") == ["identity"]


@check
def web_a_server_that_says_0_at_HEAD():
    """The file may have any size: it is read as fsspec does, without the cache."""
    with Case() as case, unittest.TestCase().assertLogs("cachemax", "INFO") as said:
        case.server.head_size = 0
        for content in CONTENT, b"":
            case.server.files["/data"] = content, '"e"'
            with case.fs.open(case.url) as file:
                assert file.read() == content
            assert case.fs.cat(case.url) == content
            for start, end in ((0, 5), (3, 2000), (7, None)) if content else ():
                assert case.fs.cat_file(case.url, start, end) == content[start:end]
                assert case.fs.cat_ranges([case.url], [start], [end or 9]) == [
                    content[start:end or 9]]
        assert case.stored() == 0 and all("size 0" in line for line in said.output)


@check
def web_another_file_system_of_the_web():
    """It may read in a way of its own: nothing is stored."""
    needs_fsspec()
    from fsspec.implementations.http import HTTPFileSystem

    class Own(HTTPFileSystem):
        def _open(self, *arguments, **options):
            return super()._open(*arguments, **options)

    class Wrapper(fsspec.AbstractFileSystem):
        def __init__(self, fs):
            super().__init__(skip_instance_cache=True)
            self.fs, self.info, self.open = fs, fs.info, fs.open
    http = fsspec.filesystem("http", skip_instance_cache=True)
    for fs in Own(skip_instance_cache=True), Wrapper(http):
        with Case(fs=fs) as case:
            case.reads()
            assert case.stored() == 0


end()
