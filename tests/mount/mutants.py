#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""mutants.py - would the tests of the mount notice it? Takes one thing at a time out of
cachemax-mount and of the quick start, and wants the check that the row names to fail.

  mutants.py [--only NAME] [--list] [--jobs N] [--markdown] BUILD_DIR

For every row of the table below: a private copy of examples/, the change made in it (text that is
not there exactly once fails the row, so the table stays in step with the code), the changed files
compiled and linked as in BUILD_DIR, and the script of the row run with CM_CHECKS, which is the
row's expression for the checks and the part of the script that they lie in. A check of that name
must fail. First of all the checks of all rows must pass on the unchanged programs; a row with a
check that is skipped there is skipped.

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
from mutation import RUNNING, Failure, edit, edits_of, run  # noqa: E402
EXAMPLES = os.path.join(TOP, 'examples')
LIMIT = 300  # seconds for one script: for a hang, not for a slow machine
TRIES = 3  # some mutants open a window of an instant, at the end of the mount
PROGRAM = 'examples/mount/cachemax-mount'
# What the scripts look for in a build directory; without the last one they skip a check.
BUILT = [PROGRAM, 'src/tool/cachemax', 'examples/service/cachemax-service', 'tests/mount/versions',
         'examples/quickstart/quickread',
         'examples/quickstart/throttle', 'tests/mount/handles', 'tests/mount/aio_direct',
         'tests/mount/slow_origin.so', 'tests/mount/no_handles.so']

Mutant = collections.namedtuple('Mutant', 'name what script checks edits')


def _m(name, what, script, checks, *words):
    return Mutant(name, what, script, checks, edits_of(words))


NUMBER, PLACE, CACHE, INODE = 'mount/number.c', 'mount/place.c', 'mount/cache.c', 'mount/inode.c'
CREDS, DIRECT, FLUSH, PROOF = 'mount/creds.c', 'mount/direct.c', 'mount/flush.c', 'mount/proof.c'
KEEPER, LOOP, MAIN = 'mount/keeper.c', 'mount/loop.c', 'mount/main.c'
THREADS = 'mount/threads.c'
POOL, SERVICE = 'mount/backing_pool.c', 'mount/backing_service.c'
OPEN, READ, WRITE = 'mount/ops_open.c', 'mount/ops_read.c', 'mount/ops_write.c'
ATTR, NAME, RAW = 'mount/ops_attr.c', 'mount/ops_name.c', 'mount/ops_raw.c'
IOCTL, COHERENCE = 'mount/ops_ioctl.c', 'mount/coherence.c'
PARANOID = 'mount/paranoid.c'
CONTROL, STEER = 'mount/control.c', 'mount/control_ops.c'
QUICK = 'quickstart.sh'
# The second needs what the mount needs for the difference.
ROOM = r'^reserved room(: user(\+sys_resource)?)?$'

MUTANTS = [
    # The control socket
    _m('control for all', 'the socket of a mount is open to others', 'control',
       '^(a running mount|the socket answers)$', CONTROL, 'fchmod(control.listener, 0600) < 0 ||',
       'false ||'),
    _m('control, who asks', 'nobody looks who is at the other end of the socket', 'control',
       '^(a running mount|other users are not served)$',
       CONTROL, '(peer.uid == geteuid() || peer.uid == 0)', 'true'),
    _m('control of a killed mount', 'the socket of a killed mount stays', 'control',
       '^(a mount that was killed|the socket of a killed mount is replaced)$',
       CONTROL, '        (void)unlinkat(control.dir, control.name, 0);\n    control.listener = ',
       '        (void)0;\n    control.listener = '),
    _m('control, what is in its place', 'what is no socket is removed', 'control',
       '^(what is in the way|the file in its place is left alone)$',
       CONTROL, '== 0 && S_ISSOCK(st.st_mode))', '== 0)'),
    _m('control, upwards', 'a path may lead out of the directory', 'control',
       '^(a running mount|wrong requests)$',
       STEER, 'strcmp(name, ".") && strcmp(name, "..")', 'strcmp(name, ".")'),
    _m('control, client that goes', 'a warm goes on when its client is gone', 'control',
       '^(a running mount|warm is killed)$',
       STEER, 'return !control_at(w->client, done, total);',
       'return !control_at(w->client, done, total) && 0;'),
    _m('control, rate', 'the rate of a warm is not kept to', 'control',
       '^(a running mount|warm is killed)$',
       STEER, '    o.bytes_per_second = rate;\n', ''),
    _m('control, forget', 'forget does nothing', 'control', '^(a running mount|forget)$',
       STEER, 'rc = cm_invalidate(i->cf, 0, CM_ALL);', 'rc = 0;'),
    _m('control, records', 'to ask for a file that the pool does not know makes a record',
       'control', '^(a running mount|cached leaves no record)$',
       STEER, '*code = cm_file_lookup(mnt.cache, &id, NULL, &info);', '*code = 0;'),
    _m('pin', 'a file that is pinned is only warmed', 'pin', 'what is pinned stays in a storm',
       STEER, 'rc = cm_file_set_keep(i->cf, 1);', 'rc = 0;'),
    _m('pin, unpin', 'unpin does nothing', 'pin', '^(what is pinned stays in a storm|unpin)$',
       STEER, 'rc = cm_file_set_keep(i->cf, 0);', 'rc = 0;'),
    _m('pin, all', 'what is gone stays pinned', 'pin',
       '^(what is pinned stays in a storm|unpin all, and what is gone)$', STEER,
       'return cm_forget(mnt.cache, id);', 'return 0;'),
    # Several devices below DIR
    _m('numbers as they are', 'other devices\' inode numbers are not mixed', 'devices',
       '^no two files share a number$', NUMBER, '    if (d->own && !high)\n', '    if (!high)\n'),
    _m('key of a twin', 'a second device of the same identity gets the same key', 'devices',
       '^no two files share a number$',
       NUMBER, 'mix(d->identity) ^ (alone ? 0 : mix(~(uint64_t)d->dev))', 'mix(d->identity)'),
    _m('key of the device number', 'keys come from device numbers alone', 'devices',
       '^the same numbers after a remount$',
       NUMBER, 'mix(d->identity) ^ (alone ? 0 : mix(~(uint64_t)d->dev))', 'mix(~(uint64_t)d->dev)'),
    _m('identity of xfs', 'the UUID of xfs is not asked for', 'devices',
       '^the same numbers after a remount$',
       NUMBER, '        id = uuid_of(fd);\n', '        id = 0;\n'),
    _m('lists of mount points', 'a directory\'s list has the numbers of what is covered', 'devices',
       '^numbers in lists of directories$',
       NUMBER, '(directory && dir->device->subvolumes) || number_is_point(e->d_name))',
       '(directory && dir->device->subvolumes))'),
    _m('lists of subvolumes', 'a directory\'s list has the subvolumes\' own numbers', 'devices',
       '^numbers in lists of directories$',
       NUMBER, '(directory && dir->device->subvolumes) || number_is_point(e->d_name))',
       'number_is_point(e->d_name))'),
    _m('new mount points', 'mounts made later are not looked at', 'devices',
       '^a device that is mounted later$',
       NUMBER, '    if (poll(&p, 1, 0) == 1) {\n', '    if (poll(&p, 1, 0) == 2) {\n'),
    _m('one file system', '--one-file-system shows what is mounted below', 'devices',
       '^--one-file-system$',
       INODE, 'mnt.opt.one_file_system && S_ISDIR(st->st_mode) && !number_own(device)', 'false'),
    _m('one file system, made', 'mkdir in a directory that --one-file-system covers', 'devices',
       '^--one-file-system$',
       NAME, '    if (refuse_barred(req, inode_of(parent)))\n        return;\n'
             '    creds_enter(&c, req);\n    rc = mkdirat',
       '    creds_enter(&c, req);\n    rc = mkdirat'),
    _m('node of FUSE', 'a FUSE server\'s files are told apart by their numbers', 'devices',
       '^(FUSE below the directory|files of a FUSE server with equal numbers)$',
       NUMBER, '        *node = mix(*node ^ u.h.f_handle[i]);\n', '        *node = 0;\n'),
    _m('node of FUSE, named', 'the name of the directory\'s volume vouches for every FUSE server',
       'devices', '^(FUSE below the directory|equal numbers where the volume has a name)$',
       NUMBER, '== FUSE_MAGIC && !(d->own && mnt.opt.volume_id);',
       '== FUSE_MAGIC && !mnt.opt.volume_id;'),
    _m('node of FUSE, no export', 'a handle that tells files apart only is not asked for',
       'devices', '^(FUSE below the directory|equal numbers where the kernel tells less)',
       NUMBER, '        rc = name_to_handle_at(dirfd, name, &u.h, &mount, flags | asked[i]);\n',
       '        rc = asked[i] ? 0 : name_to_handle_at(dirfd, name, &u.h, &mount, flags);\n'),
    _m('node of FUSE, none', 'where there are no handles the number tells files apart', 'devices',
       '^(FUSE below the directory|equal numbers where the kernel tells less)',
       INODE, '    if (known && !(number_doubtful', '    if (!(number_doubtful'),
    _m('descriptor of others\' changes', 'readers of what others change share a descriptor',
       'devices', '^(FUSE below the directory|a FUSE server.s files are changed by others)$',
       OPEN, ' && (number_local(i->device) || !others_write());', ';'),
    _m('set-user-id of another name',
       'set-user-id bits that another name was given stay when it is written', 'devices',
       '^(overlayfs below the directory|rights of another name)$',
       CREDS, '((i->limits & ST_NOSUID) || i->linked)', '(i->limits & ST_NOSUID)'),
    _m('capability of another name', '"no capability" is remembered by a name', 'devices',
       '^(overlayfs below the directory|rights of another name)$',
       ATTR, '((atomic_load(&i->no_caps) && !i->linked) ||', '(atomic_load(&i->no_caps) ||',
       LOOP, ' && !inode_of(h->nodeid)->linked;', ';'),
    _m('node of FUSE, known', 'a known inode is found without its node', 'devices',
       '^(FUSE below the directory|files of a FUSE server with equal numbers)$',
       INODE, 'i->dev == st->st_dev && i->node == node) {', 'i->dev == st->st_dev) {'),
    _m('names of FUSE', 'several names are told apart by their number', 'devices',
       '^(FUSE below the directory|several names and equal numbers)$',
       INODE, 'i->dev == st->st_dev && i->node == node) {',
       'i->dev == st->st_dev && (i->node == node || st->st_nlink > 1 || i->linked)) {'),
    _m('links of FUSE', 'names of one file are files that nobody else writes', 'devices',
       '^(FUSE below the directory|links below a FUSE server)$',
       NUMBER, '    d->doubtful = d->nodes ||', '    d->doubtful ='),
    _m('links of overlayfs', 'names of a lower layer are told apart by their number', 'devices',
       '^(overlayfs below the directory|two names in a lower layer)$',
       NUMBER, 'd->nodes || (uint32_t)sf.f_type == OVERLAY_MAGIC', 'd->nodes'),
    _m('copied up', 'nobody sees that a file got another number', 'devices',
       '^(overlayfs below the directory|open files of a lower layer)$',
       INODE, 'fstatat(i->fd, "", &st, AT_EMPTY_PATH) < 0)\n        return;\n    do {',
       'fstatat(i->fd, "", &st, AT_EMPTY_PATH) <= 0)\n        return;\n    do {'),
    _m('attributes of names', 'the kernel remembers attributes of a file of several names',
       'devices', '^(overlayfs below the directory|open files of a lower layer)$',
       INODE, '    return atomic_load(&i->linked) ? 0 : mnt.opt.attr_timeout;',
       '    return mnt.opt.attr_timeout;'),
    _m('cached before the link', 'what is open goes on reading from the cache after a link',
       'devices', '^(FUSE below the directory|links below a FUSE server)$',
       READ, 'h->cf && cache_on() && !atomic_load(&h->inode->linked)', 'h->cf && cache_on()'),
    _m('attributes of a dead server', 'GETATTR of every file system is answered by the loop',
       'devices', '^(FUSE below the directory|a FUSE server that does not answer)$',
       LOOP, '        return !number_far(inode_of(h->nodeid)->device);\n',
       '        return true;\n'),
    _m('first reader', 'who reads a file that was made here does not attach it', 'mount',
       '^a file just written hits at its second reading$',
       CACHE, '        (reads || !i->unread) && cache_on())', '        !i->unread && cache_on())'),
    _m('bits left alone', 'set-user-id bits that the kernel leaves to the mount stay', 'mount',
       '^(other users|set-user-id bits are cleared as without the mount)$',
       CREDS, '    return wire_kills() && fstat', '    return false && fstat'),
    _m('bits still shown', 'the kernel shows bits that the origin has cleared', 'mount',
       '^(other users|set-user-id bits are cleared as without the mount)$',
       CREDS, '    if (c->changes)\n', '    if (!c->changes)\n'),
    _m('groups of a changer', 'the caller\'s groups do not count for set-group-id bits', 'mount',
       '^(other users|set-user-id bits are cleared as without the mount)$',
       CREDS, 'ctx->gid, who.n, who.groups, charged_caps(c) });',
       'ctx->gid, 0, NULL, charged_caps(c) });'),
    _m('relief of loops', 'a loop that waits for the disk keeps its place', 'devices',
       '^a frozen file system(, more changes than loops)?$',
       THREADS, 'now - busy > RELIEF_NS)', 'now - busy > ~0ull)'),
    _m('lock over a change', 'an attribute is set at the origin under the lock that readers take',
       'devices', '^a frozen file system$',
       ATTR, '    do\n        rc = value ? setxattr',
       '    pthread_mutex_lock(&i->lock);\n    do\n        rc = value ? setxattr',
       ATTR, '    pthread_mutex_lock(&i->lock);\n    i->xattr_changes++;\n',
       '    i->xattr_changes++;\n'),
    _m('nosuid below', 'set-user-id bits of a nosuid mount below count', 'devices',
       '^flags of mounts below$',
       NUMBER, '    if ((limits & ST_NOSUID) && S_ISREG(st->st_mode))\n', '    if (0)\n'),
    _m('nodev below', 'devices of a nodev mount below open', 'devices', '^flags of mounts below$',
       NUMBER, '    if ((limits & ST_NODEV) && (S_ISBLK', '    if (0 && (S_ISBLK'),
    _m('noexec below', 'programs of a noexec mount below run', 'devices', '^flags of mounts below$',
       OPEN, 'executes && inode_of(ino)->limits & ST_NOEXEC ? EACCES : 0',
       'executes && false ? EACCES : 0'),
    _m('root of elsewhere', 'root of another PID namespace has all capabilities', 'sessions',
       '^another PID namespace$',
       CREDS, 'ctx->uid == 0 && ctx->pid > 0 ? all_caps', 'ctx->uid == 0 ? all_caps'),
    _m('many groups', 'the first thousand groups of a caller count', 'mount', '^many groups$',
       CREDS, '    for (p = c->groups ? p + 8 : NULL; p; p = end) {\n',
       '    for (p = c->groups ? p + 8 : NULL; p && c->n < 1000; p = end) {\n'),
    _m('hidden bits stay', 'a write leaves the set-user-id bits that the mount hides', 'devices',
       '^(flags of mounts below|hidden set-user-id is cleared)$',
       CREDS, '    c->clears = i && ((i->limits & ST_NOSUID) || i->linked) && ctx->uid != 0;\n',
       '    (void)i;\n'),
    _m('flags of binds', 'what is mounted below has the flags of the directory it is mounted in',
       'devices', '^flags of (mounts|binds) below$',
       INODE, '    if (parent && i->mount && i->mount == parent->mount)\n', '    if (parent)\n'),
    _m('flags of links', 'a file has the flags of the mount that it was found on first', 'devices',
       '^flags of (mounts|binds) below',
       INODE, '        limit(i, atomic_load(&parent->limits));\n', ''),
    _m('flags of DIR\'s device', 'all of the directory\'s own file system has its flags', 'devices',
       '^flags of (mounts|binds) below$',
       INODE, '        i->limits = number_limits(i->fd);\n',
       '        i->limits = number_own(i->device) ? 0 : number_limits(i->fd);\n'),
    _m('capabilities of nosuid', 'security.capability of a nosuid mount below is shown', 'devices',
       '^flags of mounts below(, as shown)?$',
       ATTR, '((atomic_load(&i->no_caps) && !i->linked) || (i->limits & ST_NOSUID))',
       'atomic_load(&i->no_caps)'),
    _m('name of the volume', '--volume-id is not part of the identity', 'sessions', '^--volume-id',
       CACHE, '        o.volume_id = mnt.opt.volume_id;\n', '        o.volume_id = NULL;\n'),
    _m('file names', 'the pool is not told what a file is called', 'sessions',
       '^names of files$', POOL, '    give_name(i);\n', ''),
    _m('file names, below', 'a name begins with the path of the directory', 'sessions',
       '^names of files$', POOL, '        p += below;\n', '        p += 0;\n'),
    _m('file names, end', 'a long name is that of its first directories', 'sessions',
       '^names of files$', POOL, 'n > most ? p + n - most : p', 'p'),
    _m('generation', 'an inode\'s generation is always 0', 'bare', '^files opened by handle$',
       INODE, '    e->generation = i->generation;\n', '    e->generation = 0;\n'),

    # The end
    _m('pages left', 'the pages of open files are not taken from the kernel at the end', 'end',
       '^SIGTERM, a program goes on storing',
       FLUSH, '        int rc = fuse_lowlevel_notify_inval_inode(mnt.se, (uintptr_t)v[k], 0, 0);\n',
       '        int rc = 0;\n'),
    _m('new pages', 'pages are given out while the mount ends', 'end',
       '^SIGTERM, a program goes on storing', FLUSH, '    atomic_store(&refusing, true);\n', ''),
    _m('lost pages', 'a page that cannot be written is not counted', 'end',
       '^pages that cannot be written', FLUSH, '    atomic_fetch_add(&lost, size);\n', ''),
    _m('vouched for later', 'a validator counts although the mount is gone from its name', 'end',
       '^changed after SIGTERM',
       CACHE, '    if (rc == 0 && !place_still_ours()) {\n', '    if (0) {\n'),
    _m('vouched for later, lazily', 'our mount is taken for there while it has any name', 'end',
       '^changed after a lazy unmount',
       PLACE, '        here.left = f.id == 0;\n', '        here.left = false;\n'),
    _m('the name is free', 'what changed after the name was free counts as ours', 'end',
       '^changed after SIGTERM', CACHE, '|| v->changed_ns >= place_ours_until())',
       '|| v->changed_ns < 0)'),
    _m('flushed before', 'what is stored in mappings is not written before the name is free', 'end',
       '^SIGTERM(:|$)', MAIN, '    flush_begin();\n', ''),
    _m('another one\'s mount', 'the topmost mount on the path is detached', 'end',
       '^SIGTERM, (covered|moved)',
       PLACE, '    if (mount_of(fd) == f.id)\n', '    if (mount_of(fd) | 1)\n'),
    _m('where it is now', 'only a mount on its first name is detached', 'end',
       '^SIGTERM, (renamed|moved)', PLACE, '    if (!find_mount(NULL, &here.mount, &f, dir))\n',
       '    *dir = strdup(mnt.opt.dir);\n    if (!find_mount(*dir, NULL, &f, NULL))\n'),
    _m('status of a dead mount', 'a mount that stays is no reason for a status', 'end',
       '^SIGTERM, covered', MAIN, '    return rc < 0 ? EXIT_RUNTIME : 0;\n', '    return 0;\n'),
    _m('last moment', 'nobody notes until when the name was ours', 'end',
       '^written just before SIGTERM',
       MAIN, '    (void)place_still_ours(); /* the last moment at which it was */\n', ''),
    _m('two volumes', 'a volume that is not cached for its twin is not named', 'sessions',
       '^two volumes of one identity',
       CACHE, '        say_clone(i);\n', '        (void)say_clone;\n'),
    _m('holes in mappings', 'SEEK_DATA asks the origin about what a mapping may have', 'mount',
       '^SEEK_DATA of what is stored in a mapping$',
       WRITE, '    if (atomic_load(&h->inode->pages_read) && flush_may_be_mapped(h->inode) &&\n',
       '    if (0 &&\n'),
    _m('pages and flags', 'an open that only asks for flags counts as one that drops pages',
       'features', '^others(: flags of a file with old pages)?$',
       OPEN, '    if (handle_of(fi)->writable)\n        handle_in_use(handle_of(fi));\n',
       '    handle_in_use(handle_of(fi));\n'),

    # Calls that few programs make
    _m('unnamed files', 'a file without a name is cached', 'features',
       '^O_TMPFILE: cached when it has a name$',
       INODE, '    atomic_store(&i->unlinked, true); /*', '    /*'),
    _m('named files', 'a file that gets its first name is not cached', 'features',
       '^O_TMPFILE: cached when it has a name$', NAME, '        file_named(i);\n', '        {}\n'),
    _m('rights of unnamed files', 'a file without a name is made as the mount', 'features',
       '^O_TMPFILE: rights$', OPEN,
       '    creds_enter_as(&c, ctx);\n', '    c = (struct creds){ .umask = false };\n'),
    _m('time of birth', 'the time of birth is left out', 'features', '^time of birth$',
       RAW, '        out.stat.mask |= birth;\n', '        (void)birth;\n'),
    _m('bracket of fallocate', 'fallocate changes the file without a bracket', 'features',
       '^fallocate$', WRITE,
       '-change_begin(&c, h->inode, CHANGE_RANGE, (uint64_t)off, (uint64_t)len);',
       '-change_begin(&c, h->inode, CHANGE_RANGE, 0, 0);'),
    _m('bracket of a copy', 'a range is copied without a bracket', 'features',
       '^reflink: xfs$', WRITE,
       '    err = -change_begin(&c, out->inode, CHANGE_RANGE, (uint64_t)off_out, len);\n',
       '    err = -change_begin(&c, out->inode, CHANGE_RANGE, 0, 0);\n'),
    _m('bracket of flags', 'flags are changed without a bracket', 'features', '^flags: cached$',
       IOCTL, '    err = -change_begin(&c, i, CHANGE_ATTR, 0, 0);\n', '    err = 0;\n',
       IOCTL, '        change_end(&c);\n', '        (void)c;\n'),
    _m('flags and mappings', 'a file that is mapped becomes immutable', 'features',
       '^flags: mapped$', IOCTL, '    if (fixes(cmd, a) &&', '    if (0 && fixes(cmd, a) &&'),
    _m('ctime of flags', 'the kernel is not told that the ctime has changed', 'features', '^flags$',
       IOCTL, '        fuse_lowlevel_notify_inval_inode(mnt.se, ino, -1, 0);\n', ''),

    # Direct writes beside pages
    _m('pages of readers', 'pages are not dropped after a direct write', 'bare',
       '^asynchronous direct writes',
       DIRECT, 'atomic_load(&i->pages) && direct_on() ? malloc(sizeof(*h)) : NULL', 'NULL'),
    _m('note of readers', 'nobody notes that a file is read through pages', 'bare',
       '^asynchronous direct writes',
       DIRECT, '        atomic_store(&i->pages, true);\n', '        (void)0;\n'),
    _m('refusing helper', 'the helper goes with the mount and refuses nothing', 'bare',
       '^killed beside a direct write$',
       DIRECT, '    while (in && atomic_load(&helper.busy)) {\n', '    while (in && 0) {\n'),

    # Who writes
    _m('charged to the mount', 'room is taken as the mount, not as the caller', 'bare',
       '^reserved room(: user)?$',
       CREDS, 'act_as(&(struct identity){ ctx->uid, ctx->gid, 0, NULL, charged_caps(c) });\n',
       'act_as(&(struct identity){ own_uid, own_gid, 0, NULL, charged_caps(c) });\n'),
    _m('reserved room', 'the mount\'s CAP_SYS_RESOURCE counts for everybody', 'bare', ROOM,
       CREDS, '                              .caps = all_caps & ~CAP_BIT(CAP_SYS_RESOURCE) };\n',
       '                              .caps = all_caps };\n'),
    _m('more room', 'who may have more room does not get it', 'bare',
       r'^reserved room(: user\+groups)?$',
       CREDS, 'if (!c->switched || c->tried || (err != ENOSPC && err != EDQUOT))',
       'if (c->tried || err)'),
    _m('room of a group', 'supplementary groups do not count for room', 'bare',
       r'^reserved room(: user\+groups)?$',
       CREDS, '        who.n = caller.n;\n', '        who.n = 0;\n'),
    _m('groups of the caller', 'a file is made without the caller\'s groups', 'bare',
       r'^rights(: user\+groups)?$',
       CREDS, '{ ctx->uid, ctx->gid, who.n, who.groups, who.caps }',
       '{ ctx->uid, ctx->gid, 0, NULL, who.caps }'),
    _m('capabilities of the caller', 'a file is made with the mount\'s capabilities', 'bare',
       '^rights(: user)?$',
       CREDS, '{ ctx->uid, ctx->gid, who.n, who.groups, who.caps }',
       '{ ctx->uid, ctx->gid, who.n, who.groups, all_caps }'),
    _m('effective capabilities', 'a caller with few capabilities has those of its user', 'bare',
       r'^rights(: (user\+fsetid|user\+dac_override|root-fsetid))?$',
       CREDS, '            c->caps = strtoull(p + 8, NULL, 16) & all_caps;\n',
       '            c->caps |= 0;\n'),
    _m('ACL of the caller', 'an ACL is set as the mount', 'bare', '^rights(: user)?$',
       ATTR, '    if (value && !strncmp(name, "system.posix_acl_", 17))\n', '    if (0)\n'),
    _m('trusted names', 'everybody sees the names of trusted attributes', 'bare',
       '^rights(: user)?$', ATTR, '            if (!may)\n                continue;\n', ''),

    # Others write the origin
    _m('strict: reads', 'strict validates no read', 'coherence', '^strict',
       READ, 'return !coherence_unchanged(i);', 'return false;'),
    _m('strict: writers', 'strict believes times that were seen beside a writer', 'coherence',
       '^strict(: each read.*)?$', COHERENCE, 'same = i->seen.sound && equal', 'same = equal'),
    _m('others: pages', 'the kernel keeps the pages of a file that others changed', 'coherence',
       '^close-to-open(: a mapping follows)?$',
       COHERENCE, 'if (changed && atomic_load(&i->pages))', 'if (0)'),
    _m('others: look', 'nobody looks at what is open', 'coherence',
       '^close-to-open(: a mapping of a file that is not cached follows)?$',
       KEEPER, '    coherence_look(k->far);\n', ''),
    _m('others: first look', 'what was seen of a file that is not cached begins with a look',
       'coherence', '^close-to-open(: a mapping of a file that is not cached follows)?$',
       COHERENCE, 'if (!known && coherence_begin', 'if (0 && coherence_begin'),
    _m('strict: pages', 'strict reads through the kernel\'s pages', 'coherence', '^strict',
       OPEN, 'h->appends || is_strict();', 'h->appends;'),
    _m('strict: mappings', 'the kernel is not asked to map files of strict', 'coherence',
       '^strict', 'mount/wire.c', '        out->flags2 |= ALLOW_MMAP;\n', ''),
    _m('strict: append-only', 'strict lets an append-only file be mapped', 'coherence', '^strict',
       OPEN, 'if (h->appends && h->maps && is_strict())', 'if (0)'),

    _m('paranoid: difference', '--paranoid compares nothing', 'coherence', '^paranoid',
       PARANOID, '    if (is_certain(p))\n', '    if (0)\n'),
    _m('paranoid: answer', '--paranoid answers what is cached', 'coherence', '^paranoid',
       PARANOID, '    memcpy(buf, origin, (size_t)is);\n    return is;', '    return n;'),
    _m('paranoid: changes', '--paranoid does not look for changes beside a read', 'coherence',
       '^paranoid', PARANOID,
       'if (!p->quiet || atomic_load(&p->inode->changes_begun) != p->begun ||', 'if ('),
    _m('paranoid: cache', '--paranoid reads from the cache after a difference', 'coherence',
       '^paranoid', READ, ' && !paranoid_found();', ';'),
    _m('paranoid: status', 'wrong bytes are no reason for a status', 'coherence', '^paranoid',
       MAIN, ' : paranoid_found() ? EXIT_WRONG', ''),

    # The service
    _m('service: writes', 'the service is told of no write', 'service', '^(kills$|[0-9]+ kills)',
       SERVICE, 'begun(i, b, rc, cmc_write_begin(i->remote->file, off, len, &b->told))',
       'begun(i, b, rc, (b->told = (cmc_bracket){ .claim = -1 }, 0))'),
    _m('service: truncations', 'the service is told of no truncation', 'mount --service',
       '^(truncate both ways|random operations)',
       SERVICE, 'begun(i, b, rc, cmc_truncate_begin(i->remote->file, size, &b->told))',
       'begun(i, b, rc, (b->told = (cmc_bracket){ .claim = -1 }, 0))'),
    _m('service: other versions', 'the service is not told that somebody changed the file',
       'sessions --service', '^shared',
       SERVICE, ' && was.incarnation == is.incarnation)\n', ')\n'),
    _m('service: own versions', 'the service gets no validator after a write',
       'service', '^warm after a write and a kill',
       SERVICE, 'if (rc == 0 && !was.racy && !was.want_validator &&', 'if (rc == 0 &&'),
    _m('service: another pool', 'a new service does not learn of an older loss', 'sync --service',
       '^a new pool after', SERVICE, '    if (is_bypassed(r->own))\n', '    if (0)\n'),
    _m('service: beginning of a read', 'a read gets the block that it begins in', 'service',
       '^parts of blocks', SERVICE, '        memmove(buf, (uint8_t *)buf + skip, len);\n', ''),
    _m('service: state', 'nobody looks whether the service is there', 'service',
       '^the service comes', SERVICE, '    if (now != connected)\n', '    if (0)\n'),
    _m('service: socket inside', 'a socket below the mount is taken', 'service',
       '^(wrong use|socket inside)',
       PLACE, '    else if (is_inside(where, rootfd) != 0)\n', '    else if (0)\n'),
    _m('service: pool inside', 'the mount covers the pool of its service', 'service',
       '^(wrong use|the service was first)',
       PLACE, '    else if (its_pool_is_inside(where, rootfd))\n',
       '    else if (its_pool_is_inside(where, -1))\n'),
    _m('service: others', 'anybody may put a service there', 'service',
       '^(wrong use|others could)',
       PLACE, '    else if (!o->any_owner && os_place_is_exposed(where))\n',
       '    else if (0 && is_exposed(where))\n'),

    # mount(8)
    _m('fstab: source', 'the mount always says its pool', 'admin',
       '^mount -a, twice with none$',
       MAIN, '= mnt.opt.source ? mnt.opt.source\n', '= 0 ? mnt.opt.source\n'),
    _m('fstab: users', 'user means nothing', 'admin', '^mount, user$',
       'mount/fstab.c', '#define OF_USERS (ST_NOSUID | ST_NODEV | ST_NOEXEC)',
       '#define OF_USERS (ST_NOSUID | ST_NODEV)'),
    _m('fstab: noatime', 'noatime is only a flag', 'admin', '^mount -o noatime$',
       'mount/fstab.c', 'flags | O_NOATIME', 'flags'),
    _m('fstab: nodiratime', 'nodiratime means files, too', 'admin', '^mount -o nodiratime$',
       'mount/fstab.c', '(flags & O_DIRECTORY ? ST_NODIRATIME : 0)', 'ST_NODIRATIME'),
    _m('fstab: sync', 'sync is only a flag', 'admin', '^mount -o sync$',
       'mount/fstab.c', '        flags |= O_SYNC;\n', '        ;\n'),
    _m('fstab: names', 'a rename syncs one directory only', 'admin', '^mount -o dirsync$',
       NAME, '            err = fstab_sync_names(parent->fd);\n        named_end(&victim);',
       '            err = 0;\n        named_end(&victim);'),
    _m('fstab: status', 'mount(8) gets the mount\'s own status', 'admin',
       '^mount without its pool$', MAIN, 'mnt.opt.helper ? fstab_status(rc) : rc', 'rc'),

    # The service manager
    _m('notify: ready too early', 'READY before the session is mounted', 'admin',
       '^notify: ready, ending$', MAIN, '        manager_ready();\n', '', MAIN,
       '    rc = err ? EXIT_RUNTIME : new_session();\n',
       '    manager_ready();\n    rc = err ? EXIT_RUNTIME : new_session();\n'),
    _m('notify: stopping', 'the end is not told', 'admin', '^notify: unmounted by others$',
       MAIN, '    manager_stopping();\n', ''),
    _m('notify: background', 'a mount in the background tells, too', 'admin',
       '^notify: not from the background$',
       'mount/manager.c', '    if (!mnt.opt.foreground)\n        return;\n    va_start',
       '    va_start'),
    _m('notify: watchdog', 'the watchdog is fed in any case', 'admin', '^notify: watchdog$',
       'mount/threads.c', 'all && !(step % 2 && step == t->seen', 'all && !(0 && step == t->seen'),
    _m('notify: idle loops', 'a loop without requests counts as stuck', 'admin',
       '^notify: watchdog$', 'mount/threads.c', '!(step % 2 && step == t->seen',
       '!(step == t->seen'),

    # Rules
    _m('rules: judged once', 'a file that is attached is not judged again', 'rules',
       '^renamed into a pattern, and back$',
       CACHE, '    if (i->users > 0 || i->cf)\n        judge(i);\n',
       ''),
    _m('rules: in use', 'a file in use is read from the cache, although it is left out', 'rules',
       '^renamed while it is open$',
       OPEN, 'cache_on() && !i->left_out ? i->cf : NULL',
       'cache_on() ? i->cf : NULL'),
    _m('rules: the end of its use', 'a file that is left out stays attached', 'rules',
       '^renamed into a pattern, and back$',
       CACHE, 'i->unlinked || i->linked || i->left_out',
       'i->unlinked || i->linked'),
    _m('rules: forgotten', 'what the pool has of a file that is left out stays', 'rules',
       '^renamed into a pattern, and back$',
       CACHE, '    else if (i->left_out && cache_on())',
       '    else if (0)'),
    _m('rules: back in use', 'a file that came back is judged when nobody has it open', 'rules',
       '^renamed back while it is open$',
       CACHE, '    if (i->users > 0 || i->cf)\n',
       '    if (i->cf)\n'),
    _m('rules: pages', 'the kernel drops the pages of a file that is left out', 'rules',
       '^left out, pages of the kernel$',
       CACHE, 'keep = i->left_out && !i->cf',
       'keep = 0 && !i->cf'),
    _m('rules: size', 'the largest size is not included', 'rules',
       '^the largest size$',
       'mount/rules.c', '(uint64_t)st.st_size > r->size_max',
       '(uint64_t)st.st_size >= r->size_max'),
    _m('rules: advice', 'advice is not passed on', 'rules', '^advice$',
       POOL, '        cm_file_advise(cf, rules_advice(i->fd));\n', '        ;\n'),
    _m('rules: first advice', 'the last advice counts', 'rules', '^advice$',
       'mount/rules.c', 'for (unsigned k = 0; path && k < r->advised; k++)',
       'for (unsigned k = r->advised; path && k-- > 0;)'),
    _m('rules: rate', 'the limit is not passed on', 'rules', '^a limit of bytes a second$',
       POOL, '    o.fill_rate_limit = fill_rate(info.size);\n', ''),
    _m('rules: drive writes', 'drive writes an hour', 'rules', '^a limit of drive writes a day$',
       POOL, '(double)pool_size / 86400', '(double)pool_size / 3600'),
    _m('rules: lower limit', 'drive writes go before bytes a second', 'rules',
       '^the lower limit counts$', POOL, 'daily > 0 && (rate == 0 || daily < (double)rate)',
       'daily > 0'),
    _m('rules: policy', 'the policy is not passed on', 'rules', '^a policy$',
       POOL, '    o.policy = mnt.opt.policy;\n', ''),

    # Trouble with the pool
    _m('look at the pool', 'nobody looks whether the pool was truncated', 'sessions',
       '^pool truncated to half',
       POOL, '    cm_get_info(mnt.cache, &info);\n}\n', '    (void)info;\n}\n'),
    _m('status of the pool', 'a pool that was lost is no reason for a status', 'sessions',
       '^pool truncated to half',
       POOL, '    return rc < 0 || !cache_on() ? EXIT_POOL : 0;', '    return 0;'),

    # A failed fsync
    _m('second fsync', 'a second fsync decides', 'sync', '^a background sync that fails',
       PROOF, '    p->err = (datasync ? fdatasync(fd) : fsync(fd)) < 0 ? errno : 0;\n',
       '    (void)fsync(fd);\n'
       '    p->err = (datasync ? fdatasync(fd) : fsync(fd)) < 0 ? errno : 0;\n'),
    _m('fsync of a user', 'a user\'s fsync that failed counts as one that did not', 'sync',
       '^a failed fsync is not forgotten',
       PROOF, '&p->sync, p->err == 0, fresh', '&p->sync, true, fresh'),
    _m('loss told to the keeper', 'what a background sync was told of nobody else learns', 'sync',
       '^a loss that a background sync was told of$',
       PROOF, '        note_loss(i, p->err, i->told_now);\n', '        (void)note_loss;\n'),
    _m('loss kept', 'a loss that no user was told of is forgotten with the name', 'sync',
       '^a loss that a background sync was told of$',
       PROOF, '        keep(i);\n', '        (void)keep;\n'),
    _m('younger fsync', 'a user\'s fsync proves, whenever its descriptor was opened', 'sync',
       '^an fsync on a descriptor younger than a loss$',
       PROOF, '    if (p->err || proves)\n', '    if (p->err || proves || true)\n'),
    _m('witness at the end', 'the end syncs files whose volume lost something', 'sync',
       '^a loss is left to tell at the end$',
       KEEPER, '    if (!p->keeper->far && p->asked != i->device',
       '    if (false && p->asked != i->device'),
    _m('loss at the end', 'what may be lost is kept at the end', 'sync',
       '^a loss is left to tell at the end$', KEEPER, '        proof_fail(i);\n', ''),
    _m('idle and lost', 'idle files that are not synced stay when data is lost', 'sync',
       '^a loss in a file that is idle$',
       CACHE, '        number_leave(i->device, &i->id);\n', '        (void)0;\n'),
    _m('open and lost', 'open files that are not synced stay when data is lost', 'sync',
       '^a loss in a file that is open$',
       PROOF, '    inode_each(number_far(d), fail_on, d);\n', ''),
    _m('untold at the end', 'a loss that nobody was told of is no reason for a status', 'sync',
       '^a loss that nobody was told of at the end$',
       MAIN, 'untold ? EXIT_LOST : paranoid', 'untold && false ? EXIT_LOST : paranoid'),
    _m('room of a loss', 'a kept loss holds a deleted file', 'sync', '^a deleted file with a loss$',
       KEEPER, '    proof_look(k->far);\n', ''),

    # A server that does not answer
    _m('idle and far', 'the loops detach idle files of a stopped server', 'far',
       '^idle files of a server that stopped$',
       CACHE, '    if (over && number_far(over->device)) {', '    if (over && !over->device) {'),
    _m('forgotten and far', 'a far file whose name is forgotten stays attached', 'far',
       '^forgotten names of a server that stopped$',
       INODE, '        keeper_detach(i);\n', '        (void)0;\n'),
    _m('listed at the end', 'what is listed is let go of before it is detached', 'far',
       '^an end while files are listed$',
       KEEPER, '    cache_detach_all(k->far); /* first: what is listed may have no other reference '
               '*/\n', '',
       KEEPER, '        inode_put(pop(&k->proofs));\n',
       '        inode_put(pop(&k->proofs));\n    cache_detach_all(k->far);\n'),
    _m('layers are far', 'overlayfs is asked on the loops', 'far', '^a layer whose server stopped$',
       NUMBER, '    d->far = !d->local || (uint32_t)sf.f_type == OVERLAY_MAGIC;',
       '    d->far = !d->local;'),
    _m('one keeper', 'what is far and what is not has one keeper', 'far',
       '^names while a server is stopped$',
       KEEPER, '    return &keepers[number_far(i->device)];',
       '    (void)i;\n    return &keepers[false];'),
    _m('an end without', 'the end waits for a server as long as it takes', 'far',
       '^the end while a server is stopped$',
       KEEPER, '(!k->far || cm_now() < deadline)', '(!k->far || deadline)'),

    # Volumes that fail
    _m('error of the origin', "an error of the origin's read is hidden", 'failures',
       '^the origin fails to read$',
       READ, '        fuse_reply_err(req, (int)(-n - ORIGIN_ERROR));',
       '        fuse_reply_buf(req, buf, 0);'),

    # The end, and opens
    _m('ticks', 'nobody looks for the mount while something is racy', 'end',
       '^changed just before the end, and warm$',
       KEEPER, 'k->validators.head ? TICK_NS : 200000000', '200000000',
       KEEPER, '    (void)place_still_ours();\n', ''),
    _m('late open', 'an open notes its pages before it is answered', 'bare',
       '^an open that is answered late$',
       OPEN, '    atomic_store(&h->fresh, incarnation);\n',
       '    atomic_store(&h->fresh, incarnation);\n    handle_in_use(h);\n'),
    _m('start alone', 'two start on one directory at once', 'bare', '^two that start at once$',
       PLACE, '    one_at_a_time(dir);\n', ''),
    _m('caller\'s namespace', 'root of another user namespace has the mount\'s capabilities',
       'sessions', '^another user namespace$',
       CREDS, '            c->caps = all_caps & CHECKED_BEFORE; /* what',
       '            (void)0; /* what'),

    _m('loss told for good', 'who opens the file is told of a loss that users know', 'sync',
       '^a loss that (a background sync was told of|two readers are told of)$',
       PROOF, '    h->owed = i->losses > 0 && !i->told;\n', '    h->owed = i->losses > 0;\n'),
    _m('loss told to one reader', 'readers share what one is told', 'sync',
       '^a loss that two readers are told of$',
       PROOF, '        note_loss(i, err, true);\n', '        (void)err;\n'),
    _m('witness', 'the volume is not asked for losses', 'sync',
       '^a loss that somebody else was told of',
       PROOF, '            ask_witness(d);\n', '            (void)d;\n'),
    _m('witness of each volume', 'only the directory\'s own volume is asked', 'sync',
       '^a loss on a volume below',
       NUMBER, '    now.witness = open_witness(&now, fd, st->st_mode);\n', ''),

    # Opening
    _m('what appeared', 'a file that appeared is opened as if it had been made', 'mount',
       '^a file that appears is opened as it is$',
       OPEN, 'O_CREAT | O_EXCL | O_NOFOLLOW', 'O_CREAT | O_NOFOLLOW'),
    _m('what appeared, error', 'a file that appeared is an error', 'mount',
       '^a file that appears is opened as it is$',
       OPEN, 'errno == EEXIST && !(fi->flags & O_EXCL) ? ESTALE : errno', 'errno'),
    _m('what was replaced', 'a descriptor of one file is tied to another one', 'bare',
       '^a file that is replaced while it is made$',
       OPEN, '    if (!err && !is_made(fd, &e)) {\n', '    if (!err && !is_made(fd, &e) && 0) {\n'),
    _m('append-only', 'an append-only file is not opened', 'mount', '^append-only files$',
       OPEN, '        if (h->fd < 0 && errno == EPERM && (flags & O_APPEND)) {\n',
       '        if (0) {\n'),
    _m('append-only, mapped', 'an append-only file is mapped for stores', 'mount',
       '^append-only files$',
       OPEN, '    fi->direct_io = h->appends ||', '    fi->direct_io ='),
    _m('append-only, in place', 'a write to a place goes to the end of an append-only file',
       'mount', '^append-only files$', WRITE, '    if (h->appends && !at_end)\n', '    if (0)\n'),
    _m('leases of others', 'somebody\'s lease refuses who opens without waiting', 'sessions',
       '^shared', OPEN, 'O_NOCTTY |\n                      O_NONBLOCK)) |', 'O_NOCTTY)) |'),
    _m('limit of the starter', 'a file size limit of the starter counts for all', 'mount',
       '^a file size limit( that the mount may take away)?$',
       MAIN, 'setrlimit(RLIMIT_FSIZE, &none) < 0 && getrlimit', 'getrlimit',
       MAIN, '        rl.rlim_cur = rl.rlim_max;\n', ''),
    _m('signal of the limit', 'a file size limit kills the mount', 'mount',
       '^a file size limit( that the mount has to keep)?$',
       MAIN, 'setrlimit(RLIMIT_FSIZE, &none) < 0 && getrlimit', 'getrlimit',
       MAIN, '        rl.rlim_cur = rl.rlim_max;\n', '', MAIN, '    sigaction(SIGXFSZ, &sa, NULL);',
       '   '),

    # The quick start
    _m('quick start, wrong bytes', 'what was read is not compared', 'quickstart', '^wrong bytes$',
       QUICK, '  cmp -s "$work/sums" "$work/truth" || differs\n  [ "$ms"', '  [ "$ms"'),
    _m('quick start, mount left', 'the cache\'s mount is left', 'quickstart',
       '^INT while reading cold',
       QUICK, '  [ -z "$cache_pid" ] || unmount "$origin_dir" fuse.cachemax "$cache_pid"\n', ''),
    _m('quick start, storage left', 'the slow storage is left', 'quickstart',
       '^INT while reading the slow storage',
       QUICK, '  [ -z "$slow_pid" ] || unmount "$work/slow" fuse.throttle "$slow_pid"\n', ''),
    _m('quick start, pool left', 'the pools are left', 'quickstart', '^files are read',
       QUICK, '    rm -f -- "$place/$p" ', '    : '),
    _m('quick start, reason', 'what fusermount3 says is hidden', 'quickstart',
       '^fusermount3 fails, umount works',
       QUICK, '  $how: $($how "$1" 2>&1)" || :\n', '  $how: $($how "$1" 2>/dev/null)" || :\n'),
    _m('quick start, Ctrl-C', 'the copying is not ended by Ctrl-C', 'quickstart',
       '^Ctrl-C while copying',
       QUICK, '    kill -TERM "-$child" "$child" 2>/dev/null\n', '', QUICK,
       '    kill -KILL "-$child" 2>/dev/null\n', ''),
]


class Build:
    """A build directory, and how its mount is compiled and linked."""

    def __init__(self, directory):
        self.directory = os.path.realpath(directory)
        with open(os.path.join(self.directory, 'compile_commands.json'), encoding='utf-8') as f:
            entries = [e for e in json.load(f) if PROGRAM + '.p' in e['output']]
        self.compile = {os.path.basename(e['file']): e for e in entries}
        said = subprocess.run(['ninja', '-C', self.directory, '-t', 'commands', PROGRAM],
                              check=True, stdout=subprocess.PIPE).stdout.decode()
        self.link = shlex.split(said.strip().splitlines()[-1])

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

    def rebuild(self, directory, examples, changed):
        """Links the mount of `directory` with the changed files of the copy of examples/."""
        link = list(self.link)
        for name in sorted(changed):
            entry = self.compile[name]
            command, out = shlex.split(entry['command']), os.path.join(directory, name + '.o')
            command[command.index('-o') + 1] = out
            command[command.index('-c') + 1] = os.path.join(examples, 'mount', name)
            self._command(command + ['-w', '-O0', '-I' + os.path.join(examples, 'mount'), '-MF',
                                     out + '.d'])
            link[link.index(entry['output'])] = out
        link[link.index('-o') + 1] = os.path.join(directory, PROGRAM)
        self._command(link)


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
        shutil.copytree(EXAMPLES, examples)
        changed = edit(examples, mutant.edits)
        build.lay_out(directory)
        files = {os.path.basename(n) for n in changed if n.endswith('.c')}
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


def markdown(results):
    lines = ['| mutant | changed | noticed by |', '|---|---|---|']
    for r in results:
        by = '`%s`, "%s"' % (called(r.mutant.script),
                             r.said.split(':')[0]) if r.said else '**nothing**'
        lines.append('| %s | %s | %s |' % (r.mutant.name, r.mutant.what, by))
    return '\n'.join(lines)


def look(mutants):
    failed = 0
    for m in mutants:
        with tempfile.TemporaryDirectory() as d:
            examples = os.path.join(d, 'examples')
            shutil.copytree(EXAMPLES, examples)
            try:
                edit(examples, m.edits)
            except Failure as e:
                failed += 1
                print('FAILED %s: %s' % (m.name, e))
    print('%d passed, %d failed, 0 skipped' % (len(mutants) - failed, failed))
    return 1 if failed else 0


def main():
    a = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('--only', metavar='NAME', help='rows whose name begins so')
    a.add_argument('--list', action='store_true', help='is the text of every row there?')
    a.add_argument('--jobs', type=int, default=(os.cpu_count() or 1) + 1,
                   help='the scripts mostly wait')
    a.add_argument('--markdown', action='store_true',
                   help='print the table of docs/notes/mount-mutants.md')
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
                if not o.markdown:
                    print('%s%s | %s | %s | %.1f' % ('' if r.said else 'FAILED ', r.mutant.name,
                                                     r.mutant.what,
                                                     r.said or r.error or 'nothing noticed',
                                                     r.seconds), flush=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if o.markdown:
        print(markdown(results))
    passed = sum(1 for r in results if r.said)
    failed = len(results) - passed + len(wrong)
    if not o.markdown:
        print('%d passed, %d failed, %d skipped' % (passed, failed, len(idle)))
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
