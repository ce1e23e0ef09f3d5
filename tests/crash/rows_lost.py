# SPDX-License-Identifier: BSD-2-Clause
"""rows_lost.py - rows of mutants.py: descriptors that the program has closed, layers of overlayfs,
children that were made without the handlers of fork()."""
from rows import _m

OURS = 'platform/posix_ours.c'

LOST = [
    _m('lost, number', 'what has the number of a descriptor that was closed is left alone',
       'unit api lost_number', 'platform/posix.h', ' || !cm_posix_is_at((int)f->handle, &f->place)',
       ''),
    _m('lost, closed', 'a number that is free is not that of a pool', 'unit api lost_closed',
       OURS, 'return errno != EBADF;', 'return true;'),
    _m('lost, told', 'the log says that the program has closed a descriptor',
       'unit api lost_closed', 'api/trouble.c', '        say_lost(c);\n', '        (void)0;\n'),
    _m('lost, told once', '... once', 'unit api lost_number', 'api/trouble.c',
       'if (at_cas_acq_rel(&c->lost, &no, 1))', 'if (no == 0)'),
    _m('lost, not closed', 'a close does not close the file of somebody else',
       'unit api lost_reader', 'platform/posix_fork.c', '    close_ours(&mine);\n',
       '    (void)close(mine.fd);\n'),
    _m('lost, fork', 'nor does a child of fork()', 'unit api lost_fork', 'platform/posix_fork.c',
       '        close_ours(&fork_list.entry[i]);\n',
       '        (void)close(fork_list.entry[i].fd);\n'),
    _m('lost, twice', 'two pools may in turn have the same number', 'unit api lost_twice',
       'platform/posix_fork.c',
       ' && e->place.dev == place->dev && e->place.ino == place->ino;', ' && place;'),
    _m('lost, sync', 'a sync of another file is none of the pool', 'unit api lost_number',
       'platform/posix_file.c', 'len == 0 || f->base == NULL ? file_fd(f) : (int)f->handle;',
       '(int)f->handle;'),
    _m('layers, copied', 'a reader does not map the file of a lower layer', 'unit api layers',
       'api/cache.c', '!cm_plat_file_is_layered(&c->file))', 'c)'),
    _m('layers, refused', 'nor one of which an owner may get a copy', 'unit api layers_rights',
       'api/cache.c', '    if (e == CM_EACCES) {', '    if (e == 1) {'),
    _m('layers, owned', 'an owner has its copy', 'unit api layers_rights', 'api/cache.c',
       '    if (!owned)\n', '    if (c)\n'),
    _m('cloned, close', 'a child without the handlers of fork() is one all the same',
       'unit api cloned_child_memory', 'api/close.c', '    cm_plat_fork_look(); /*', '    /*'),
    _m('cloned, file', 'it changes nothing of the file', 'unit api cloned_child_changes_nothing',
       OURS, '        at_add_relaxed(&cm_plat_forks, 1u); /*', '        /*'),
    _m('cloned, opens', 'it can have pools of its own', 'unit api cloned_child_opens', OURS,
       '1u); /* relaxed: the child has one thread */\n    }\n    write_mark();',
       '1u);\n    }'),
]
