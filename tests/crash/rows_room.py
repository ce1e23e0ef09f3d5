# SPDX-License-Identifier: BSD-2-Clause
"""rows_room.py - rows of mutants.py: volumes that copy on write, and are full."""
from rows import SUPER, _m

ROOM = 'platform/posix_room.c'

FULL = [
    _m('no room, in place', 'a new file is to be written in its place',
       'unit room written_in_place', ROOM, ' | FS_NOCOW_FL', ''),
    _m('no room, compressed', 'also where files are compressed', 'unit room written_in_place', ROOM,
       ' & ~(unsigned)FS_COMPR_FL', ''),
    _m('no room, open', 'an open without room leaves the pool alone', 'unit room open', SUPER,
       '        e = CM_ENOSPC;\n', '        e = CM_EIO;\n'),
    _m('no room, open, one copy', 'an open that cannot write one copy leaves the other one',
       'unit room open_copies', SUPER, '&& !(e && one_by_one)', ''),
    _m('no room, open, lost', 'but not if a sync has failed', 'unit room open_lost', SUPER,
       'if (e == CM_EIO && !lost && !s->lost && cm', 'if (e == CM_EIO && cm', SUPER,
       '(e == CM_ESEAL || e == CM_ENOSPC) && !lost;', '(e == CM_ESEAL || e == CM_ENOSPC);'),
    _m('no room, zeros', 'a pool that has no room to forget is made none', 'unit room give_up',
       SUPER, 'if (e == CM_EIO && cm_super_give_up(s)) {', 'if (e == CM_EIO && !e) {'),
    _m('no room, sync', 'that is durable before the bracket returns', 'unit room give_up', ROOM,
       '        if (cm_posix_sync(file_fd(f), NULL, 0) == 0) {', '        {'),
    _m('no room, second sync', 'the first sync may fail for other pages', 'unit room give_up', ROOM,
       'i < 2; i++', 'i < 1; i++'),
    _m('no room, stays none', 'nothing makes it a pool again', 'unit room give_up', SUPER,
       's->zeroed ? CM_EIO : prepare', 'prepare', 'media/super_room.c',
       's->zeroed = s->failed = true;', 's->zeroed = true;'),
    _m('no room, stays zeros', 'also if the zeros are not durable', 'unit room reader_idle',
       SUPER, 's->zeroed ? CM_EIO : prepare', 's->void_now ? CM_EIO : prepare'),
    _m('no room, again', 'the next epoch makes them durable', 'unit room cannot_give_up',
       'media/super_room.c', '!s->zeroed && !cm_super', '!cm_super'),
    _m('no room, no hole', 'if none was made, it stays a pool', 'unit room cannot_give_up', ROOM,
       'errno == EOPNOTSUPP ? CM_ENOTSUP : ', ''),
    _m('no room, close', 'the close gives the space back', 'unit room reader_idle',
       'api/close.c', 'if (cm_super_is_zeroed(&c->super)) /*', 'if (!c) /*'),
    _m('no room, frozen', 'nothing more is stored then', 'unit room give_up',
       'state/cache_state.h', ' && cm_super_is_void(&c->super))', ' && !c)'),
    _m('no room, session', 'readers do not find a session that they know', 'unit room readers',
       SUPER, ' || s->zeroed)', ')'),
]
