/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fltmgr.c - the emulated Filter Manager (fltmgr.h): a filter, its instance on the one volume there
 * is, and operations that go through its callbacks.
 *
 * Owns: the registration, and the operations that are on their way.
 *
 * Who: the tests, and the driver's shell.
 */
#include "fltmgr_inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT object, PUNICODE_STRING path);

/* Why an instance goes: FLTFL_INSTANCE_TEARDOWN_... */
#define MANUALLY 1u
#define WITH_THE_FILTER 2u

/* An operation between its begin and its end. */
struct fm_op {
    FLT_CALLBACK_DATA d; /* first */
    FLT_IO_PARAMETER_BLOCK iopb;
    FLT_RELATED_OBJECTS o;
    const struct fm_how *how;
    const FLT_OPERATION_REGISTRATION *r;
    PVOID keep;
    bool wants_post, synchronized, disallowed;
    unsigned waits;     /* fm.lock: 0: its end, which may have been put off, goes on */
    struct fm_op *next; /* fm.pending */
};

/* ---- The filter and its instance ------------------------------------------------------------- */

NTSTATUS FLTAPI FltRegisterFilter(PDRIVER_OBJECT d, const FLT_REGISTRATION *r, PFLT_FILTER *f)
{
    (void)d;
    if (r->Size != sizeof(*r) || r->Version != FLT_REGISTRATION_VERSION)
        fm_fault("wrong size or version", "FltRegisterFilter");
    if (!fm_has_memory())
        return STATUS_INSUFFICIENT_RESOURCES;
    fm.filter = (struct _FLT_FILTER){ .r = r };
    *f = &fm.filter;
    return STATUS_SUCCESS;
}

static PFLT_INSTANCE present(void)
{
    return &fm.instance[fm.mount];
}

static void attach(FLT_INSTANCE_SETUP_FLAGS flags)
{
    PFLT_INSTANCE const i = present();
    const FLT_RELATED_OBJECTS o = { .Filter = &fm.filter, .Volume = &i->volume, .Instance = i };

    *i = (struct _FLT_INSTANCE){ .volume = i->volume };
    i->attached = NT_SUCCESS(fm.filter.r->InstanceSetupCallback(
        &o, flags, FILE_DEVICE_DISK_FILE_SYSTEM, FLT_FSTYPE_NTFS));
    if (!i->attached) {
        fm_lock_it();
        fm_drop_contexts(i);
        fm_unlock_it();
    }
}

void fm_attach(bool mounted)
{
    attach(mounted ? FLTFL_INSTANCE_SETUP_NEWLY_MOUNTED_VOLUME : 0);
}

void fm_mount_again(const WCHAR *device, bool detached)
{
    const ULONG characteristics = present()->volume.characteristics;

    fm.mount = (fm.mount + 1) % FM_INSTANCES;
    if (present()->attached)
        abort();
    present()->volume = (struct _FLT_VOLUME){ characteristics, device };
    attach(detached ? FLTFL_INSTANCE_SETUP_DETACHED_VOLUME
                    : FLTFL_INSTANCE_SETUP_NEWLY_MOUNTED_VOLUME);
}

void fm_disk_is(ULONG characteristics)
{
    present()->volume.characteristics = characteristics;
}

/* The names are behind the structure. No name: it has no end, as far as the driver has room. */
NTSTATUS FLTAPI FltGetVolumeProperties(PFLT_VOLUME v, PFLT_VOLUME_PROPERTIES p, ULONG bytes,
                                       PULONG n)
{
    fm_at_most(APC_LEVEL, "FltGetVolumeProperties");
    USHORT letters = 0;

    while (v->device && v->device[letters])
        letters++;
    *n = (ULONG)sizeof(*p) + (v->device ? letters * (ULONG)sizeof(WCHAR) : 65535u);
    if (!fm_has_memory())
        return STATUS_INSUFFICIENT_RESOURCES;
    if (bytes < sizeof(*p))
        return (NTSTATUS)0xC0000023; /* STATUS_BUFFER_TOO_SMALL */
    *p = (FLT_VOLUME_PROPERTIES){ .DeviceCharacteristics = v->characteristics };
    p->RealDeviceName.Length = (USHORT)(letters * sizeof(WCHAR));
    p->RealDeviceName.Buffer = (WCHAR *)(p + 1);
    if (bytes < *n)
        return STATUS_BUFFER_OVERFLOW;
    memcpy(p + 1, v->device, letters * sizeof(WCHAR));
    return STATUS_SUCCESS;
}

NTSTATUS fm_would_attach(DEVICE_TYPE device, FLT_FILESYSTEM_TYPE system, ULONG characteristics)
{
    struct _FLT_VOLUME volume = { characteristics, NULL };
    const FLT_RELATED_OBJECTS o = { .Filter = &fm.filter,
                                    .Instance = present(),
                                    .Volume = &volume };

    return fm.filter.r->InstanceSetupCallback(&o, FLTFL_INSTANCE_SETUP_NEWLY_MOUNTED_VOLUME, device,
                                              system);
}

static bool mounted_later;

NTSTATUS FLTAPI FltStartFiltering(PFLT_FILTER f)
{
    if (!fm_has_memory())
        return STATUS_INSUFFICIENT_RESOURCES;
    f->started = true;
    if (!mounted_later)
        fm_attach(false);
    return STATUS_SUCCESS;
}

/* ---- Operations ------------------------------------------------------------------------------ */

/* This thread as it is in a callback. */
static struct fm_thread enter(const struct fm_op *op)
{
    struct fm_thread *const t = fm_me(), before = *t;

    t->paging = t->paging || (op->iopb.IrpFlags & IRP_PAGING_IO);
    t->since = fm_moment();
    return before;
}

static void leave(const struct fm_thread *before, KIRQL irql, const char *callback)
{
    struct fm_thread *const t = fm_me();

    if (t->irql != irql || t->locks != before->locks)
        fm_fault("it has left a lock or an IRQL", callback);
    *t = *before;
}

static void judge_pre(const struct fm_op *op, FLT_PREOP_CALLBACK_STATUS s)
{
    const bool post = s == FLT_PREOP_SUCCESS_WITH_CALLBACK || s == FLT_PREOP_SYNCHRONIZE;

    if (!post && s != FLT_PREOP_SUCCESS_NO_CALLBACK && s != FLT_PREOP_COMPLETE &&
        (s != FLT_PREOP_DISALLOW_FASTIO || op->iopb.MajorFunction != IRP_MJ_READ ||
         !FLT_IS_FASTIO_OPERATION(&op->d)))
        fm_fault("a status that this driver has no use for", "PreOperation");
    if (!post && op->keep)
        fm_fault("nobody gets its completion context", "PreOperation");
    if (post && !op->r->PostOperation)
        fm_fault("there is no callback after it", "PreOperation");
    if (s == FLT_PREOP_COMPLETE && op->iopb.MajorFunction == IRP_MJ_CLEANUP)
        fm_fault("a cleanup must not fail", "PreOperation");
    if (s == FLT_PREOP_SYNCHRONIZE && !FLT_IS_FASTIO_OPERATION(&op->d) &&
        !(op->o.FileObject->Flags & FO_SYNCHRONOUS_IO) &&
        (op->iopb.MajorFunction == IRP_MJ_READ || op->iopb.MajorFunction == IRP_MJ_WRITE ||
         op->iopb.MajorFunction == IRP_MJ_FILE_SYSTEM_CONTROL))
        fm_fault("who does not want to wait has to", "PreOperation");
    if (s == FLT_PREOP_SYNCHRONIZE && op->iopb.MajorFunction == IRP_MJ_CREATE)
        fm_fault("a create is synchronous anyway", "PreOperation");
    if (s == FLT_PREOP_COMPLETE && NT_SUCCESS(op->d.IoStatus.Status) &&
        op->iopb.MajorFunction == IRP_MJ_ACQUIRE_FOR_SECTION_SYNCHRONIZATION)
        fm_fault("the file system has not acquired the file", "PreOperation");
}

/* Locked. */
static void forget_op(struct fm_op *op)
{
    struct fm_op **at = &fm.pending;

    while (*at && *at != op)
        at = &(*at)->next;
    if (*at)
        *at = op->next;
}

/* Returns true if the end is put off. */
static bool post(struct fm_op *op, KIRQL irql, FLT_POST_OPERATION_FLAGS flags)
{
    const struct fm_thread before = enter(op);
    FLT_POSTOP_CALLBACK_STATUS s;
    bool put_off;

    if (!op->synchronized && !FLT_IS_FASTIO_OPERATION(&op->d) &&
        op->iopb.MajorFunction != IRP_MJ_CREATE && !(flags & FLTFL_POST_OPERATION_DRAINING))
        fm_me()->top = (PIRP)1; /* the file system completes the IRP, and is not through with it */
    if (irql >= DISPATCH_LEVEL)
        *fm_me() =
            (struct fm_thread){ .irql = irql, .process = FM_SYSTEM, .since = fm_me()->since };
    fm_me()->locks = before.locks;
    s = op->r->PostOperation(&op->d, &op->o, op->keep, flags);
    put_off = s == FLT_POSTOP_MORE_PROCESSING_REQUIRED;
    if (put_off &&
        (FLT_IS_FASTIO_OPERATION(&op->d) || op->synchronized ||
         op->iopb.MajorFunction == IRP_MJ_CREATE || (flags & FLTFL_POST_OPERATION_DRAINING)))
        fm_fault("the end of this one cannot be put off", "PostOperation");
    leave(&before, irql, "PostOperation");
    return put_off;
}

/* Which callbacks there are for it. False: the filter does not see it. */
static bool find(struct fm_op *op)
{
    const FLT_REGISTRATION *r;
    bool seen;

    fm_lock_it();
    r = fm.filter.r;
    fm_unlock_it();
    if (!r)
        return false;
    op->r = r->OperationRegistration;
    while (op->r->MajorFunction != op->iopb.MajorFunction &&
           op->r->MajorFunction != IRP_MJ_OPERATION_END)
        op->r++;
    if (op->r->MajorFunction == IRP_MJ_OPERATION_END)
        return false;
    if ((op->r->Flags & FLTFL_OPERATION_REGISTRATION_SKIP_PAGING_IO) &&
        (op->iopb.IrpFlags & IRP_PAGING_IO))
        return false;
    fm_lock_it();
    seen = fm.filter.started && op->o.Instance->attached && !op->o.Instance->deleting;
    op->o.Instance->users += seen;
    fm_unlock_it();
    return seen;
}

/* The operation's begin. False: the driver has ended it. */
static bool begin(struct fm_op *op)
{
    FLT_PREOP_CALLBACK_STATUS s = FLT_PREOP_SUCCESS_WITH_CALLBACK;
    bool drain;

    if (!find(op))
        return true;
    if (op->r->PreOperation) {
        const struct fm_thread before = enter(op);

        s = op->r->PreOperation(&op->d, &op->o, &op->keep);
        leave(&before, before.irql, "PreOperation");
        judge_pre(op, s);
    }
    op->disallowed = s == FLT_PREOP_DISALLOW_FASTIO;
    op->synchronized = s == FLT_PREOP_SYNCHRONIZE;
    op->wants_post = s == FLT_PREOP_SUCCESS_WITH_CALLBACK || op->synchronized;
    fm_lock_it();
    drain = op->o.Instance->deleting && op->wants_post && !op->synchronized;
    if (drain)
        op->wants_post = false;
    else if (op->wants_post) {
        op->next = fm.pending;
        fm.pending = op;
    }
    fm_unlock_it();
    if (drain)
        (void)post(op, PASSIVE_LEVEL, FLTFL_POST_OPERATION_DRAINING);
    fm_lock_it();
    if (!op->synchronized)
        op->o.Instance->users--;
    fm_unlock_it();
    return s != FLT_PREOP_COMPLETE;
}

/* The operation's end. */
static void end(struct fm_op *op)
{
    bool wants, put_off, wrong;

    fm_lock_it();
    wants = op->wants_post;
    if (wants) {
        forget_op(op);
        op->o.Instance->users += !op->synchronized;
    }
    fm_unlock_it();
    if (!wants)
        return;
    op->waits = 1;
    put_off = post(op, op->how->dispatch && !op->synchronized ? DISPATCH_LEVEL : fm_me()->irql, 0);
    fm_lock_it();
    if (put_off)
        fm_wait_zero(&op->waits, "an end that was put off");
    wrong = (op->waits == 0) != put_off;
    op->o.Instance->users--;
    fm_unlock_it();
    if (wrong) {
        fm_fault("it ends twice, or never", "PostOperation");
        abort();
    }
}

/* Maybe before the callback has returned that puts the end off. */
VOID FLTAPI FltCompletePendedPostOperation(PFLT_CALLBACK_DATA d)
{
    struct fm_op *const op = (struct fm_op *)d;
    bool twice = false;

    fm_at_most(DISPATCH_LEVEL, "FltCompletePendedPostOperation");
    fm_lock_it();
    if (op->waits > 0)
        op->waits--;
    else
        twice = true;
    fm_unlock_it();
    if (twice)
        fm_fault("it goes on already", "FltCompletePendedPostOperation");
}

/* What ends in another thread is asynchronous. */
BOOLEAN FLTAPI FltIsOperationSynchronous(PFLT_CALLBACK_DATA d)
{
    const struct fm_op *const op = (const struct fm_op *)d;

    fm_at_most(APC_LEVEL, "FltIsOperationSynchronous");
    return FLT_IS_FASTIO_OPERATION(d) || (op->iopb.MajorFunction == IRP_MJ_SET_INFORMATION) ||
           ((op->o.FileObject->Flags & FO_SYNCHRONOUS_IO) && !op->how->dispatch);
}

/* Takes the filter off its volume. What waits for the file system is ended at once, and its own end
 * is not seen any more. */
static void tear_down(PFLT_INSTANCE i, FLT_INSTANCE_TEARDOWN_FLAGS why, bool drains_all)
{
    const FLT_RELATED_OBJECTS o = { .Filter = &fm.filter, .Volume = &i->volume, .Instance = i };
    struct fm_op **at, *op;

    if (!i->attached)
        return;
    if (why == MANUALLY && !NT_SUCCESS(fm.filter.r->InstanceQueryTeardownCallback(&o, 0)))
        fm_fault("it wants to stay", "InstanceQueryTeardownCallback");
    if (fm.filter.r->InstanceTeardownStartCallback)
        fm.filter.r->InstanceTeardownStartCallback(&o, why);
    fm_lock_it();
    i->deleting = true;
    for (at = &fm.pending; *at;)
        if (((*at)->synchronized && !drains_all) || (*at)->o.Instance != i) {
            at = &(*at)->next;
        } else {
            op = *at;
            *at = op->next;
            op->wants_post = false;
            fm_unlock_it();
            (void)post(op, PASSIVE_LEVEL, FLTFL_POST_OPERATION_DRAINING);
            fm_lock_it();
            i->users -= op->synchronized;
            at = &fm.pending;
        }
    fm_wait_zero(&i->users, "callbacks, or references of the instance");
    fm_unlock_it();
    if (fm.filter.r->InstanceTeardownCompleteCallback)
        fm.filter.r->InstanceTeardownCompleteCallback(&o, why);
    fm_lock_it();
    fm_drop_contexts(i);
    i->attached = false;
    fm_unlock_it();
}

void fm_detach(void)
{
    tear_down(present(), MANUALLY, false);
}

void fm_detach_all(void)
{
    tear_down(present(), MANUALLY, true);
}

void fm_dismount(void)
{
    tear_down(present(), FLTFL_INSTANCE_TEARDOWN_VOLUME_DISMOUNT, false);
}

void fm_old_goes(void)
{
    tear_down(&fm.instance[(fm.mount + 1) % FM_INSTANCES], FLTFL_INSTANCE_TEARDOWN_VOLUME_DISMOUNT,
              false);
}

/* ---- What programs do ------------------------------------------------------------------------ */

static struct fm_op make(PFILE_OBJECT o, UCHAR major, const struct fm_how *how)
{
    struct fm_op op = { .how = how };

    op.iopb.MajorFunction = major;
    op.iopb.MinorFunction = how->minor;
    op.iopb.IrpFlags = how->irp_flags;
    op.iopb.TargetFileObject = o;
    op.iopb.TargetInstance = o ? fm_object(o)->instance : present();
    op.o = (FLT_RELATED_OBJECTS){ .Filter = &fm.filter,
                                  .Volume = &op.iopb.TargetInstance->volume,
                                  .Instance = op.iopb.TargetInstance,
                                  .FileObject = o };
    op.o.Transaction = how->transaction;
    op.d.Flags =
        how->fast ? FLTFL_CALLBACK_DATA_FAST_IO_OPERATION : FLTFL_CALLBACK_DATA_IRP_OPERATION;
    return op;
}

const struct fm_how fm_plain;

/* Not before its place is known. */
static void set_out(struct fm_op *op)
{
    op->d.Iopb = &op->iopb;
    if (op->o.FileObject && !op->o.Transaction)
        op->o.Transaction = fm_object(op->o.FileObject)->transaction;
}

static NTSTATUS go(struct fm_op *op, fm_below below, void *ctx)
{
    bool below_too;

    set_out(op);
    below_too = begin(op);
    if (op->disallowed) {
        op->d.Flags = FLTFL_CALLBACK_DATA_IRP_OPERATION;
        below_too = begin(op);
    }
    if (below_too) {
        op->d.IoStatus = (IO_STATUS_BLOCK){ 0 };
        if (below)
            op->d.IoStatus.Status = below(ctx, op->o.FileObject, &op->d.IoStatus.Information);
        end(op);
    }
    return op->d.IoStatus.Status;
}

static struct fm_object *make_object(struct fm_file *f)
{
    struct fm_object *const x = calloc(1, sizeof(*x));

    if (!x)
        abort();
    x->file = f;
    x->instance = present();
    x->refs = 1;
    fm_lock_it();
    fm.objects++;
    if (f)
        f->objects++;
    fm_unlock_it();
    return x;
}

struct create {
    ULONG outcome;
    bool breaks, cancelled;
};

static NTSTATUS created(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    const struct create *const c = ctx;
    struct fm_file *const f = fm_object(o)->file;

    if (f->opens)
        f->opens(f, o);
    if (c->cancelled) {
        const bool reparse = !o->FsContext;

        o->Flags |= FO_FILE_OPEN_CANCELLED;
        o->FsContext = NULL;
        fm_object(o)->cleaned = true;
        return reparse ? STATUS_REPARSE : (NTSTATUS)0xC0000022; /* STATUS_ACCESS_DENIED */
    }
    *information = c->outcome;
    if (!o->FsContext)
        return STATUS_REPARSE;
    return c->breaks ? STATUS_OPLOCK_BREAK_IN_PROGRESS : STATUS_SUCCESS;
}

/* How it was asked for, by what became of it. */
static ULONG disposition_of(ULONG outcome)
{
    return outcome == FILE_OVERWRITTEN ? FILE_OVERWRITE : outcome;
}

PFILE_OBJECT fm_open_how(struct fm_file *f, bool writes, ULONG outcome, ULONG flags,
                         const struct fm_how *how)
{
    struct fm_object *const x = make_object(f);
    struct fm_op op = make(&x->o, IRP_MJ_CREATE, how);
    struct create create = { outcome, how->breaks, how->cancelled };

    if (!(f->attributes & FILE_ATTRIBUTE_DIRECTORY))
        x->o.SectionObjectPointer = &f->sections;
    x->o.FsContext = how->reparse ? NULL : f;
    x->o.Flags = flags;
    x->o.ReadAccess = !how->asks_only;
    x->o.WriteAccess = writes;
    x->transaction = how->transaction;
    op.iopb.Parameters.Create.Options = how->options;
    if (how->options >> 24 == 0)
        op.iopb.Parameters.Create.Options |= disposition_of(outcome) << 24;
    if (NT_SUCCESS(go(&op, created, &create)))
        return &x->o;
    if (!x->cleaned)
        fm_fault("it fails, and is open", "IRP_MJ_CREATE");
    ObfDereferenceObject(&x->o);
    return NULL;
}

PFILE_OBJECT fm_open(struct fm_file *f, bool writes, ULONG outcome)
{
    return fm_open_how(f, writes, outcome, FO_SYNCHRONOUS_IO, FM_PLAIN);
}

PFILE_OBJECT fm_open_volume(void)
{
    struct fm_object *const x = make_object(NULL);

    x->o.Flags = FO_VOLUME_OPEN;
    x->o.ReadAccess = x->o.WriteAccess = TRUE;
    return &x->o;
}

static NTSTATUS clean_up(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    struct fm_object *const x = fm_object(o);

    (void)ctx, (void)information;
    o->Flags |= FO_CLEANUP_COMPLETE;
    x->cleaned_at = fm_moment();
    x->cleaned = true;
    if (x->file && x->file->cleanup)
        x->file->cleanup(x->file, o);
    return STATUS_SUCCESS;
}

void fm_close(PFILE_OBJECT o)
{
    struct fm_op op = make(o, IRP_MJ_CLEANUP, FM_PLAIN);

    if (o->FsContext || (o->Flags & FO_VOLUME_OPEN))
        (void)go(&op, clean_up, NULL);
    else
        fm_object(o)->cleaned = true;
    ObfDereferenceObject(o);
}

struct read {
    int64_t off;
    ULONG n;
    void *buf;
    bool direct, asked;
};

static NTSTATUS read_below(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    struct read *const r = ctx;
    struct fm_file *const f = fm_object(o)->file;
    const uint64_t off = (uint64_t)(r->off < 0 ? o->CurrentByteOffset.QuadPart : r->off);
    ULONG n;

    r->asked = true;
    if (fm_object(o)->cleaned)
        return STATUS_FILE_CLOSED;
    if (f->wait)
        f->wait(f, o);
    if (!r->direct)
        fm_has_section(f);
    n = fm_read_file(f, off, r->n, r->buf, r->direct);
    *information = n;
    if (o->Flags & FO_SYNCHRONOUS_IO)
        o->CurrentByteOffset.QuadPart = (LONGLONG)(off + n);
    return n > 0 || r->n == 0 ? STATUS_SUCCESS : STATUS_END_OF_FILE;
}

NTSTATUS fm_read(PFILE_OBJECT o, int64_t off, ULONG n, void *buf, ULONG *got, bool *by_driver,
                 const struct fm_how *how)
{
    struct read r = { off, n, buf, (o->Flags & FO_NO_INTERMEDIATE_BUFFERING) != 0, false };
    struct fm_op op = make(o, IRP_MJ_READ, how);
    NTSTATUS s;

    if (r.direct)
        op.iopb.IrpFlags |= IRP_NOCACHE;
    op.iopb.Parameters.Read.ByteOffset.QuadPart = off;
    op.iopb.Parameters.Read.Length = n;
    if (how->mdl)
        op.iopb.Parameters.Read.MdlAddress = buf;
    else
        op.iopb.Parameters.Read.ReadBuffer = buf;
    s = go(&op, read_below, &r);
    *got = (ULONG)op.d.IoStatus.Information;
    *by_driver = !r.asked;
    return s;
}

NTSTATUS fm_write(PFILE_OBJECT o, int64_t off, ULONG n, fm_below below, void *ctx,
                  const struct fm_how *how)
{
    struct fm_op op = make(o, IRP_MJ_WRITE, how);
    NTSTATUS s;

    if (o->Flags & FO_NO_INTERMEDIATE_BUFFERING)
        op.iopb.IrpFlags |= IRP_NOCACHE;
    op.iopb.Parameters.Write.ByteOffset.QuadPart = off;
    op.iopb.Parameters.Write.Length = n;
    s = go(&op, below, ctx);
    if (NT_SUCCESS(s) && !(op.iopb.IrpFlags & (IRP_NOCACHE | IRP_PAGING_IO)) && fm_object(o)->file)
        fm_has_section(fm_object(o)->file);
    return s;
}

NTSTATUS fm_set(PFILE_OBJECT o, FILE_INFORMATION_CLASS c, uint64_t value, fm_below below, void *ctx,
                const struct fm_how *how)
{
    struct fm_op op = make(o, IRP_MJ_SET_INFORMATION, how);
    FILE_END_OF_FILE_INFORMATION info = { { .QuadPart = (LONGLONG)value } };

    op.iopb.Parameters.SetFileInformation.FileInformationClass = c;
    op.iopb.Parameters.SetFileInformation.AdvanceOnly = how->advance;
    op.iopb.Parameters.SetFileInformation.Length = sizeof(info);
    op.iopb.Parameters.SetFileInformation.InfoBuffer = &info;
    return go(&op, below, ctx);
}

NTSTATUS fm_rename(PFILE_OBJECT o, FILE_INFORMATION_CLASS c, const WCHAR *name, fm_below below,
                   void *ctx)
{
    union {
        FILE_RENAME_INFORMATION info;
        char room[256];
    } to = { .room = { 0 } };
    struct fm_op op = make(o, IRP_MJ_SET_INFORMATION, FM_PLAIN);
    ULONG letters = 0;

    while (name[letters])
        letters++;
    to.info.FileNameLength = letters * (ULONG)sizeof(WCHAR);
    memcpy(to.room + offsetof(FILE_RENAME_INFORMATION, FileName), name, to.info.FileNameLength);
    op.iopb.Parameters.SetFileInformation.FileInformationClass = c;
    op.iopb.Parameters.SetFileInformation.Length =
        (ULONG)offsetof(FILE_RENAME_INFORMATION, FileName) + to.info.FileNameLength;
    op.iopb.Parameters.SetFileInformation.InfoBuffer = &to.info;
    return go(&op, below, ctx);
}

NTSTATUS fm_control(PFILE_OBJECT o, ULONG code, fm_below below, void *ctx, const struct fm_how *how)
{
    struct fm_op op = make(o, IRP_MJ_FILE_SYSTEM_CONTROL, how);

    op.iopb.Parameters.FileSystemControl.Common.FsControlCode = code;
    return go(&op, below, ctx);
}

NTSTATUS fm_flush(PFILE_OBJECT o, fm_below below, void *ctx, const struct fm_how *how)
{
    struct fm_op op = make(o, IRP_MJ_FLUSH_BUFFERS, how);

    return go(&op, below, ctx);
}

NTSTATUS fm_set_rights(PFILE_OBJECT o, UCHAR major, fm_below below, void *ctx)
{
    struct fm_op op = make(o, major, FM_PLAIN);

    return go(&op, below, ctx);
}

NTSTATUS fm_lock(PFILE_OBJECT o)
{
    struct fm_op op = make(o, IRP_MJ_LOCK_CONTROL, FM_PLAIN);

    return go(&op, NULL, NULL);
}

/* The memory manager holds the file: nobody may wait for a program now. */
NTSTATUS fm_section(PFILE_OBJECT o, FS_FILTER_SECTION_SYNC_TYPE type, ULONG protection)
{
    static const struct fm_how fast = { .fast = TRUE };
    struct fm_op op = make(o, IRP_MJ_ACQUIRE_FOR_SECTION_SYNCHRONIZATION, &fast);
    struct fm_thread *const t = fm_me(), before = *t;
    NTSTATUS s;

    op.iopb.Parameters.AcquireForSectionSynchronization.SyncType = type;
    op.iopb.Parameters.AcquireForSectionSynchronization.PageProtection = protection;
    t->paging = TRUE;
    s = go(&op, NULL, NULL);
    if (NT_SUCCESS(s) && type == SyncTypeCreateSection)
        fm_has_section(fm_object(o)->file);
    *t = before;
    return s;
}

NTSTATUS fm_pages(PFILE_OBJECT o)
{
    static const struct fm_how fast = { .fast = TRUE };
    struct fm_op op = make(o, IRP_MJ_PREPARE_MDL_WRITE, &fast);

    return go(&op, NULL, NULL);
}

/* It belongs to no file. */
void fm_pnp(UCHAR minor)
{
    const struct fm_how how = { .minor = minor };
    struct fm_op op = make(NULL, IRP_MJ_PNP, &how);

    (void)go(&op, NULL, NULL);
}

/* ---- Life ------------------------------------------------------------------------------------ */

static void look(unsigned n, const char *what)
{
    if (n > 0)
        fm_fault("something is left", what);
}

void fm_begin(void)
{
    fm_kernel_begin();
    fm_forgive(false);
    fm.starve_skip = fm.starve_fail = 0;
    fm.percent = 100;
    fm.mount = 0;
    fm.instance[0].volume = (struct _FLT_VOLUME){ 0, u"\\Device\\HarddiskVolume3" };
    fm_clock_stands(0);
    *fm_me() = (struct fm_thread){ 0 };
}

void fm_end(void)
{
    fm_settle();
    look(fm.objects, "file objects");
    fm.objects = 0;
}

NTSTATUS fm_load(bool mounted)
{
    struct fm_thread *const t = fm_me(), before = *t;
    NTSTATUS s;

    t->process = FM_SYSTEM;
    mounted_later = mounted;
    s = DriverEntry(NULL, NULL);
    if (NT_SUCCESS(s) && mounted)
        fm_attach(true);
    *t = before;
    return s;
}

static bool is_instance(const struct _FLT_INSTANCE *i)
{
    return i == &fm.instance[0] || i == &fm.instance[1];
}

NTSTATUS FLTAPI FltObjectReference(PVOID o)
{
    PFLT_INSTANCE const i = o;
    NTSTATUS s = STATUS_SUCCESS;

    fm_at_most(DISPATCH_LEVEL, "FltObjectReference");
    if (!is_instance(i))
        fm_fault("not in this driver", "FltObjectReference");
    fm_lock_it();
    if (i->deleting || !i->attached)
        s = STATUS_FLT_DELETING_OBJECT;
    else
        i->users++;
    fm_unlock_it();
    return s;
}

VOID FLTAPI FltObjectDereference(PVOID o)
{
    PFLT_INSTANCE const i = o;

    fm_at_most(DISPATCH_LEVEL, "FltObjectDereference");
    if (!is_instance(i))
        fm_fault("not in this driver", "FltObjectDereference");
    fm_lock_it();
    i->users--;
    fm_unlock_it();
}

VOID FLTAPI FltUnregisterFilter(PFLT_FILTER f)
{
    fm_lock_it();
    f->deleting = true;
    fm_unlock_it();
    for (unsigned i = 0; i < FM_INSTANCES; i++)
        tear_down(&fm.instance[i], WITH_THE_FILTER, false);
    fm_lock_it();
    fm_wait_zero(&f->users, "work items of the filter");
    fm_wait_zero(&fm.contexts, "contexts");
    f->r = NULL;
    f->started = false;
    fm_unlock_it();
}

void fm_unload(void)
{
    struct fm_thread *const t = fm_me(), before = *t;

    t->process = FM_SYSTEM;
    if (!NT_SUCCESS(fm.filter.r->FilterUnloadCallback(FLTFL_FILTER_UNLOAD_MANDATORY)))
        fm_fault("it wants to stay", "FilterUnloadCallback");
    *t = before;
    if (fm.filter.r) {
        fm_fault("the filter is still registered", "FilterUnloadCallback");
        fm.filter.r = NULL;
    }
    fm_settle();
    look(fm.port != NULL, "the port");
    look(fm.contexts, "contexts");
    look(fm.names, "names of files");
    look(fm.blocks, "memory");
    look(fm.items, "work items");
    fm.contexts = fm.names = fm.blocks = fm.items = 0;
}
