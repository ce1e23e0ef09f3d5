#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""mutants.py - would the tests of the mount notice it? Takes one thing at a time out of
cachemax-mount, the quick start and the command, and wants the check that the row names to fail.

  mutants.py [--only NAME] [--list] [--jobs N] BUILD_DIR

For every row of the tables (rows_*.py): a private copy of examples/ and of src/tool/, the change
made in it (text that is not there exactly once fails the row, so the table stays in step with the
code), the changed files compiled and linked as in BUILD_DIR, and the script of the row run with
CM_CHECKS, which is the row's expression for the checks and the part of the script that they lie in.
A check of that name must fail. First of all the checks of all rows must pass on the unchanged
programs; a row with a check that is skipped there is skipped.

--list looks only whether the text of every row is there. Needs root, as the checks do. The mutants
of the library itself are in tests/crash/mutants.py. The last line is "N passed, N failed, N
skipped"; passed: noticed.
"""
import argparse
import collections
import concurrent.futures
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.dirname(HERE))
sys.dont_write_bytecode = True
from mutation import RUNNING, Failure, edit, run  # noqa: E402
from rows_admin import OF_ADMIN  # noqa: E402
from rows_control import OF_CONTROL  # noqa: E402
from rows_devices import OF_DEVICES  # noqa: E402
from rows_dirs import OF_DIRS  # noqa: E402
from rows_files import OF_FILES  # noqa: E402
from rows_names import OF_NAMES  # noqa: E402
from rows_others import OF_OTHERS  # noqa: E402
from rows_quota import OF_QUOTA  # noqa: E402
from rows_random import OF_RANDOM  # noqa: E402
from rows_record import OF_RECORD  # noqa: E402
from rows_speed import OF_SPEED  # noqa: E402
from rows_tool import OF_TOOL  # noqa: E402
from rows_trouble import OF_TROUBLE  # noqa: E402
from rows_uring import OF_URING  # noqa: E402
EXAMPLES = os.path.join(TOP, 'examples')
LIMIT = 300  # seconds for one script: for a hang, not for a slow machine
TRIES = 3  # some mutants open a window of an instant, at the end of the mount
TOOL = os.path.join(TOP, 'src', 'tool')
# The programs that rows change: their files are in the folder of that name in the copy.
PROGRAMS = {'mount': 'examples/mount/cachemax-mount', 'tool': 'src/tool/cachemax'}
# What the scripts look for in a build directory; without the last one they skip a check.
BUILT = [*PROGRAMS.values(), 'examples/service/cachemax-service', 'tests/mount/versions',
         'tests/mount/random', 'examples/quickstart/quickread',
         'examples/quickstart/throttle', 'tests/mount/handles', 'tests/mount/aio_direct',
         'tests/mount/late', 'tests/mount/failing_answer.so', 'tests/mount/long_look.so',
         'tests/mount/slow_origin.so', 'tests/mount/no_handles.so',
         'tests/mount/failing_pool.so', 'tests/mount/failing_watch.so',
         'tests/mount/no_uring.so', 'tests/mount/forbidden.so',
         'tests/faults/fault_preload.so', 'examples/service/through']

MUTANTS = (OF_ADMIN + OF_CONTROL + OF_DEVICES + OF_DIRS + OF_FILES + OF_NAMES + OF_OTHERS +
           OF_QUOTA + OF_RANDOM + OF_RECORD + OF_SPEED + OF_TOOL + OF_TROUBLE + OF_URING)


class Build:
    """A build directory, and how its mount is compiled and linked."""

    def __init__(self, directory):
        self.directory = os.path.realpath(directory)
        self.compile, self.link = {}, {}
        with open(os.path.join(self.directory, 'compile_commands.json'), encoding='utf-8') as f:
            entries = json.load(f)
        for folder, program in PROGRAMS.items():
            for e in (e for e in entries if e['output'].startswith(program + '.p/')):
                path = os.path.normpath(os.path.join(e['directory'], e['file']))
                top = os.path.dirname(os.path.join(TOP, os.path.dirname(program)))
                self.compile[os.path.relpath(path, top)] = folder, e
            said = subprocess.run(['ninja', '-C', self.directory, '-t', 'commands', program],
                                  check=True, stdout=subprocess.PIPE).stdout.decode()
            self.link[folder] = shlex.split(said.strip().splitlines()[-1])

    def lay_out(self, directory):
        for name in BUILT:
            path = os.path.join(self.directory, name)
            if os.path.exists(path):
                os.makedirs(os.path.join(directory, os.path.dirname(name)), exist_ok=True)
                shutil.copy(path, os.path.join(directory, name))

    def _command(self, command):
        p = subprocess.run(command, cwd=self.directory, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, check=False)
        if p.returncode != 0:
            raise Failure('does not build: ' + p.stdout.decode(errors='replace').strip()[:300])

    def rebuild(self, directory, copy, changed):
        """Links the programs of `directory` with the changed files of the copy of the sources."""
        links = {}
        for name in sorted(changed):
            folder, entry = self.compile[name]
            out = os.path.join(directory, name.replace('/', '_') + '.o')
            command = shlex.split(entry['command'])
            command[command.index('-o') + 1] = out
            command[command.index('-c') + 1] = os.path.join(copy, name)
            self._command(command + ['-w', '-O0', '-I' + os.path.join(copy, folder), '-MF',
                                     out + '.d'])
            link = links.setdefault(folder, list(self.link[folder]))
            link[link.index(entry['output'])] = out
        for folder, link in links.items():
            link[link.index('-o') + 1] = os.path.join(directory, PROGRAMS[folder])
            self._command(link)


def copy_sources(to):
    shutil.copytree(EXAMPLES, to)
    shutil.copytree(TOOL, os.path.join(to, 'tool'))
    return to


def called(script):
    """The script of a row, whose arguments stand behind its name."""
    return '-test.sh '.join(script.split(' ', 1)) if ' ' in script else script + '-test.sh'


def checked(script, checks, directory, examples):
    """The script's lines on these checks, and whether it ended."""
    env = dict(os.environ, CM_CHECKS=checks, CM_EXAMPLES=examples)
    name, *arguments = script.split()
    status, text = run(['bash', os.path.join(HERE, name + '-test.sh'), directory, *arguments],
                       LIMIT, env=env, grace=30)
    lines = [m.groups() for m in re.finditer(r'^(ok|FAIL|skip) (.*)$', text, re.M)]

    def of_these(kind, name):
        parts = name.split(': ')  # of a check's name, which may have two, and for some of a reason
        whole = ': '.join(parts[:2])
        alone = kind != 'skip' or len(parts) < 3
        return re.search(checks, whole) or alone and re.search(checks, parts[0])
    return [(kind, name) for kind, name in lines if of_these(kind, name)], status is not None


Result = collections.namedtuple('Result', 'mutant said seconds error')


def judge(build, mutant, scratch):
    start, said, error = time.time(), None, None
    directory = tempfile.mkdtemp(dir=scratch)
    examples = os.path.join(directory, 'examples-changed')
    try:
        changed = edit(copy_sources(examples), mutant.edits)
        build.lay_out(directory)
        files = {n for n in changed if n.endswith('.c')}
        if files:
            build.rebuild(directory, examples, files)
        for _ in range(TRIES):
            lines, ended = checked(mutant.script, mutant.checks, directory, examples)
            said = (next((name for kind, name in lines if kind == 'FAIL'), None)
                    or (None if ended else 'it did not end'))
            if said:
                break
    except Failure as e:
        error = str(e)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return Result(mutant, said, time.time() - start, error)


def sound(build, mutants, pool, scratch):
    """Rows whose checks fail on the unchanged programs, and those whose checks are skipped
    there."""
    directory = os.path.join(scratch, 'unchanged')
    build.lay_out(directory)
    keys = sorted({(m.script, m.checks) for m in mutants})
    lines = dict(zip(keys, pool.map(lambda k: checked(*k, directory, EXAMPLES)[0], keys)))
    wrong, idle = [], []
    for m in mutants:
        kinds = [kind for kind, _ in lines[m.script, m.checks]]
        if 'FAIL' in kinds:
            wrong.append(m)
        elif 'ok' not in kinds or 'skip' in kinds:
            idle.append(m)
    return wrong, idle


def look(mutants):
    failed = 0
    with tempfile.TemporaryDirectory() as d:
        copy = copy_sources(os.path.join(d, 'examples'))
        for m in mutants:
            before = {}
            for name, _, _ in m.edits:
                with open(os.path.join(copy, name), encoding='utf-8') as f:
                    before[name] = f.read()
            try:
                edit(copy, m.edits)
            except Failure as e:
                failed += 1
                print('FAILED %s: %s' % (m.name, e))
            for name, text in before.items():
                with open(os.path.join(copy, name), 'w', encoding='utf-8') as f:
                    f.write(text)
    print('%d passed, %d failed, 0 skipped' % (len(mutants) - failed, failed))
    return 1 if failed else 0


def main():
    a = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('--only', metavar='NAME', help='rows whose name begins so')
    a.add_argument('--list', action='store_true', help='is the text of every row there?')
    a.add_argument('--jobs', type=int, default=(os.cpu_count() or 1) + 1,
                   help='the scripts mostly wait')
    a.add_argument('build', nargs='?')
    o = a.parse_args()
    mutants = [m for m in MUTANTS if m.name.startswith(o.only or '')]
    if len({m.name for m in MUTANTS}) != len(MUTANTS) or not mutants:
        print('two rows of one name, or none of that name')
        return 1
    if o.list:
        return look(mutants)
    if not o.build:
        a.error('a build directory is needed')
    scratch = tempfile.mkdtemp(prefix='cachemax-mount-mutants.')
    os.chmod(scratch, 0o755)

    def end(*_):
        for p in list(RUNNING):
            p.terminate()
        shutil.rmtree(scratch, ignore_errors=True)
        os._exit(130)
    for sig in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sig, end)
    results = []
    try:
        build = Build(o.build)
        with concurrent.futures.ThreadPoolExecutor(o.jobs) as pool:
            wrong, idle = sound(build, mutants, pool, scratch)
            for m in wrong:
                print('FAILED %s: %s fails on the unchanged programs' % (m.name, called(m.script)))
            for m in idle:
                print('skip %s: its check cannot run here' % m.name)
            rest = [m for m in mutants if m not in wrong and m not in idle]
            for r in pool.map(lambda m: judge(build, m, scratch), rest):
                results.append(r)
                print('%s%s | %s | %s | %.1f' % ('' if r.said else 'FAILED ', r.mutant.name,
                                                 r.mutant.what,
                                                 r.said or r.error or 'nothing noticed',
                                                 r.seconds), flush=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    passed = sum(1 for r in results if r.said)
    failed = len(results) - passed + len(wrong)
    print('%d passed, %d failed, %d skipped' % (passed, failed, len(idle)))
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
