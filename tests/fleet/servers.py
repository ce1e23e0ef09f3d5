# SPDX-License-Identifier: BSD-2-Clause
"""servers.py - a GlusterFS or a MooseFS of the test's own, in the namespaces of run.sh.

Each class starts and stops the parts of one file system, and mounts its client. A part that can be
killed has a name in `parts`. stop(part) kills it with SIGKILL, start(part) starts it again. All
settings that the guarantee of docs/scale.md needs stand here.
"""
import collections
import glob
import os
import shutil
import signal
import socket
import subprocess
import time

ADDRESS = '10.77.0.1'  # of `lo`: the servers refuse 127.0.0.1


class Failure(Exception):
    """A part of the test that did not come up."""


def run(*command, log=None):
    with open(log or os.devnull, 'ab') as out:
        return subprocess.run(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                              check=False, timeout=120).returncode


def until(what, condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Failure('after %d s: %s' % (seconds, what))
        time.sleep(0.05)


def mounted(path, kind):
    with open('/proc/self/mountinfo', encoding='utf-8') as f:
        lines = [line.split(' - ') for line in f]
    return any(left.split()[4] == path and right.split()[0].startswith(kind)
               for left, right in lines)


def unmount(path):
    while mounted(path, ''):
        if run('umount', '-l', path):
            raise Failure(path + ' cannot be unmounted')


def listens(port):
    with socket.socket() as s:
        return s.connect_ex((ADDRESS, port)) == 0


def kill(process):
    """SIGKILL to a process that the test started."""
    process.kill()
    process.wait()


class Server:
    """What both have in common: a directory of their own, processes, clients."""

    def __init__(self, work, disks):
        """disks: where the data lies; in memory the run is faster, and a killed server keeps it."""
        self.work, self.disks = work, disks
        self.log = os.path.join(work, 'log')
        self.running = {}
        os.makedirs(work, exist_ok=True)

    def path(self, *names):
        return os.path.join(self.work, *names)

    def spawn(self, *command, env=None):
        with open(self.log, 'ab') as out:
            return subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                                    env=dict(os.environ, **(env or {})))

    def mount(self, directory, env=None, **options):
        """A client, in the foreground."""
        os.makedirs(directory, exist_ok=True)
        client = self.spawn(*self.client(directory, **options), env=env)

        def there():
            if client.poll() is not None:
                raise Failure('the client of %s ended: %s' % (directory, self.tail()))
            return mounted(directory, 'fuse')
        until('no client at ' + directory, there)
        return client

    def tail(self):
        with open(self.log, encoding='utf-8', errors='replace') as f:
            return ' / '.join(f.read().splitlines()[-3:])


class Gluster(Server):
    """Two bricks, each with half of the files."""
    name = 'glusterfs'
    needs = ('glusterd', 'gluster', 'glusterfs', 'glusterfsd')
    packages = 'glusterfs-server glusterfs-client'
    parts = ('brick 1', 'brick 2')
    trust = 10  # a brick that is killed can hold up a write for ping-timeout
    profiled = False
    # What the client keeps would be as old as its time-outs; and a write has to be at the bricks
    # when the program is told so.
    settings = (('performance.stat-prefetch', 'off'), ('performance.quick-read', 'off'),
                ('performance.io-cache', 'off'), ('performance.open-behind', 'off'),
                ('performance.read-ahead', 'off'), ('performance.readdir-ahead', 'off'),
                ('performance.write-behind', 'off'), ('performance.flush-behind', 'off'),
                ('features.ctime', 'on'), ('network.ping-timeout', '5'))

    def begin(self):
        for name, own in (('/var/lib/glusterd', 'lib'), ('/var/log/glusterfs', 'logs'),
                          ('/run', 'run')):
            os.makedirs(name, exist_ok=True)
            os.makedirs(self.path(own))
            if run('mount', '--bind', self.path(own), name):
                raise Failure('cannot bind ' + name)
        os.mkdir('/run/gluster')
        bricks = [os.path.join(self.disks, part.replace(' ', '')) for part in self.parts]
        for brick in bricks:
            os.mkdir(brick)
        self.running['glusterd'] = self.spawn('glusterd', '--no-daemon', '--pid-file',
                                              self.path('glusterd.pid'))
        until('no glusterd: ' + self.tail(), lambda: self.ask('pool', 'list') == 0)
        self.must('volume', 'create', 'fleet', *[ADDRESS + ':' + b for b in bricks], 'force')
        for name, value in self.settings:
            self.must('volume', 'set', 'fleet', name, value)
        self.must('volume', 'start', 'fleet')

    def ask(self, *words):
        return run('gluster', '--mode=script', *words, log=self.log)

    def must(self, *words):
        if self.ask(*words):
            raise Failure('gluster %s: %s' % (' '.join(words), self.tail()))

    def client(self, directory, attributes=0, keep_cache='no'):
        return ('glusterfs', '--no-daemon', '--volfile-server=' + ADDRESS, '--volfile-id=fleet',
                '--attribute-timeout=%d' % attributes, '--entry-timeout=0', '--negative-timeout=0',
                '--fopen-keep-cache=' + keep_cache, directory)

    def pid(self, part):
        found = glob.glob(self.path('run/gluster/vols/fleet/*brick%s.pid' % part[-1]))
        with open(found[0], encoding='utf-8') as f:
            return int(f.read())

    def stop(self, part):
        os.kill(self.pid(part), signal.SIGKILL)

    def start(self, part):
        old = self.pid(part)
        self.must('volume', 'start', 'fleet', 'force')
        until(part + ' does not start', lambda: self.pid(part) != old)

    def requests(self, _directory):
        """How many calls the bricks got since the last call."""
        if not self.profiled:
            self.must('volume', 'profile', 'fleet', 'start')
            self.profiled = True
        said = subprocess.run(('gluster', '--mode=script', 'volume', 'profile', 'fleet', 'info',
                               'incremental'), stdout=subprocess.PIPE, check=True).stdout.decode()
        total = collections.Counter()
        for line in said.splitlines():
            words = line.split()
            if len(words) == 9 and words[0][0].isdigit() and words[-1].isupper():
                total[words[-1]] += int(words[-2])
        return total


class Moose(Server):
    """A master, and two chunk servers with a copy each: the only copy of a chunk that is written
    while its server is killed may be lost."""
    name = 'moosefs'
    needs = ('mfsmaster', 'mfschunkserver', 'mfsmount')
    packages = 'moosefs-master moosefs-chunkserver moosefs-client moosefs-cli'
    parts = ('master', 'chunks1', 'chunks2')
    counted = collections.Counter()
    ports = {'master': 9421, 'chunks1': 9422, 'chunks2': 9522}
    trust = 10  # a client tries a write again for some seconds when a server is away
    master_lines = ('EXPORTS_FILENAME = %(work)s/exports', 'TOPOLOGY_FILENAME = /dev/null',
                    # A master that forgot a change after a kill would tell an old time of a new
                    # content.
                    'CHANGELOG_SAVE_MODE = 1', 'DATA_PATH = %(work)s/master')
    chunk_lines = ('HDD_CONF_FILENAME = %(work)s/%(name)s.disks',
                   'HDD_LEAVE_SPACE_DEFAULT = 100MiB', 'MASTER_HOST = ' + ADDRESS,
                   'MASTER_RECONNECTION_DELAY = 1', 'DATA_PATH = %(work)s/%(name)s',
                   'CSSERV_LISTEN_PORT = %(port)d')
    both = ('WORKING_USER = root', 'WORKING_GROUP = root', 'NICE_LEVEL = 0',
            'DISABLE_OOM_KILLER = 0')

    def write(self, file, lines, **values):
        with open(self.path(file), 'w', encoding='utf-8') as f:
            f.write('\n'.join(lines) % dict(values, work=self.work) + '\n')

    def begin(self):
        os.mkdir(self.path('master'))
        shutil.copy('/var/lib/mfs/metadata.mfs.empty', self.path('master/metadata.mfs'))
        self.write('exports', ('* / rw,alldirs,admin,maproot=0:0',))
        self.write('master.cfg', self.master_lines + self.both)
        for part in self.parts[1:]:
            disk = os.path.join(self.disks, part)
            os.mkdir(disk)
            os.mkdir(self.path(part))
            self.write(part + '.disks', (disk,))
            self.write(part + '.cfg', self.chunk_lines + self.both, name=part,
                       port=self.ports[part])
        for part in self.parts:
            self.start(part)

    def client(self, directory, attributes=0, keep_cache='NEVER'):
        return ('mfsmount', '-f', '-H', ADDRESS, directory, '-o', 'mfsattrcacheto=%d,'
                'mfsentrycacheto=0,mfsdirentrycacheto=0,mfsnegentrycacheto=0,mfscachemode=%s,'
                'mfsnice=0' % (attributes, keep_cache))

    def stop(self, part):
        kill(self.running.pop(part))

    def start(self, part):
        command = ('mfsmaster', '-f', '-a', '-c', self.path('master.cfg'), 'start')
        if part != 'master':
            command = ('mfschunkserver', '-f', '-c', self.path(part + '.cfg'), 'start')
        self.running[part] = self.spawn(*command)
        until(part + ' does not listen: ' + self.tail(),
              lambda: listens(self.ports[part]))

    def requests(self, directory):
        """What the client of `directory` did since the last call."""
        total = collections.Counter()
        with open(os.path.join(directory, '.stats'), encoding='utf-8') as f:
            for line in f:
                name, _, value = line.strip().partition(': ')
                if value.isdigit() and name.startswith(('fuse_ops.', 'master.')):
                    total[name] = int(value)
        new, self.counted = total - self.counted, total
        return new


KINDS = {c.name: c for c in (Gluster, Moose)}
