#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""program.py SERVICE TOOL DIRECTORY - what program-test.sh wants to know of cachemax-service that a
shell cannot ask: readers of its log that go or stop, a log that has an end or is none, clients that
do nothing, too many of them, what they leave beside the socket. SERVICE has a line in its log for
each client that it has ended (loud_service).

Prints "ok NAME" or "FAIL NAME: why" for every check. Works in DIRECTORY, which is empty.
"""
import fcntl
import os
import pty
import re
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import time

SERVICE, TOOL, WORK = sys.argv[1:4]
WAIT = 60  # seconds for what is sure to come, on a busy machine


class Service:
    """A service with its own pool; its log is a pipe or a terminal, and `log` what was read of it
    by `reader`. With `prepare`, which is called in the new process, the log is read by nobody."""

    def __init__(self, *lines, terminal=False, prepare=None):
        self.conf, self.pool = os.path.join(WORK, 'conf'), os.path.join(WORK, 'pool')
        self.where = os.path.join(WORK, 'socket')
        if not os.path.exists(self.pool):
            subprocess.run([TOOL, 'create', self.pool, '--size', '8M', '-q'], check=True)
        with open(self.conf, 'w', encoding='ascii') as f:
            f.write('\n'.join(['pool = ' + self.pool, 'socket = ' + self.where, *lines, '']))
        # Python has SIGPIPE ignored, and gives its children the default again.
        self.reader, writer = pty.openpty() if terminal else os.pipe()
        self.process = subprocess.Popen([SERVICE, self.conf], stderr=writer, preexec_fn=prepare)
        os.close(writer)
        self.log = b''
        if not prepare:
            self.read_until(b' serves ')

    def offend_when_it_serves(self):
        until = time.monotonic() + WAIT
        while True:
            try:
                return self.offend()
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() > until or self.process.poll() is not None:
                    raise
                time.sleep(0.02)

    def read_until(self, text):
        while text not in self.log:
            some = os.read(self.reader, 65536)
            if not some:
                raise AssertionError('no "%s" in the log: %s' % (text, self.log))
            self.log += some

    def connect(self):
        s = socket.socket(socket.AF_UNIX)
        s.connect(self.where)  # without a time-out: with one it does not wait for the listener
        s.settimeout(WAIT)
        return s

    def offend(self):
        """A client that sends nonsense, which is told in the log. Returns when it is out."""
        with self.connect() as s:
            try:
                s.sendall(b'nonsense' * 10)
                while s.recv(100):
                    pass
            except ConnectionError:
                pass

    def close_log(self):
        if self.reader >= 0:
            os.close(self.reader)
        self.reader = -1

    def end(self):
        """Ends it. Returns its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(WAIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def same(got, want, what='it'):
    if got != want:
        raise AssertionError('%s is %r, and not %r' % (what, got, want))


def t_the_reader_of_the_log_has_gone(s):
    s.close_log()
    s.offend()
    s.offend()  # the line of the first one has been written: the listener has gone on
    same(s.process.poll(), None, 'the exit status')
    same(s.end(), 0, 'the exit status at the end')


def stop_reading(s, offences):
    """The log is full, and nobody reads. The service goes on, and tells later that lines are
    missing; and it ends when it has to."""
    for _ in range(offences):
        s.offend()
    s.log = b''
    until = time.monotonic() + WAIT
    while not re.search(b' lines are missing here: nobody had read .* was ended', s.log, re.S):
        if select.select([s.reader], [], [], 0.1)[0]:
            s.log += os.read(s.reader, 65536)
        elif time.monotonic() < until:
            s.offend()
        else:
            raise AssertionError('nobody tells of the lines that are missing')
    for line in s.log.splitlines():  # the first one was read in part; one may have come in part
        if line.count(b'cachemax-service: ') > 1:
            raise AssertionError('two lines are one: %s' % line)
    for _ in range(offences):
        s.offend()
    same(s.end(), 0, 'the exit status at the end')


def t_the_reader_of_the_log_stops(s):
    fcntl.fcntl(s.reader, F_SETPIPE_SZ, 4096)
    stop_reading(s, 300)


def t_the_terminal_of_the_log_stops(s):
    """A terminal takes a part of a line, too. Is it ready? It is for a part."""
    stop_reading(s, 300)


def t_without_standard_descriptors(s):
    """What it prints goes nowhere. Its files do not get these numbers."""
    s.offend_when_it_serves()
    s.offend()
    for fd in range(3):
        same(os.readlink('/proc/%d/fd/%d' % (s.process.pid, fd)), '/dev/null', 'descriptor %d' % fd)
    for name in 'writes', 'lock':
        with open(s.where + '.' + name, 'rb') as f:
            if b'cachemax-service:' in f.read():
                raise AssertionError('its log is in SOCKET.' + name)
    same(s.end(), 0, 'the exit status at the end')


def t_the_log_has_reached_its_limit(s):
    for _ in range(3):
        s.offend_when_it_serves()
    same(os.path.getsize(LIMITED), LIMIT, 'the size of the log')
    same(s.end(), 0, 'the exit status at the end')


def resident(s):
    with open('/proc/%d/status' % s.process.pid, encoding='ascii') as f:
        return next(int(line.split()[1]) for line in f if line.startswith('VmRSS'))


def t_silent_clients(s):
    """Clients that connect and do nothing take next to nothing, also after many have gone."""
    for _ in range(100):
        s.connect().close()
    before = resident(s)
    some = [s.connect() for _ in range(50)]
    time.sleep(1)  # they are served within that as a rule; if not, nothing is seen
    grown = resident(s) - before
    for c in some:
        c.close()
    if grown > 50 * 150:
        raise AssertionError('50 silent clients take %d KiB' % grown)


def t_every_second_it_looks(s):
    """What others leave beside the socket: ids of files whose sync has failed, and claims of
    processes that have ended without a connection."""
    failed = s.where + '.failed'
    with open(s.where + '.writes', 'r+b', buffering=0) as writes:
        writes.seek(CLAIMS)
        writes.write(struct.pack('=II', NO_PROCESS, 1))
        with open(failed, 'wb') as f:
            f.write(struct.pack('=QQ', 2, 1))
        until = time.monotonic() + WAIT
        left = None
        while left != (0, bytes(8)):
            if time.monotonic() > until:
                raise AssertionError('after %d s there is still %r' % (WAIT, left))
            time.sleep(0.02)
            writes.seek(CLAIMS)
            left = os.path.getsize(failed), writes.read(8)
    same(s.end(), 0, 'the exit status at the end')


def close_standard():
    for fd in range(3):
        os.close(fd)


def limit_log():
    """A file with room for a part of a line, which is what the process may write at most."""
    with open(LIMITED, 'wb') as f:
        f.write(b'x' * (LIMIT - 20))
    log = os.open(LIMITED, os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, resource.RLIM_INFINITY))


LIMITED, LIMIT = os.path.join(WORK, 'limited'), 8192
F_SETPIPE_SZ = 1031
NO_PROCESS = 0x7fffffff  # more than any process has as its number
CLAIMS = 1024 * 16  # where the claims begin (outside.h)
PREPARE = {t_without_standard_descriptors: close_standard,
           t_the_log_has_reached_its_limit: limit_log}
TESTS = {t_the_reader_of_the_log_has_gone: (), t_the_reader_of_the_log_stops: (),
         t_the_terminal_of_the_log_stops: (), t_silent_clients: ('clients = 1000',),
         t_without_standard_descriptors: (), t_the_log_has_reached_its_limit: (),
         t_every_second_it_looks: ()}


def main():
    for test, lines in TESTS.items():
        name = test.__name__[2:].replace('_', ' ')
        s = None
        try:
            s = Service(*lines, terminal='terminal' in name, prepare=PREPARE.get(test))
            test(s)
            print('ok ' + name)
        except Exception as e:  # pylint: disable=broad-except
            print('FAIL %s: %s: %s' % (name, type(e).__name__, e))
        finally:
            if s:
                s.end()
                s.close_log()
    return 0


if __name__ == '__main__':
    sys.exit(main())
