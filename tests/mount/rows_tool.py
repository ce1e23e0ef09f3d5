# SPDX-License-Identifier: BSD-2-Clause
"""rows_tool.py - the mutants of the command, as far as scripts of the mount test it."""
from rows import _m

ASKS, PATHS = 'tool/control/control.c', 'tool/control/paths.c'

OWNER = 'tool/control/owner.c'
WARM = 'tool/control/cmd_warm.c'

OF_TOOL = [
    _m('dead mounts', 'a connection that is refused says only that', 'control',
       '^(a mount that was killed|a dead mount is told)$', ASKS,
       'm->point && os_mount_is_dead(m->point)', 'false'),
    _m('dead mounts, below', 'paths below a dead mount get the error of the system', 'control',
       '^(a mount that was killed|a dead mount is told)$', PATHS,
       'if (os_is_dead(error) && files_on_dead(f, path))', 'if (0)'),
    _m('dead mounts, its root', 'the root of a dead mount gets the error of the system', 'control',
       '^(a mount that was killed|a dead mount is told)$', PATHS,
       'rc < 0 && os_is_dead(-rc) && files_on_dead(f, path)', '0'),
    _m('files after the end', 'nobody waits for a mount that closes its pool', 'control',
       '^(a short mount|files right after the end)$', OWNER,
       '            return true;\n        os_program',
       '            return true;\n        break;\n        os_program'),
    _m('mode of a service', 'the mode of a pool of a service gets the error of the system',
       'control-service', "^what is the service's matter$", 'tool/control/cmd_mode.c',
       'if (program[0] && strcmp', 'if (0 && strcmp'),
    _m('record without a trace', 'a directory is taken for the trace', 'control',
       '^(a short mount|record without a trace)$', 'tool/control/cmd_record.c',
       'rc == TOOL_OK && os_is_directory(r->trace)', '0'),
    _m('start is told', 'the log does not say what is mounted', 'control',
       '^(a short mount|it says what is mounted)$', 'mount/main.c',
       '        say_what_is_mounted();\n', ''),
    _m('missing quota', 'a quota of a directory that is missing is not told', 'quota',
       '^a quota of a directory that is missing$', 'mount/quota.c',
       'warn_missing(&all->v[k]);', '(void)0;'),
    _m('busy pool', 'a pool that is busy gets the line of the library, too', 'mount',
       '^(wrong use|pool owned by another process)$', 'mount/backing_pool.c',
       '    late.on = true;\n', ''),
    _m('option of a pool', 'the message names another option', 'options',
       '^-o of a pool with a service$', 'mount/options.c',
       'o->of_pool = keys[i];', 'o->of_pool = keys[0];'),
    _m('dump, mounted', 'a file on a mount gets the id of the kernel', 'control',
       '^(a running mount|dump finds a file of a running mount)$', 'tool/dump/cmd_dump.c',
       'rc = owner_file_id(r->pool, text, &r->file.id);', 'rc = CM_EABSENT;'),
    _m('files, pinned', 'the list of files does not mark pinned ones', 'pin',
       '^(what is pinned stays in a storm|the list of files marks it)$', 'tool/cmd_files.c',
       'f->pinned ? ",pinned" : ""', '""'),
    _m('warm, a block', 'a file counts as pushed out if it misses one block', 'control',
       '^only a part can be warmed(: one block is gone)?$', WARM,
       'missing > small_share(s->size)', '1'),
    _m('warm, blocks', 'small files may all be pushed out', 'control',
       '^only a part can be warmed(: too many small ones)?$', WARM,
       'w->nearly_bytes > small_share(w->total)', '0'),
    _m('list, above', 'a list of a directory asks the mount itself', 'requests',
       '^a list of a directory does not ask the mount itself$', 'mount/number.c',
       'if (up && !dir->top &&', 'if (0 &&'),
]
