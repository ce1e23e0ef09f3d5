# SPDX-License-Identifier: BSD-2-Clause
"""mounted.py - what the benchmarks of the mount share: programs, mounts, and the rival."""
import os
import subprocess
import sys
import time

EXAMPLE = '/usr/share/doc/libfuse3-dev/examples/passthrough_ll.c'
# Its buffers are not aligned. So with O_DIRECT it could write no file on a disk.
OPENS, NO_DIRECT = 'fi->flags & ~O_NOFOLLOW', '(O_NOFOLLOW | O_DIRECT)'


def run(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def find(build, name):
    for directory, _, files in os.walk(build):
        if name in files and os.access(os.path.join(directory, name), os.X_OK):
            return os.path.join(directory, name)
    sys.exit('%s: %s is not in %s' % (os.path.basename(sys.argv[0]), name, build))


def compile_rival(directory):
    """Compiles passthrough_ll. None: its source is not there."""
    if not os.path.exists(EXAMPLE):
        return None
    rival = os.path.join(directory, 'passthrough_ll')
    with open(EXAMPLE) as f:
        source = f.read().replace(OPENS, OPENS.replace('O_NOFOLLOW', NO_DIRECT))
    with open(rival + '.c', 'w') as f:
        f.write(source)
    run('cc', '-O2', '-w', '-I', os.path.dirname(EXAMPLE), rival + '.c', '-o', rival,
        *run('pkg-config', '--cflags', '--libs', 'fuse3').split())
    return rival


class Mount:
    """In the foreground: its end is seen."""

    def __init__(self, at, words):
        self.at = at
        self.process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
        for _ in range(200):
            if os.path.ismount(at):
                return
            time.sleep(0.05)
        sys.exit('%s: no mount: %s' % (os.path.basename(sys.argv[0]), ' '.join(words)))

    def end(self):
        subprocess.run(['fusermount3', '-u', self.at], check=True)
        self.process.wait()
