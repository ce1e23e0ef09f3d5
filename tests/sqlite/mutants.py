#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""mutants.py - would sqlite-test.py notice it? Takes one thing at a time out of the VFS, and wants
the check that the row names to fail.

  mutants.py [--list] [--only NAME] BUILD_DIR

--list looks only whether the text of every row is there exactly once.
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
from mutation import Failure, edit, run  # noqa: E402
SOURCE = 'sqlite-cachemax.c'
SEAL = 'examples/seal'  # without OpenSSL
MISSING = 'examples/missing'
ROWS = [  # name, check, old, new
    ('nothing-compared', 'another_process_writes',
     'memcmp(e->header, header, HEADER) == 0 &&\n'
     '                cm_validator_equal(&e->noted, &v);', 'true;'),
    ('times-not-compared', 'overwritten_while_nobody_reads',
     '&&\n                cm_validator_equal(&e->noted, &v);', ';'),
    ('times-of-today', 'overwritten_between_sessions',
     'memcpy(proof, v->proof, CM_PROOF_BYTES);',
     'memset(proof, 1, CM_PROOF_BYTES);\n    v->racy = 0;'),
    ('counter-not-in-the-proof', 'a_commit_without_its_times',
     'memcpy(proof + CM_PROOF_BYTES, header, HEADER);',
     'memset(proof + CM_PROOF_BYTES, header[0], HEADER);'),
    ('no-note-after-a-rollback', 'warm_after_own_writes', 'note_own(c, false);', ''),
    ('no-last-note', 'warm_after_a_quick_end', '        last_note(c);\n', '        ;\n'),
    ('times-of-the-future', 'times_that_never_count', 'if (last[i].tv_sec > t.tv_sec ||',
     'if (false &&'),
    ('waits-for-whole-seconds', 'times_that_never_count',
     'return e->wrote || last[0].tv_nsec != 0 || last[1].tv_nsec != 0;', 'return true;'),
    ('own-writes-not-waited-for', 'times_that_never_count', 'c->entry->wrote |= c->wrote;', ''),
    ('deleted-files-stay', 'replaced_by_rename', 'if (entries[i].fd >= 0 && entry_over(',
     'if (0 && entry_over('),
    ('a-file-in-use-is-over', 'replaced_by_rename', 'return !used && fstat', 'return fstat'),
    ('locks-not-asked', 'deleted_with_a_lock',
     ' &&\n           fcntl(e->fd, F_OFD_GETLK, &any) == 0 && any.l_type == F_UNLCK;', ';'),
    ('a-line-for-each-lock', 'not_identified', 'if (e->said != r)', 'if (true)'),
    ('asked-at-each-lock', 'not_identified', 'e->refused = r == CM_ECLONE;', 'e->refused = false;'),
    ('no-volume-id', 'not_identified', 'o.volume_id = e->volume_id;', ''),
    ('no-lock', 'the_last_look_has_a_lock',
     'c->real->pMethods->xLock(c->real, SQLITE_LOCK_SHARED) == SQLITE_OK', '1'),
    ('fork-unseen', 'fork', 'pthread_atfork(NULL, NULL, forked);', ''),
    ('a-pool-forgotten', 'pool_missing', 'bool named = pool_named;',
     'bool named = pool_users > 0 || (pool && *pool);'),
    ('a-pool-forgotten-in-a-child', 'fork', '    pool_path = NULL;\n    seal = NULL;',
     '    pool_path = NULL;\n    pool_named = false;\n    seal = NULL;'),
    ('look-once', 'another_process_writes', 'if (level == SQLITE_LOCK_NONE || c->wrote)',
     'if (c->wrote)'),
    ('an-old-proof', 'warm_again_after_another_process',
     'r = identify(e, header, &id, &v); /* the first', '/* the first'),
    ('no-bracket-of-a-write', 'rollback_after_spill',
     'int e = file ? cm_write_begin(file, (uint64_t)off, (uint64_t)len, &w) : 0;',
     'file = NULL; int e = 0; (void)w;'),
    ('fill-before-commit', 'rollback_after_spill',
     'if (c->wrote || (miss->flags', 'if ((miss->flags'),
    ('wal-cached', 'wal_of_others', 'header[18] == 2 || header[19] == 2', '0'),
    ('commit-not-adopted', 'own_commit_stays_warm',
     'if (op == SQLITE_FCNTL_COMMIT_PHASETWO)', 'if (0)'),
    ('any-volume', 'one_number_on_two_volumes', 'entries[i].dev == st->st_dev && ', ''),
    ('a-sync-that-failed', 'a_sync_that_fails', 'r == SQLITE_OK, NULL', '1, NULL'),
    ('no-lock-in-a-note', 'the_note_of_a_rollback_has_a_lock', '        note_own(c, false);',
     '        c->real->pMethods->xUnlock(c->real, level);\n        note_own(c, false);'),
    ('a-lock-while-it-waits', 'no_lock_while_a_close_waits',
     '        c->real->pMethods->xUnlock(c->real, SQLITE_LOCK_NONE);\n', ''),
    ('no-bracket-of-a-truncation', 'refused_truncation',
     'int e = file ? cm_truncate_begin(file, (uint64_t)size, &w) : 0;',
     'file = NULL; int e = 0; (void)w;'),
    ('a-refused-truncation', 'refused_truncation',
     'int e = file ? cm_truncate_begin(file, (uint64_t)size, &w) : 0;\n    if (e < 0)',
     'int e = file ? cm_truncate_begin(file, (uint64_t)size, &w) : 0;\n    if (false)'),
    ('no-default-pool', 'environment', 'getenv("CACHEMAX_POOL")', 'NULL'),
    ('not-looked-for', 'log_of_a_pool_that_nobody_could_make',
     'if (pool_missing(path, missing) != POOL_NOT_MISSING) {', 'missing[0] = 0;\n    if (0) {'),
    ('pool-needed', 'pool_missing', 'if (r != SQLITE_OK)\n        return r;\n    c->base',
     'if (r != SQLITE_OK || access(pool, F_OK))\n        return r ? r : 14;\n    c->base'),
]


def judge(row, build):
    name, check, old, new = row
    with tempfile.TemporaryDirectory(prefix='cachemax-mutant.') as d:
        shutil.copy(os.path.join(TOP, 'examples/sqlite-vfs', SOURCE), d)
        edit(d, [(SOURCE, old, new)])
        for sub in ('src/tool', 'examples/sqlite-vfs'):
            os.makedirs(os.path.join(d, sub))
        os.symlink(os.path.join(build, 'src/tool/cachemax'), os.path.join(d, 'src/tool/cachemax'))
        subprocess.run([os.environ.get('CC', 'cc'), '-D_GNU_SOURCE', '-g', '-shared', '-fPIC',
                        '-I', os.path.join(TOP, 'include'), '-I', os.path.join(TOP, SEAL),
                        '-I', os.path.join(TOP, MISSING), '-o',
                        os.path.join(d, 'examples/sqlite-vfs/sqlite-cachemax.so'),
                        os.path.join(d, SOURCE), os.path.join(TOP, SEAL, 'seal_file.c'),
                        os.path.join(TOP, MISSING, 'pool_missing.c'),
                        os.path.join(build, 'src/libcachemax.a'),
                        '-lpthread'], check=True)
        status, text = run([sys.executable, os.path.join(HERE, 'sqlite-test.py'), '--only',
                            '^%s$' % check, d], 120)
        if status not in (0, 1, None):
            raise Failure('status %s: %s' % (status, text[-300:]))
        return status != 0


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument('--list', action='store_true')
    ap.add_argument('--only', default='')
    ap.add_argument('build', nargs='?', default='')
    a = ap.parse_args()
    passed = failed = 0
    with open(os.path.join(TOP, 'examples/sqlite-vfs', SOURCE), encoding='utf-8') as f:
        source = f.read()
    for row in [r for r in ROWS if a.only in r[0]]:
        try:
            good = source.count(row[2]) == 1 if a.list else judge(row, os.path.realpath(a.build))
            why = 'text is not there once' if a.list else 'not noticed by ' + row[1]
        except Failure as e:
            good, why = False, str(e)
        print('ok ' + row[0] if good else 'FAIL %s: %s' % (row[0], why), flush=True)
        passed, failed = passed + good, failed + (not good)
    print('%d passed, %d failed, 0 skipped' % (passed, failed))
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
