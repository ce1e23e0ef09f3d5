/* SPDX-License-Identifier: BSD-2-Clause
 *
 * filter_opens.c - the operations: opens and closes of handles.
 *
 * Owns: nothing.
 *
 *   open      counts who may write, and judges the stream for him. It may empty the file. What a
 *             handle reads may be other content than what others read: that is noted. One that
 *             did not wait for an oplock is taken back if it cannot be.
 *   close     tells the file's times, or that the file is gone.
 *
 * Who: the Filter Manager.
 */
#include "filter_shell.h"

/* S8. What this handle reads may be what others do not read, at once or later: the file may get its
 * reparse point while it is open. One that may not read, as for a deletion, does not matter, nor
 * does a directory: it has no content, so no sections. The open is not refused if there is no
 * memory to note it: the file system has acted, and may have made, emptied or locked the file. */
static VOID open_as_it_lies(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o)
{
    struct context *c;

    if (!(d->Iopb->Parameters.Create.Options & FILE_OPEN_REPARSE_POINT) ||
        !o->FileObject->ReadAccess || !o->FileObject->SectionObjectPointer)
        return;
    c = stream_any(o, ops_may_query(d));
    if (!c && stream_is_lost(o))
        volume_lies(o);
    if (!c) /* another thread may have had memory, before it could see that of the volume */
        c = stream_known(o);
    if (!c)
        return;
    stream_lies(c->stream);
    FltReleaseContext(c);
}

/* What this handle reads would be wrong, and it cannot be noted. Nobody has the handle yet. */
static VOID take_back(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o, BOOLEAN emptied)
{
    FltCancelFileOpen(o->Instance, o->FileObject);
    d->IoStatus.Status = STATUS_INSUFFICIENT_RESOURCES;
    d->IoStatus.Information = 0;
    if (emptied)
        fc_written_anything(&driver.core);
}

static BOOLEAN may_empty(PFLT_CALLBACK_DATA d)
{
    const ULONG how = d->Iopb->Parameters.Create.Options >> 24;

    return how == FILE_SUPERSEDE || how == FILE_OVERWRITE || how == FILE_OVERWRITE_IF;
}

/* B11: which file that would be, only the end tells. So all of the volume pass until then. */
FLT_PREOP_CALLBACK_STATUS FLTAPI opens_pre_create(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o,
                                                  PVOID *keep)
{
    struct mount *const m = may_empty(d) ? volume_of(o) : NULL;

    if (m)
        fc_emptying_begin(&driver.core, &m->volume);
    *keep = m;
    return FLT_PREOP_SUCCESS_WITH_CALLBACK;
}

/* A filter below has taken the open back. If that has emptied the file, it is empty all the same,
 * and nothing is open that would say which file it is. */
static BOOLEAN may_have_emptied(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o)
{
    return o->FileObject && (o->FileObject->Flags & FO_FILE_OPEN_CANCELLED) && may_empty(d);
}

/* An open that may write judges its stream at once: what may not wait later finds it known. An open
 * may also empty the file, even if its handle may only read. */
static VOID end_open(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o)
{
    const BOOLEAN emptied =
        d->IoStatus.Information == FILE_OVERWRITTEN || d->IoStatus.Information == FILE_SUPERSEDED;
    struct context *c;

    if (!NT_SUCCESS(d->IoStatus.Status) || d->IoStatus.Status == STATUS_REPARSE) {
        if (may_have_emptied(d, o))
            fc_written_anything(&driver.core);
        return;
    }
    if (d->IoStatus.Status == STATUS_OPLOCK_BREAK_IN_PROGRESS && !stream_opened_early(o)) {
        take_back(d, o, emptied);
        return;
    }
    open_as_it_lies(d, o);
    stream_writer(o, TRUE);
    if (!(o->FileObject->WriteAccess || emptied))
        return;
    if (!stream_of(d, o, ops_may_query(d), &c)) {
        if (emptied && stream_is_lost(o)) /* it is too late to refuse it */
            fc_written_anything(&driver.core);
        return;
    }
    if (o->Transaction) /* what it writes, others see later, or never */
        stream_transacted(c->stream);
    if (emptied) {
        stream_doubted(c->stream); /* it has other attributes now */
        stream_written(c->stream);
    }
    FltReleaseContext(c);
}

/* That the file was emptied is noted first: else a read could come between. */
FLT_POSTOP_CALLBACK_STATUS FLTAPI opens_post_create(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o,
                                                    PVOID keep, FLT_POST_OPERATION_FLAGS flags)
{
    struct mount *const m = keep;

    if (!(flags & FLTFL_POST_OPERATION_DRAINING))
        end_open(d, o);
    if (m) {
        fc_emptying_end(&driver.core, &m->volume);
        FltReleaseContext(m);
    }
    return FLT_POSTOP_FINISHED_PROCESSING;
}

/* May the file system be asked at this close, and the service told? Else it is not known that the
 * file is gone (H2). */
static BOOLEAN may_tell(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o)
{
    return !ops_passes(d, o) && !port_is_service() && ops_may_ask(d);
}

/* Has the close of this handle an end that matters? One that only reads may tell the times that the
 * writer's own close told too early (B7). Nothing is made for it. */
static BOOLEAN close_counts(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o, struct context **c)
{
    if ((o->FileObject->WriteAccess || o->FileObject->DeleteAccess) && may_tell(d, o))
        return stream_of(d, o, TRUE, c) != NULL;
    *c = stream_known(o);
    if (!*c || fc_is_unsettled(&(*c)->stream->file))
        return *c != NULL;
    FltReleaseContext(*c);
    return FALSE;
}

/* The handle is closed. */
FLT_PREOP_CALLBACK_STATUS FLTAPI opens_pre_cleanup(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o,
                                                   PVOID *keep)
{
    struct context *c;

    if (!close_counts(d, o, &c)) {
        stream_writer(o, FALSE); /* there are no times to tell */
        return FLT_PREOP_SUCCESS_NO_CALLBACK;
    }
    *keep = c;
    return FLT_PREOP_SYNCHRONIZE;
}

/* If the file is deleted with it, its id means nothing any more. Otherwise its times are final now,
 * as far as this handle goes. It counts as a writer until now: a reader that is closed while the
 * file system moves the times would tell the old ones else, and no later close the new ones. */
FLT_POSTOP_CALLBACK_STATUS FLTAPI opens_post_cleanup(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o,
                                                     PVOID keep, FLT_POST_OPERATION_FLAGS flags)
{
    struct context *const c = keep;
    const BOOLEAN tells = !(flags & FLTFL_POST_OPERATION_DRAINING) && may_tell(d, o);
    const BOOLEAN gone = tells && stream_is_deleted(o);

    stream_writer(o, FALSE);
    fc_gone(&c->stream->file, gone);
    if (tells && !gone)
        fc_settle(&c->stream->file, o);
    FltReleaseContext(c);
    return FLT_POSTOP_FINISHED_PROCESSING;
}
