# SPDX-License-Identifier: BSD-2-Clause
"""Several reads at the same time: of several files, or of parts of one."""
import concurrent.futures
import os
import threading


def _try(function, argument):
    try:
        return function(argument), None
    except Exception as e:
        return None, e


def each(function, arguments, threads):
    """Yields (what function(argument) returns, None) or (None, its exception) for each, in order.
    With fewer than two threads nothing is done before it is asked for. close() it if not all are
    asked for: what has not begun is left out then."""
    threads = min(threads, len(arguments))
    if threads < 2:
        for argument in arguments:
            yield _try(function, argument)
        return
    executor, futures = concurrent.futures.ThreadPoolExecutor(threads), []
    try:
        futures = [executor.submit(_try, function, argument) for argument in arguments]
        for future in futures:
            yield future.result()
    finally:
        for future in futures:
            future.cancel()
        executor.shutdown()


class Shared:
    """A file with several readers. The first one opens it, the last one closes it."""

    def __init__(self, opened):
        self.opened, self.readers, self.lock = opened, 0, threading.Lock()
        self.file, self.failed, self.was_opened = None, None, False

    def read(self, function, *arguments):
        """function(what `opened` has returned, *arguments). All get the same exception of it."""
        try:
            with self.lock:
                if not self.was_opened:
                    self.was_opened = True
                    self.file, self.failed = _try(lambda opened: opened(), self.opened)
                if self.failed is not None:
                    raise self.failed
            return function(self.file, *arguments)
        finally:
            with self.lock:
                self.readers -= 1
                last = self.readers == 0
            if last:
                self.close()

    def close(self):
        file, self.file = self.file, None
        if file is not None:
            file.close()


class _Taken:
    file, turn = None, 0


class Handles:
    """The handles of a target's file.

    A signal handler may raise an exception anywhere. So who has a handle is noted under a token,
    which is taken back by one step, and who waits looks again after a while."""

    def __init__(self):
        self.idle, self.users, self.most, self.pid = [], {}, 1, os.getpid()
        self.used = False  # since the last close()
        self.turn = 0  # how often they were closed
        self.free = threading.Condition()

    def run(self, opened, most, function, *arguments):
        """function(a handle, *arguments). opened() makes one. most(handle) says after a read how
        many there may be at the same time; until then it is one."""
        token, taken = object(), _Taken()
        try:
            self._take(token, taken)
            if taken.file is None:
                taken.file = opened()
            result = function(taken.file, *arguments)
            self.most = most(taken.file)
            return result
        finally:
            self.users.pop(token, None)
            self._give(taken)

    def _take(self, token, taken):
        with self.free:
            while len(self.users) >= self.most:
                self.free.wait(0.1)
            self.users[token] = self.used = True
            taken.turn, taken.file = self.turn, self.idle.pop() if self.idle else None

    def _give(self, taken):
        file = taken.file
        with self.free:
            if file is not None and taken.turn == self.turn:
                self.idle.append(file)
                file = None
            self.free.notify_all()
        if file is not None:
            file.close()

    def close(self):
        """One that is in use is closed when it comes back. A child of fork() leaves those of its
        parent alone, and the lock, which another thread of that may have had."""
        if os.getpid() != self.pid:
            return
        with self.free:
            idle, self.idle, self.used = self.idle, [], False
            self.turn, self.most = self.turn + 1, 1
        for file in idle:
            file.close()
