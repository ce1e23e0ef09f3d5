#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""mutants.py - would the tests of tests/nbd notice it? Takes one thing at a time out of
examples/nbdkit, and wants the check that the row names to fail.

  mutants.py [--list] [--only NAME] [BUILD_DIR]

--list looks only whether the text of every row is there exactly once. The last line is "N passed, N
failed, N skipped"; passed: noticed.
"""
import argparse
import json
import os
import re
import shlex
import shutil
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.dirname(HERE))
sys.dont_write_bytecode = True
from mutation import Failure, edit, end_all, run  # noqa: E402
SOURCES = os.path.join(TOP, 'examples', 'nbdkit')
LIMIT = 300  # seconds: for a hang, not for a slow machine

# Name, file, old text, new text, check of nbd-test.py, or another test here.
OTHERS = {'cut-test.py': ('--fs', 'ext4'), 'dax-test.py': (), 'boot-test.py': ()}
MUTANTS = [
    ('no-bracket', 'filter.c', 'cm_write_begin(c->file, offset, count, w);',
     'cm_write_begin(c->file, 0, 0, w);', 'connections'),
    ('trim-elsewhere', 'filter.c',
     'change_begin(handle, offset, count, &w, err) < 0)\n        return -1;\n'
     '    const int r = next->trim',
     'change_begin(handle, 0, 1, &w, err) < 0)\n        return -1;\n'
     '    const int r = next->trim', 'changes_forget'),
    ('no-sync', 'filter.c', 'const bool begun = c->file &&', 'const bool begun = !c->file &&',
     'flush_proves'),
    ('fua-lost', 'filter.c', 'return r == 0 && (flags & FUA) ?', 'return r == 1 && (flags & FUA) ?',
     'flush_proves'),
    ('own-error', 'filter.c', '*err = o.error;', '*err = EIO;', 'plugin_errors'),
    ('no-warming', 'filter.c', 'cm_warm(c->file, offset, count,', 'cm_warm(c->file, offset, 0,',
     'cache_request'),
    ('blocks-only', 'filter.c', 'if (n == count)\n            return 0;',
     'if (n == count)\n            return 0;\n'
     '        if (n == ORIGIN_FAILED)\n            return *err = o.error, -1;', 'bad_sector'),
    ('a-link-moves', 'filter.c', 'nbdkit_realpath(value)', 'nbdkit_absolute_path(value)', 'links'),
    ('twice', 'filter.c', 'if (settings.complete)', 'if (false)', 'parameters'),
    ('no-last-flush', 'filter.c', 'if (c->flushes && export_unflushed(c))',
     'if (false && export_unflushed(c))', 'client_leaves'),
    ('no-first-flush', 'filter.c', 'if (c->flushes && export_unproved(c))',
     'if (false && export_unproved(c))', 'never_written'),
    ('flush-impossible', 'filter.c', 'r < 0 && *err != EINVAL && *err != EROFS)', 'r < 0)',
     'flush_impossible'),
    ('a-flush-that-failed', 'filter.c', 'cm_sync_end(c->file, &s, 0, NULL);',
     'cm_sync_end(c->file, &s, 1, NULL);', 'failing_flush'),
    ('no-checkpoints', 'pool.c', '(void)cm_checkpoint(pool);', '(void)0;', 'checkpoints'),
    ('a-wait-by-the-wall-clock', 'pool.c',
     'wait_until(CHECKPOINT_NS);\n        if (wait_on(&wake, &lock, &until))',
     '{ time(NULL) + 5, 0 };\n'
     '        if (!pthread_cond_clockwait(&wake, &lock, CLOCK_REALTIME, &until))',
     'clock_set_back'),
    ('beyond-the-end', 'filter.c', 'const uint64_t size = o->c->size;',
     'const uint64_t size = o->c->size + 4096;', 'unaligned'),
    ('names-ignored', 'export.c', 'settings.names == NAMES_EACH ? c->name : ""', '""', 'exports'),
    ('any-name', 'export.c', '|| settings.names != NAMES_NONE)', '|| true)', 'export_names'),
    ('any-version', 'export.c',
     'cm_validator_set_proof(v, settings.version, strlen(settings.version));',
     'cm_validator_set_proof(v, "1", 1);', 'version'),
    ('a-proof-of-today', 'export.c', 'v->taken_at = cm_now();',
     'v->taken_at = cm_now();\n    cm_validator_set_proof(v, &v->taken_at, 8);', 'kills'),
    ('not-volatile', 'export.c', '!settings.plain || is_far(c)', 'is_far(c)', 'lost_writes'),
    ('not-far', 'export.c', '!settings.plain || is_far(c)', '!settings.plain', 'far'),
    ('any-flush', 'filter.c', 'begun && export_flush_begin(c, &writes);',
     'begun && (export_flush_begin(c, &writes) || true);', 'without_multi_conn'),
    ('late-flush', 'export.c', '(c->multi && c->number <= e->last)', 'c->multi', 'late_flush'),
    ('all-read', 'export.c', 'c->fits && !beside;', 'c->fits;',
     'without_multi_conn'),
    ('the-first-goes-on', 'export.c', 'o->cached = false;', '', 'without_multi_conn'),
    ('all-wait-for-a-read', 'export.c',
     '    pthread_mutex_unlock(&lock);\n    end_idle();\n    pthread_mutex_unlock(&attaching);\n'
     '    if (wait)\n        wait_for_reads(c->export);\n',
     '    if (wait)\n        wait_for_reads(c->export);\n    pthread_mutex_unlock(&lock);\n'
     '    end_idle();\n    pthread_mutex_unlock(&attaching);\n',
     'new_beside_slow_read'),
    ('the-new-one-does-not-wait', 'export.c', '    if (wait)\n        wait_for_reads(c->export);',
     '    (void)wait_for_reads;', 'new_beside_slow_read'),
    ('times-of-the-future', 'export.c', 'if (last[i].tv_sec > t.tv_sec ||', 'if (false &&',
     'times_that_never_count'),
    ('waits-for-whole-seconds', 'export.c',
     'return e->writes > 0 || last[0].tv_nsec != 0 || last[1].tv_nsec != 0;', 'return true;',
     'times_that_never_count'),
    ('never-waits', 'export.c', 'if (*tries == 0 || !worth_waiting(e))',
     'if (!worth_waiting(e) || e)', 'times_that_never_count'),
    ('a-reader-proves', 'export.c', '!settings.id && !c->readonly && identify_file',
     '!settings.id && identify_file', 'read_only_beside_a_writer'),
    ('any-filter', 'filter.c', 'settings.plain &= own && harmless(base + 7);', '(void)harmless;',
     'parameters'),
    ('any-file-name', 'filter.c', 'settings.plain &= own && harmless(base + 7);',
     'settings.plain &= !own || harmless(base + 7);', 'file_names'),
    ('a-pool-in-the-folder', 'pool.c', 'return in ? -1 : 0;', 'return 0;', 'pool_in_folder'),
    ('a-link-to-the-pool', 'export.c', '!same_inode(c->path, settings.pool)', 'true',
     'pool_in_folder'),
    ('no-claim-later', 'export.c', '    renew(e, flags);', '    (void)renew;',
     'reader_before_writer'),
    ('no-descriptor-later', 'export.c', 'if (e->fd < 0 && !settings.id && !c->readonly)',
     'if (false)', 'reader_before_writer'),
    ('all-stay-open', 'export.c', 'return last_validator(e, &tries) || place > FRESH_MAX;',
     'return false;', 'many_files'),
    ('fresh-ones-end-cold', 'export.c', 'return last_validator(e, &tries) || place > FRESH_MAX;',
     'return last_validator(e, &tries) || true;', 'many_files'),
    ('old-ones-end-cold', 'export.c', 'return last_validator(e, &tries) || place > FRESH_MAX;',
     'return (void)tries, true;', 'many_files'),
    ('deleted-ones-stay', 'export.c', 'if (is_deleted(e))', 'if (false)', 'replaced'),
    ('in-use', 'pool.c', 'else if (info.owned)', 'else if (false)', 'pool_in_use'),
    ('synced-at-once', 'filter.c', 'cm_write_end(c->file, w, NULL);',
     'cm_write_end(c->file, w, NULL);\n    cm_sync s;\n'
     '    if (cm_sync_begin(c->file, &s) == 0)\n        cm_sync_end(c->file, &s, 1, NULL);',
     'cut-test.py'),
    ('never-synced', 'filter.c', 'if (whole && r == 0) {', 'if (whole && r == 1) {',
     'cut-test.py'),
    ('never-synced-on-dax', 'filter.c', 'if (whole && r == 0) {', 'if (whole && r == 1) {',
     'dax-test.py'),
    ('old-bytes-stay-on-dax', 'filter.c', 'cm_write_begin(c->file, offset, count, w);',
     'cm_write_begin(c->file, 0, 0, w);', 'dax-test.py'),
    ('a-proof-of-this-start', 'export.c', 'v->taken_at = cm_now();',
     'v->taken_at = cm_now();\n    cm_validator_set_proof(v, &v->taken_at, 8);', 'boot-test.py'),
    ('old-bytes-stay', 'filter.c', 'cm_write_begin(c->file, offset, count, w);',
     'cm_write_begin(c->file, 0, 0, w);', 'boot-test.py'),
    ('no-key', 'pool.c', 'o.seal = seal_file_of(seal);\n    int e = cm_create',
     'int e = cm_create', 'sealed'),
    ('always-create', 'pool.c', 'missing == POOL_NO_PLACE || missing == POOL_LINKED;',
     'missing == POOL_NOT_MISSING;',
     'pool_out_of_reach'),
    ('any-key', 'pool.c', 'if (e != CM_EKEY)', 'if (true)', 'sealed'),
    ('writes-though-it-cannot-forget', 'filter.c', 'if (e == 0) {\n        export_write_begin',
     'if (e <= 0) {\n        export_write_begin', 'pool_lost'),
    ('fua-of-a-trim-lost', 'filter.c',
     'const int r = next->trim(next, count, offset, flags & ~FUA, err);\n'
     '    return change_end(next, handle, &w, r, flags, err);',
     'const int r = next->trim(next, count, offset, flags & ~FUA, err);\n'
     '    return change_end(next, handle, &w, r, 0, err);', 'flush_proves'),
    ('fua-of-a-zero-lost', 'filter.c',
     'const int r = next->zero(next, count, offset, flags & ~FUA, err);\n'
     '    return change_end(next, handle, &w, r, flags, err);',
     'const int r = next->zero(next, count, offset, flags & ~FUA, err);\n'
     '    return change_end(next, handle, &w, r, 0, err);', 'flush_proves'),
    ('a-link-to-the-key', 'export.c', ' && !same_inode(c->path, settings.key_file)', '',
     'key_is_no_export'),
    ('a-write-that-goes-on-is-flushed', 'export.c', 'e->open ? UINT64_MAX : e->writes;',
     'e->writes;', 'flush_beside_a_write'),
    ('a-write-during-a-flush-is-flushed', 'export.c', 'if (c->export->writes == writes)',
     'if (writes != UINT64_MAX)', 'flush_beside_a_write'),
    ('a-write-never-ends', 'filter.c', '    export_write_end(c);\n', '', 'flush_beside_a_write'),
    ('a-cache-request-never-ends', 'filter.c', 'origin_read, &o, NULL);\n    export_read_end(c);',
     'origin_read, &o, NULL);', 'cache_request_is_over'),
    ('any-length', 'filter.c', 'n = all - done < o->c->most ? all - done : o->c->most;',
     'n = all - done;', 'lengths'),
    ('takes-single-blocks', 'filter.c',
     'c->fits = least <= CM_BLOCK_SIZE && (most == 0 || most >= CM_BLOCK_SIZE);',
     'c->fits = most == 0 || most >= CM_BLOCK_SIZE;', 'lengths'),
    ('takes-whole-blocks', 'filter.c',
     'c->fits = least <= CM_BLOCK_SIZE && (most == 0 || most >= CM_BLOCK_SIZE);',
     'c->fits = least <= CM_BLOCK_SIZE;', 'lengths'),
    ('not-closed', 'pool.c', 'int e = cm_close(pool);', 'int e = 0;', 'clean'),
]


def commands(build):
    """How the filter's objects are compiled, and how it is linked."""
    with open(os.path.join(build, 'compile_commands.json'), encoding='utf-8') as f:
        entries = [e for e in json.load(f)
                   if e['output'].startswith('examples/nbdkit/nbdkit-cachemax-filter.so.p/') and
                   os.path.dirname(e['file']).endswith('examples/nbdkit')]
    status, text = run(['ninja', '-C', build, '-t', 'commands', '-s',
                        'examples/nbdkit/nbdkit-cachemax-filter.so'], LIMIT)
    if status != 0 or not entries:
        raise Failure('the filter is not built in %s' % build)
    return entries, text.strip().splitlines()[-1]


def make(build, row, directory):
    """The changed filter."""
    edit(directory, [row[1:4]])
    entries, link = commands(build)
    result = os.path.join(directory, 'nbdkit-cachemax-filter.so')
    words = shlex.split(link)
    for e in entries:
        name = os.path.basename(e['file'])
        out = os.path.join(directory, name + '.o')
        compile_words = [os.path.join(directory, name) if w == e['file'] else out
                         if w == e['output'] else w for w in shlex.split(e['command'])]
        compile_words.append('-Wno-error')  # something may be unused now
        status, text = run(compile_words, LIMIT, cwd=e['directory'])
        if status != 0:
            raise Failure('does not compile: %s' % text[-400:])
        words = [out if w == e['output'] else w for w in words]
    words = [result if w == 'examples/nbdkit/nbdkit-cachemax-filter.so' else w for w in words]
    status, text = run(words, LIMIT, cwd=build)
    if status != 0:
        raise Failure('does not link: %s' % text[-400:])
    return result


def judge(build, row):
    with tempfile.TemporaryDirectory(prefix='cachemax-nbd-mutant.') as d:
        directory = os.path.join(d, 'nbdkit')
        shutil.copytree(SOURCES, directory)
        result = make(build, row, directory)
        other = row[4] in OTHERS
        env = dict(os.environ, CM_CHECKS='' if other else '^%s$' % row[4])
        status, text = run(['/usr/bin/python3', os.path.join(HERE, row[4] if other else
                                                             'nbd-test.py'),
                            build, result, *OTHERS.get(row[4], ())], LIMIT, env=env)
        if not re.search('^FAIL' if other else '^FAIL %s' % row[4], text, re.M):
            raise Failure('not noticed: status %s: %s' % (status, text.strip()[-200:]))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--list', action='store_true')
    parser.add_argument('--only')
    parser.add_argument('build', nargs='?')
    args = parser.parse_args()
    passed = failed = 0
    for row in MUTANTS:
        if args.only and args.only not in row[0]:
            continue
        try:
            if args.list:
                with open(os.path.join(SOURCES, row[1]), encoding='utf-8') as f:
                    if f.read().count(row[2]) != 1:
                        raise Failure('its text is not there exactly once')
            else:
                judge(os.path.realpath(args.build), row)
            passed += 1
            print('ok ' + row[0], flush=True)
        except Failure as e:
            failed += 1
            print('FAIL %s: %s' % (row[0], e), flush=True)
    print('%d passed, %d failed, 0 skipped' % (passed, failed))
    sys.exit(failed > 0)


try:
    main()
finally:
    end_all()
