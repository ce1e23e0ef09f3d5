# SPDX-License-Identifier: BSD-2-Clause
"""rows_names.py - the mutants of what is done when names take all descriptors."""
from rows import DIR, INODE, MOUNTINFO, NAME, RELIEF, _m

OF_NAMES = [
    _m('names, directories', 'directories are never given back', 'names',
       '^more directories than descriptors$', RELIEF,
       'given += give_back(far, true, names - given - many);', '(void)given;'),
    _m('names, one line', 'each relief is told', 'names', '^more directories than descriptors$',
       RELIEF, '(before && now - before < SAY_NS)', '(0 && before)'),
    _m('names, told', 'nobody is told what to do', 'names', '^more directories than descriptors$',
       RELIEF, '        say_few(names);\n', ''),
    _m('names, files first', 'directories are given back beside files', 'names', '^files first$',
       RELIEF, 'if (names >= last + given) {', 'if (true) {'),
    _m('names, last resort', 'directories are given back early', 'names', '^not yet$',
       RELIEF, 'relief_names_max() + relief_names_max() / 2', 'relief_names_max()'),
    _m('names, open', 'an open directory is given back', 'names', '^directories in use$',
       DIR, '    inode_hold(inode_of(ino)); /* it is in use (relief.c) */\n', '',
       DIR, '    free(dir);\n    inode_put(i);\n', '    free(dir);\n    (void)i;\n'),
    _m('names, mounts', 'what is mounted on a name goes with it', 'names',
       '^what is mounted stays$', RELIEF, '!stays(&mounts, v[j].name)', 'mounts.n < SIZE_MAX'),
    _m('names, leaves', 'a directory goes with what is in it', 'names', '^what is mounted stays$',
       INODE, 'i->refs == 1 && ', ''),
    _m('names, elsewhere', 'a mount that lies on a bind mount is none', 'names',
       '^what is mounted stays$', MOUNTINFO, '!has_id(&ids, l.parent)',
       'l.parent != (ids.n ? ids.v[0] : 0)'),
    _m('names, shown', 'what a bind mount shows loses its path', 'names',
       '^what is mounted stays$', MOUNTINFO, " || add_name(names, l.root)", ' || true'),
    _m('names, exchange', 'after an exchange each is where it was', 'names',
       '^directories that change places$', NAME, '            inode_moved(parent, name);\n',
       '            (void)name;\n'),
    _m('names, in vain', 'lookups wait although nothing is given back', 'names',
       '^nobody waits in vain$', RELIEF, ' = near < far ? near : far;', ' = 0 * (near + far);'),
]
