# SPDX-License-Identifier: BSD-2-Clause
"""rows_quota.py - the mutants of --quota."""
from rows import POOL, STEER, _m

QUOTA = 'mount/quota.c'
WARM = 'tool/control/cmd_warm.c'

OF_QUOTA = [
    _m('quota, group', 'files do not join the group of their directory', 'quota',
       '^no more than the quota', POOL, '    quota_join(cf, i->fd);\n', ''),
    _m('quota, begin', 'the pool is not told of the quotas', 'quota', '^no more than the quota',
       QUOTA, 'rc = cm_group_set_quota(mnt.cache, q->group, bytes);',
       'rc = 0;'),
    _m('quota, longest path', 'the first path that fits counts', 'quota',
       '^a quota within a quota$', QUOTA, 'if (n > longest && ', 'if (longest == 0 && '),
    _m('quota, whole names', 'a name that only begins as the path counts, too', 'quota',
       '^(no more than the quota.*|a quota within a quota)$', QUOTA,
       " && path[n] == '/') {", ') {'),
    _m('quota, number', 'the number of a group depends on the other quotas', 'quota',
       '^(no more than the quota.*|a smaller quota, and others beside it)$', QUOTA,
       'q->group = group_number(q->path);', 'q->group = (uint32_t)(q - all->v) + 1;'),
    _m('quota, list', 'the mount does not tell its quotas', 'quota', '^list shows them$', STEER,
       '    quota_tell(c);\n', ''),
    _m('quota, of a file', 'a quota of a file begins with the directory', 'quota',
       '^a quota that limits nothing$', QUOTA, '    if (file_in)\n', '    if (false)\n'),
    _m('quota, too large', 'a quota that is larger than the pool is not told', 'quota',
       '^a quota that limits nothing$', QUOTA, 'if (rc == 0 && bytes > pool)', 'if (false)'),
    _m('quota, once', 'the list has a quota at each directory', 'dirs',
       '^quotas of several directories$', 'tool/control/cmd_list.c',
       'print_row(&r, is_last_of(mounts, n, i));', 'print_row(&r, true);'),
    _m('quota, full', 'nobody is told which quota is full', 'quota',
       '^warm says which quota is full$', QUOTA, 'if (q)\n        tell(c, q, true);', '(void)q;'),
    _m('quota, others', 'a file that is larger than its quota ends the warm', 'quota',
       '^(no more than the quota.*|pin says which quota is full)$', WARM,
       'const bool limited = is_limited(s);', 'const bool limited = false;'),
    _m('quota, trace', 'a trace pushes out what it has warmed below a quota', 'quota',
       '^warm --trace says which quota is full$', 'tool/control/warm_trace.c',
       'if (q && part.len > q->left)', 'if (0)'),
    _m('quota, twice', 'a directory may have two quotas', 'quota', '^wrong command lines$', QUOTA,
       'if (!strcmp(q->v[k].path, one.path)) {', 'if (false) {'),
]
