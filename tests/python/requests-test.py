# SPDX-License-Identifier: BSD-2-Clause
"""requests-test.py DIR - how many requests of the origin reads through cachemax.filesystem make.
python-test.sh runs it."""
import errno
import io
import random
import threading

import cachemax
from checks import BLOCK, DIR, Said, Skip, check, child, end, in_threads, new_pool, raises
from serve import Server

try:
    import aiohttp  # noqa: F401: fsspec needs the two for http
    import fsspec
    import requests  # noqa: F401
    MISSING = ""
except ImportError as e:
    MISSING = str(e)
MIB = 1 << 20
TEXT = b"".join(b"%015d\n" % i for i in range(MIB // 16))


class Case:
    """A server, a pool, and the file system `fs` over both."""

    def __init__(self, size=64 << 20, **options):
        if MISSING:
            raise Skip(MISSING)
        self.server, self.cache = Server(), new_pool(size, **options)

    def __enter__(self):
        self.server.__enter__()
        self.fs = fsspec.filesystem("cachemax", pool=self.cache, target_protocol="http",
                                    skip_instance_cache=True)
        return self

    def __exit__(self, *exception):
        self.cache.close()
        self.server.__exit__()

    def file(self, name, content=TEXT):
        self.server.files["/" + name] = content, '"%s"' % name
        return self.server.url + "/" + name

    def asked(self, function):
        """(GETs, HEADs, bytes that were sent) meanwhile."""
        server = self.server
        before = server.gets, server.heads, server.sent
        function()
        return tuple(b - a for a, b in zip(before, (server.gets, server.heads, server.sent)))


def lines(file):
    with file:
        return b"".join(line.encode() if isinstance(line, str) else line for line in file)


@check
def text_is_read_in_pieces_of_the_buffer():
    with Case() as case:
        ways = {"text": lambda url: case.fs.open(url, "r", newline=""),
                "bytes": lambda url: case.fs.open(url),
                "a reader of text of its own": lambda url: io.TextIOWrapper(
                    case.fs.open(url), "ascii", newline="")}
        for way, opened in ways.items():
            url = case.file(way.replace(" ", "-"))

            def read():
                assert lines(opened(url)) == TEXT
            gets, _, sent = case.asked(read)
            assert gets <= 4 and sent == MIB, (way, gets, sent)
            assert case.asked(read)[0] == 0


@check
def read1_gives_what_is_there():
    with Case() as case:
        for block_size in None, 5000, MIB:
            with case.fs.open(case.file("read1-%s" % block_size), block_size=block_size) as file:
                pick, done = random.Random(1), []
                assert file.read1(0) == b""
                while True:
                    piece = file.read1(pick.choice([-1, 1, 7, 8192, 100000]))
                    if not piece:
                        break
                    done.append(piece)
                    if pick.random() < 0.5:
                        done.append(file.read(pick.randrange(3000)))
                assert b"".join(done) == TEXT and file.read1() == b""


def pieces(file, size, count=-1):
    """Reads so many pieces one after the other, or all."""
    done = []
    while count and (not done or done[-1]):
        done.append(file.read(size))
        count -= 1
    return b"".join(done)


@check
def reads_in_a_row_grow():
    content = random.randbytes(8 * MIB)
    for size in 8192, 65536, 100000:
        # Also if nothing can be stored, what is read ahead is read once.
        for advice in cachemax.ADVISE_NORMAL, cachemax.ADVISE_NOREUSE:
            with Case(read_size_max=4 * MIB) as case:
                url = case.file("row", content)

                def read():
                    with case.fs.open(url) as file:
                        file.raw.advise(advice)
                        assert pieces(file, size) == content
                gets, _, sent = case.asked(read)
                assert gets <= 8 and sent == len(content), (size, advice, gets, sent)
                # To the pool, what was read ahead has been read once.
                assert case.cache.stats()["hit_blocks"] == 0
    # A pool of the process has such requests, too, and reads that are one large one.
    fs = fsspec.filesystem("cachemax", pool=DIR + "/row", create_size=64 * MIB,
                           target_protocol="http", skip_instance_cache=True)
    with Case() as case:
        for function, most in ((lambda: pieces(fs.open(url), 65536), 8),
                               (lambda: fs.cat_file(url), 2)):
            url = case.file("large%d" % most, content)
            gets, _, sent = case.asked(function)
            assert gets <= most and sent == len(content), (gets, most)
    fs.cache.close()


@check
def reads_here_and_there_read_nothing_ahead():
    content = random.randbytes(64 * MIB)
    with Case(256 * MIB) as case:
        # (a block_size, bytes in a row at each place, the most that is read of the target)
        for block_size, length, most in ((4096, 4096, 4096), (None, 4096, 65536),
                                         (None, 100000, 131072), (None, 4 * 65536, 6 * 65536),
                                         (None, 9 * 65536, 3 * 9 * 65536)):
            url = case.file("random-%s-%d" % (block_size, length), content)

            def read():
                with case.fs.open(url, block_size=block_size) as file:
                    for at in range(0, len(content), 8 * MIB):
                        assert file.seek(at + 5 * MIB) == at + 5 * MIB
                        piece = min(length, 65536) if length % 65536 == 0 else length
                        assert pieces(file, piece, length // piece) == content[
                            at + 5 * MIB:at + 5 * MIB + length]
            sent = case.asked(read)[2]
            assert sent <= 8 * most, (block_size, length, sent / 8)


@check
def what_is_read_ahead_is_of_the_version_that_is_read():
    first, second = b"A" * (8 * MIB), b"B" * (8 * MIB)
    with Case() as case:
        url = case.file("version", first)
        for change in "revalidate", "invalidate", "close":
            case.server.files["/version"] = first, '"1"'
            with case.fs.open(url) as file:
                assert pieces(file.raw, 65536, 4) == first[:4 * 65536]
                assert case.asked(lambda: file.raw.read(65536))[0] == 0  # it was read ahead
                case.server.files["/version"] = second, '"2"'
                if change == "revalidate":
                    file.raw.revalidate()
                    assert pieces(file.raw, 65536, 10) == second[:10 * 65536]
                elif change == "invalidate":
                    file.raw.invalidate()
                    raises(Exception, lambda: file.raw.read(65536))  # no bytes of another version
                else:
                    file.raw.close()
                    raises(ValueError, lambda: file.raw.read(65536))


@check
def what_was_proven_when_a_read_began_is_what_is_read():
    """Another thread finds a newer version before the target is opened for it."""
    first, second = b"A" * BLOCK, b"B" * BLOCK
    with Case() as case:
        url = case.file("proven", first)
        with case.fs.open(url) as file:
            source, memory = file.raw._source, bytearray(BLOCK)
            old = source.identify()[2]
            assert old(0, memory) == BLOCK and memory == first
            case.server.files["/proven"] = second, '"2"'
            new = source.identify()[2]
            assert "has changed" in str(raises(Exception, lambda: old(0, memory)))
            assert new(0, memory) == BLOCK and memory == second


class Memory(fsspec.AbstractFileSystem if not MISSING else object):
    """A target whose files change without a word: its proof says so alone."""
    cachable = False

    def __init__(self):
        super().__init__()
        self.content, self.proof, self.hold, self.reads = {}, b"1", None, 0

    def cached(self, case):
        self.over = fsspec.filesystem("cachemax", pool=case.cache, fs=self,
                                      proof=lambda info: (self.proof, False),
                                      skip_instance_cache=True)
        return self

    def info(self, path, **kwargs):
        return {"name": path, "size": len(self.content[path]), "type": "file"}

    def _open(self, path, mode="rb", **kwargs):
        fs = self

        class Part(io.BytesIO):
            def read(self, size=-1):
                at = self.tell()
                data, hold = fs.content[path][at:at + size], fs.hold
                fs.reads += 1
                self.seek(at + len(data))
                if hold is not None:
                    fs.hold = None
                    hold.wait(30)  # who changes it comes; and then it has told so
                    hold.wait(30)
                return data
        return Part()

    def row(self, file, size):
        """Reads pieces until the next one was read ahead."""
        reads = None
        while reads != self.reads:
            reads = self.reads
            assert file.read(size)


FIRST, SECOND = b"A" * (8 * MIB), b"B" * (8 * MIB)
PART = 2 * 65536, 4 * 65536  # where, how many bytes


def told(fs, path):
    """{what: function(the cache, a File)}: the content becomes SECOND, or a part of it does, and
    that is told."""
    def bracket(file):
        with file.bracket():
            fs.content[path] = SECOND

    def truncate(file):
        with file.truncate_bracket(3 * 65536 + 100):
            fs.content[path] = FIRST[:3 * 65536 + 100]

    def part(file):
        fs.content[path] = FIRST[:PART[0]] + SECOND[:PART[1]] + FIRST[sum(PART):]
        file.invalidate(*PART)

    def proof(file):
        fs.proof += b"1"
        file.revalidate()

    def failed_sync(file):
        with file.sync_bracket():
            raise OSError(errno.EIO, "as an fsync says")

    def after(function, *arguments):
        fs.content[path] = SECOND
        function(*arguments)
    return {
        "invalidate": lambda cache, file: after(file.invalidate),
        "a part": lambda cache, file: part(file),
        "bracket": lambda cache, file: bracket(file),
        "truncate": lambda cache, file: truncate(file),
        "verify": lambda cache, file: after(file.warm, 0, None, 0, None, True),
        "forget": lambda cache, file: after(cache.forget, file),
        "abort": lambda cache, file: after(file.abort),
        "proof": lambda cache, file: after(proof, file),
        "sync": lambda cache, file: after(raises, OSError, lambda: failed_sync(file)),
    }


def older_than_told(function, but=()):
    """function(target, File, tell) for each way, by the File itself and by another one. Then
    the next piece must be of the new content. [those where it is not]"""
    old = []
    with Case(read_size_max=4 * MIB) as case:
        fs = Memory().cached(case)
        for way in sorted(told(fs, "").keys() - set(but)):
            for who in 0, 1:
                path = "%s by %s" % (way, ("itself", "another File")[who])
                fs.content[path] = FIRST
                with fs.over.open(path) as file, fs.over.open(path) as other:
                    who = (file, other)[who].raw
                    function(fs, file.raw, lambda: told(fs, path)[way](case.cache, who))
                    at = file.raw.tell()
                    if file.raw.read(65536) != fs.content[path][at:at + 65536]:
                        old.append(path)
    return old


@check
def what_is_read_ahead_is_not_older_than_a_change_that_was_told():
    def one(fs, file, tell):
        fs.row(file, 65536)
        tell()
    old = older_than_told(one)
    assert not old, old


@check
def what_was_told_during_a_read_ahead_is_seen_after_it():
    def one(fs, file, tell):
        assert pieces(file, 65536, 2) == FIRST[:2 * 65536]
        hold = fs.hold = threading.Barrier(2)
        reader = threading.Thread(target=file.read, args=(65536,))
        reader.start()
        hold.wait(30)
        tell()
        hold.wait(30)
        reader.join()
    old = older_than_told(one, ["verify"])  # it waits for the read
    assert not old, old


@check
def what_an_invalidate_drops_is_not_kept_from_a_read_right_before():
    with Case(read_size_max=4 * MIB) as case:
        fs = Memory().cached(case)
        fs.content["x"] = FIRST
        with fs.over.open("x") as file, fs.over.open("x") as other:
            raw, call = file.raw, other.raw._call
            raw.pread(3 * 65536, 65536)
            assert pieces(raw, 65536, 2) == FIRST[:2 * 65536]

            def late(*arguments):
                raw.read(65536)  # what is read ahead comes from the pool in part
                return call(*arguments)
            other.raw._call = late
            fs.content["x"] = SECOND
            other.raw.invalidate()
            del other.raw._call
            assert raw.read(65536) == SECOND[:65536]


@check
def nothing_that_was_read_ahead_is_read_in_a_bracket():
    contents = [bytes([65 + i]) * (8 * MIB) for i in range(5)]
    with Case(read_size_max=4 * MIB) as case:
        fs = Memory().cached(case)
        fs.content["x"] = contents[0]
        with fs.over.open("x") as file, fs.over.open("x") as other:
            fs.row(file.raw, 65536)
            with other.raw.bracket():
                for content in contents[1:4]:  # a write after what was read ahead in the bracket
                    fs.content["x"] = content
                    assert pieces(file.raw, 65536, 2) == content[:2 * 65536]
                fs.content["x"] = contents[4]
            fs.row(file.raw, 65536)
            assert file.raw.read(65536) == contents[4][:65536]


@check
def reading_ahead_that_fails_fails_no_read():
    with Case() as case:
        url = case.file("fails")
        case.server.odd = lambda handler, content, etag, first, last: (
            (500, {}, b"") if last >= 10 * 65536 else None)
        with case.fs.open(url) as file:
            assert pieces(file, 65536, 10) == TEXT[:10 * 65536]
            raises(Exception, lambda: file.read(65536))


class Together(dict):
    """The files of a server that answers only when `count` requests are there, from then on each.
    `most`: so many were there at the same time."""

    def __init__(self, files, count):
        super().__init__(files)
        self.count, self.here, self.most, self.changed = count, 0, 0, threading.Condition()

    def get(self, name, default):
        with self.changed:
            self.here += 1
            self.most = max(self.most, self.here)
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.most >= self.count, 20)
            self.here -= 1
        return super().get(name, default)


def ranges(content, count, length):
    starts = [i * (len(content) // count) for i in range(count)]
    ends = [start + length for start in starts]
    return starts, ends, [content[start:end] for start, end in zip(starts, ends)]


@check
def ranges_of_a_file_open_it_once():
    content = random.randbytes(8 * MIB)
    starts, ends, wanted = ranges(content, 50, 4096)
    with Case() as case:
        one, two = case.file("one", content), case.file("two", content[::-1])

        def read():
            assert case.fs.cat_ranges([one] * 50, starts, ends) == wanted
        gets, heads, sent = case.asked(read)
        # One more HEAD is for the close: has it changed meanwhile?
        assert (gets, heads) == (50, 2) and sent <= 51 * 2 * 4096, (gets, heads, sent)
        assert case.asked(read) == (0, 1, 0)
        # One end for all, and all that cat_file understands.
        for start, end in (None, None), (5, None), (-10, None), (-10, -5), (0, -5), (7, 7), (
                len(content) + 5, None), (8000000, len(content) + 5):
            assert case.fs.cat_ranges([one, two], start, end) == [
                content[start:end], content[::-1][start:end]], (start, end)
        raises(ValueError, lambda: case.fs.cat_ranges([one], [1, 2], [3, 4]))
        raises(TypeError, lambda: case.fs.cat_ranges(one, 1, 2))
        raises(NotImplementedError, lambda: case.fs.cat_ranges([one], 1, 2, max_gap=1))
        assert case.fs.cat_ranges([], [], []) == []


@check
def ranges_and_files_are_read_at_the_same_time():
    content = random.randbytes(8 * MIB)
    with Case() as case:
        url = case.file("together", content)
        # The first read shows whether the server knows ranges.
        starts, ends, wanted = ranges(content, 50, 4096)
        with case.fs.open(url) as file:
            file.raw.pread(0, 1)
            case.server.files = Together(case.server.files, 8)
            in_threads(8, lambda i: file.raw.pread(starts[i + 1], 4096))
            assert case.server.files.most >= 8
        case.server.files = Together({}, 8)
        urls = [case.file("f%d" % i, content[i * 5000:i * 5000 + 9000]) for i in range(40)]
        got = case.fs.cat(urls)
        assert got == {url: content[i * 5000:i * 5000 + 9000] for i, url in enumerate(urls)}
        assert case.server.files.most >= 8
        case.server.files = Together(case.server.files, 8)
        assert case.fs.cat_ranges(urls, 7, 9) == [
            content[i * 5000 + 7:i * 5000 + 9] for i in range(40)]
        assert case.server.files.most >= 8
        assert case.fs.cat(urls[0]) == content[:9000]
        assert case.fs.cat(urls[:1]) == {urls[0]: content[:9000]}


@check
def a_server_without_ranges_sends_one_answer_at_a_time():
    content = random.randbytes(MIB)
    here, most, changed = [0], [0], threading.Condition()

    def whole(handler, content, etag, first, last):
        with changed:
            here[0] += 1
            most[0] = max(most[0], here[0])
            changed.notify_all()
            changed.wait_for(lambda: here[0] > 1, 0.05)
            here[0] -= 1
        return 200, {"ETag": etag}, content
    starts, ends, wanted = ranges(content, 20, 4096)
    with Case() as case:
        url = case.file("whole", content)
        case.server.odd = whole
        assert case.fs.cat_ranges([url] * 20, starts, ends) == wanted and most[0] == 1


@check
def a_target_that_is_not_asynchronous_has_one_read_at_a_time():
    class Store(fsspec.AbstractFileSystem):
        cachable = False
        content = {"x%d" % i: b"%03d" % i * 30000 for i in range(5)}
        opened, threads = [], set()

        def info(self, path, **kwargs):
            self.threads.add(threading.get_ident())
            return {"name": path, "size": len(self.content[path]), "type": "file", "ETag": '"1"'}

        def _open(self, path, mode="rb", **kwargs):
            self.threads.add(threading.get_ident())
            self.opened.append(path)
            return io.BytesIO(self.content[path])
    with Case() as case:
        store = Store()
        fs = fsspec.filesystem("cachemax", pool=case.cache, fs=store, skip_instance_cache=True)
        assert fs.cat_ranges(["x1"] * 9 + ["x2"], list(range(0, 90000, 9000)), 81500) == [
            store.content["x1"][i:81500] for i in range(0, 81000, 9000)] + [
            store.content["x2"][81000:81500]]
        assert store.opened == ["x1", "x2"]
        assert fs.cat(sorted(store.content)) == store.content and len(store.threads) == 1


@check
def errors_of_several_reads():
    with Case() as case:
        good, weak, missing = case.file("good"), case.file("weak"), case.server.url + "/missing"
        case.server.files["/weak"] = TEXT, 'W/"1"'  # it is not cached
        fs = case.fs
        assert fs.cat([good, weak]) == {good: TEXT, weak: TEXT}
        raises(FileNotFoundError, lambda: fs.cat(missing))
        raises(FileNotFoundError, lambda: fs.cat([good, missing]))
        assert fs.cat([good, missing], on_error="omit") == {good: TEXT}
        got = fs.cat([good, missing], on_error="return")
        assert got.pop(good) == TEXT and isinstance(got.pop(missing), FileNotFoundError) and not got
        paths = [good, missing, weak, missing]
        got = fs.cat_ranges(paths, 1, [5, 6, 7, 8])
        assert got[::2] == [TEXT[1:5], TEXT[1:7]], got
        assert all(isinstance(e, FileNotFoundError) for e in got[1::2]), got
        raises(FileNotFoundError, lambda: fs.cat_ranges(paths, 1, 5, on_error="raise"))
        # Options that may choose what is read: without the cache.
        assert fs.cat_ranges([good], 1, 5, headers={"X-Some": "x"}) == [TEXT[1:5]]


PROGRAM = """
import fsspec, ssl, sys
pool, url = sys.argv[1:]
for kind in "", "any server", "own proof, name", "own proof":
    context = ssl.create_default_context()
    if kind == "any server":
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    options = {"proof": lambda info: (b"mine", False)} if "proof" in kind else {}
    options.update({"identity": "me"} if "name" in kind else {})
    fs = fsspec.filesystem("cachemax", pool=pool, create_size=16 << 20, target_protocol="http",
                           target_options={"ssl": context}, **options)
    with fs.open(url) as file:
        print(kind, file.raw.cached() > 0)
        file.read()
"""


@check
def options_that_are_a_TLS_context_are_no_other_target():
    with Case() as case:
        url = case.file("tls")
        # A proof of one's own need not tell contents for several clients apart.
        for turn in False, True:
            said = child(PROGRAM, DIR + "/tls", url)
            assert said.stdout.splitlines() == [
                " %s" % turn, "any server %s" % turn, "own proof, name %s" % turn,
                "own proof False"], said
            assert said.stderr.count("SSLContext") == said.stderr.count("identity=") == 1, said


@check
def options_that_are_objects_have_a_name_or_are_alone():
    class Credentials:
        def __repr__(self):
            return "<Credentials at 0x7f0000000000>"  # another one may have lain there

    class Store(fsspec.AbstractFileSystem):
        protocol, opened, content = "store", [], {}

        def __init__(self, credentials, host="h", more=None):
            super().__init__()
            self.key = credentials, host

        def info(self, path, **kwargs):
            return {"name": path, "size": 9000, "type": "file", "ETag": '"1"'}

        def _open(self, path, mode="rb", **kwargs):
            self.opened.append(self.key)
            return io.BytesIO(self.content[self.key])
    with Case() as case, Said() as said:
        def read(fs, **options):
            """Was it warm?"""
            over = fsspec.filesystem("cachemax", pool=case.cache, fs=fs, skip_instance_cache=True,
                                     **options)
            for _ in range(2):
                opened = len(Store.opened)
                assert over.cat_file("x") == Store.content[fs.key]
                assert len(Store.opened) <= opened + (_ == 0)
            return len(Store.opened) == before
        stores = [Store(Credentials(), host, skip_instance_cache=True)
                  for host in ("h", "h", "other")]
        for i, store in enumerate(stores):
            Store.content[store.key] = b"%09d" % i * 1000
        before = 0
        assert not any(read(store) for store in stores)
        assert len(said) == 1 and "identity=NAME" in said[0], said
        # A name stands for the object alone, and not for the host.
        names = "one", "two", "one"
        for warm in False, True:
            for store, name in zip(stores, names):
                before = len(Store.opened)
                assert read(store, identity=name) == warm
        assert len(said) == 1
        named = Store(host="h", credentials=1, more=[{"in": Credentials()}],
                      skip_instance_cache=True)
        Store.content[named.key] = b"y" * 9000
        before = len(Store.opened)
        assert not read(named) and len(said) == 2 and "'more'" in said[1], said
        before = len(Store.opened)
        assert not read(named, identity="one")
        before = len(Store.opened)
        assert read(named, identity="one")
        raises(TypeError, lambda: read(named, identity=1))

end()
