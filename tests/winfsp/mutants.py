#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""mutants.py - do the tests of cachemax-winfsp find what they should? Makes one mistake at a time
in a copy of examples/winfsp.

  mutants.py [--only NAME] [--mount BUILD]

A row has what is wrong, the test of unit/swap that has to fail, and the text that is changed, which
must be there exactly once. With --mount the rows of the mount are tried instead: the program is
made with the library of that build, and a check of winfsp-test.sh has to fail, or a test of
unit/winfsp ("unit NAME"); that takes half a minute. First of all the unchanged code has to pass.
The last line is "N passed, N failed, N skipped"; passed: noticed. The compiler is $CC, or cc.
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.dirname(HERE))
sys.dont_write_bytecode = True
from mutation import Failure, edit, edits_of, run  # noqa: E402

SOURCES = os.path.join(TOP, 'examples', 'winfsp')
SWAP, POSIX, CACHE, OPS, MAIN = 'swap.c', 'swap_posix.c', 'cache.c', 'ops.c', 'main.c'
ORIGIN, HANDLES = 'origin_posix.c', 'handles.c'
PARTS = [CACHE, OPS, ORIGIN, HANDLES, 'announce_posix.c', 'lock_posix.c', 'ticker_posix.c']
WRAPPED = ['cm_checkpoint', 'cm_forget', 'cm_identify_with', 'origin_close', 'origin_read',
           'origin_set_times_of', 'origin_stat_file', 'origin_write']
WAIT = os.path.join(TOP, 'examples', 'wait')
LIMIT = 120  # seconds


def row(name, test, *words):
    return name, test, edits_of(words)


UNIT = [
    row('what failed is not undone', 'each_step', SWAP,
        '    restore(s, s->id);\n    return SWAP_FAILED;', '    return SWAP_FAILED;'),
    row('the name is taken before the journal is written', 'killed', SWAP,
        '    e = e < 0 ? e : write_journal(s, s->id);\n',
        '    e = e < 0 ? e : move_aside(s);\n    e = e < 0 ? e : write_journal(s, s->id);\n',
        SWAP, '    }\n    e = e < 0 ? e : move_aside(s);\n', '    }\n'),
    row('the mount of another is undone', 'two_at_once', SWAP, 'if (e == -EAGAIN) { /*',
        'if (false) { /*'),
    row('any folder aside is renamed back', 'another_folder', SWAP,
        'if (e < 0 || strcmp(id, is))', 'if (e < 0)'),
    row('any folder at the name is the folder', 'another_folder', SWAP,
        'swap_os_id(s->folder, is) < 0 || (*id && strcmp(id, is))',
        'swap_os_id(s->folder, is) < 0'),
    row('the place of the mount is the folder', 'moved_away', SWAP,
        'swap_os_id(s->aside, id) == 0 ? id : s->id', '(swap_os_id(s->aside, id), id)'),
    row('a folder that is in use for a moment', 'open_for', SWAP, '#define PATIENCE 50 ',
        '#define PATIENCE 1 '),
    row('a wrong name', 'names', SWAP, 'if (e == -ENOENT && !is_there(s->folder))', 'if (false)'),
    row('a folder that no mount had', 'recover_if_left', SWAP,
        '(is_left(s.journal) || is_left(s.aside))', 'true'),
    row('a damaged journal counts', 'journals', SWAP,
        '    if (!*id)\n        return', '    if (false)\n        return'),
    row('a journal of another user counts', 'planted_journals', POSIX,
        'if (st.st_mode & (S_IWGRP | S_IWOTH))', 'if (false)'),
    row('a folder aside without a journal is overlooked', 'journals', SWAP,
        'if (e == -ENOENT && is_there(s->aside))', 'if (false)'),
    row('a mount does not recover first', 'journals', SWAP, '        r = recover(s);\n', ''),
    row('the place of the mount stays', 'goes_and_comes', SWAP,
        '    e = e < 0 ? e : swap_os_clear_place(s->folder);\n', ''),
    row('the journal stays', 'goes_and_comes', SWAP,
        'e = e < 0 ? e : swap_os_remove(s->journal, s->lock);', '(void)0;'),
    row('the lock of a new journal', 'used_once', POSIX,
        'if (flock(fd, LOCK_EX | LOCK_NB) < 0) {', 'if (false) {'),
    row('the lock of a recovery', 'used_once', POSIX,
        'else if (flock(fd, LOCK_EX | LOCK_NB) < 0)\n        e =', 'else if (false)\n        e ='),
    row('a link into the folder', 'is_below', SWAP,
        'swap_os_real(file, path, sizeof(path)) < 0)', 'true)'),
    row('".." is a name', 'names', POSIX, ' || !strcmp(name, "..")', ''),
]
MOUNT = [
    row('writes without a bracket', 'random operations', CACHE,
        'begun = has_begun(cm_write_begin(h->file, off, len, &w));', '(void)w;'),
    row('truncation without a bracket', 'random operations', CACHE,
        'begun = has_begun(cm_truncate_begin(h->file, size, &w));', '(void)w;'),
    row('O_TRUNC is overlooked', 'serves', OPS, 'if (fi->flags & O_TRUNC)', 'if (false)'),
    row('what waits in DRAM is never stored', 'stays warm', CACHE,
        '(void)cm_checkpoint(cache.pool);', '(void)0;'),
    row('no checkpoint at the begin', 'begins with', CACHE, 'cache.rounds = 1;', '(void)0;'),
    row('no file is attached', 'hits', CACHE, '    if (!identify(h, &v))\n        return;\n',
        '    return;\n'),
    row('hidden names', 'kills', OPS, 'config->hard_remove = 1;', ''),
    row('directories without a path', 'lists', OPS, 'config->hard_remove = 1;',
        'config->hard_remove = config->nullpath_ok = 1;'),
    row('dead mounts stay', 'recovered after', POSIX, 'while (is_dead_mount(folder))',
        'while (false)'),
    row('requests to end do not wait', 'any moment', MAIN, '    swap_os_hold(true); /* but',
        '    /* but'),
    row('the folder stays aside', 'unmounted', MAIN, 'back = (int)swap_end(&s);', 'back = 0;'),
    row('files stay open', 'while files are open', MAIN, 'n = ops_end();', 'n = 0;'),
    row('what was closed is closed again', 'while files are open', OPS,
        '    handles_remove(h);\n    (void)cache', '    (void)cache'),
    row('what may only be read is written', 'unit changes_by_reader', OPS,
        'if (handle_of(fi)->writes)', 'if (true)'),
    row('what may only be read is truncated', 'unit changes_by_reader', OPS,
        'if (handle_of(fi) && handle_of(fi)->writes)', 'if (handle_of(fi))'),
    row('the times of handles that have written', 'unit times_stay', OPS,
        'handles_set_times(&c.h.id, tv);', '(void)0;'),
    row('the times of all handles', 'unit times_stay', HANDLES, ' && atomic_load(&h->changed)', ''),
    row('the times of other files', 'unit times_stay', HANDLES,
        'if (is_of(h, id) && atomic_load(&h->changed))', 'if (atomic_load(&h->changed))'),
    row('the names of other files', 'unit name_comes', HANDLES,
        '        if (is_of(h, id))\n            has_names', '            has_names'),
    row('names that are gone', 'unit had_names', HANDLES, '    if (is_marked(&h->id))\n',
        '    if (false)\n'),
    row('names that are gone are forgotten', 'a name that is gone', HANDLES,
        '    if (is_marked(&h->id))\n', '    if (false)\n'),
    row('names of another mount', 'unit had_names', CACHE, '    handles_begin();\n', ''),
    row('names of all files', 'unit had_names', HANDLES, 'is = *mark_of(id, k, &bit) & bit;',
        'is = true;'),
    row('names concern one handle', 'unit name_comes', CACHE,
        'handles_have_names(&h->id);', '(void)0;'),
    row('names are not looked for by a miss', 'unit name_comes', CACHE,
        '    if (has_names(h))\n        return CM_ENOTSUP;', '    if (false)\n        return 0;'),
    row('names are not seen in attributes', 'unit name_comes', OPS,
        'cache_stat(h, st)', 'origin_stat_file(h->f, st)'),
    row('each hit asks the origin', 'unit hits_ask_nothing', CACHE,
        'if (is_on(h) && !atomic_load(&h->linked))', 'if (is_on(h) && !has_names(h))'),
    row('a mount that fails leaves it aside', 'mount fails', MAIN, 'back = (int)swap_end(&s);',
        'back = status == SWAP_OK ? (int)swap_end(&s) : 0;'),
    row('a link in a path is followed', 'leads out', ORIGIN,
        'O_PATH | O_DIRECTORY | O_NOFOLLOW', 'O_PATH | O_DIRECTORY'),
    row('the mode of what a link names', 'leads out', ORIGIN, 'S_ISLNK(st.st_mode)', 'false',
        ORIGIN, 'open_path(path, O_PATH, 0)', 'openat(folder, path + 1, O_PATH)'),
    row('a pool in the folder', 'nothing to recover', MAIN, 'if (swap_is_below(folder, pool))',
        'if (false)'),
]


def compile_it(program, words):
    command = [os.environ.get('CC', 'cc'), '-O1', '-w', '-D_GNU_SOURCE', '-o', program] + words
    status, out = run(command, LIMIT)
    if status != 0:
        raise Failure('it does not compile: ' + out[-300:])


def unit_fails(sources, where, test):
    program = os.path.join(where, 'test_swap')
    unit = os.path.join(TOP, 'tests', 'unit')
    compile_it(program, ['-I' + os.path.join(TOP, 'src'), os.path.join(sources, SWAP),
                         os.path.join(sources, POSIX), os.path.join(unit, 'test_swap.c'),
                         os.path.join(unit, 'harness.c'), os.path.join(TOP, 'tests', 'os_posix.c')])
    env = dict(os.environ, TMPDIR=where)  # what a failing test leaves goes with it
    return run([program] + ([test] if test else []), LIMIT, env=env)[0] not in (0, 77)


def with_library(program, files, build):
    fuse = subprocess.run(['pkg-config', '--cflags', '--libs', 'fuse3'], check=True,
                          stdout=subprocess.PIPE).stdout.decode().split()
    compile_it(program, ['-I' + os.path.join(TOP, 'include'), '-I' + os.path.join(TOP, 'src')] +
               ['-I' + WAIT, os.path.join(WAIT, 'timed_wait.c')] + files +
               [os.path.join(build, 'src', 'libcachemax.a'), '-pthread'] + fuse)


def operations_fail(sources, where, test, build):
    program = os.path.join(where, 'test_winfsp')
    tests = os.path.join(TOP, 'tests')
    files = ['unit/test_winfsp.c', 'unit/winfsp_case.c', 'unit/harness.c', 'os_posix.c']
    with_library(program, [os.path.join(tests, f) for f in files] +
                 [os.path.join(sources, f) for f in PARTS] +
                 ['-Wl,--wrap=' + name for name in WRAPPED], build)
    env = dict(os.environ, TMPDIR=where)
    status, out = run([program, test], LIMIT, env=env)
    if '0 passed, 0 failed' in out:
        raise Failure('no such test: ' + test)
    return status not in (0, 77)


def mount_fails(sources, where, test, build):
    if test.startswith('unit '):
        return operations_fail(sources, where, test[len('unit '):], build)
    program = os.path.join(where, 'cachemax-winfsp')
    with_library(program, [os.path.join(sources, f) for f in [SWAP, POSIX, MAIN] + PARTS], build)
    env = dict(os.environ, CM_WINFSP=program, CM_CHECKS=test)
    script = os.path.join(HERE, 'winfsp-test.sh')
    status, out = run(['unshare', '-m', 'bash', script, build], LIMIT, env=env, grace=10)
    if status not in (0, 1, None) or '0 passed, 0 failed' in out:
        raise Failure('no such check: ' + out[-300:])
    return status != 0


def fails(mutant, where, build):
    sources = os.path.join(where, 'winfsp')
    shutil.rmtree(sources, ignore_errors=True)
    shutil.copytree(SOURCES, sources)
    edit(sources, mutant[2])
    if build:
        return mount_fails(sources, where, mutant[1], build)
    return unit_fails(sources, where, mutant[1])


def main():
    parser = argparse.ArgumentParser(add_help=True, description='see the top of this file')
    parser.add_argument('--only', default='')
    parser.add_argument('--mount', default='')
    args = parser.parse_args()
    build = os.path.realpath(args.mount) if args.mount else ''
    passed = failed = 0
    with tempfile.TemporaryDirectory(prefix='cachemax-mutants.') as where:
        if fails(('unchanged', '', []), where, build):
            print('FAIL the unchanged code does not pass\n0 passed, 1 failed, 0 skipped')
            return 1
        for mutant in MOUNT if build else UNIT:
            if args.only not in mutant[0]:
                continue
            try:
                noticed, why = fails(mutant, where, build), 'nobody noticed'
            except Failure as e:
                noticed, why = False, str(e)
            passed, failed = passed + noticed, failed + (not noticed)
            print('ok ' + mutant[0] if noticed else 'FAIL %s: %s' % (mutant[0], why), flush=True)
    print('%d passed, %d failed, 0 skipped' % (passed, failed))
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
