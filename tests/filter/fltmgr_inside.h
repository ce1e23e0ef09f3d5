/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fltmgr_inside.h - what the files of the emulated Filter Manager share.
 *
 *   fltmgr.c         the filter, its instance, its operations
 *   fltmgr_files.c   contexts, names, and what the file system is asked
 *   fltmgr_port.c    the communication port
 *   fltmgr_kernel.c  threads, locks, memory, work items
 */
#ifndef CACHEMAX_TEST_FLTMGR_INSIDE_H
#define CACHEMAX_TEST_FLTMGR_INSIDE_H

#include "fltmgr.h"
#include "os.h"

struct _FLT_FILTER {
    const FLT_REGISTRATION *r;
    bool started, deleting;
    unsigned users; /* rundown references */
};
struct _FLT_VOLUME {
    ULONG characteristics;
    const WCHAR *device;
};
struct _FLT_INSTANCE {
    struct _FLT_VOLUME volume;
    bool attached, deleting;
    unsigned users;
    PFLT_CONTEXT context;
};
#define FM_INSTANCES 2u

/* fm.lock: all of it. */
struct fm {
    os_mutex lock;
    os_cond changed; /* anything */
    struct _FLT_FILTER filter;
    struct _FLT_INSTANCE instance[FM_INSTANCES]; /* of one volume, which is mounted again */
    unsigned mount;                              /* the present one; not under the lock */
    struct fm_file *files;                       /* that have a context */
    struct fm_object *handles;                   /* that have one of their own */
    struct fm_op *pending;                       /* operations below the filter */
    unsigned objects, names, contexts, blocks, items;
    unsigned calls; /* of the port's callbacks, on their way */
    unsigned starve_skip, starve_fail;
    unsigned faults, pushed;   /* pushed: acquisitions of push locks */
    _Atomic unsigned acquired; /* the same of fast mutexes. Not under the lock */
    bool quiet, held, refused;
    PFLT_PORT port;
    unsigned percent;
    _Atomic uint64_t moments;
};
extern struct fm fm;

void fm_lock_it(void);
void fm_unlock_it(void);
/* Notes a fault, with the lock not held. */
void fm_fault(const char *what, const char *where);
/* A call that is allowed up to this IRQL. */
void fm_at_most(KIRQL irql, const char *call);
/* Notes a fault if this thread may not wait for a program. */
void fm_may_wait(const char *call);
/* Is there memory for another allocation? */
bool fm_has_memory(void);

/* A number for this moment. Later ones have larger numbers. */
uint64_t fm_moment(void);

void fm_kernel_begin(void);
/* Locked. Waits until *n is 0, and notes a fault if that takes too long. */
void fm_wait_zero(const unsigned *n, const char *what);

/* A job of the emulation itself, in a work item's thread. */
void fm_do_later(void (*run)(void *arg), void *arg);

/* An object with references, for ObfReferenceObject(): a file object. */
struct fm_object {
    FILE_OBJECT o;        /* first */
    struct fm_file *file; /* NULL: the volume */
    PFLT_INSTANCE instance;
    unsigned refs;
    _Atomic bool cleaned;
    _Atomic uint64_t cleaned_at; /* which moment that was; 0: not by a close */
    void *transaction;
    PFLT_CONTEXT context;
    struct fm_object *next; /* fm.handles */
};
struct fm_object *fm_object(PFILE_OBJECT o);
/* The last file object of the file is gone: its context goes, too. Locked; unlocks meanwhile. */
void fm_drop_context(struct fm_file *f);
/* The same of a file object. */
void fm_drop_handle(struct fm_object *x);
/* What the file system has there; `direct`: not through the system's cache. */
ULONG fm_read_file(struct fm_file *f, uint64_t off, ULONG n, void *to, bool direct);
/* From now on the system has a section of the file, until nobody uses the file any more. */
void fm_has_section(struct fm_file *f);
/* All contexts of an instance, its own last. Locked; unlocks meanwhile. */
void fm_drop_contexts(PFLT_INSTANCE i);

#endif
