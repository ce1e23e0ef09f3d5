/* SPDX-License-Identifier: BSD-2-Clause
 *
 * filter_shell.h - what the parts of the driver's shell share.
 *
 *   CacheFilter.c     the driver's entry, its registration, volumes, unload
 *   filter_port.c     the service's connection, and what the core asks of the system
 *   filter_streams.c  streams: which of them are cached, and their facts
 *   filter_volumes.c  volumes: which are mounted, and which are not any more
 *   filter_ops.c      the operations: reads, writes, and all that changes a file
 *   filter_opens.c    the operations: opens and closes of handles
 */
#ifndef CACHEFILTER_SHELL_H
#define CACHEFILTER_SHELL_H

#include "filter_core.h"
#include "filter_rules.h"
#include "nt.h"

#define TAG 0x78616d43u      /* "Cmax" in the system's lists of memory */
#define WRITTEN_SLOTS 65536u /* of the written-set: 1 MiB */

#define DEVICE_LETTERS 128u

/* A volume between its mount and its dismount, as far as the driver is there. The context of its
 * instance. It lives as long as a stream of it does. */
struct mount {
    volatile LONG gone;      /* rule C8: it is mounted no more. Stays. No lock */
    volatile LONG dismounts; /* control codes on their way that may dismount it. No lock */
    struct fc_volume volume; /* the core's */
    volatile LONG lies;      /* rule S8: a handle was not noted. Stays. No lock */
    volatile LONG besides;   /* rule C10: how often all of it may have been written. No lock */
    BOOLEAN portable;        /* its disk is on a bus such as USB: fc_file_is_portable() */
    USHORT device_bytes;     /* 0: it is not known */
    WCHAR device[DEVICE_LETTERS];
    struct mount *next;     /* driver.mounts_lock: driver.mounts */
    struct stream *streams; /* driver.mounts_lock: the first one in use */
};

/* A stream that is in use. It lives as long as its context, and a moment longer: its end sends a
 * message, for which the last release is no place. */
struct stream {
    struct fc_file file;
    struct mount *mount;       /* referenced */
    struct stream *next, **at; /* driver.mounts_lock: mount->streams */
    /* Made ahead: for a write that does not reach the disk, and for the end of the stream, which
     * comes after that. Neither can fail for memory. */
    PFLT_GENERIC_WORKITEM later;
    volatile LONG unwritten;       /* rule C7: such a write has failed. No lock */
    PFILE_OBJECT unwritten_object; /* of that write; referenced until that is noted */
    volatile LONG beside;          /* rule C10: fills come from the disk. Stays. No lock */
    LONG besides;    /* rule C10: of the mount, when it had no pages. Stays. No lock */
    FAST_MUTEX lock; /* all that follows */
    ULONG rules;     /* the number of the rules that judged it; 0: not judged */
    ULONG doubts;    /* how often it may have become another kind of file */
    BOOLEAN cached;
    BOOLEAN by_name;   /* its name leaves it out */
    BOOLEAN elsewhere; /* not cached now, but its file may be: rule C6 */
    BOOLEAN left_out;  /* it was judged not to be cached: changes have passed unseen */
    BOOLEAN mapped;    /* somebody may store through a mapping: `mapping` has begun */
    BOOLEAN locked;    /* byte ranges were locked; as long as it is open */
    BOOLEAN early;     /* a handle of it was opened early, or marked: rule R9 */
    BOOLEAN lies;      /* somebody may read it as it lies; as long as it is open: rule S8 */
    struct fc_write mapping;
};
struct context {
    struct stream *stream;
};

extern struct driver {
    PFLT_FILTER filter;
    struct fc core;
    FAST_MUTEX lock; /* of the core */
    void *written;
    PFLT_GENERIC_WORKITEM tender; /* made ahead: fc_env.tend */
    FAST_MUTEX mounts_lock;
    struct mount *mounts; /* mounts_lock: the first one that has a user */
    volatile LONG unseen; /* rule W6: a volume is mounted, or was, without an instance. Stays */
} driver;

/* ---- filter_port.c --------------------------------------------------------------------------- */

extern const struct fc_env port_env;
NTSTATUS port_open(void);
/* Before the driver leaves: nobody connects any more, and what is connected was greeted. */
VOID port_leave(void);
VOID port_close(void);
/* Is this thread the service's? Its operations always pass. */
BOOLEAN port_is_service(void);
/* The number of the rules that the service has given, not 0. */
ULONG port_rules(void);
BOOLEAN port_is_connected(void);
/* Is a file of this name to be cached? Before the first service has come: might it be? `volume`:
 * letters of the volume's part of the name. Sets what the name says of *s; the rest is there.
 * FALSE: there is no memory to tell. */
BOOLEAN port_judges(PCUNICODE_STRING name, ULONG volume, struct fc_stream *s, BOOLEAN *wants);
/* As fc_env.now_ns. */
uint64_t port_now_ns(void *ctx);
/* Does a job in a thread of the system. FALSE: it cannot be done. */
BOOLEAN port_later(VOID (*job)(PVOID), PVOID context);

/* ---- filter_streams.c ------------------------------------------------------------------------ */

extern const FLT_CONTEXT_REGISTRATION stream_contexts[];
/* The stream of an operation, if it is cached or not judged, or its file may be cached under
 * another name, or as another kind (stream_is_elsewhere); NULL: the operation passes. `may_ask`: a
 * stream may be judged, for which the file system is asked. With *c, which is to be released. */
struct stream *stream_of(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o, BOOLEAN may_ask,
                         struct context **c);
/* Rule C6: it is not cached, but its file may be. */
BOOLEAN stream_is_elsewhere(struct stream *s);
/* Rule C6: the file of this operation gets the new name. FALSE: there is no memory to note it. */
BOOLEAN stream_moves(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o, FILE_RENAME_INFORMATION *to,
                     BOOLEAN may_ask);
/* The stream of an operation, also if it is not cached. NULL: there is none, or no memory. */
struct context *stream_any(PCFLT_RELATED_OBJECTS o, BOOLEAN may_ask);
/* Is it known to be cached? It is not asked for, nor read, else. Its changes count all the same. */
BOOLEAN stream_is_judged(struct stream *s);
/* May its changes have brackets? Also while a dismount is on its way. */
BOOLEAN stream_has_brackets(struct stream *s);
/* The facts of the file of an operation: `via` is its PCFLT_RELATED_OBJECTS. */
bool stream_facts(void *ctx, const void *via, struct fc_facts *facts, bool only_id);
/* Somebody may change it unseen, as through a mapping, from now on and as long as the stream is
 * used. Does not wait. */
VOID stream_mapped(struct stream *s);
/* The stream of paging I/O, whatever it is. NULL: it has no context. */
struct context *stream_known(PCFLT_RELATED_OBJECTS o);
/* Rule C1: may the memory manager write it? At an IRQL up to APC_LEVEL. */
BOOLEAN stream_has_pages(PCFLT_RELATED_OBJECTS o);
/* Rule C7: a write to the disk has failed. Releases *c. At an IRQL up to DISPATCH_LEVEL. */
VOID stream_unwritten(struct context *c, PFILE_OBJECT object);
/* Has one failed, or is the volume gone, or going (C8)? Then its reads pass, and no sync of it is
 * told. Its changes are outside, but for those while the volume is only going. */
BOOLEAN stream_is_unwritten(struct stream *s);
/* Rule C10: a change has gone past the system's cache. At any IRQL up to DISPATCH_LEVEL. */
VOID stream_beside(struct stream *s, PCFLT_RELATED_OBJECTS o);
BOOLEAN stream_is_beside(struct stream *s);
/* A transaction may write it: so it is from now on, and its file is as long as the driver. */
VOID stream_transacted(struct stream *s);
/* Rule S8: a handle was opened that reads it as it lies. It is judged again, and passes if it has a
 * reparse point; also if it gets one later, and is judged again then. */
VOID stream_lies(struct stream *s);
/* It may have become another kind of file: it is judged again. */
VOID stream_doubted(struct stream *s);
/* The file was changed as a whole a moment ago. */
VOID stream_written(struct stream *s);
/* Is there no context, for want of memory? Nothing that changes the file may go on then: nobody
 * would see it. */
BOOLEAN stream_is_lost(PCFLT_RELATED_OBJECTS o);
/* A handle that may write was opened, or writes (`comes`), or is being closed: rule B6. */
VOID stream_writer(PCFLT_RELATED_OBJECTS o, BOOLEAN comes);
BOOLEAN stream_is_deleted(PCFLT_RELATED_OBJECTS o);
/* Byte ranges are locked from now on, which only the file system knows. FALSE: there is no memory
 * to note it, or no need. */
BOOLEAN stream_locked(PCFLT_RELATED_OBJECTS o);
BOOLEAN stream_is_locked(struct stream *s);
/* Rule R9: this handle was opened while an oplock was being broken, or is being marked. FALSE:
 * there is no memory to note it. */
BOOLEAN stream_opened_early(PCFLT_RELATED_OBJECTS o);
BOOLEAN stream_is_early(struct stream *s, PCFLT_RELATED_OBJECTS o);

/* ---- filter_volumes.c ------------------------------------------------------------------------ */

/* An instance comes to its volume, with the flags of its setup. FALSE: no memory. */
BOOLEAN volume_mount(PCFLT_RELATED_OBJECTS o, const UNICODE_STRING *device, BOOLEAN portable,
                     FLT_INSTANCE_SETUP_FLAGS flags);
/* The context of an instance ends. */
VOID FLTAPI volume_clean(PFLT_CONTEXT context, FLT_CONTEXT_TYPE type);
/* The mount of an instance, which is to be released. NULL: there is none. At an IRQL up to
 * APC_LEVEL. */
struct mount *volume_of(PCFLT_RELATED_OBJECTS o);
/* Rule C10: the volume was written as a whole. At any IRQL. */
VOID volume_beside(struct mount *m);
/* The number of such writes. */
LONG volume_besides(const struct mount *m);
/* Rule C8: the volume is mounted no more. At an IRQL up to APC_LEVEL, as all but two of these. */
VOID volume_dismount(PCFLT_RELATED_OBJECTS o);
/* Around a control code that may dismount it. NULL: there is nothing to end. The end may come at an
 * IRQL up to DISPATCH_LEVEL. */
struct mount *volume_dismount_begin(PCFLT_RELATED_OBJECTS o);
VOID volume_dismount_end(struct mount *m, BOOLEAN done);
/* Is it mounted no more? At any IRQL. */
BOOLEAN volume_is_gone(struct mount *m);
/* Or is it being dismounted, which the file system may deny? At any IRQL. */
BOOLEAN volume_is_going(struct mount *m);
/* Rule S8: from now on any file of the volume may be open as it lies there. What is looked for
 * after this call, and not found, is made by who sees it. */
VOID volume_lies(PCFLT_RELATED_OBJECTS o);
BOOLEAN volume_is_lying(struct mount *m);
/* A stream that has its mount begins and ends. */
VOID volume_joins(struct stream *s);
VOID volume_leaves(struct stream *s);
/* IRP_MJ_PNP. */
FLT_PREOP_CALLBACK_STATUS FLTAPI volume_pre_pnp(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o,
                                                PVOID *keep);

/* ---- filter_ops.c ---------------------------------------------------------------------------- */

extern const FLT_OPERATION_REGISTRATION operations[];
/* All operations of a volume have ended: so do the changes whose end nobody took. */
VOID ops_end_left(void);
/* May this operation ask the file system for something? */
BOOLEAN ops_may_query(PFLT_CALLBACK_DATA d);
/* May it wait for the service? */
BOOLEAN ops_may_ask(PFLT_CALLBACK_DATA d);
/* Is it no change, for the cache? */
BOOLEAN ops_passes(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o);

/* ---- filter_opens.c -------------------------------------------------------------------------- */

FLT_PREOP_CALLBACK_STATUS FLTAPI opens_pre_create(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o,
                                                  PVOID *keep);
FLT_POSTOP_CALLBACK_STATUS FLTAPI opens_post_create(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o,
                                                    PVOID keep, FLT_POST_OPERATION_FLAGS flags);
FLT_PREOP_CALLBACK_STATUS FLTAPI opens_pre_cleanup(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o,
                                                   PVOID *keep);
FLT_POSTOP_CALLBACK_STATUS FLTAPI opens_post_cleanup(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o,
                                                     PVOID keep, FLT_POST_OPERATION_FLAGS flags);

#endif
