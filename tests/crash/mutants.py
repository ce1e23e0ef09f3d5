#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""mutants.py - do the tests find what they should? Takes fences, flushes and checks out of the
library, one at a time. The tests must notice each loss.

  mutants.py [--quick] [--part K/N] [--only NAME]... [--benign] [--jobs N] [--markdown] [--survey]
             [--source DIR]

For every row of the tables in rows_*.py: makes a private copy of src/ and the change in it. The
text must be there exactly once, else the row fails, so the tables stay in step with the code. Then
it compiles what depends on the file, links the test programs, and runs the test that the row names.
If that test notices nothing, the other tests follow, cheapest first, but not with --quick. Before
all that, every test that a row names must pass on the unchanged code.

--part K/N runs the K-th (0 to N - 1) of N parts of the rows; of the others the text only is looked
for. A part has the rows of a few test programs, so that it has to compile and try only these.

A row that no test can notice stands in a table of its own, BENIGN (rows.py), with the reason. If
the reason is that two lines do the same work, MUTANTS has a row that removes both. --benign runs
all tests on the benign rows; there, passed means: not noticed.

The last line is "N passed, N failed, N skipped"; passed: noticed.
"""
import argparse
import collections
import concurrent.futures
import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
sys.dont_write_bytecode = True
from mutation import Failure, edit, end_all, run  # noqa: E402
from rows import BENIGN, Mutant  # noqa: E402, F401
from rows_blocks import BLOCKS  # noqa: E402
from rows_checkpoint import CHECKPOINT  # noqa: E402
from rows_ended import ENDED  # noqa: E402
from rows_faults import FAULTS  # noqa: E402
from rows_files import FILES  # noqa: E402
from rows_cut import CUTS  # noqa: E402
from rows_grow import GROWTH  # noqa: E402
from rows_histories import HISTORY_ROWS  # noqa: E402
from rows_keep import KEEP  # noqa: E402
from rows_names import NAMES  # noqa: E402
from rows_objects import OBJECTS  # noqa: E402
from rows_others import OTHER_ROWS  # noqa: E402
from rows_quota import QUOTA  # noqa: E402
from rows_validators import VALIDATORS  # noqa: E402
from rows_reads import READS  # noqa: E402
from rows_regions import REGIONS  # noqa: E402
from rows_resize import RESIZED  # noqa: E402
from rows_lost import LOST  # noqa: E402
from rows_room import FULL  # noqa: E402
from rows_seal import SEALED  # noqa: E402
from rows_shared import SHARED_READERS  # noqa: E402
from rows_volume import SEEN  # noqa: E402
from rows_warm import WARM  # noqa: E402

MUTANTS = BLOCKS + READS + FILES + REGIONS + CHECKPOINT + NAMES + VALIDATORS + WARM + KEEP + QUOTA
MUTANTS += OBJECTS + SHARED_READERS + GROWTH + CUTS + FAULTS + HISTORY_ROWS + SEALED + ENDED
MUTANTS += FULL + LOST + RESIZED + SEEN + OTHER_ROWS

WRAP = ['-Wl,--wrap=cm_persist_choose', '-Wl,--wrap=cm_plat_boot_id',
        '-Wl,--wrap=cm_plat_boot_wall_ns', '-Wl,--wrap=cm_plat_random',
        '-Wl,--wrap=cm_plat_mount_id', '-Wl,--wrap=cm_plat_file_map',
        '-Wl,--wrap=cm_plat_file_sync', '-Wl,--wrap=cm_plat_file_close', '-Wl,--wrap=cm_guard_copy',
        '-Wl,--wrap=cm_guard_load64', '-Wl,--wrap=cm_guard_load_words', '-Wl,--wrap=cm_guard_find',
        '-Wl,--wrap=cm_guard_find_each', '-Wl,--wrap=cm_guard_look_before',
        '-Wl,--wrap=cm_guard_look_after',
        '-Wl,--wrap=cm_guard_take_choose', '-Wl,--wrap=cm_stats_begin', '-Wl,--wrap=cm_sample_read',
        '-Wl,--wrap=cm_plat_wall_ns', '-Wl,--wrap=cm_plat_pid', '-Wl,--wrap=cm_region_shift',
        '-Wl,--wrap=cm_plat_file_sync_lasts', '-Wl,--wrap=cm_super_open',
        '-Wl,--wrap=cm_plat_file_grow', '-Wl,--wrap=cm_plat_file_cut']
CRASH, MODEL, RACE, TURNS, SCHEDULES = 'crash', 'model', 'race', 'turns', 'schedules'
HISTORIES = 'histories'
STEPPED = {TURNS, SCHEDULES, HISTORIES}  # programs whose library has steps
OBJECTS_CRASH, FAULTY = 'objects-crash', 'faults'
# What tests/faults/wrap.c has.
with open(os.path.join(TOP, 'tests', 'faults', 'wrap.c'), encoding='utf-8') as wrap:
    SYSTEM = sorted(set(re.findall(r'\b__wrap_(\w+)\(|^(?:FAILS\(\w+|MAKES|REFUSES)[(,] ?(\w+),',
                                   wrap.read(), re.M)))
WRAPS = {  # by program, as in the meson.build files
    'api': ['-Wl,--wrap=cm_plat_file_holder', '-Wl,--wrap=cm_plat_file_is_elsewhere'],
    CRASH: WRAP,
    MODEL: ['-Wl,--wrap=cm_region_shift'],
    SCHEDULES: ['-Wl,--wrap=cm_plat_boot_id'],
    'platform': ['-Wl,--wrap=' + c for c in (
        'munmap', 'open', 'open64', 'fsync', 'ftruncate', 'ftruncate64', 'fallocate', 'fallocate64',
        'link', 'linkat', 'rename', 'renameat2', 'unlink', 'clock_gettime', 'fstatfs', 'fstatfs64',
        'msync', 'name_to_handle_at', 'ioctl', 'uname', 'pwrite', 'pwrite64', 'aligned_alloc',
        'calloc', 'free', 'malloc', 'realloc', 'strdup', 'strndup', 'cm_posix_remap')],
    'checkpoint': ['-Wl,--wrap=cm_settle_pages'] + ['-Wl,--wrap=cm_plat_' + c for c in (
        'file_map', 'file_sync', 'file_sync_lasts', 'file_close', 'file_is_taken', 'mount_id')],
    OBJECTS_CRASH: ['-Wl,--wrap=cm_' + c for c in (
        'persist_choose', 'plat_boot_id', 'plat_random', 'plat_mount_id', 'plat_file_map',
        'plat_file_sync_lasts', 'super_open', 'plat_file_sync', 'plat_file_close', 'stats_begin',
        'region_shift')],
    FAULTY: ['-Wl,--wrap=cm_plat_boot_id'] + ['-Wl,--wrap=' + (a or b) for a, b in SYSTEM],
    'objects': ['-Wl,--wrap=cm_plat_' + c for c in ('wall_ns', 'now_ns', 'sleep')],
    'grow': ['-Wl,--wrap=cm_settle_part', '-Wl,--wrap=cm_slot_prefetch_header',
             '-Wl,--wrap=cm_plat_file_sync', '-Wl,--wrap=cm_plat_file_cut',
             '-Wl,--wrap=cm_super_add_part', '-Wl,--wrap=cm_guard_add',
             '-Wl,--wrap=cm_guard_load64', '-Wl,--wrap=ftruncate64', '-Wl,--wrap=fstatfs64',
             '-Wl,--wrap=cm_posix_allocate', '-Wl,--wrap=cm_plat_random'],
    'room': ['-Wl,--wrap=' + c for c in ('cm_persist_choose', 'fallocate64', 'fsync', 'ioctl',
                                         'msync', 'pwrite64')],
    'resize': ['-Wl,--wrap=cm_' + c for c in ('persist_choose', 'plat_file_map',
                                              'plat_file_replace', 'plat_file_sync',
                                              'plat_is_mount_point', 'record_at')],
    'files': ['-Wl,--wrap=cm_lookup_cached', '-Wl,--wrap=cm_record_at',
              '-Wl,--wrap=cm_survey_blocks'],
    'warm': ['-Wl,--wrap=cm_lookup_cached', '-Wl,--wrap=cm_survey_blocks'],
    'ended': ['-Wl,--wrap=cm_ended_find'],
    'probation': ['-Wl,--wrap=cm_probation_claim_at'],
    'file': ['-Wl,--wrap=cm_plat_boot_wall_ns', '-Wl,--wrap=cm_plat_wall_ns'],
    'pin': ['-Wl,--wrap=cm_guard_load_words', '-Wl,--wrap=cm_guard_look_before'],
    'trust': ['-Wl,--wrap=openat', '-Wl,--wrap=openat64'],
    'seal': ['-Wl,--wrap=cm_guard_copy', '-Wl,--wrap=cm_plat_file_sync'],
    'shared': ['-Wl,--wrap=cm_guard_copy', '-Wl,--wrap=cm_plat_file_lock',
               '-Wl,--wrap=cm_plat_file_replace'],
    'copy_choice': ['-Wl,--wrap=cm_plat_is_resident'],
    'resident': ['-Wl,--wrap=cm_plat_is_resident', '-Wl,--wrap=preadv64v2']}
QUICKLY = '-O0'  # for the files of one mutant; all else is compiled with -O1
LIMIT = 300  # seconds for one test; none takes ten, so only a hang takes so long

# The tests for a mutant that its own test does not notice, cheapest first.
SEQUENCES = [
    'full fill-z', 'full beside-1,write-sync,fill-z', 'full fill-z@f1,write-sync',
    'full write-plain@f2,fill-z', 'fill-a0,crowd,fill-z', 'fill-a0,crowd,fill-z@f3,write-sync',
    'fill-a0,crowd,beside-3,write-sync,fill-z',
    'fill-b1,fill-b-tail,fill-a0,crowd,write-plain@f2,fill-z@f3,write-sync',
    'fill-b1,fill-b-tail,fill-a0,crowd,write-plain@f2,fill-z@f4,write-sync',
    'fill-b1,fill-b-tail,fill-a0,drop,thread,write-sync', 'full write-sync@f2,write-sync',
    'full beside-1,write-sync,write-plain', 'full write-sync', 'fill-a0,write-sync',
    'fill-b1,beside-1,write-sync,fill-a0', 'fill-b1,beside-2,write-sync,fill-a0',
    'fill-b1,beside-3,write-sync,fill-a0', 'fill-b1,forget-b', 'fill-b1,thread,forget-closed',
    'full large,thread,sync', 'full large', 'full begin,write-open', 'full sync-beside',
    'full shrink', 'full grow,sync,shrink,sync,grow,sync', 'full append', 'full offline',
    'full many-files', 'full sync-failed', 'full write-plain,sync-failed', 'full close',
    'full abort', 'full repair,check', 'format', 'full format', 'full damage-repair',
    'many-files,damage-repair', 'full close@f3', 'process-crash@f2', 'process-crash@f4',
    'process-crash@74,process-crash', 'fill-b1,fill-a0,write-sync,fill-a0@10,write-sync',
    'fill-b1,fill-a0,write-sync,fill-a0@11,write-sync', 'fill-a0,write-plain,fill-a0',
    'write-plain@f1,write-plain,fill-a0', 'write-plain@f1,thread,write-plain,fill-a0',
    'fill-a0,sync-beside,fill-a0', 'begin,sync,write-open,end-plain,fill-a',
    'fill-b1,forget-b@f1,rewrite-b', 'fill-b1,rewrite-b', 'revalidate-b,fill-b1',
    'offline@f1,fill-b1', 'offline@f2,fill-b1', 'offline@f3,fill-b1',
    'power-cut,fill-a0,write-plain,fill-a0', 'fill-b1,forget-closed@f1',
    'full fill-b1,evict-b~f688', 'full evict-a', 'fill-b1,forget-b!1', 'fill-b1,forget-closed!2',
    'pagecache full close', 'pagecache fill-a,close!1,close', 'pagecache fill-a,process-crash!2',
    'full read-torn', 'pagecache fill-a0,close-unsynced', 'pagecache fill-a0,close',
    'pagecache fill-a0', 'pagecache fill-a0,process-crash', 'eadr full fill-z',
    'eadr full write-sync',
]
OTHERS = (['crash ' + s for s in SEQUENCES] +
          ['unit ' + u for u in ('block', 'probation', 'record', 'super', 'file', 'ring', 'format',
                                 'index')] +
          ['model 96 1', 'model 64 2', 'model 300 3'] +
          ['unit ' + u for u in ('pin', 'flight', 'check', 'api')] +
          ['turns victim', 'turns leaving', 'turns absent', 'schedules 1 20000', 'race 2',
           'crash --states 60000 --length 1 --seed 6'])

# ---- Building --------------------------------------------------------------------------------


def object_of(module):
    return module.replace('/', '_') + '.o'


@functools.lru_cache(maxsize=None)
def text_of(path):
    with open(path, encoding='utf-8') as f:
        return f.read()


def text_with_headers(path):
    """The text of a file of the tests, and of what it includes from its own directory."""
    texts, seen, todo = [], set(), [path]
    while todo:
        f = todo.pop()
        if f not in seen and os.path.exists(f):
            seen.add(f)
            texts.append(text_of(f))
            todo += [os.path.join(os.path.dirname(f), n)
                     for n in re.findall(r'^#include "([\w./]+)"', texts[-1], re.M)]
    return '\n'.join(texts)


@functools.lru_cache(maxsize=None)
def inline_functions(text):
    """The functions and macros that a header defines: name and text."""
    functions = re.findall(r'^(static inline [^;{]*?\b(\w+)\([^;{]*\{.*?^\})', text, re.M | re.S)
    macros = re.findall(r'^(#define (\w+)(?:[^\n]*\\\n)*[^\n]*)', text, re.M)
    return [(name, body) for body, name in functions + macros]


class Builder:
    """Compiles and links in a scratch directory; objects of the unchanged code are shared."""

    def __init__(self, source, scratch):
        self.cc = os.environ.get('CC', 'cc').split()
        self.source, self.scratch = source, scratch
        flags = os.environ.get('CFLAGS', '').split()
        p = None
        if shutil.which('pkg-config'):
            p = subprocess.run(['pkg-config', '--cflags', 'libxxhash'], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, check=False)
        flags += p.stdout.decode().split() if p and p.returncode == 0 else []
        self.flags = ['-std=gnu11', '-O1', '-D_GNU_SOURCE', '-D_FILE_OFFSET_BITS=64', '-pthread']
        self.flags += flags
        self.objects = os.path.join(scratch, 'objects')
        os.mkdir(self.objects)
        files = [os.path.relpath(os.path.join(d, f), source) for d, _, names in os.walk(source)
                 for f in names]
        files = [f for f in files if not f.startswith('tool/')]  # as rows name them
        others = ('platform/win32', 'api/checked_calls', 'state/invariants',
                  'policy/policy_invariants')  # of Windows, and of -Dchecks=full
        self.modules = sorted(f for f in files
                              if f.endswith(('.c', '.S')) and not f.startswith(others))
        self.includes = {f: self.included(f) for f in files if f.endswith(('.c', '.h', '.S'))}
        with open(os.path.join(TOP, 'tests', 'model', 'meson.build'), encoding='utf-8') as f:
            names = re.search(r'foreach name : \[([^]]*)\]\n  turns_sources', f.read()).group(1)
        self.stepped = [n + '.c' for n in re.findall(r"'([\w/]+)'", names)]  # see turns.h

    def included(self, name):
        with open(os.path.join(self.source, name), encoding='utf-8') as f:
            return set(re.findall(r'^#include "([\w./]+)"', f.read(), re.M))

    def depends(self, name, header):
        seen, todo = set(), [name]
        while todo:
            f = todo.pop()
            if f == header:
                return True
            if f not in seen:
                seen.add(f)
                todo += self.includes.get(f, ())
        return False

    def compile(self, path, out, source, *flags):
        # This map makes the objects of equal code equal, wherever it was compiled.
        command = self.cc + self.flags + ['-fmacro-prefix-map=%s=.' % source, '-I' + source, *flags,
                                          '-I' + os.path.join(TOP, 'include'),
                                          '-I' + os.path.join(TOP, 'src'),  # for tool/
                                          '-I' + self.objects,  # what is made for tests
                                          '-c', path, '-o', out]
        status, text = run(command, 120)
        if status != 0:
            raise Failure('does not compile: ' + text.strip()[:300])

    def compile_stepped(self, module, directory, source, *flags):
        out = os.path.join(directory, 'stepped-' + object_of(module))
        self.compile(os.path.join(source, module), out, source, *flags, '-include',
                     os.path.join(TOP, 'tests', 'model', 'turns.h'))
        return out

    def program_sources(self, program):
        if program == CRASH:
            here = os.listdir(os.path.join(TOP, 'tests', 'crash'))
            names = ['crash/' + f for f in sorted(here) if f.endswith('.c')] + ['model/origin.c']
        elif program in (MODEL, RACE):
            names = ['model/' + f for f in sorted(os.listdir(os.path.join(TOP, 'tests', 'model')))
                     if re.fullmatch(r'%s(_.*)?\.c' % program, f)] + ['model/origin.c']
        elif program == TURNS:
            names = ['model/arena.c', 'model/turns.c', 'model/turns_steps.c', 'model/steps.c',
                     'model/weak.c']
        elif program == SCHEDULES:
            names = ['model/arena.c', 'model/schedules.c', 'model/schedules_pool.c',
                     'model/schedules_run.c', 'model/steps.c', 'model/weak.c']
        elif program == HISTORIES:
            names = ['model/arena.c', 'model/histories.c', 'model/histories_check.c',
                     'model/schedules_pool.c', 'model/schedules_run.c', 'model/steps.c',
                     'model/weak.c']
        elif program == FAULTY:
            names = ['faults/' + f for f in ('faults.c', 'inject.c', 'scenes.c', 'stage.c',
                                             'wrap.c')]
        elif program == OBJECTS_CRASH:
            names = ['objects/states.c', 'crash/recorder.c', 'model/origin.c']
        else:
            # test_PROGRAM.c and test_PROGRAM_*.c, those for the other system excepted
            names = ['unit/' + f for f in sorted(os.listdir(os.path.join(TOP, 'tests', 'unit')))
                     if re.fullmatch(r'test_%s(_.*)?\.c' % program, f) and '_win32' not in f]
            names.append('unit/harness.c')
        sources = [os.path.join(TOP, 'tests', f) for f in names + ['os_posix.c']]
        if program == CRASH:  # the files in src/tool/dump/meson.build
            dump = os.path.join(TOP, 'src', 'tool', 'dump')
            sources += [os.path.join(dump, f) for f in sorted(os.listdir(dump))
                        if f.endswith('.c') and f != 'cmd_dump.c']
            sources += [os.path.join(TOP, 'src', 'tool', n) for n in ('json.c', 'text.c')]
        return sources

    def prepare(self, programs, pool):
        """Objects of the unchanged library and of the test programs."""
        todo = {os.path.join(self.source, f): object_of(f) for f in self.modules}
        if FAULTY in programs:
            include = os.path.join(TOP, 'include')
            run([sys.executable, os.path.join(TOP, 'tests', 'faults', 'codes.py'),
                 os.path.join(include, 'cachemax.h'), os.path.join(include, 'cachemax_objects.h'),
                 os.path.join(self.objects, 'codes.inc')], 60)
        for program in programs:
            todo.update({s: 'test-' + os.path.basename(s) + '.o'
                         for s in self.program_sources(program)})
        jobs = [pool.submit(self.compile, s, os.path.join(self.objects, o), self.source)
                for s, o in todo.items()]
        if STEPPED & set(programs):
            jobs += [pool.submit(self.compile_stepped, f, self.objects, self.source)
                     for f in self.stepped]
        for job in jobs:
            job.result()

    def change(self, mutant, directory):
        """The mutant's objects by name; its source is beside them."""
        source = os.path.join(directory, 'src')
        shutil.copytree(self.source, source, ignore=shutil.ignore_patterns('tool'))
        changed = edit(source, mutant.edits)
        objects = {}
        for f in self.modules:
            if any(self.depends(f, name) and self.sees(f, name, mutant) for name in changed):
                objects[f] = os.path.join(directory, object_of(f))
                self.compile(os.path.join(source, f), objects[f], source, QUICKLY)
        return objects

    def sees(self, module, name, mutant):
        """Can a change in the file `name` change this module's object? An inline function of a
        header can only where its name, or that of one which calls it, stands."""
        names = self.inline_names(name, mutant) if name.endswith('.h') else None
        return names is None or bool(names.search(text_of(os.path.join(self.source, module))))

    def inline_names(self, header, mutant):
        """A pattern of the names that the edits of a header concern. None: not only functions."""
        text = text_of(os.path.join(self.source, header))
        names = set()
        for file, old, _ in mutant.edits:
            if file == header:
                inside = [n for n, body in inline_functions(text) if old in body]
                if not inside:
                    return None
                names.add(inside[0])
        definitions = [d for f in self.includes if f.endswith('.h')
                       for d in inline_functions(text_of(os.path.join(self.source, f)))]
        while True:
            pattern = re.compile(r'\b(%s)\b' % '|'.join(sorted(names)))
            more = {n for n, body in definitions if n not in names and pattern.search(body)}
            if not more:
                return pattern
            names |= more

    def link(self, program, objects, directory, mutant=None):
        out = os.path.join(directory, program)
        if os.path.exists(out):
            return out
        source = os.path.join(directory, 'src') if objects else self.source
        # The content of a header is part of the test programs, too.
        patterns = [self.inline_names(f, mutant) for f in {e[0] for e in mutant.edits}
                    if f.endswith('.h')] if mutant else []
        parts = []
        for s in self.program_sources(program):
            again = any(p is None or p.search(text_with_headers(s)) for p in patterns)
            parts.append(os.path.join(directory if again else self.objects,
                                      'test-' + os.path.basename(s) + '.o'))
            if again:
                self.compile(s, parts[-1], source, QUICKLY)
        for f in self.modules:
            if program in STEPPED and f in self.stepped:
                parts.append(self.compile_stepped(f, directory, source, QUICKLY)
                             if f in objects else
                             os.path.join(self.objects, 'stepped-' + object_of(f)))
            else:
                parts.append(objects.get(f, os.path.join(self.objects, object_of(f))))
        status, text = run(self.cc + parts + ['-o', out, '-pthread'] + WRAPS.get(program, []), 120)
        if status != 0:
            raise Failure('does not link: ' + text.strip()[:300])
        return out


# ---- Tests -----------------------------------------------------------------------------------


def program_of(test):
    words = test.split()
    return words[1] if words[0] == 'unit' else words[0]


def command_of(test, program):
    """crash [grow] [warm|full] [eadr|pagecache|checkpoint] [seed=N] OP,OP... | crash --OPTION... |
    model SLOTS SEED | race SECONDS [PROBATION] | turns [TEXT] | schedules SEED COUNT |
    histories SEED COUNT [--weak] | faults SCENE KIND | unit MODULE [TEST]"""
    words = test.split()
    if words[0] == FAULTY:
        return [program, '--only', words[1], '--kind', words[2]]
    if words[0] == 'unit':
        return [program] + words[2:]
    if words[0] == MODEL:
        return [program, '--slots', words[1], '--seed', words[2], '--ops', '200000']
    if words[0] == TURNS:
        return [program, '--only', ' '.join(words[1:])]
    if words[0] in (SCHEDULES, HISTORIES):
        return [program, '--seed', words[1], '--count', words[2]] + words[3:]
    if words[0] == RACE:
        probation = ['--probation', words[2]] if len(words) > 2 else []
        return [program, '--seconds', words[1]] + probation
    if words[1].startswith('--'):
        return [program] + words[1:]
    args = ['--' + w for w in ('grow', 'warm', 'full') if w in words[1:-1]]
    for rules in ('eadr', 'pagecache', 'checkpoint'):
        args += ['--rules', rules] if rules in words else []
    args += [a for w in words if w.startswith('seed=') for a in ('--seed', w[5:])]
    return [program] + args + ['--sequence', words[-1]]


def complaint(text):
    for line in text.splitlines():
        m = re.match(r'VIOLATION: (.*)|WRONG (.*)|FAILED.*?: (.*)|not ok \d+ - (.*)|'
                     r'.*(Assertion .* failed)',
                     line)
        if m:
            return next(g for g in m.groups() if g)[:90]
    return 'died'


def notices(builder, test, objects, directory, mutant=None):
    """What the test says about the mutant, or None. One try: no row may need luck."""
    program = builder.link(program_of(test), objects, directory, mutant)
    status, text = run(command_of(test, program), LIMIT, cwd=directory)
    if status in (None, 0, 77):
        return None  # slow is not wrong
    return complaint(text)


Result = collections.namedtuple('Result', 'mutant by said seconds error')


def judge(builder, mutant, quick, survey):
    start = time.time()
    directory = tempfile.mkdtemp(dir=builder.scratch)
    found = []
    try:
        objects = builder.change(mutant, directory)
        tests = ([mutant.by] if mutant.by else []) + ([] if quick and not survey else
                                                      [t for t in OTHERS if t != mutant.by])
        for test in tests:
            said = notices(builder, test, objects, directory, mutant)
            if said:
                found.append((test, said))
                if not survey:
                    break
        error = None
    except Failure as e:
        error = str(e)
    finally:
        shutil.rmtree(directory)
    by = '; '.join(t for t, _ in found)
    return Result(mutant, by, found[0][1] if found else '', time.time() - start, error)


# ---- Main ------------------------------------------------------------------------------------


def sound(builder, mutants, pool):
    """The tests that the rows name, on the unchanged code: what they say, and which cannot run
    here."""
    directory = os.path.join(builder.scratch, 'sound')
    os.mkdir(directory)
    tests = sorted({m.by for m in mutants if m.by})
    for program in sorted({program_of(t) for t in tests}):
        builder.link(program, {}, directory)
    said = list(pool.map(lambda t: notices(builder, t, {}, directory), tests))
    # Some tests need root and its privileges. Their status says so.
    idle = {t for t in tests if t.startswith(('unit volume', 'unit trust')) and
            run(command_of(t, builder.link(program_of(t), {}, directory)), LIMIT,
                cwd=directory)[0] == 77}
    return ['%s: %s' % (t, s) for t, s in zip(tests, said) if s], idle


def markdown(results):
    lines = ['| mutant | removed | noticed by |', '|---|---|---|']
    for r in results:
        lines.append('| %s | %s | %s |'
                     % (r.mutant.name, r.mutant.what, '`%s`' % r.by if r.by else '**nothing**'))
    lines += ['', '| benign | removed | why nothing can notice |', '|---|---|---|']
    for b in BENIGN:
        lines.append('| %s | %s | %s |' % (b.name, b.what, b.by))
    return '\n'.join(lines)


def good(result, options):
    return not result.error and bool(result.by) != options.benign


def is_there(source, edits):
    with tempfile.TemporaryDirectory(prefix='cachemax-text.') as d:
        for name in {e[0] for e in edits}:
            os.makedirs(os.path.dirname(os.path.join(d, name)), exist_ok=True)
            shutil.copy(os.path.join(source, name), os.path.join(d, name))
        try:
            return bool(edit(d, edits))
        except Failure:
            return False


def part(text):
    k, n = (int(w) for w in text.split('/'))
    if not 0 <= k < n:
        raise ValueError
    return k, n


def main():
    a = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('--quick', action='store_true', help='only the test that the row names')
    a.add_argument('--part', metavar='K/N', type=part, help='one of N parts of the rows')
    a.add_argument('--only', metavar='NAME', action='append',
                   help='rows whose name begins so; may be given several times')
    a.add_argument('--by', metavar='TEST', help='ask this test, and not those that the rows name')
    a.add_argument('--benign', action='store_true', help='the rows that nothing can notice')
    a.add_argument('--jobs', type=int, default=(os.cpu_count() or 1) + 1, help='some tests wait')
    a.add_argument('--markdown', action='store_true', help='print docs/notes/crash-mutants.md')
    a.add_argument('--survey', action='store_true', help='go on after the first test that notices')
    a.add_argument('--source', default=os.path.join(TOP, 'src'), help='the library (src/)')
    o = a.parse_args()
    mutants = [b._replace(by='') for b in BENIGN] if o.benign else MUTANTS
    if o.only:
        mutants = [m for m in mutants if m.name.startswith(tuple(o.only))]
    if o.by:
        mutants = [m._replace(by=o.by) for m in mutants]
        o.quick = True
    names = [m.name for m in MUTANTS + BENIGN]
    if len(set(names)) != len(names) or not mutants:
        print('two rows of one name, or none of that name')
        return 1
    if o.part:
        k, n = o.part
        mutants = sorted(mutants, key=lambda m: program_of(m.by) if m.by else '')
        begin, end = k * len(mutants) // n, (k + 1) * len(mutants) // n
        others = mutants[:begin] + mutants[end:]
        stale = [m.name for m in others if not is_there(o.source, m.edits)]
        if stale:
            print('FAILED text is not there exactly once: ' + ', '.join(stale))
            print('0 passed, %d failed, 0 skipped' % len(stale))
            return 1
        mutants = mutants[begin:end]
    tests = {m.by for m in mutants if m.by} | (set() if o.quick else set(OTHERS))
    scratch = tempfile.mkdtemp(prefix='cachemax-mutants.')
    for sig in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sig, lambda *_: (end_all(), shutil.rmtree(scratch, ignore_errors=True),
                                       os._exit(130)))
    try:
        with concurrent.futures.ThreadPoolExecutor(o.jobs) as pool:
            builder = Builder(os.path.abspath(o.source), scratch)
            builder.prepare(sorted({program_of(t) for t in tests}), pool)
            wrong, idle = sound(builder, mutants, pool)
            if wrong:
                print('\n'.join('FAILED on the unchanged code: ' + w for w in wrong))
                print('0 passed, %d failed, 0 skipped' % len(mutants))
                return 1
            skipped = [m for m in mutants if m.by in idle]
            mutants = [m for m in mutants if m.by not in idle]
            for m in skipped:
                print('skip %s: %s cannot run here' % (m.name, m.by))
            results = []
            for r in pool.map(lambda m: judge(builder, m, o.quick, o.survey), mutants):
                results.append(r)
                if not o.markdown:
                    print('%s%s | %s | %s | %.1f' % (
                        '' if good(r, o) else 'FAILED ', r.mutant.name, r.mutant.what,
                        '%s (%s)' % (r.by, r.said) if r.by else r.error or 'nothing noticed',
                        r.seconds), flush=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if o.markdown:
        print(markdown(results))
    passed = sum(1 for r in results if good(r, o))
    if not o.markdown:
        print('%d passed, %d failed, %d skipped' % (passed, len(results) - passed, len(skipped)))
    return 0 if passed == len(results) else 1


if __name__ == '__main__':
    sys.exit(main())
