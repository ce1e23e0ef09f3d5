# SPDX-License-Identifier: BSD-2-Clause
"""trouble.py - checks of sqlite-test.py: what fails below or in the pool, and which locks there are
meanwhile."""
import ctypes
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time

from databases import EXTENSION, cached, plain

OPEN_URI = 0x2 | 0x40  # of SQLite: to read and write; the name is a URI
FILE_POINTER, IOERR_WRITE = 7, 10 | 3 << 8
TRUNCATE = 4  # among the methods of a file, in words


def wait_for(path, alive):
    """Until the file is there, or the other one has ended. Is it there?"""
    end = time.monotonic() + 50
    while not os.path.exists(path) and alive() and time.monotonic() < end:
        time.sleep(0.01)
    return os.path.exists(path)


def lock_in_a_rollback():
    """What another process sees that wants to write when a rollback has been made, and the header
    is looked at."""
    db = cached('slow.db')
    db.execute('create table t(a integer primary key, b)')
    db.execute('begin')
    db.executemany('insert into t(b) values (?)', (('a' * 100,) for _ in range(2000)))
    db.execute('commit')
    db.execute('pragma cache_size=5')
    db.execute('select sum(length(b)) from t').fetchall()
    db.execute('begin')
    db.execute("update t set b = 'b' || b")  # much of it is spilled
    with open('hold', 'wb'):
        t = threading.Thread(target=db.execute, args=('rollback',))
    t.start()
    result = 'never'
    if wait_for('hold-held', t.is_alive):
        r = subprocess.run([sys.executable, '-c', 'import sqlite3\n'
                            'db = sqlite3.connect("slow.db", timeout=0)\n'
                            'db.execute("begin immediate")'], stderr=subprocess.PIPE,
                           env=dict(os.environ, LD_PRELOAD=''), text=True, check=False)
        result = 'locked' if 'locked' in r.stderr else 'free'
    os.remove('hold')
    t.join()
    return result


class Trouble:
    def shell(self, *lines, env=None):
        """What the program sqlite3 says to these lines, with x.db through the pool."""
        uri = 'file:%s?vfs=cachemax&pool=%s' % (os.path.abspath('x.db'), os.path.abspath('pool'))
        return subprocess.run(['sqlite3'], input='\n'.join((
            '.log stderr', '.load ' + os.path.join(self.build, EXTENSION), '.open ' + uri, *lines)),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=60,
            env=env).stdout

    def dirty(self):
        """May something of the only file be unsynced?"""
        text = subprocess.run([self.tool, 'files', 'pool', '--json'], stdout=subprocess.PIPE,
                              check=True, text=True).stdout
        files = json.loads(text)
        files = files['files'] if isinstance(files, dict) else files
        assert len(files) == 1, text
        return bool(files[0]['dirty'])

    def test_a_sync_that_fails(self):
        """It proves nothing: the file is dirty after that, as after no sync."""
        plain('x.db', 'create table t(a); insert into t values (1);')
        write = 'select a from t;', 'update t set a = a + 1;', '.shell kill -9 $PPID'
        said = self.shell(*write)
        assert 'I/O' not in said and not self.dirty(), 'dirty after a commit: ' + said
        env = self.env_with('failing_sync.c', FAILS=os.path.abspath('x.db'))
        said = self.shell(*write, env=env)
        assert 'disk I/O error' in said, 'no sync has failed: ' + said
        assert self.dirty(), 'a sync that failed counts'

    def test_refused_truncation(self):
        """The pool cannot forget any more: the file keeps its length, and nothing of it changes.
        (SQLite makes a file shorter when the commit is made, so this calls the VFS.)"""
        db = cached('x.db')
        self.fill(db)
        db.execute('select sum(length(b)) from t').fetchall()
        db.close()
        with open('x.db', 'rb') as f:
            before = f.read()
        lib, db, file = ctypes.CDLL('libsqlite3.so.0'), ctypes.c_void_p(), ctypes.c_void_p()
        uri = 'file:x.db?vfs=cachemax&pool=' + os.path.abspath('pool')
        assert lib.sqlite3_open_v2(uri.encode(), ctypes.byref(db), OPEN_URI, None) == 0
        try:
            assert lib.sqlite3_exec(db, b'select sum(length(b)) from t', None, None, None) == 0
            assert lib.sqlite3_file_control(db, b'main', FILE_POINTER, ctypes.byref(file)) == 0
            methods = ctypes.cast(file, ctypes.POINTER(ctypes.POINTER(ctypes.c_void_p)))[0]
            truncate = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int64)(
                methods[TRUNCATE])
            os.truncate('pool', 4096)
            status = truncate(file, 8192)
        finally:
            lib.sqlite3_close(db)
        with open('x.db', 'rb') as f:
            assert f.read() == before, 'the file has changed'
        assert status == IOERR_WRITE, status

    def test_the_note_of_a_rollback_has_a_lock(self):
        """Else it could take what another process has written for what was rolled back."""
        said = self.slow_child('locked-rollback')
        assert said == 'locked\n', said

    def test_no_lock_while_a_close_waits(self):
        """A close that waits until the times count keeps no other process from writing."""
        path = os.path.abspath('x.db')
        plain(path, 'create table t(a);')
        with open('hold', 'wb'):
            env = self.env_with('../nbd/count_sleeps.c', SLEEPS=os.path.abspath('sleeps'),
                                SLEEPS_NS='10000000', SLEEPS_WHILE=os.path.abspath('hold'),
                                WHOLE_FILE=path)
        with self.child(path + '\ninsert into t values (1)', env=env) as p:
            waits = wait_for('sleeps', lambda: p.poll() is None)
            said = plain(path, 'begin exclusive; select count(*) from t; rollback;')
            os.remove('hold')
            p.communicate(timeout=60)
        assert waits, 'it does not wait: this tests nothing'
        assert said == '1\n', said
        db = sqlite3.connect(path)
        assert db.execute('select count(*) from t').fetchone() == (1,)
        db.close()
