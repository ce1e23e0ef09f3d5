# SPDX-License-Identifier: BSD-2-Clause
"""fleet.py - two nodes over one volume of GlusterFS or MooseFS: does a node ever serve old data?

run.sh starts it in namespaces of its own. A node is a client of the file system, and over it a
cachemax-mount with --coherence=close-to-open, --trust-times and --volume-id, and a pool of its own.
A third client has no cache. First come checks of one kind of change each, then an oracle
(oracle.py) while nodes and servers are killed and started again. The last lines of each file system
say what was done, and which share of the blocks the pools had.
"""
import argparse
import json
import mmap
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
from measure import measure  # noqa: E402
from oracle import Oracle  # noqa: E402
from servers import ADDRESS, KINDS, Failure, kill, mounted, run, unmount, until  # noqa: E402

MIB = 1 << 20
WORKERS = 2  # of each node


class Results:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def ok(self, name):
        self.passed += 1
        print('ok ' + name, flush=True)

    def fail(self, name, why):
        self.failed += 1
        print('FAIL %s: %s' % (name, why), flush=True)

    def skip(self, name, why):
        self.skipped += 1
        print('skip %s: %s' % (name, why), flush=True)

    def check(self, name, function, *arguments):
        try:
            function(*arguments)
        except (AssertionError, Failure, OSError) as e:
            self.fail(name, '%s %s' % (type(e).__name__, e))
        else:
            self.ok(name)


class Node:
    """A client of the volume, and the cache over it."""

    def __init__(self, number, server, programs, work, shm, bare):
        self.server, self.programs, self.bare = server, programs, bare
        self.dir = os.path.join(work, 'node%d' % number)
        self.pool = os.path.join(shm, 'pool%d' % number)
        self.log = os.path.join(work, 'cache%d.log' % number)
        self.mount = self.client = None
        self.options = ('-o', 'attr_timeout=0,entry_timeout=0')  # names are seen at once
        self.hit_blocks = self.miss_blocks = 0  # of the sessions that were killed
        if not bare and run(programs['cachemax'], 'create', self.pool, '--size=64MiB',
                            log=self.log):
            raise Failure('cannot create ' + self.pool)

    def begin(self, **options):
        self.client = self.server.mount(self.dir, **options)
        self.begin_cache()

    def begin_cache(self):
        if self.bare:
            return
        with open(self.log, 'ab') as out:
            self.mount = subprocess.Popen(
                (self.programs['cachemax-mount'], self.dir, '--pool', self.pool, '-f',
                 '--coherence=close-to-open', '--trust-times=%d' % self.server.trust,
                 '--volume-id=fleet') + self.options,
                stdout=out, stderr=out, stdin=subprocess.DEVNULL)

        def there():
            if self.mount.poll() is not None:
                with open(self.log, encoding='utf-8') as f:
                    raise Failure('cachemax-mount: ' + f.read().strip().splitlines()[-1])
            if self.stats()['owner_pid'] != self.mount.pid:
                return False
            try:
                return os.statvfs(self.dir) and mounted(self.dir, 'fuse.cachemax')
            except OSError:
                return False  # a dead mount, which the new one detaches
        until('no cache at ' + self.dir, there)

    def kill_cache(self):
        self.count()
        if self.mount:
            kill(self.mount)

    def kill_client(self):
        """The cache's origin is gone with it, so the cache begins anew, too."""
        self.count()
        kill(self.client)
        if self.mount:
            kill(self.mount)
        unmount(self.dir)

    def end_cache(self):
        until(self.dir + ' is busy', lambda: run('fusermount3', '-u', self.dir) == 0)
        self.mount.wait(60)

    def end(self):
        for process in self.mount, self.client:
            if process and process.poll() is None:
                kill(process)
        unmount(self.dir)

    def stats(self):
        said = subprocess.run((self.programs['cachemax'], 'stats', '--json', self.pool), check=True,
                              stdout=subprocess.PIPE).stdout
        return json.loads(said)

    def count(self):
        if self.bare:
            return
        s = self.stats()
        self.hit_blocks += s['hit_blocks']
        self.miss_blocks += s['miss_blocks']

    def path(self, name):
        return os.path.join(self.dir, 'data', name)

    def read(self, name, flags=os.O_DIRECT):
        """In an open of its own, past the kernel's pages."""
        fd = os.open(self.path(name), os.O_RDONLY | flags)
        try:
            with mmap.mmap(-1, MIB) as m:
                n = os.preadv(fd, [m], 0)
                return m[:n]
        finally:
            os.close(fd)

    def put(self, name, data):
        with open(self.path(name), 'wb') as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())

    def hits(self, name, data):
        """How many blocks of a read come from the pool."""
        before = self.stats()['hit_blocks']
        got = self.read(name)
        assert got == data, 'wrong content of %s: %r instead of %r' % (name, got[:20], data[:20])
        return self.stats()['hit_blocks'] - before


class Fleet:
    """The file system, two nodes, and a client without a cache."""

    def __init__(self, kind, programs, work, shm, bare):
        self.server = kind(os.path.join(work, kind.name), shm)
        self.bare = os.path.join(work, 'bare')
        self.nodes = [Node(n, self.server, programs, work, shm, bare) for n in (1, 2)]
        self.bare_client = None
        self.data = {}  # of each file, by its name

    def begin_servers(self):
        self.server.begin()
        self.bare_client = self.server.mount(self.bare)
        self.wait_for_volume()

    def begin_nodes(self):
        # Where no client is mounted, its directory is an ordinary one, without this name.
        os.mkdir(os.path.join(self.bare, 'data'))
        for node in self.nodes:
            node.begin()

    def wait_for_volume(self):
        """Until each client can make, write and read files on all servers."""
        def works(directory):
            try:
                for k in range(8):
                    path = os.path.join(directory, 'probe%d' % k)
                    with open(path, 'wb') as f:
                        f.write(b'probe')
                        os.fsync(f.fileno())
                    with open(path, 'rb') as f:
                        if f.read() != b'probe':
                            return False
            except OSError:
                return False
            return True
        for directory in [self.bare] + [n.dir for n in self.nodes if n.client]:
            until('the volume does not work: ' + self.server.tail(), lambda d=directory: works(d),
                  120)

    def end(self):
        for node in self.nodes:
            node.end()
        if self.bare_client:
            kill(self.bare_client)
        unmount(self.bare)

    # ---- checks of one kind of change each ----

    @staticmethod
    def is_warm(node, name, data, why):
        n = node.hits(name, data)
        assert n == len(data) // 4096, '%s: %d hits' % (why, n)

    def warm(self, name, data):
        """Node 2 gets all of `name` from its pool, once it is old enough."""
        two = self.nodes[1]
        until('%s is not warm' % name, lambda: two.hits(name, data) == len(data) // 4096)

    def changes(self, name, change):
        """Node 2 is warm, node 1 changes the file three times: node 2 sees it at once."""
        self.warm(name, self.data[name])
        for _ in range(3):
            self.data[name] = change(self.nodes[0].path(name), self.data[name])
            assert self.nodes[1].read(name) == self.data[name], 'node 2 has old data'

    def t_write(self):
        def change(path, data):
            data = data[:4096] + os.urandom(4096) + data[8192:]
            with open(path, 'r+b') as f:
                f.seek(4096)
                f.write(data[4096:8192])
            return data
        self.changes('write', change)

    def t_descriptor(self):
        """The writer has the file open all the time."""
        with open(self.nodes[0].path('descriptor'), 'r+b') as f:
            def change(_path, data):
                data = data[:4096] + os.urandom(4096) + data[8192:]
                os.pwrite(f.fileno(), data[4096:8192], 4096)
                os.fsync(f.fileno())
                return data
            self.changes('descriptor', change)

    def t_mapping(self):
        def change(path, data):
            data = data[:4096] + os.urandom(4096) + data[8192:]
            with open(path, 'r+b') as f, mmap.mmap(f.fileno(), 0) as m:
                m[4096:8192] = data[4096:8192]
                m.flush()
            return data
        self.changes('mapping', change)

    def t_times(self):
        """Equal sizes, and the old time of the last change."""
        def change(path, data):
            st = os.stat(path)
            data = os.urandom(len(data))
            with open(path, 'r+b') as f:
                f.write(data)
            os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))
            return data
        self.changes('times', change)

    def t_rename(self):
        def change(path, data):
            st = os.stat(path)
            data = os.urandom(len(data))
            with open(path + '.new', 'wb') as f:
                f.write(data)
            os.utime(path + '.new', ns=(st.st_atime_ns, st.st_mtime_ns))
            os.rename(path + '.new', path)
            return data
        self.changes('rename', change)

    def t_truncate(self):
        """Shorter, and as long as before, but with a hole."""
        def change(path, data):
            os.truncate(path, 4096)
            assert self.nodes[1].read('truncate') == data[:4096], 'node 2 sees what was cut'
            os.truncate(path, len(data))
            return data[:4096] + bytes(len(data) - 4096)
        self.changes('truncate', change)

    def t_both(self):
        """Both nodes write their own halves."""
        data = bytearray(self.data['both'])
        self.warm('both', bytes(data))
        for k in range(20):
            half = (k % 2) * 8 * 4096
            data[half:half + 4096] = os.urandom(4096)
            with open(self.nodes[k % 2].path('both'), 'r+b') as f:
                f.seek(half)
                f.write(data[half:half + 4096])
            for n in self.nodes:
                assert n.read('both') == data, 'round %d: old data' % k
        self.data['both'] = bytes(data)

    def t_held(self):
        """A reader on node 2 keeps the file open, and reads it before and after the change. The
        client may have kept what was read before. It must not become the new version's blocks."""
        two = self.nodes[1]
        self.warm('held', self.data['held'])
        with open(two.path('held'), 'rb') as held:
            def reads():
                os.posix_fadvise(held.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                return os.pread(held.fileno(), MIB, 0)
            until('the open file shows old data', lambda: reads() == self.data['held'])
            self.data['held'] = data = os.urandom(16 * 4096)
            with open(self.nodes[0].path('held'), 'r+b') as f:
                f.write(data)
            end = time.monotonic() + self.server.trust + 3
            while time.monotonic() < end:
                reads()
                time.sleep(0.1)
            self.warm('held', data)
            assert reads() == data, 'the open file shows old data'

    def t_again(self):
        """All these files are warm again, with their new content."""
        for name, data in sorted(self.data.items()):
            self.warm(name, data)

    def t_remount(self):
        """--volume-id: warm after a clean end, after a kill, and with a new client."""
        two, data = self.nodes[1], self.data['remount']
        self.warm('remount', data)
        two.end_cache()
        two.begin_cache()
        self.is_warm(two, 'remount', data, 'after a clean end')
        two.kill_cache()
        two.begin_cache()
        self.is_warm(two, 'remount', data, 'after a kill')
        two.kill_client()
        two.begin()
        self.is_warm(two, 'remount', data, 'with a new client')

    def t_away(self):
        """A file that changed while the cache was not there."""
        two = self.nodes[1]
        self.warm('away', self.data['away'])
        two.kill_cache()
        self.data['away'] = data = os.urandom(16 * 4096)
        self.nodes[0].put('away', data)
        two.begin_cache()
        assert two.read('away') == data, 'old data after a remount'

    CHECKS = (('a write is seen', t_write), ('a write by an open descriptor is seen', t_descriptor),
              ('a store in a mapping is seen', t_mapping),
              ('a change that hides its time is seen', t_times),
              ('a rename over the file is seen', t_rename),
              ('a truncation is seen', t_truncate), ('both nodes write one file', t_both),
              ('a reader keeps the file open', t_held), ('all are warm again', t_again),
              ('warm after a remount', t_remount), ('changed while the cache was away', t_away))

    def prepare(self):
        """The files of the checks. They grow old together."""
        self.data = {f.__name__[2:]: os.urandom(16 * 4096) for _, f in self.CHECKS}
        for name, data in self.data.items():
            self.nodes[0].put(name, data)

    # ---- the oracle ----

    def outage(self, what, oracle, random):
        oracle.outages.value += 1
        if what in self.server.parts:
            self.server.stop(what)
            time.sleep(random.uniform(0.2, 2))
            self.server.start(what)
        else:
            verb, n = what.split(' of node ')
            node = self.nodes[int(n) - 1]
            getattr(node, {'cache': 'kill_cache', 'client': 'kill_client'}[verb])()
            time.sleep(random.uniform(0, 1))
            (node.begin_cache if verb == 'cache' else node.begin)()
        self.wait_for_volume()
        oracle.outages.value += 1
        print('  %d operations: %s was killed, and is back' % (oracle.progress.value, what),
              flush=True)

    def storm(self, operations, kills, seed):
        """Returns the oracle, with the counts of its process."""
        chance = random.Random(seed)
        oracle = Oracle([n.path('') for n in self.nodes], self.bare + '/data',
                        40 + operations // 500, seed)
        victims = list(self.server.parts) + ['%s of node %d' % (what, n)
                                             for what in ('cache', 'client') for n in (1, 2)]
        process, results = oracle.begin(operations, WORKERS, self.server.trust)
        for k in range(kills):
            if k % len(victims) == 0:
                chance.shuffle(victims)
            while (oracle.progress.value < operations * (k + 1) // (kills + 1) and
                   process.is_alive()):
                time.sleep(0.05)
            if not process.is_alive():
                break
            self.outage(victims[k % len(victims)], oracle, chance)
        if not results.poll(1200):
            process.kill()
            raise Failure('a call did not end in 20 minutes')
        try:
            oracle.count, oracle.wrong = results.recv()
        except EOFError:
            oracle.wrong = ['its process ended: see above']
        process.join()
        return oracle


def report(fleet, oracle, seconds, kills):
    print('  %s: %d operations in %d s, %d kills; %s' % (
        fleet.server.name, oracle.progress.value, seconds, kills,
        ', '.join('%d %s' % (n, what) for what, n in sorted(oracle.count.items()))))
    for n, node in enumerate(fleet.nodes, 1):
        node.count()
        total = node.hit_blocks + node.miss_blocks
        print('  %s, node %d: %d of %d blocks from the pool, %.0f %%' % (
            fleet.server.name, n, node.hit_blocks, total, 100 * node.hit_blocks / max(1, total)))


def test(kind, options, programs, results):
    name = kind.name
    missing = [p for p in kind.needs if not shutil.which(p)]
    if missing:
        results.skip(name, 'no %s here: apt-get install %s' % (missing[0], kind.packages))
        return
    work = tempfile.mkdtemp(prefix='cachemax-fleet.', dir=os.environ.get('TMPDIR', '/tmp'))
    shm = tempfile.mkdtemp(prefix='cachemax-fleet.',
                           dir='/dev/shm' if os.access('/dev/shm', os.W_OK) else work)
    fleet = Fleet(kind, programs, work, shm, options.bare)
    try:
        try:
            fleet.begin_servers()
        except Failure as e:
            results.skip(name, 'the servers do not start here: %s' % e)
            return
        try:
            fleet.begin_nodes()
        except Failure as e:
            results.fail(name + ': begin', e)
            return
        if options.measure:
            results.check(name + ': measure', measure, fleet, run, options.seed)
            return
        fleet.prepare()
        for check, function in fleet.CHECKS:
            if not options.bare and (not options.checks or options.checks in check):
                results.check('%s: %s' % (name, check), function, fleet)
        if options.operations:
            began = time.monotonic()
            oracle = fleet.storm(options.operations, options.kills, options.seed)
            report(fleet, oracle, time.monotonic() - began, oracle.outages.value // 2)
            what = '%s: no old and no wrong data in %d operations' % (name, oracle.progress.value)
            if oracle.wrong:
                results.fail(what, '; '.join(oracle.wrong[:5]))
            else:
                results.ok(what)
    finally:
        fleet.end()
        if options.keep:
            print('  kept: %s %s' % (work, shm))
        else:
            run('rm', '-rf', '--one-file-system', work, shm)


def main():
    p = argparse.ArgumentParser(prog='run.sh')
    p.add_argument('build')
    p.add_argument('--operations', type=int, default=1500)
    p.add_argument('--kills', type=int)
    p.add_argument('--only', choices=sorted(KINDS))
    p.add_argument('--checks', help='only those whose name contains it')
    p.add_argument('--bare', action='store_true',
                   help='the oracle over the clients without a cache: what the file system does')
    p.add_argument('--measure', action='store_true', help='measure.py, and nothing else')
    p.add_argument('--seed', type=int, default=int(time.time()))
    p.add_argument('--keep', action='store_true')
    options = p.parse_args()
    if options.kills is None:
        options.kills = max(6, options.operations // 2500)
    programs = {'cachemax': 'src/tool/cachemax', 'cachemax-mount': 'examples/mount/cachemax-mount'}
    programs = {n: os.path.realpath(os.path.join(options.build, p)) for n, p in programs.items()}
    for program in programs.values():
        if not os.path.exists(program):
            sys.exit('run.sh: no %s: build it first' % program)
    run('ip', 'link', 'set', 'lo', 'up')
    run('ip', 'address', 'add', ADDRESS + '/32', 'dev', 'lo')
    print('seed %d' % options.seed)
    results = Results()
    for name, kind in sorted(KINDS.items()):
        if options.only in (None, name):
            test(kind, options, programs, results)
    print('%d passed, %d failed, %d skipped' % (results.passed, results.failed, results.skipped))
    sys.exit(1 if results.failed else 0 if results.passed else 77)


if __name__ == '__main__':
    main()
