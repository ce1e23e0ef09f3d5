/* SPDX-License-Identifier: BSD-2-Clause
 *
 * filter_volumes.c - volumes between their mount and their dismount (rule C8).
 *
 * Owns the list of all mounts that still have a user, and of each the streams that are in use. An
 * old mount lives as long as somebody has a file of it open. Meanwhile the same disk may be mounted
 * again, with other streams of the same files. So the end of a mount counts from the moment on that
 * it is known: when a program dismounts the volume, when the disk is removed, when the Filter
 * Manager takes the instance off, and at the latest when a volume of the same device is mounted.
 *
 * Lock: driver.mounts_lock, the lists. It is taken before that of a stream and that of the core.
 *
 * Who: CacheFilter.c, filter_streams.c; the Filter Manager, for removals; filter_ops.c, for the
 * control code that dismounts.
 */
#include "filter_shell.h"

/* Locked. The mount has ended: all of it passes. What was written, and is in use, may be lost. That
 * it is gone is set first: what is written from now on is an outside write anyway. */
static VOID lose(struct mount *m)
{
    (void)InterlockedExchange(&m->gone, TRUE); /* ordered as a whole, before the look at writes */
    for (struct stream *s = m->streams; s; s = s->next)
        if (fc_was_written(&s->file))
            stream_mapped(s);
}

BOOLEAN volume_is_gone(struct mount *m)
{
    return ReadAcquire(&m->gone) != 0; /* acquire: what was done before it was set is seen then */
}

BOOLEAN volume_is_going(struct mount *m)
{
    /* Acquire: as above. The end sets the first before it takes from the second. */
    return ReadAcquire(&m->dismounts) > 0 || volume_is_gone(m);
}

/* Only one mount of a device is there. A device that is not known may be any. */
static BOOLEAN is_same_device(const struct mount *a, const struct mount *b)
{
    return a->device_bytes == 0 || b->device_bytes == 0 ||
           (a->device_bytes == b->device_bytes && !memcmp(a->device, b->device, a->device_bytes));
}

/* The old mounts of the volume have ended, if they have not before. Those that have are looked
 * through once more: that may not have been possible then. */
static VOID enter(struct mount *m)
{
    ExAcquireFastMutex(&driver.mounts_lock);
    for (struct mount *old = driver.mounts; old; old = old->next)
        if (volume_is_gone(old) || is_same_device(old, m))
            lose(old);
    m->next = driver.mounts;
    driver.mounts = m;
    ExReleaseFastMutex(&driver.mounts_lock);
}

VOID FLTAPI volume_clean(PFLT_CONTEXT context, FLT_CONTEXT_TYPE type)
{
    struct mount **at = &driver.mounts;

    UNREFERENCED_PARAMETER(type);
    ExAcquireFastMutex(&driver.mounts_lock);
    while (*at && *at != context)
        at = &(*at)->next;
    if (*at) /* else it has not come so far */
        *at = (*at)->next;
    ExReleaseFastMutex(&driver.mounts_lock);
}

BOOLEAN volume_mount(PCFLT_RELATED_OBJECTS o, const UNICODE_STRING *device, BOOLEAN portable,
                     FLT_INSTANCE_SETUP_FLAGS flags)
{
    PFLT_CONTEXT made = NULL;
    struct mount *m;
    NTSTATUS s;

    if (!NT_SUCCESS(FltAllocateContext(driver.filter, FLT_INSTANCE_CONTEXT, sizeof(struct mount),
                                       NonPagedPoolNx, &made)))
        return FALSE;
    m = made;
    memset(m, 0, sizeof(*m));
    m->gone = (flags & FLTFL_INSTANCE_SETUP_DETACHED_VOLUME) != 0;
    m->besides = !(flags & FLTFL_INSTANCE_SETUP_NEWLY_MOUNTED_VOLUME); /* nobody has looked */
    m->portable = portable;
    if (device->Length <= sizeof(m->device)) {
        memcpy(m->device, device->Buffer, device->Length);
        m->device_bytes = device->Length;
    }
    s = FltSetInstanceContext(o->Instance, FLT_SET_CONTEXT_KEEP_IF_EXISTS, made, NULL);
    if (NT_SUCCESS(s))
        enter(m);
    FltReleaseContext(made);
    return NT_SUCCESS(s) || s == STATUS_FLT_CONTEXT_ALREADY_DEFINED;
}

VOID volume_joins(struct stream *s)
{
    ExAcquireFastMutex(&driver.mounts_lock);
    s->next = s->mount->streams;
    s->at = &s->mount->streams;
    if (s->next)
        s->next->at = &s->next;
    s->mount->streams = s;
    ExReleaseFastMutex(&driver.mounts_lock);
}

VOID volume_leaves(struct stream *s)
{
    ExAcquireFastMutex(&driver.mounts_lock);
    *s->at = s->next;
    if (s->next)
        s->next->at = s->at;
    ExReleaseFastMutex(&driver.mounts_lock);
}

struct mount *volume_of(PCFLT_RELATED_OBJECTS o)
{
    PFLT_CONTEXT m;

    return NT_SUCCESS(FltGetInstanceContext(o->Instance, &m)) ? m : NULL;
}

/* No stream is looked at: those that were made before have another number from now on. */
VOID volume_beside(struct mount *m)
{
    (void)InterlockedIncrement(&m->besides); /* ordered as a whole, before the end is told */
}

LONG volume_besides(const struct mount *m)
{
    /* Acquire: as in stream_is_beside(), and whether there are pages is looked at after this. */
    return ReadAcquire(&m->besides);
}

VOID volume_dismount(PCFLT_RELATED_OBJECTS o)
{
    struct mount *const m = volume_of(o);

    if (!m)
        return;
    ExAcquireFastMutex(&driver.mounts_lock);
    lose(m);
    ExReleaseFastMutex(&driver.mounts_lock);
    FltReleaseContext(m);
}

/* The file system lets go of streams while it dismounts. They see then that it is on its way. */
struct mount *volume_dismount_begin(PCFLT_RELATED_OBJECTS o)
{
    struct mount *const m = volume_of(o);

    if (m)
        (void)InterlockedIncrement(&m->dismounts);
    return m;
}

/* At a raised IRQL no lock can be had. Then the streams are looked at when they end, or when the
 * disk is mounted again. */
VOID volume_dismount_end(struct mount *m, BOOLEAN done)
{
    if (done && KeGetCurrentIrql() >= DISPATCH_LEVEL) {
        (void)InterlockedExchange(&m->gone, TRUE); /* before the begin ends to count */
    } else if (done) {
        ExAcquireFastMutex(&driver.mounts_lock);
        lose(m);
        ExReleaseFastMutex(&driver.mounts_lock);
    }
    (void)InterlockedDecrement(&m->dismounts);
    FltReleaseContext(m);
}

VOID volume_lies(PCFLT_RELATED_OBJECTS o)
{
    struct mount *const m = volume_of(o);

    if (!m)
        return;
    (void)InterlockedExchange(&m->lies, TRUE); /* ordered as a whole, before the look at streams */
    FltReleaseContext(m);
}

BOOLEAN volume_is_lying(struct mount *m)
{
    /* Acquire: the Filter Manager's lock is between it and a stream that was made later. */
    return ReadAcquire(&m->lies) != 0;
}

/* The disk is pulled out, or removed after all its users have agreed to that. */
FLT_PREOP_CALLBACK_STATUS FLTAPI volume_pre_pnp(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o,
                                                PVOID *keep)
{
    UNREFERENCED_PARAMETER(keep);
    if (d->Iopb->MinorFunction == IRP_MN_SURPRISE_REMOVAL ||
        d->Iopb->MinorFunction == IRP_MN_REMOVE_DEVICE)
        volume_dismount(o);
    return FLT_PREOP_SUCCESS_NO_CALLBACK;
}
