#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""programs.py BUILD [--every N] [--first N] [--only STORY [--kind KIND --at N [--on]]]

Each call of the mount and of the service to the system fails in turn (preload.c): it alone, or it
and all later ones of its kind. There are three stories: `mount` (a mount with a pool), `client` (a
mount with a service, whose own calls fail) and `service` (a service whose calls fail, beside a
client that reads). A story runs once to count the calls. Each run is judged:

- The program ends by itself with an exit status that its manual page names, and not by a signal.
- What is read is what the origin has. Some reads and writes may fail, if a call failed that they
  need themselves: FAIL_OF says which. All others succeed, without the cache if need be.
- What was written is there; nothing else has changed.
- Nothing hangs; the mount is gone in the end.
- The next mount, with the same pool, reads what the origin has, and ends with 0.

Prints "faults: ..." and exits with 1 if something was wrong; 77: no FUSE here.
"""
import argparse
import glob
import hashlib
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PATIENCE = 60  # seconds for what takes a moment
FUSE = '65735546'
A, B = 300000, 9000  # bytes of the two files


class Wrong(Exception):
    pass


# Which operations of programs may fail when calls of a kind fail: those that need the call itself,
# on the origin, and all where there is no memory for the request.
MEMORY = ('malloc', 'calloc', 'realloc', 'aligned_alloc', 'posix_memalign', 'strdup')
ORIGIN = ('open', 'openat', 'fdopendir', 'dup', 'read', 'pread', 'write', 'pwrite', 'fstat',
          'fstatat', 'statx', 'fstatfs', 'fsync', 'fdatasync', 'ftruncate', 'fallocate', 'ioctl',
          'fcntl', 'name_to_handle_at', 'readlink')
MAY_FAIL = MEMORY + ORIGIN


def content(name, n):
    return b''.join(hashlib.sha256(b'%s %d' % (name.encode(), i)).digest()
                    for i in range(n // 32 + 1))[:n]


def wait_for(what, process=None):
    end = time.monotonic() + PATIENCE
    while not what():
        if process is not None and process.poll() is not None:
            return False
        if time.monotonic() > end:
            raise Wrong('it hangs at its beginning')
        time.sleep(0.002)
    return True


def is_mounted(path):
    with open('/proc/self/mountinfo', encoding='utf-8') as f:
        return any(line.split()[4] == path for line in f)


# ---- What programs do on the mount -----------------------------------------------------------

def attempt(said, name, fn):
    try:
        return fn()
    except OSError as e:
        said['failed'].append([name, e.errno])
        return None


def whole(path, offset=0, n=1 << 20):
    fd = os.open(path, os.O_RDONLY)
    try:
        parts = []
        while n > 0:
            part = os.pread(fd, min(n, 65536), offset)
            if not part:
                break
            parts.append(part)
            offset += len(part)
            n -= len(part)
        return b''.join(parts)
    finally:
        os.close(fd)


def write(path, data, offset, flags=0):
    fd = os.open(path, os.O_RDWR | flags, 0o600)
    try:
        os.pwrite(fd, data, offset)
        os.fsync(fd)
    finally:
        os.close(fd)


def use(org):
    """Runs in a process of its own. Prints what has failed, and what was written."""
    said = {'failed': [], 'wrong': [], 'written': [], 'tried': []}
    a, b = content('a', A), content('b', B)
    for _ in range(2):
        got = attempt(said, 'read', lambda: whole(org + '/a'))
        if got is not None and got != a:
            said['wrong'].append('a')
    got = attempt(said, 'read', lambda: whole(org + '/a', 123456, 50000))
    if got is not None and got != a[123456:173456]:
        said['wrong'].append('a, a part')
    got = attempt(said, 'read', lambda: whole(org + '/b'))
    if got is not None and got != b:
        said['wrong'].append('b')
    names = attempt(said, 'list', lambda: sorted(os.listdir(org)))
    if names is not None and names != ['a', 'b', 'd']:
        said['wrong'].append('names %s' % names)
    said['tried'].append('b')
    if attempt(said, 'write', lambda: write(org + '/b', b'x' * 100, 5000) or True):
        said['written'].append('b')
        b = b[:5000] + b'x' * 100 + b[5100:]
    got = attempt(said, 'read', lambda: whole(org + '/b'))
    if got is not None and got != b and 'b' in said['written']:
        said['wrong'].append('b after it was written')
    said['tried'].append('c')
    if attempt(said, 'make', lambda: write(org + '/d/c', content('c', 3000), 0,
                                           os.O_CREAT) or True):
        said['written'].append('c')
        attempt(said, 'rename', lambda: os.rename(org + '/d/c', org + '/d/e'))
    attempt(said, 'stat', lambda: os.stat(org + '/a'))
    print(json.dumps(said))


# ---- Stories ---------------------------------------------------------------------------------

class Run:
    def __init__(self, tools, fault, counts):
        self.tools, self.fault, self.counts = tools, fault, counts
        self.work = tempfile.mkdtemp(prefix='cachemax-faults.', dir=tools['dir'])
        self.org = self.work + '/org'
        os.mkdir(self.org)
        os.mkdir(self.org + '/d')
        for name, n in (('a', A), ('b', B)):
            with open(self.org + '/' + name, 'wb') as f:
                f.write(content(name, n))
        old = time.time() - 1000
        for name in ('a', 'b', 'd'):
            os.utime(self.org + '/' + name, (old, old))
        self.below = os.open(self.org, os.O_RDONLY)  # what is below the mount
        self.pool, self.socket = self.work + '/pool', self.work + '/socket'
        shutil.copyfile(tools['template'], self.pool)
        os.chmod(self.pool, 0o600)
        self.log = open(self.work + '/log', 'wb')
        self.running = []

    def begin(self, command, failing):
        env = dict(os.environ)
        if failing:
            env['LD_PRELOAD'] = self.tools['preload']
            env['FAULTS_COUNT'] = self.counts
            if self.fault:
                env['FAULTS'] = self.fault
        p = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=self.log,
                             stderr=self.log)
        self.running.append(p)
        return p

    def end(self, p, allowed, what):
        try:
            status = p.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise Wrong('%s does not end' % what)
        self.running.remove(p)
        if status not in allowed:
            raise Wrong('%s: exit status %d' % (what, status))
        return status

    def mount(self, failing, service=False):
        where = ['--service', self.socket] if service else ['--pool', self.pool]
        more = [] if service else ['--advise', '*.iso=keep', '--quota', 'd=1M']
        p = self.begin([self.tools['cachemax-mount'], self.org] + where + more +
                       ['-f', '-o', 'io_uring=off', '--exclude', '*.log', '--exclude-owner',
                        '4321'], failing)

        def there():
            if not is_mounted(self.org):
                return False
            return subprocess.run(['stat', '-f', '-c', '%t', self.org], stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL,
                                  check=False).stdout.decode().strip() == FUSE
        return p, wait_for(there, p)

    def unmount(self):
        for _ in range(200):
            if subprocess.run(['fusermount3', '-u', self.org], stderr=subprocess.DEVNULL,
                              check=False).returncode == 0 or not is_mounted(self.org):
                return
            time.sleep(0.02)
        raise Wrong('it cannot be unmounted')

    def use(self):
        p = subprocess.Popen([sys.executable, __file__, '--use', self.org],
                             stdout=subprocess.PIPE, stderr=self.log)
        self.running.append(p)
        try:
            out = p.communicate(timeout=PATIENCE)[0]
        except subprocess.TimeoutExpired:
            raise Wrong('a program that uses the mount hangs')
        self.running.remove(p)
        if p.returncode != 0:
            raise Wrong('a program that uses the mount ended with %d' % p.returncode)
        said = json.loads(out)
        if said['wrong']:
            raise Wrong('wrong bytes: %s' % said['wrong'])
        return said

    def origin(self, said, path, want):
        """What is below the mount."""
        try:
            fd = os.open(path, os.O_RDONLY, dir_fd=self.below)
        except FileNotFoundError:
            return False
        with open(fd, 'rb') as f:
            got = f.read()
        if got not in want:
            raise Wrong('the origin has other bytes: %s' % path)
        return True

    def judge_origin(self, said):
        b = content('b', B)
        changed = b[:5000] + b'x' * 100 + b[5100:]
        self.origin(said, 'a', [content('a', A)])
        self.origin(said, 'b', [changed] if 'b' in said['written'] else [b, changed])
        c = [content('c', 3000)] if 'c' in said['written'] else [content('c', 3000), b'']
        there = [self.origin(said, 'd/' + name, c) for name in ('c', 'e')]
        if 'c' in said['written'] and sum(there) != 1:
            raise Wrong('a file that was made is not there')

    def judge_failed(self, said, kind):
        if said['failed'] and kind not in MAY_FAIL:
            raise Wrong('operations failed: %s' % said['failed'])
        if kind in MEMORY and any(e not in (5, 12) for _, e in said['failed']):
            raise Wrong('operations failed: %s' % said['failed'])

    def next_mount(self):
        p, mounted = self.mount(False)
        if not mounted:
            # A pool that cannot be used says so; the user makes another one.
            self.end(p, (3,), 'the next mount')
            os.unlink(self.pool)
            shutil.copyfile(self.tools['template'], self.pool)
            os.chmod(self.pool, 0o600)
            p, mounted = self.mount(False)
        for path in ('a', 'b'):
            fd = os.open(path, os.O_RDONLY, dir_fd=self.below)
            with open(fd, 'rb') as f:
                if f.read() != whole(self.org + '/' + path):
                    raise Wrong('the next mount reads other bytes: %s' % path)
        self.unmount()
        self.end(p, (0,), 'the next mount')

    def clean(self):
        for p in self.running:
            p.kill()
        while is_mounted(self.org):
            subprocess.run(['umount', '-l', self.org], check=False)
        for p in self.running:
            p.wait()
        os.close(self.below)
        self.log.close()
        shutil.rmtree(self.work, ignore_errors=True)

    # -- the stories

    def story_mount(self, kind, service=False):
        p, mounted = self.mount(True, service)
        if not mounted:
            self.end(p, (1, 3), 'the mount')
            self.said_why()
            if is_mounted(self.org):
                raise Wrong('it did not begin, and leaves a dead mount')
            return
        said = self.use()
        if p.poll() is None:
            self.unmount()
        self.end(p, (0, 1, 3, 4), 'the mount')
        self.judge_origin(said)
        self.judge_failed(said, kind)

    def said_why(self):
        self.log.flush()
        if os.path.getsize(self.work + '/log') == 0:
            raise Wrong('it did not begin, and says nothing')

    def serve(self, failing):
        conf = self.work + '/conf'
        with open(conf, 'w', encoding='utf-8') as f:
            f.write('pool = %s\nsocket = %s\n' % (self.pool, self.socket))
        p = self.begin([self.tools['cachemax-service'], conf], failing)

        def serves():
            self.log.flush()
            with open(self.work + '/log', encoding='utf-8', errors='replace') as f:
                return ' serves ' in f.read()
        return p, wait_for(serves, p)

    def story_client(self, kind):
        s, _ = self.serve(False)
        self.story_mount(kind, True)
        s.terminate()
        self.end(s, (0,), 'the service')

    def story_service(self, kind):
        del kind
        s, serves = self.serve(True)
        if not serves:
            self.end(s, (1,), 'the service')
            self.said_why()
        for _ in range(3):
            p = subprocess.run([self.tools['through'], self.org + '/a', self.socket],
                               stdout=subprocess.PIPE, stderr=self.log, timeout=PATIENCE,
                               check=False)
            if p.returncode != 0 or p.stdout != content('a', A):
                raise Wrong('a client reads other bytes, or none')
        if serves and s.poll() is None:
            s.terminate()
        if serves:
            self.end(s, (0, 1), 'the service')


STORIES = {'mount': Run.story_mount, 'client': Run.story_client, 'service': Run.story_service}


# ---- Main ------------------------------------------------------------------------------------

def kinds():
    with open(HERE + '/preload.c', encoding='utf-8') as f:
        return re.findall(r'X\((\w+)\)', f.read().split('#define KINDS(X)')[1].split('enum')[0])


def one(tools, story, kind, at, on):
    """Returns the counts, or None if something was wrong."""
    names = kinds()
    counts = os.path.join(tools['dir'], 'counts')
    with open(counts, 'wb') as f:
        f.write(bytes(8 * len(names)))
    fault = '%s:%d%s' % (kind, at, ':on' if on else '') if kind else None
    run = Run(tools, fault, counts)
    try:
        STORIES[story](run, kind)
        if story != 'service':
            run.next_mount()
    except (Wrong, OSError, subprocess.SubprocessError) as e:
        print('FAIL --only %s --kind %s --at %d%s: %s' % (story, kind, at, ' --on' if on else '',
                                                          e))
        run.log.flush()
        with open(run.work + '/log', encoding='utf-8', errors='replace') as f:
            for line in f.read().splitlines()[-4:]:
                print('#   ' + line)
        sys.stdout.flush()
        return None
    finally:
        run.clean()
    with open(counts, 'rb') as f:
        return dict(zip(names, struct.unpack('<%dQ' % len(names), f.read())))


def find(build, name):
    found = [f for f in glob.glob(build + '/**/' + name, recursive=True) if os.path.isfile(f) and
             (os.access(f, os.X_OK))]
    return os.path.realpath(found[0]) if found else None


def set_up(build, place):
    tools = {'dir': place}
    for name in ('cachemax-mount', 'cachemax-service', 'cachemax', 'through'):
        tools[name] = find(build, name)
    preload = glob.glob(build + '/**/fault_preload.so', recursive=True)
    tools['preload'] = os.path.realpath(preload[0]) if preload else None
    if not all(tools.values()) or not os.path.exists('/dev/fuse') or \
            not shutil.which('fusermount3'):
        print('skip faults: no FUSE here, or a build without the mount and the service')
        sys.exit(77)
    tools['template'] = place + '/template'
    subprocess.run([tools['cachemax'], 'create', tools['template'], '--size=2M'], check=True,
                   stdout=subprocess.DEVNULL)
    return tools


def main():
    if sys.argv[1:2] == ['--use']:
        return use(sys.argv[2])
    args = argparse.ArgumentParser(usage=__doc__)
    args.add_argument('build')
    args.add_argument('--every', type=int, default=1)
    args.add_argument('--first', type=int, default=0)
    args.add_argument('--only', choices=sorted(STORIES))
    args.add_argument('--kind')
    args.add_argument('--at', type=int, default=0)
    args.add_argument('--on', action='store_true')
    a = args.parse_args()
    place = tempfile.mkdtemp(prefix='cachemax-faults.',
                             dir='/dev/shm' if os.access('/dev/shm', os.W_OK) else None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    number = stories = calls = runs = wrong = 0
    try:
        tools = set_up(a.build, place)
        for story in STORIES:
            if a.only not in (None, story):
                continue
            stories += 1
            counts = one(tools, story, None, 0, False)
            runs += 1
            if counts is None:
                wrong += 1
                continue
            calls += sum(counts.values())
            if a.only and not a.kind:
                print('# %s' % ', '.join('%s %d' % c for c in counts.items() if c[1]))
            for kind, n in counts.items():
                for at in range(1, n + 1):
                    for on in (False, True):
                        if a.kind not in (None, kind) or (a.at and (at, on) != (a.at, a.on)):
                            continue
                        number += 1
                        if number % a.every != a.first % a.every:
                            continue
                        runs += 1
                        wrong += one(tools, story, kind, at, on) is None
    finally:
        shutil.rmtree(place, ignore_errors=True)
    print('faults: %d stories, %d calls, %d runs, %d wrong' % (stories, calls, runs, wrong))
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
