# SPDX-License-Identifier: BSD-2-Clause
"""measure.py - what the tests of the policy have in common: traces, programs that answer in JSON,
and verdicts."""
import glob
import json
import lzma
import os
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
SIZES = (0.001, 0.01, 0.1, 0.3)  # of the blocks that a trace reads
BEST = ('s3fifo', 'sieve', 'arc')


class Checks:
    """Verdicts: "ok NAME" or "FAIL NAME: why", and the line that counts them."""

    def __init__(self):
        self.passed = self.failed = 0

    def check(self, name, good, why=''):
        if good:
            self.passed += 1
            print('ok', name, why)
        else:
            self.failed += 1
            print(f'FAIL {name}: {why}')

    def finish(self):
        """The exit status."""
        print(f'{self.passed} passed, {self.failed} failed, 0 skipped')
        return 1 if self.failed else 0


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def unpack(work, more=None, quick=False):
    """{name: path} of the traces in traces/ (quick: of the shortest) and in the directory `more`,
    unpacked into `work`."""
    traces = {}
    for packed in sorted(p for d in (os.path.join(HERE, 'traces'), more) if d
                         for p in glob.glob(os.path.join(d, '*.lct.xz'))):
        plain = os.path.join(work, os.path.basename(packed)[:-3])
        if quick and os.path.basename(plain) != 'p3.lct':
            continue
        with lzma.open(packed) as source, open(plain, 'wb') as out:
            out.write(source.read())
        traces[os.path.basename(plain).split('.')[0]] = plain
    return traces


def program(build, *where):
    path = os.path.join(build, *where)
    return path if os.path.exists(path) else path + '.exe'


def tool_of(build):
    return program(build, 'src', 'tool', 'cachemax')


def sim_of(build):
    return program(build, 'tests', 'policy', 'policy-sim')


def answer(*argv):
    """The JSON that a program prints."""
    return json.loads(subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout)


def replay(tool, trace, *options):
    return answer(tool, 'replay', trace, '--json', *map(str, options))
