/* SPDX-License-Identifier: BSD-2-Clause
 *
 * filter_ops.c - the operations: reads, writes, and all else that changes a file. Opens and closes
 * are in filter_opens.c.
 *
 * Owns: nothing but what an operation carries from its begin to its end.
 *
 *   read      asks the service. A whole answer completes the operation. Else the file system
 *             answers. Afterwards the missing blocks are read once more, from the system's cache,
 *             and sent to the service: before the reader goes on, because it may close its handle
 *             then; or by a thread of the system, where that may not wait or comes from the disk.
 *             Fast I/O has no list of the buffer's pages, and a buffer of a program is not to be
 *             touched otherwise: the system is told to send an IRP instead.
 *   change    a bracket around it: writes, sizes, control codes that change the content. One that
 *             is not known is a change if its result does not say that it was refused.
 *   times     an empty bracket around what moves only them: names, attributes, rights.
 *   sync      told to the service, so that what was written counts as lasting.
 *   paging    writes to the disk are looked at when they fail (stream_unwritten). Those of others
 *             than the memory manager are changes.
 *   mapping   stores that nobody sees: the file passes (stream_mapped).
 *
 * What passes: filter_rules.h.
 *
 * Who: the Filter Manager.
 */
#include "filter_shell.h"

#define FILL_UNIT 4096u /* bytes of a block, and of a sector at most */

enum kind { WRITE, CONTROL, UNKNOWN, TIMES, SYNC, VOLUME };
/* A change or a sync between its begin and its end. */
struct change {
    struct context *context;     /* referenced; NULL: a volume */
    struct mount *mount;         /* referenced: that volume's; or NULL */
    PFLT_GENERIC_WORKITEM later; /* made ahead, so that the end cannot fail for memory */
    enum kind kind;
    BOOLEAN asks;            /* its caller must not hear of its end before that is told, and its
                              * begin could wait */
    PFLT_CALLBACK_DATA held; /* the operation, if its caller hears of its end only after this */
    NTSTATUS status;         /* its end; STATUS_UNSUCCESSFUL: not yet, or nobody knows it */
    BOOLEAN drained;         /* nobody knows how it ends */
    struct fc_write write;
    struct fc_sync sync;
    struct change *next; /* left */
};

/* All paging I/O has this flag. IRP_SYNCHRONOUS_PAGING_IO is not asked for: a control code that has
 * an output buffer has the same bit (IRP_INPUT_OPERATION). */
static BOOLEAN is_paging(PFLT_CALLBACK_DATA d)
{
    return (d->Iopb->IrpFlags & IRP_PAGING_IO) != 0;
}

/* It would deadlock inside another operation of the file system, or with APCs off. */
BOOLEAN ops_may_query(PFLT_CALLBACK_DATA d)
{
    return KeGetCurrentIrql() == PASSIVE_LEVEL && !KeAreAllApcsDisabled() &&
           IoGetTopLevelIrp() == NULL && !is_paging(d);
}

/* A thread that is being ended cannot wait: its waits end at once. */
BOOLEAN ops_may_ask(PFLT_CALLBACK_DATA d)
{
    return ops_may_query(d) && !PsIsThreadTerminating(PsGetCurrentThread());
}

static struct fc_op op_of(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o)
{
    return (struct fc_op){ .paging = is_paging(d),
                           .service = port_is_service(),
                           .waits = ops_may_ask(d),
                           .transacted = o->Transaction != NULL,
                           .plain = d->Iopb->MinorFunction == IRP_MN_NORMAL,
                           .non_cached = d->Iopb->IrpFlags & IRP_NOCACHE };
}

BOOLEAN ops_passes(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o)
{
    const struct fc_op op = op_of(d, o);

    return fc_change_way(&op) == FC_NOTHING;
}

/* ---- Reads ----------------------------------------------------------------------------------- */

/* A read that missed. */
struct missed {
    struct context *context; /* referenced, as the next two */
    PFLT_INSTANCE instance;
    PFILE_OBJECT object;
    BOOLEAN from_disk; /* the fill is */
    struct fc_read read;
};

static VOID free_missed(struct missed *m)
{
    FltReleaseContext(m->context);
    ExFreePoolWithTag(m, TAG);
}

/* Has the system read as it does for everybody, and does it count? Asked after the read: its handle
 * may have been marked meanwhile (R9), all of its stream passes now, or the file has become one
 * that is not cached (S3). */
static BOOLEAN is_everybodys(const struct missed *m)
{
    const FLT_RELATED_OBJECTS o = { .Instance = m->instance, .FileObject = m->object };
    struct stream *const s = m->context->stream;

    return stream_is_judged(s) && !stream_is_early(s, &o) && !stream_is_locked(s);
}

/* The ticket was given before, so this read is late enough. What is read from the disk is whole
 * blocks; the place is one, and memory of a page or more begins at a page. The file system writes
 * first what the system's cache has to write. A handle that is closed must not be read with. If
 * that happens between the look and the read, the file system refuses the read. */
static VOID fill(PVOID context)
{
    struct missed *const m = context;
    const ULONG bytes = (m->read.len + FILL_UNIT - 1) / FILL_UNIT * FILL_UNIT;
    PVOID const buf = nt_allocate(bytes, TAG);
    LARGE_INTEGER at = { .QuadPart = (LONGLONG)m->read.offset };
    NTSTATUS s = STATUS_INSUFFICIENT_RESOURCES;
    ULONG n = 0;

    if (buf && !(m->object->Flags & FO_CLEANUP_COMPLETE)) {
        s = FltReadFile(m->instance, m->object, &at, m->from_disk ? bytes : m->read.len, buf,
                        FLTFL_IO_OPERATION_DO_NOT_UPDATE_BYTE_OFFSET |
                            (m->from_disk ? FLTFL_IO_OPERATION_NON_CACHED : 0),
                        &n, NULL, NULL);
        n = n < m->read.len ? n : m->read.len;
        if ((NT_SUCCESS(s) || s == STATUS_END_OF_FILE) && is_everybodys(m))
            fc_fill(&m->context->stream->file, &m->read, buf, NT_SUCCESS(s) ? n : 0);
    }
    if (buf)
        ExFreePoolWithTag(buf, TAG);
    ObDereferenceObject(m->object);
    FltObjectDereference(m->instance);
    free_missed(m);
}

/* The whole answer has come. */
static FLT_PREOP_CALLBACK_STATUS complete_read(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o,
                                               uint64_t off, ULONG n)
{
    d->IoStatus.Status = n > 0 ? STATUS_SUCCESS : STATUS_END_OF_FILE;
    d->IoStatus.Information = n;
    if (n > 0 && (o->FileObject->Flags & FO_SYNCHRONOUS_IO))
        o->FileObject->CurrentByteOffset.QuadPart = (LONGLONG)(off + n);
    return FLT_PREOP_COMPLETE;
}

/* The user's buffer, in the system's addresses; NULL: it cannot be had. */
static PVOID buffer_of(PFLT_CALLBACK_DATA d)
{
    if (!d->Iopb->Parameters.Read.MdlAddress &&
        (!NT_SUCCESS(FltLockUserBuffer(d)) || !d->Iopb->Parameters.Read.MdlAddress))
        return NULL;
    return MmGetSystemAddressForMdlSafe(d->Iopb->Parameters.Read.MdlAddress,
                                        NormalPagePriority | MdlMappingNoExecute);
}

/* Asks the service. TRUE: *got bytes are in the buffer. Else *missed is for the fill, or NULL. */
static BOOLEAN ask_read(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o, struct context *c,
                        ULONG *got, struct missed **missed)
{
    const LONGLONG off = d->Iopb->Parameters.Read.ByteOffset.QuadPart;
    PVOID const buf = buffer_of(d);
    struct missed *m = NULL;
    struct fc_read r;

    *missed = NULL;
    if (!buf)
        return FALSE;
    if (fc_read(&c->stream->file, o, (uint64_t)off, d->Iopb->Parameters.Read.Length, buf, got,
                &r) == FC_DONE)
        return TRUE;
    if (r.ticket)
        m = nt_allocate(sizeof(*m), TAG);
    if (m) {
        *m = (struct missed){ .context = c, .read = r };
        *missed = m;
    }
    return FALSE;
}

/* The status for an operation that has an end to be seen. Within the file system's own completion
 * nobody may wait: it may hold what the service needs. So the end comes after that, in the thread
 * of the begin; but an asynchronous operation must not be made to wait. */
static FLT_PREOP_CALLBACK_STATUS with_end(PFLT_CALLBACK_DATA d)
{
    return FltIsOperationSynchronous(d) ? FLT_PREOP_SYNCHRONIZE : FLT_PREOP_SUCCESS_WITH_CALLBACK;
}

/* Is it to be answered from the cache, if its range is? With *c, which is to be released. */
static BOOLEAN wants_answer(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o, struct fc_op *op,
                            struct context **c)
{
    if (!fc_read_asks(op, FILL_UNIT) || !stream_of(d, o, TRUE, c))
        return FALSE;
    op->locked = stream_is_locked((*c)->stream);
    op->early = stream_is_early((*c)->stream, o);
    if (stream_is_judged((*c)->stream) && fc_read_asks(op, FILL_UNIT))
        return TRUE;
    FltReleaseContext(*c);
    return FALSE;
}

static FLT_PREOP_CALLBACK_STATUS FLTAPI pre_read(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o,
                                                 PVOID *keep)
{
    const LONGLONG off = d->Iopb->Parameters.Read.ByteOffset.QuadPart;
    struct missed *m = NULL;
    struct fc_op op;
    struct context *c;
    ULONG got = 0;
    BOOLEAN done;

    if (!port_is_connected()) /* before op_of(), which asks whether it is the service */
        return FLT_PREOP_SUCCESS_NO_CALLBACK;
    op = op_of(d, o);
    op.off = off; /* negative: the file object's own, which is resolved further down */
    op.len = d->Iopb->Parameters.Read.Length;
    op.closed = o->FileObject->Flags & FO_CLEANUP_COMPLETE;
    if (!wants_answer(d, o, &op, &c))
        return FLT_PREOP_SUCCESS_NO_CALLBACK;
    if (FLT_IS_FASTIO_OPERATION(d)) {
        FltReleaseContext(c);
        return FLT_PREOP_DISALLOW_FASTIO;
    }
    done = ask_read(d, o, c, &got, &m);
    if (m) {
        *keep = m;
        return with_end(d);
    }
    FltReleaseContext(c);
    return done ? complete_read(d, o, (uint64_t)off, got) : FLT_PREOP_SUCCESS_NO_CALLBACK;
}

/* Fills by threads of the system: each reads from the disk, and keeps a file object. They serve
 * others, too, so there is a limit. */
#define FILLS_LATER 64
static volatile LONG fills_later;

static VOID fill_later(PVOID context)
{
    fill(context);
    InterlockedDecrement(&fills_later);
}

/* FALSE: there are too many, or no memory. */
static BOOLEAN put_fill_off(struct missed *m)
{
    if (InterlockedIncrement(&fills_later) <= FILLS_LATER && port_later(fill_later, m))
        return TRUE;
    InterlockedDecrement(&fills_later);
    return FALSE;
}

/* May be at a raised IRQL. A file that cannot be kept for the fill stays cold. So does one whose
 * handle is closed before a thread of the system has read. */
static FLT_POSTOP_CALLBACK_STATUS FLTAPI post_read(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o,
                                                   PVOID keep, FLT_POST_OPERATION_FLAGS flags)
{
    struct missed *const m = keep;

    if ((flags & FLTFL_POST_OPERATION_DRAINING) ||
        (!NT_SUCCESS(d->IoStatus.Status) && d->IoStatus.Status != STATUS_END_OF_FILE) ||
        !NT_SUCCESS(FltObjectReference(o->Instance))) {
        free_missed(m);
        return FLT_POSTOP_FINISHED_PROCESSING;
    }
    m->instance = o->Instance;
    m->object = o->FileObject;
    m->from_disk =
        (m->object->Flags & FO_NO_INTERMEDIATE_BUFFERING) || stream_is_beside(m->context->stream);
    ObReferenceObject(m->object);
    if (ops_may_ask(d) && !m->from_disk) {
        fill(m);
    } else if (!put_fill_off(m)) {
        ObDereferenceObject(m->object);
        FltObjectDereference(m->instance);
        free_missed(m);
    }
    return FLT_POSTOP_FINISHED_PROCESSING;
}

/* ---- Changes --------------------------------------------------------------------------------- */

/* What an operation changes. */
struct extent {
    enum fc_kind kind;
    uint64_t off, len;
    BOOLEAN unknown; /* C9: if anything */
};

/* NULL: no memory. */
static struct change *make_change(struct context *context, enum kind kind)
{
    struct change *c = nt_allocate(sizeof(*c), TAG);

    if (!c)
        return NULL;
    *c = (struct change){ .context = context,
                          .kind = kind,
                          .later = FltAllocateGenericWorkItem(),
                          .status = STATUS_UNSUCCESSFUL };
    if (c->later)
        return c;
    ExFreePoolWithTag(c, TAG);
    return NULL;
}

static VOID free_change(struct change *c)
{
    FltFreeGenericWorkItem(c->later);
    ExFreePoolWithTag(c, TAG);
}

/* L6. What the file system has said counts, also if the program was killed meanwhile. */
static VOID end_sync(const struct change *c)
{
    struct stream *const s = c->context->stream;

    if (c->drained)
        fc_sync_drop(&s->file, &c->sync);
    else
        fc_sync_end(&s->file, &c->sync, NT_SUCCESS(c->status) && !stream_is_unwritten(s));
}

/* C10: before the end is told, so that a ticket that is given later goes with it. What was drained
 * has the status that it began with, which is no refusal. */
static VOID end_volume(const struct change *c)
{
    if (c->mount && !fc_is_denied((uint32_t)c->status))
        volume_beside(c->mount);
    if (c->mount)
        FltReleaseContext(c->mount);
    fc_anything_end(&driver.core);
}

static VOID end_change(struct change *c)
{
    const BOOLEAN may_have = !(c->kind == UNKNOWN && fc_is_refused((uint32_t)c->status));

    /* It may be encrypted now, or a file that is not here. From the end of the bracket on it can be
     * filled again: so it is judged again before that. */
    if (c->kind == CONTROL || (c->kind == UNKNOWN && may_have))
        stream_doubted(c->context->stream);
    if (c->kind == VOLUME)
        end_volume(c);
    else if (c->kind == SYNC)
        end_sync(c);
    else if (c->kind == UNKNOWN)
        fc_maybe_end(&c->context->stream->file, may_have);
    else if (c->kind == TIMES)
        fc_attributes_end(&c->write);
    else
        fc_write_end(&c->write);
    if (c->context)
        FltReleaseContext(c->context);
    free_change(c);
}

static FLT_PREOP_CALLBACK_STATUS refuse(PFLT_CALLBACK_DATA d)
{
    d->IoStatus.Status = STATUS_INSUFFICIENT_RESOURCES;
    d->IoStatus.Information = 0;
    return FLT_PREOP_COMPLETE;
}

/* The stream is not cached, and the operation passes. Unless it is not known whether it is. */
static FLT_PREOP_CALLBACK_STATUS pass(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o)
{
    return stream_is_lost(o) ? refuse(d) : FLT_PREOP_SUCCESS_NO_CALLBACK;
}

/* Begins a bracket. (A thread of the service that finds no process of the service yet, and then a
 * connection, gets none: ask() in filter_port.c.) Returns `with` if there is something to end.
 * *keep: for post_change. Without memory the change counts as one that ends with the stream. */
static FLT_PREOP_CALLBACK_STATUS begin_change(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o,
                                              struct extent e, FLT_PREOP_CALLBACK_STATUS with,
                                              PVOID *keep)
{
    struct fc_op op = op_of(d, o);
    struct context *context;
    struct change *c = NULL;
    enum fc_way way;

    op.mapping = !op.plain && d->Iopb->MajorFunction == IRP_MJ_WRITE; /* pages to be written to */
    way = fc_change_way(&op);
    if (way == FC_NOTHING)
        return FLT_PREOP_SUCCESS_NO_CALLBACK;
    if (!stream_of(d, o, ops_may_query(d), &context))
        return pass(d, o);
    if (way != FC_LASTING && !stream_is_elsewhere(context->stream))
        c = make_change(context,
                        d->Iopb->MajorFunction == IRP_MJ_FILE_SYSTEM_CONTROL ? CONTROL : WRITE);
    if (!c) {
        if (op.transacted)
            stream_transacted(context->stream);
        else
            stream_mapped(context->stream);
        FltReleaseContext(context);
        return FLT_PREOP_SUCCESS_NO_CALLBACK;
    }
    stream_writer(o, TRUE); /* it may be older than the driver */
    c->asks = way == FC_BRACKET && stream_has_brackets(context->stream);
    if (c->asks && e.unknown) {
        c->kind = UNKNOWN;
        fc_maybe_begin(&context->stream->file);
    } else if (c->asks)
        fc_write_begin(&context->stream->file, o, &c->write, e.kind, e.off, e.len);
    else
        fc_write_begin_outside(&context->stream->file, &c->write);
    *keep = c;
    return with;
}

/* In a thread of the system. */
static VOID FLTAPI end_later(PFLT_GENERIC_WORKITEM item, PVOID filter, PVOID keep)
{
    PFLT_CALLBACK_DATA const held = ((struct change *)keep)->held;

    UNREFERENCED_PARAMETER(item);
    UNREFERENCED_PARAMETER(filter);
    end_change(keep);
    if (held)
        FltCompletePendedPostOperation(held);
}

/* Changes whose end no thread takes, at an IRQL where it cannot be. That is so while the filter is
 * unloaded. They are ended when their volume's operations have all ended. */
static PVOID volatile left;

static VOID leave_it(struct change *c)
{
    PVOID first;

    do {
        first = left;
        c->next = first;
    } while (InterlockedCompareExchangePointer(&left, c, first) != first);
}

VOID ops_end_left(void)
{
    struct change *c = InterlockedExchangePointer(&left, NULL);

    while (c) {
        struct change *const next = c->next;

        end_change(c);
        c = next;
    }
}

/* Shall its caller hear of the end only when a thread of the system has asked the service? Not if
 * somebody waits for it who may hold what the service needs: then it was not asked at the begin,
 * either. Fast I/O cannot be held at all, and a filter that leaves its volume must not. */
static BOOLEAN may_hold(PFLT_CALLBACK_DATA d, const struct change *c,
                        FLT_POST_OPERATION_FLAGS flags)
{
    return c->asks && KeGetCurrentIrql() >= DISPATCH_LEVEL && !FLT_IS_FASTIO_OPERATION(d) &&
           !(flags & FLTFL_POST_OPERATION_DRAINING);
}

/* Of what is not known the blocks are in no bracket, and its end sends no message. */
static BOOLEAN is_told_at_once(PFLT_CALLBACK_DATA d, const struct change *c,
                               FLT_POST_OPERATION_FLAGS flags)
{
    if (c->kind == UNKNOWN)
        return KeGetCurrentIrql() < DISPATCH_LEVEL;
    return !(flags & FLTFL_POST_OPERATION_DRAINING) && ops_may_ask(d);
}

/* C10: has it gone past the system's cache? Of a volume all writes do: end_volume(). What was
 * drained has the status that it began with, which is no refusal. */
static BOOLEAN goes_beside(PFLT_CALLBACK_DATA d, const struct change *c)
{
    if (c->kind == UNKNOWN || c->kind == CONTROL)
        return !fc_is_refused((uint32_t)c->status);
    return c->kind == WRITE && d->Iopb->MajorFunction == IRP_MJ_WRITE &&
           (d->Iopb->IrpFlags & IRP_NOCACHE);
}

/* The caller hears of the end only after this. Where that cannot be done the end is later: until
 * then the file passes, or its blocks are in a bracket. So it is with what is asynchronous and ends
 * in the file system. If no thread takes it, the filter ends: then the life has mostly ended
 * before, and no message is sent.
 *
 * The disk's driver ends an asynchronous write at a raised IRQL.
 * FltDoCompletionProcessingWhenSafe() is forbidden for writes: it may deadlock. So the write waits
 * for a work item that was made at its begin. From the call on that queues it *c may be gone. */
static FLT_POSTOP_CALLBACK_STATUS FLTAPI post_change(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o,
                                                     PVOID keep, FLT_POST_OPERATION_FLAGS flags)
{
    struct change *const c = keep;
    const BOOLEAN hold = may_hold(d, c, flags);

    c->drained = (flags & FLTFL_POST_OPERATION_DRAINING) != 0;
    if (!c->drained)
        c->status = d->IoStatus.Status;
    if (goes_beside(d, c))
        stream_beside(c->context->stream, o);
    if (is_told_at_once(d, c, flags)) {
        end_change(c);
        return FLT_POSTOP_FINISHED_PROCESSING;
    }
    c->held = hold ? d : NULL;
    if (NT_SUCCESS(
            FltQueueGenericWorkItem(c->later, driver.filter, end_later, DelayedWorkQueue, c)))
        return hold ? FLT_POSTOP_MORE_PROCESSING_REQUIRED : FLT_POSTOP_FINISHED_PROCESSING;
    if (KeGetCurrentIrql() >= DISPATCH_LEVEL)
        leave_it(c);
    else
        end_change(c);
    return FLT_POSTOP_FINISHED_PROCESSING;
}

/* Any file may change, from now on until the operation has ended. */
static FLT_PREOP_CALLBACK_STATUS begin_volume(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o,
                                              PVOID *keep)
{
    struct change *const c = make_change(NULL, VOLUME);

    if (!c)
        return refuse(d);
    c->mount = volume_of(o);
    fc_anything_begin(&driver.core);
    *keep = c;
    return with_end(d);
}

/* From now on somebody may store unseen. A stream that cannot be marked must not be changed so. */
static FLT_PREOP_CALLBACK_STATUS begin_stores(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o,
                                              BOOLEAN query)
{
    struct context *c;

    if (!stream_of(d, o, query, &c))
        return pass(d, o);
    stream_mapped(c->stream);
    FltReleaseContext(c);
    return FLT_PREOP_SUCCESS_NO_CALLBACK;
}

/* Memory begins at a place that 8 divides. So the lowest bit tells the two apart that a paging
 * write may keep for its end: a change, or the context of a stream. */
#define IS_CHANGE ((ULONG_PTR)1)

/* A paging write that is not the memory manager's (C1). Whoever does it may hold what the service
 * needs. Where its end cannot be noted, it lasts. */
static FLT_PREOP_CALLBACK_STATUS begin_paging_outside(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o,
                                                      PVOID *keep)
{
    struct context *context;
    struct change *c;

    if (!stream_of(d, o, FALSE, &context))
        return pass(d, o);
    c = make_change(context, WRITE);
    if (!c) {
        stream_mapped(context->stream);
        FltReleaseContext(context);
        return FLT_PREOP_SUCCESS_NO_CALLBACK;
    }
    fc_write_begin_outside(&context->stream->file, &c->write);
    *keep = (PVOID)((ULONG_PTR)c | IS_CHANGE);
    return FLT_PREOP_SUCCESS_WITH_CALLBACK;
}

/* Brings to the disk what has been a change before. Nothing is made for it, and nobody is asked. */
static FLT_PREOP_CALLBACK_STATUS begin_paging(PCFLT_RELATED_OBJECTS o, PVOID *keep)
{
    *keep = stream_known(o);
    return *keep ? FLT_PREOP_SUCCESS_WITH_CALLBACK : FLT_PREOP_SUCCESS_NO_CALLBACK;
}

/* The system keeps the pages, and writes them again soon: the cache manager has the same list. */
static BOOLEAN is_tried_again(NTSTATUS s)
{
    return s == STATUS_FILE_LOCK_CONFLICT || s == STATUS_VERIFY_REQUIRED ||
           s == STATUS_ENCOUNTERED_WRITE_IN_PROGRESS;
}

/* In any thread, mostly at DISPATCH_LEVEL: the disk's driver ends it. */
static VOID end_paging(struct context *c, PFILE_OBJECT object, NTSTATUS s)
{
    if (NT_SUCCESS(s) || is_tried_again(s))
        FltReleaseContext(c);
    else
        stream_unwritten(c, object);
}

static FLT_POSTOP_CALLBACK_STATUS FLTAPI post_write(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o,
                                                    PVOID keep, FLT_POST_OPERATION_FLAGS flags)
{
    if (!is_paging(d) || (o->FileObject->Flags & FO_VOLUME_OPEN))
        return post_change(d, o, keep, flags);
    if ((ULONG_PTR)keep & IS_CHANGE)
        return post_change(d, o, (PVOID)((ULONG_PTR)keep & ~IS_CHANGE), flags);
    end_paging(keep, o->FileObject,
               flags & FLTFL_POST_OPERATION_DRAINING ? STATUS_SUCCESS : d->IoStatus.Status);
    return FLT_POSTOP_FINISHED_PROCESSING;
}

/* FILE_WRITE_TO_END_OF_FILE (-1) is an append, for the core as for the system. The system has it,
 * too, for each write of a handle that may only append. FILE_USE_FILE_POINTER_POSITION (-2) is
 * beyond the largest file, which the core takes for all of the file. It is resolved before, mostly.
 */
static FLT_PREOP_CALLBACK_STATUS FLTAPI pre_write(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o,
                                                  PVOID *keep)
{
    const LONGLONG off = d->Iopb->Parameters.Write.ByteOffset.QuadPart;
    struct extent e = { FC_RANGE, (uint64_t)off, d->Iopb->Parameters.Write.Length, FALSE };

    if (is_paging(d) && (!o->FileObject || stream_has_pages(o)))
        return begin_paging(o, keep);
    if (d->Iopb->Parameters.Write.Length == 0)
        return FLT_PREOP_SUCCESS_NO_CALLBACK;
    if (o->FileObject && (o->FileObject->Flags & FO_VOLUME_OPEN))
        return begin_volume(d, o, keep);
    if (is_paging(d))
        return begin_paging_outside(d, o, keep);
    return begin_change(d, o, e, with_end(d), keep);
}

/* Begins an empty bracket (B8) around what leaves the content alone. If there is none, nothing is
 * wrong: the operation passes. */
static FLT_PREOP_CALLBACK_STATUS begin_times(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o,
                                             FLT_PREOP_CALLBACK_STATUS with, PVOID *keep)
{
    struct context *context;
    struct change *c = NULL;
    struct fc_op op;

    if (!port_is_connected()) /* as in pre_read() */
        return FLT_PREOP_SUCCESS_NO_CALLBACK;
    op = op_of(d, o);
    if (fc_change_way(&op) != FC_BRACKET || !stream_of(d, o, TRUE, &context))
        return FLT_PREOP_SUCCESS_NO_CALLBACK;
    if (stream_has_brackets(context->stream))
        c = make_change(context, TIMES);
    if (c) {
        if (fc_attributes_begin(&context->stream->file, o, &c->write)) {
            *keep = c;
            return with;
        }
        free_change(c);
    }
    FltReleaseContext(context);
    return FLT_PREOP_SUCCESS_NO_CALLBACK;
}

/* The name begins with ":": a stream gets another name, which may be that of the file's content. */
static BOOLEAN is_a_streams_name(const FILE_RENAME_INFORMATION *name)
{
    return name->FileNameLength >= sizeof(WCHAR) && name->FileName[0] == ':';
}

/* The new name of a file or a stream; NULL: the system will refuse it. */
static FILE_RENAME_INFORMATION *new_name(PFLT_CALLBACK_DATA d)
{
    FILE_RENAME_INFORMATION *const name = d->Iopb->Parameters.SetFileInformation.InfoBuffer;
    const ULONG bytes = d->Iopb->Parameters.SetFileInformation.Length;
    const ULONG begin = offsetof(FILE_RENAME_INFORMATION, FileName);

    return bytes >= begin && name->FileNameLength <= bytes - begin ? name : NULL;
}

/* A stream that becomes the file's content, or was it, has the file's id for a time, and other
 * content. It passes until nobody uses it, and what is cached of the file is forgotten. */
static FLT_PREOP_CALLBACK_STATUS begin_rename(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o,
                                              PVOID *keep)
{
    FILE_RENAME_INFORMATION *const name = new_name(d);
    struct context *context;
    struct change *c;

    if (!name || !is_a_streams_name(name)) {
        if (name && !stream_moves(d, o, name, ops_may_query(d)))
            return refuse(d);
        return begin_times(d, o, FLT_PREOP_SYNCHRONIZE, keep);
    }
    context = stream_any(o, ops_may_query(d));
    if (!context)
        return begin_volume(d, o, keep);
    c = make_change(context, WRITE);
    if (!c) {
        FltReleaseContext(context);
        return refuse(d);
    }
    stream_mapped(context->stream);
    fc_write_begin_outside(&context->stream->file, &c->write);
    *keep = c;
    return FLT_PREOP_SYNCHRONIZE;
}

/* Sizes change the content. So does the valid data length, which uncovers what the disk had. */
static FLT_PREOP_CALLBACK_STATUS FLTAPI pre_set(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o,
                                                PVOID *keep)
{
    struct extent e = { .kind = FC_ALL };

    if (ops_passes(d, o))
        return FLT_PREOP_SUCCESS_NO_CALLBACK;
    switch (d->Iopb->Parameters.SetFileInformation.FileInformationClass) {
    case FileEndOfFileInformation:
        if (d->Iopb->Parameters.SetFileInformation.AdvanceOnly) /* C1 */
            return FLT_PREOP_SUCCESS_NO_CALLBACK;
        e.kind = FC_SIZE;
        e.off = (uint64_t)((FILE_END_OF_FILE_INFORMATION *)
                               d->Iopb->Parameters.SetFileInformation.InfoBuffer)
                    ->EndOfFile.QuadPart;
        break;
    case FileAllocationInformation:
    case FileValidDataLengthInformation:
        break;
    case FileRenameInformation:
    case FileRenameInformationBypassAccessCheck:
    case FileRenameInformationEx:
    case FileRenameInformationExBypassAccessCheck:
    case FileLinkInformation: /* the same structure: a second name */
    case FileLinkInformationBypassAccessCheck:
    case FileLinkInformationEx:
    case FileLinkInformationExBypassAccessCheck:
        return begin_rename(d, o, keep);
    case FileBasicInformation:
    case FileShortNameInformation:
        return begin_times(d, o, FLT_PREOP_SYNCHRONIZE, keep);
    default:
        return FLT_PREOP_SUCCESS_NO_CALLBACK;
    }
    if (e.kind == FC_SIZE && e.off > INT64_MAX)
        e.kind = FC_ALL;
    return begin_change(d, o, e, FLT_PREOP_SYNCHRONIZE, keep);
}

/* Rights and extended attributes. */
static FLT_PREOP_CALLBACK_STATUS FLTAPI pre_rights(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o,
                                                   PVOID *keep)
{
    return begin_times(d, o, FLT_PREOP_SYNCHRONIZE, keep);
}

/* Some control codes pend until something happens. So only who waits anyway is made to wait;
 * FltIsOperationSynchronous() counts some of them as synchronous. */
static FLT_PREOP_CALLBACK_STATUS control_with_end(PCFLT_RELATED_OBJECTS o)
{
    return o->FileObject && (o->FileObject->Flags & FO_SYNCHRONOUS_IO)
               ? FLT_PREOP_SYNCHRONIZE
               : FLT_PREOP_SUCCESS_WITH_CALLBACK;
}

/* A volume may be dismounted (C8), or a handle marked to read a certain copy of a mirror (R9). */
static FLT_PREOP_CALLBACK_STATUS FLTAPI pre_control(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o,
                                                    PVOID *keep)
{
    const ULONG function =
        fc_function_of(d->Iopb->Parameters.FileSystemControl.Common.FsControlCode);
    struct extent e = { .kind = FC_ALL };

    if (function == FC_DISMOUNT_VOLUME) {
        if (o->FileObject && !(o->FileObject->Flags & FO_VOLUME_OPEN))
            return FLT_PREOP_SUCCESS_NO_CALLBACK; /* the file system refuses that */
        *keep = volume_dismount_begin(o);
        return *keep ? control_with_end(o) : FLT_PREOP_SUCCESS_NO_CALLBACK;
    }
    if (function == FC_MARK_HANDLE)
        return stream_opened_early(o) ? FLT_PREOP_SUCCESS_NO_CALLBACK : pass(d, o);
    if (ops_passes(d, o) || fc_control_of(function) == FC_READS)
        return FLT_PREOP_SUCCESS_NO_CALLBACK;
    if (fc_control_of(function) == FC_MOVES_TIMES) /* B8 */
        return begin_times(d, o, control_with_end(o), keep);
    e.unknown = fc_control_of(function) == FC_UNKNOWN;
    return begin_change(d, o, e, control_with_end(o), keep);
}

static FLT_POSTOP_CALLBACK_STATUS FLTAPI post_control(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o,
                                                      PVOID keep, FLT_POST_OPERATION_FLAGS flags)
{
    if (fc_function_of(d->Iopb->Parameters.FileSystemControl.Common.FsControlCode) !=
        FC_DISMOUNT_VOLUME)
        return post_change(d, o, keep, flags);
    volume_dismount_end(keep,
                        (flags & FLTFL_POST_OPERATION_DRAINING) || NT_SUCCESS(d->IoStatus.Status));
    return FLT_POSTOP_FINISHED_PROCESSING;
}

/* ---- The rest -------------------------------------------------------------------------------- */

/* Other kinds of it leave something in the disk's cache, or write only the data. */
static FLT_PREOP_CALLBACK_STATUS FLTAPI pre_flush(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o,
                                                  PVOID *keep)
{
    struct context *context;
    struct change *c = NULL;

    if (d->Iopb->MinorFunction != IRP_MN_NORMAL || ops_passes(d, o) || port_is_service() ||
        !ops_may_ask(d) || !stream_of(d, o, FALSE, &context))
        return FLT_PREOP_SUCCESS_NO_CALLBACK;
    if (!stream_is_elsewhere(context->stream) && !stream_is_unwritten(context->stream))
        c = make_change(context, SYNC);
    if (c) {
        if (fc_sync_begin(&context->stream->file, o, &c->sync)) {
            *keep = c;
            return FLT_PREOP_SYNCHRONIZE;
        }
        free_change(c);
    }
    FltReleaseContext(context);
    return FLT_PREOP_SUCCESS_NO_CALLBACK;
}

/* A section through which somebody may store. The memory manager waits, so this must not. */
static FLT_PREOP_CALLBACK_STATUS FLTAPI pre_section(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o,
                                                    PVOID *keep)
{
    UNREFERENCED_PARAMETER(keep);
    if (d->Iopb->Parameters.AcquireForSectionSynchronization.SyncType != SyncTypeCreateSection ||
        !(d->Iopb->Parameters.AcquireForSectionSynchronization.PageProtection &
          (PAGE_READWRITE | PAGE_EXECUTE_READWRITE)) ||
        !o->FileObject->WriteAccess)
        return FLT_PREOP_SUCCESS_NO_CALLBACK;
    return begin_stores(d, o, FALSE);
}

/* Pages of the system's cache, to be written to: nobody sees the stores. (A server of files does
 * so.) */
static FLT_PREOP_CALLBACK_STATUS FLTAPI pre_pages(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o,
                                                  PVOID *keep)
{
    UNREFERENCED_PARAMETER(keep);
    if (ops_passes(d, o))
        return FLT_PREOP_SUCCESS_NO_CALLBACK;
    return begin_stores(d, o, ops_may_query(d));
}

static FLT_PREOP_CALLBACK_STATUS FLTAPI pre_lock(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o,
                                                 PVOID *keep)
{
    UNREFERENCED_PARAMETER(keep);
    return stream_locked(o) ? FLT_PREOP_SUCCESS_NO_CALLBACK : pass(d, o);
}

#define SKIP_PAGING FLTFL_OPERATION_REGISTRATION_SKIP_PAGING_IO
const FLT_OPERATION_REGISTRATION operations[] = {
    { IRP_MJ_CREATE, 0, opens_pre_create, opens_post_create, NULL },
    { IRP_MJ_READ, SKIP_PAGING, pre_read, post_read, NULL },
    { IRP_MJ_WRITE, 0, pre_write, post_write, NULL },
    { IRP_MJ_PREPARE_MDL_WRITE, 0, pre_pages, NULL, NULL },
    { IRP_MJ_SET_INFORMATION, 0, pre_set, post_change, NULL },
    { IRP_MJ_SET_EA, 0, pre_rights, post_change, NULL },
    { IRP_MJ_SET_SECURITY, 0, pre_rights, post_change, NULL },
    { IRP_MJ_FILE_SYSTEM_CONTROL, 0, pre_control, post_control, NULL },
    { IRP_MJ_FLUSH_BUFFERS, 0, pre_flush, post_change, NULL },
    { IRP_MJ_LOCK_CONTROL, 0, pre_lock, NULL, NULL },
    { IRP_MJ_ACQUIRE_FOR_SECTION_SYNCHRONIZATION, 0, pre_section, NULL, NULL },
    { IRP_MJ_PNP, 0, volume_pre_pnp, NULL, NULL },
    { IRP_MJ_CLEANUP, 0, opens_pre_cleanup, opens_post_cleanup, NULL },
    { IRP_MJ_OPERATION_END, 0, NULL, NULL, NULL }
};
