# SPDX-License-Identifier: BSD-2-Clause
"""mutation.py - what the scripts that make mutants share (tests/crash/mutants.py, random-mutants.py
beside it, tests/mount/mutants.py): rows of edits, and commands with a limit."""
import os
import signal
import subprocess

RUNNING = set()  # what run() waits for


class Failure(Exception):
    """A mutant that cannot be made or judged; the text says why."""


def edits_of(words):
    """A row's edits, (file, old, new), from the words of the row: file, old, new, and so on."""
    return list(zip(words[::3], words[1::3], words[2::3]))


def edit(directory, edits):
    """Makes the edits in a copy of the sources; the names of the changed files. Text that is not
    there exactly once is a Failure, so that the rows stay in step with the code."""
    changed = set()
    for name, old, new in edits:
        path = os.path.join(directory, name)
        with open(path, encoding='utf-8') as f:
            text = f.read()
        if text.count(old) != 1:
            raise Failure('%s: text is there %d times: %s'
                          % (name, text.count(old), old.strip()[:80]))
        with open(path, 'w', encoding='utf-8') as f:
            f.write(text.replace(old, new))
        changed.add(name)
    return changed


def kill(p):
    try:
        os.killpg(p.pid, signal.SIGKILL)  # with all that it started
    except ProcessLookupError:
        pass


def run(command, limit, cwd=None, env=None, grace=0):
    """Exit status, output. None: it took more than `limit` seconds, and was ended: by SIGTERM first
    if it has `grace` seconds to clean up."""
    with subprocess.Popen(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          start_new_session=True) as p:
        RUNNING.add(p)
        try:
            text = p.communicate(timeout=limit)[0]
        except subprocess.TimeoutExpired:
            if grace:
                p.terminate()
                try:
                    return None, p.communicate(timeout=grace)[0].decode(errors='replace')
                except subprocess.TimeoutExpired:
                    pass
            kill(p)
            return None, p.communicate()[0].decode(errors='replace')
        finally:
            RUNNING.discard(p)
    return p.returncode, text.decode(errors='replace')


def end_all():
    """What still runs, before the end of a run that is cut short."""
    for p in list(RUNNING):
        kill(p)
