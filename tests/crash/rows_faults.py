# SPDX-License-Identifier: BSD-2-Clause
"""rows_faults.py - rows of mutants.py about calls to the system that fail: each mutant is noticed
by a scene of tests/faults in which calls of one kind fail in turn."""
from rows import _m

CACHE, RESIZE = 'api/cache.c', 'api/resize.c'

FAULTS = [
    _m('faults, tables', 'a pool that is not opened gives its memory back',
       'faults open plat_alloc', CACHE, '''    cm_cache_free_parts(c);
    if (c->guarded)''', '    if (c->guarded)'),
    _m('faults, guard', '... and its guarded range', 'faults open plat_random', CACHE,
       '        cm_guard_remove(c->media.base);\n', '        (void)0;\n'),
    _m('faults, locked pages', '... and the pages that it has locked', 'faults resident getrandom',
       CACHE, '        cm_cache_unlock(c);\n', '        (void)0;\n'),
    _m('faults, said', 'a pool that cannot be mapped is named in the log', 'faults open plat_map',
       'api/trouble.c',
       'cm_log(c, CM_LOG_ERROR, "%s: %s: %s%s", what, refused, cm_strerror(e), refuses);',
       '(void)c, (void)what, (void)refused;'),
    _m('faults, first memory', '... also one for which there is no memory at all',
       'faults hooks hook_alloc', CACHE,
       '(void)cm_refuse(o.log, o.log_ctx, CM_ENOMEM, "a pool cannot be opened: no memory");',
       '(void)0;'),
    _m('resize, total', 'progress is never called with a total of 0', 'unit resize refused', RESIZE,
       '    z->all = cm_media_slots(&z->old->media) * CM_BLOCK_SIZE;', '    z->all = 0;'),
    _m('resize, total of nothing', 'also if nothing is cached', 'unit resize progress_of_nothing',
       RESIZE, '    if (z->chosen > 0)\n', ''),
    _m('resize, mount point', 'a mount point is refused before the copy', 'unit resize mounted',
       RESIZE, 'if (e == 0 && cm_plat_is_mount_point(real))',
       'if (0 && cm_plat_is_mount_point(real))'),
    _m('resize, mount point, at the end', 'and at the end, if nobody knew it before',
       'unit platform mount_point', 'platform/posix_create.c',
       'error == EBUSY && cm_plat_is_mount_point(path) ? CM_ENOTSUP : cm_posix_error(error)',
       'cm_posix_error(error)'),
    _m('resize, busy file', 'a file that is in use is no mount point', 'unit platform replace_busy',
       'platform/posix_create.c', 'error == EBUSY && cm_plat_is_mount_point(path)',
       'error == EBUSY'),
    _m('faults, resize', 'a new file that is not used is closed', 'faults resize plat_sync', RESIZE,
       '''    if (e)
        cm_plat_file_abandon(&z->new_file, made);
    return e ?''', '    return e ?'),
    _m('faults, resize guard', '... and is not guarded any more', 'faults resize plat_sync', RESIZE,
       '''    if (z->guarded && e)
        cm_guard_remove(z->to.base);
''', ''),
    _m('faults, resize left', 'a new file that did not take the place is removed',
       'faults resize plat_replace', RESIZE,
       '        cm_plat_file_remove(made);\n        stay(', '        stay('),
    _m('faults, container', 'a container that is not opened gives back its file',
       'faults objects plat_alloc', 'objects/objects.c', '    disown(owner, &owned);\n', ''),
    _m('faults, container memory', '... and its memory', 'faults objects plat_alloc',
       'objects/objects.c', '''    e = open_files(o, &given);
    if (e) {
        free_owned(o);
''', '''    e = open_files(o, &given);
    if (e) {
        disown(o->owner, &o->owned);
'''),
    _m('faults, compared', 'a comparison gives back its buffers', 'faults warm progress',
       'api/warm_verify.c', '    cm_cache_free(c, v, sizeof(*v));\n', ''),
    _m('guard, replaced', 'a handler in the place of that of the guard is noticed',
       'unit platform handler_replaced', 'platform/posix_guard.c',
       '(guard_has(SIGBUS) && guard_has(SIGSEGV));', 'guard_has(SIGBUS);'),
    _m('refused, fallocate', 'where fallocate() is refused, the space comes with zeros',
       'unit platform fallocate_refused', 'platform/posix_create.c',
       ' || errno == EPERM) {\n            return file_write',
       ') {\n            return file_write'),
    _m('refused, named', 'the log names a call that a filter refuses',
       'unit platform refused_call_is_named', 'platform/posix_run.c',
       'return errno == EPERM ||', 'return'),
    _m('fork, order', 'the handlers of the program run before those of the library',
       'unit platform fork_beside_program', 'platform/posix.h',
       '__attribute__((constructor(102)))', '__attribute__((unused))'),
    _m('fork, allocator', 'nothing is allocated under a lock that a fork takes',
       'unit platform fork_in_allocator', 'platform/posix_mounts.c',
       'm->text = cm_posix_read_all(',
       '__builtin_free(__builtin_malloc(1));\n    m->text = cm_posix_read_all('),
    _m('callback, coroutines', 'callbacks of coroutines end in any order',
       'unit api callbacks_of_coroutines', 'platform/callback.h',
       '    if (f)\n        f->outer = frame->outer;\n', ''),
]
