/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fltmgr_files.c - contexts of streams, file objects, names, and what the driver asks of the file
 * system below it, emulated (fltmgr.h).
 *
 * Owns: contexts and their references.
 *
 * Who: the driver's shell; fltmgr.c.
 */
#include "fltmgr_inside.h"

#include <stdlib.h>
#include <string.h>

/* ---- Contexts -------------------------------------------------------------------------------- */

struct context {
    uint64_t magic;
    unsigned refs;
    FLT_CONTEXT_TYPE type;
    const FLT_CONTEXT_REGISTRATION *r;
};
#define CONTEXT_MAGIC UINT64_C(0x747865746e6f6366)

static struct context *context_of(PFLT_CONTEXT c, const char *call)
{
    struct context *const x = (struct context *)c - 1;

    if (x->magic == CONTEXT_MAGIC)
        return x;
    fm_fault("it is no context, or not any more", call);
    abort();
}

NTSTATUS FLTAPI FltAllocateContext(PFLT_FILTER f, FLT_CONTEXT_TYPE type, SIZE_T size,
                                   POOL_TYPE pool, PFLT_CONTEXT *context)
{
    const FLT_CONTEXT_REGISTRATION *r = f->r->ContextRegistration;
    struct context *x;

    fm_at_most(APC_LEVEL, "FltAllocateContext");
    while (r->ContextType != type && r->ContextType != FLT_CONTEXT_END)
        r++;
    if (type != r->ContextType || size != r->Size || pool != NonPagedPoolNx)
        fm_fault("it is not registered so", "FltAllocateContext");
    x = fm_has_memory() ? malloc(sizeof(*x) + size) : NULL;
    if (!x)
        return STATUS_INSUFFICIENT_RESOURCES;
    *x = (struct context){ .magic = CONTEXT_MAGIC, .refs = 1, .type = type, .r = r };
    memset(x + 1, 0xcd, size);
    fm_lock_it();
    fm.contexts++;
    fm_unlock_it();
    *context = x + 1;
    return STATUS_SUCCESS;
}

/* The memory manager may be on the way, so its callback must not wait. */
static void end_context(void *context)
{
    struct context *const x = (struct context *)context - 1;
    struct fm_thread *const t = fm_me(), before = *t;

    t->irql = APC_LEVEL;
    t->paging = TRUE;
    if (x->r->ContextCleanupCallback)
        x->r->ContextCleanupCallback(context, x->type);
    if (t->irql != APC_LEVEL || t->locks != before.locks)
        fm_fault("it has left a lock or an IRQL", "ContextCleanupCallback");
    t->irql = before.irql;
    t->paging = before.paging;
    memset(x, 0xdd, sizeof(*x) + x->r->Size);
    free(x);
    fm_lock_it();
    fm.contexts--;
    fm_unlock_it();
}

VOID FLTAPI FltReleaseContext(PFLT_CONTEXT context)
{
    struct context *const x = context_of(context, "FltReleaseContext");
    unsigned refs;

    fm_at_most(DISPATCH_LEVEL, "FltReleaseContext");
    fm_lock_it();
    refs = --x->refs;
    fm_unlock_it();
    if (refs > 0)
        return;
    if (fm_me()->irql >= DISPATCH_LEVEL)
        fm_do_later(end_context, context);
    else
        end_context(context);
}

static struct fm_file *file_of(PFILE_OBJECT o)
{
    if (!o->FsContext && !(o->Flags & FO_VOLUME_OPEN))
        fm_fault("nothing is open", "a call with a file object");
    return fm_object(o)->file;
}

NTSTATUS FLTAPI FltSetStreamContext(PFLT_INSTANCE i, PFILE_OBJECT o, ULONG how,
                                    PFLT_CONTEXT context, PFLT_CONTEXT *old)
{
    struct context *const x = context_of(context, "FltSetStreamContext");
    struct fm_file *const f = file_of(o);
    NTSTATUS s = STATUS_SUCCESS;

    fm_at_most(APC_LEVEL, "FltSetStreamContext");
    if (how != FLT_SET_CONTEXT_KEEP_IF_EXISTS)
        fm_fault("the emulation knows one way only", "FltSetStreamContext");
    fm_lock_it();
    if (!f || f->no_contexts) {
        s = STATUS_NOT_SUPPORTED;
    } else if (i->deleting) {
        s = STATUS_FLT_DELETING_OBJECT;
    } else if (f->context) {
        s = STATUS_FLT_CONTEXT_ALREADY_DEFINED;
        context_of(f->context, "FltSetStreamContext")->refs++;
        *old = f->context;
    } else {
        x->refs++;
        f->context = context;
        f->instance = i;
        f->next = fm.files;
        fm.files = f;
    }
    fm_unlock_it();
    return s;
}

NTSTATUS FLTAPI FltGetStreamContext(PFLT_INSTANCE i, PFILE_OBJECT o, PFLT_CONTEXT *context)
{
    struct fm_file *const f = file_of(o);
    NTSTATUS s = STATUS_SUCCESS;

    (void)i;
    fm_at_most(APC_LEVEL, "FltGetStreamContext");
    *context = NULL;
    fm_lock_it();
    if (!f || f->no_contexts) {
        s = STATUS_NOT_SUPPORTED;
    } else if (!f->context) {
        s = STATUS_NOT_FOUND;
    } else {
        context_of(f->context, "FltGetStreamContext")->refs++;
        *context = f->context;
    }
    fm_unlock_it();
    return s;
}

NTSTATUS FLTAPI FltSetInstanceContext(PFLT_INSTANCE i, ULONG how, PFLT_CONTEXT context,
                                      PFLT_CONTEXT *old)
{
    struct context *const x = context_of(context, "FltSetInstanceContext");
    NTSTATUS s = STATUS_SUCCESS;

    fm_at_most(APC_LEVEL, "FltSetInstanceContext");
    if (how != FLT_SET_CONTEXT_KEEP_IF_EXISTS || old || x->type != FLT_INSTANCE_CONTEXT)
        fm_fault("the emulation knows one way only", "FltSetInstanceContext");
    fm_lock_it();
    if (i->context) {
        s = STATUS_FLT_CONTEXT_ALREADY_DEFINED;
    } else {
        x->refs++;
        i->context = context;
    }
    fm_unlock_it();
    return s;
}

NTSTATUS FLTAPI FltGetInstanceContext(PFLT_INSTANCE i, PFLT_CONTEXT *context)
{
    fm_at_most(APC_LEVEL, "FltGetInstanceContext");
    fm_lock_it();
    *context = i->context;
    if (*context)
        context_of(*context, "FltGetInstanceContext")->refs++;
    fm_unlock_it();
    return *context ? STATUS_SUCCESS : STATUS_NOT_FOUND;
}

/* A file object's own. */
NTSTATUS FLTAPI FltSetStreamHandleContext(PFLT_INSTANCE i, PFILE_OBJECT o, ULONG how,
                                          PFLT_CONTEXT context, PFLT_CONTEXT *old)
{
    struct context *const x = context_of(context, "FltSetStreamHandleContext");
    struct fm_object *const h = fm_object(o);
    struct fm_file *const f = file_of(o); /* may note a fault, which takes the lock */
    NTSTATUS s = STATUS_SUCCESS;

    fm_at_most(APC_LEVEL, "FltSetStreamHandleContext");
    if (how != FLT_SET_CONTEXT_KEEP_IF_EXISTS || x->type != FLT_STREAMHANDLE_CONTEXT)
        fm_fault("the emulation knows one way only", "FltSetStreamHandleContext");
    fm_lock_it();
    if (!f || f->no_contexts) {
        s = STATUS_NOT_SUPPORTED;
    } else if (i->deleting) {
        s = STATUS_FLT_DELETING_OBJECT;
    } else if (h->context) {
        s = STATUS_FLT_CONTEXT_ALREADY_DEFINED;
        context_of(h->context, "FltSetStreamHandleContext")->refs++;
        *old = h->context;
    } else {
        x->refs++;
        h->context = context;
        h->next = fm.handles;
        fm.handles = h;
    }
    fm_unlock_it();
    return s;
}

NTSTATUS FLTAPI FltGetStreamHandleContext(PFLT_INSTANCE i, PFILE_OBJECT o, PFLT_CONTEXT *context)
{
    struct fm_file *const f = fm_object(o)->file;

    (void)i;
    fm_at_most(APC_LEVEL, "FltGetStreamHandleContext");
    if (f->looks)
        f->looks(f, o);
    fm_lock_it();
    *context = fm_object(o)->context;
    if (*context)
        context_of(*context, "FltGetStreamHandleContext")->refs++;
    fm_unlock_it();
    return *context ? STATUS_SUCCESS : STATUS_NOT_FOUND;
}

void fm_drop_handle(struct fm_object *x)
{
    PFLT_CONTEXT const c = x->context;
    struct fm_object **at = &fm.handles;

    if (!c)
        return;
    while (*at != x)
        at = &(*at)->next;
    *at = x->next;
    x->context = NULL;
    fm_unlock_it();
    FltReleaseContext(c);
    fm_lock_it();
}

void fm_drop_context(struct fm_file *f)
{
    PFLT_CONTEXT const c = f->context;
    struct fm_file **at = &fm.files;

    if (!c)
        return;
    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
    f->context = NULL;
    fm_unlock_it();
    FltReleaseContext(c);
    fm_lock_it();
}

void fm_drop_contexts(PFLT_INSTANCE i)
{
    for (struct fm_object *x = fm.handles; x;)
        if (x->instance == i) {
            fm_drop_handle(x);
            x = fm.handles;
        } else {
            x = x->next;
        }
    for (struct fm_file *f = fm.files; f;)
        if (f->instance == i) {
            fm_drop_context(f);
            f = fm.files;
        } else {
            f = f->next;
        }
    if (i->context) {
        PFLT_CONTEXT const c = i->context;

        i->context = NULL;
        fm_unlock_it();
        FltReleaseContext(c);
        fm_lock_it();
    }
}

/* ---- File objects ---------------------------------------------------------------------------- */

struct fm_object *fm_object(PFILE_OBJECT o)
{
    return (struct fm_object *)o;
}

VOID NTAPI ObfReferenceObject(PVOID o)
{
    fm_at_most(DISPATCH_LEVEL, "ObfReferenceObject");
    fm_lock_it();
    fm_object(o)->refs++;
    fm_unlock_it();
}

/* Relaxed: the driver looks at it without a lock, and only whether it is there. */
static void set_section(struct fm_file *f, PVOID to)
{
    __atomic_store_n(&f->sections.DataSectionObject, to, __ATOMIC_RELAXED);
}

void fm_has_section(struct fm_file *f)
{
    set_section(f, f);
}

bool fm_has_pages(const struct fm_file *f)
{
    return __atomic_load_n(&f->sections.DataSectionObject, __ATOMIC_RELAXED) != NULL;
}

/* The last one closes the file. At DISPATCH_LEVEL the system does that later. */
VOID NTAPI ObfDereferenceObject(PVOID o)
{
    struct fm_object *const x = fm_object(o);
    struct fm_file *const f = x->file;

    fm_at_most(DISPATCH_LEVEL, "ObfDereferenceObject");
    fm_lock_it();
    if (--x->refs == 0) {
        if (!x->cleaned) {
            fm_unlock_it();
            fm_fault("a reference too many was given back", "ObfDereferenceObject");
            abort();
        }
        fm_drop_handle(x);
        if (f && --f->objects == 0) {
            set_section(f, NULL);
            fm_drop_context(f);
        }
        fm.objects--;
        memset(x, 0xdd, sizeof(*x));
        free(x);
    }
    fm_unlock_it();
}

/* Below the filter: it sees no cleanup. */
VOID FLTAPI FltCancelFileOpen(PFLT_INSTANCE i, PFILE_OBJECT o)
{
    (void)i;
    fm_at_most(PASSIVE_LEVEL, "FltCancelFileOpen");
    if (!o->FsContext)
        fm_fault("nothing is open", "FltCancelFileOpen");
    o->Flags |= FO_FILE_OPEN_CANCELLED;
    fm_object(o)->cleaned = true;
}

unsigned fm_objects(struct fm_file *f)
{
    unsigned n;

    fm_lock_it();
    n = f->objects;
    fm_unlock_it();
    return n;
}

/* ---- What the file system is asked ----------------------------------------------------------- */

/* Such a call goes down to the file system, which may take locks and wait for the disk. */
static void goes_down(const char *call)
{
    fm_at_most(PASSIVE_LEVEL, call);
    if (fm_me()->locks > 0)
        fm_fault("a lock is held", call);
    if (fm_me()->paging)
        fm_fault("in a callback for paging I/O", call);
    if (fm_me()->top)
        fm_fault("inside another operation of the file system", call);
    if (fm_me()->apcs_disabled)
        fm_fault("APCs are off", call);
}

struct name {
    FLT_FILE_NAME_INFORMATION info; /* first */
    WCHAR text[256];
};

/* A name on the file's volume: `letters` after the first `before` of the file's own. */
static NTSTATUS make_name(const struct fm_file *f, USHORT before, const WCHAR *text, ULONG letters,
                          FLT_FILE_NAME_OPTIONS o, PFLT_FILE_NAME_INFORMATION *info)
{
    struct name *const n = fm_has_memory() ? calloc(1, sizeof(*n)) : NULL;

    if (o != (FLT_FILE_NAME_NORMALIZED | FLT_FILE_NAME_QUERY_DEFAULT))
        fm_fault("the emulation has normalized names only", "FltGetFileNameInformation");
    if (!n)
        return STATUS_INSUFFICIENT_RESOURCES;
    if (before + letters > 256)
        abort();
    memcpy(n->text, f->name, before * sizeof(WCHAR));
    memcpy(n->text + before, text, letters * sizeof(WCHAR));
    n->info.Name.Buffer = n->text;
    n->info.Name.Length = n->info.Name.MaximumLength = (USHORT)((before + letters) * sizeof(WCHAR));
    n->info.Stream.Length = 0xcdcd; /* not before it was parsed */
    n->info.Volume.Length = (USHORT)(f->device * sizeof(WCHAR));
    fm_lock_it();
    fm.names++;
    fm_unlock_it();
    *info = &n->info;
    return STATUS_SUCCESS;
}

NTSTATUS FLTAPI FltGetFileNameInformation(PFLT_CALLBACK_DATA d, FLT_FILE_NAME_OPTIONS o,
                                          PFLT_FILE_NAME_INFORMATION *info)
{
    struct fm_file *const f = file_of(d->Iopb->TargetFileObject);
    USHORT letters = 0;

    goes_down("FltGetFileNameInformation");
    while (f->name[letters])
        letters++;
    return make_name(f, 0, f->name, letters, o, info);
}

/* Names in this emulation are from the volume's root on. */
NTSTATUS FLTAPI FltGetDestinationFileNameInformation(PFLT_INSTANCE i, PFILE_OBJECT o, HANDLE root,
                                                     WCHAR *text, ULONG bytes,
                                                     FLT_FILE_NAME_OPTIONS how,
                                                     PFLT_FILE_NAME_INFORMATION *info)
{
    struct fm_file *const f = file_of(o);

    (void)i;
    goes_down("FltGetDestinationFileNameInformation");
    if (root)
        fm_fault("not in this emulation", "FltGetDestinationFileNameInformation");
    return make_name(f, f->device, text, bytes / sizeof(WCHAR), how, info);
}

/* An alternate stream's name begins at the ":" of the last name. */
NTSTATUS FLTAPI FltParseFileNameInformation(PFLT_FILE_NAME_INFORMATION info)
{
    const WCHAR *const text = info->Name.Buffer;
    USHORT letters = info->Name.Length / sizeof(WCHAR), at = letters;

    goes_down("FltParseFileNameInformation");
    while (at > 0 && text[at - 1] != ':' && text[at - 1] != '\\')
        at--;
    info->Stream.Length =
        at > 0 && text[at - 1] == ':' ? (USHORT)((letters - at + 1u) * sizeof(WCHAR)) : 0;
    return STATUS_SUCCESS;
}

VOID FLTAPI FltReleaseFileNameInformation(PFLT_FILE_NAME_INFORMATION info)
{
    fm_lock_it();
    fm.names--;
    fm_unlock_it();
    memset(info, 0xdd, sizeof(struct name));
    free(info);
}

NTSTATUS FLTAPI FltQueryInformationFile(PFLT_INSTANCE i, PFILE_OBJECT o, PVOID to, ULONG bytes,
                                        FILE_INFORMATION_CLASS c, PULONG n)
{
    struct fm_file *const f = file_of(o);
    struct fm_facts now = { 0 };

    (void)i, (void)n;
    goes_down("FltQueryInformationFile");
    if (!fm_has_memory())
        return STATUS_INSUFFICIENT_RESOURCES;
    f->facts(f, &now);
    if (now.deleted)
        return STATUS_FILE_DELETED;
    memset(to, 0, bytes);
    if (c == FileBasicInformation && bytes == sizeof(FILE_BASIC_INFORMATION)) {
        FILE_BASIC_INFORMATION *const x = to;

        x->CreationTime.QuadPart = now.created;
        x->LastWriteTime.QuadPart = now.written;
        x->ChangeTime.QuadPart = now.changed;
        x->FileAttributes = f->attributes;
    } else if (c == FileStandardInformation && bytes == sizeof(FILE_STANDARD_INFORMATION)) {
        FILE_STANDARD_INFORMATION *const x = to;

        x->EndOfFile.QuadPart = (LONGLONG)now.size;
        x->NumberOfLinks = 1u + f->linked;
        x->Directory = (f->attributes & FILE_ATTRIBUTE_DIRECTORY) != 0;
    } else if (c == FileIdInformation && bytes == sizeof(FILE_ID_INFORMATION)) {
        FILE_ID_INFORMATION *const x = to;

        x->VolumeSerialNumber = now.volume;
        memcpy(&x->FileId, now.id, sizeof(x->FileId));
    } else {
        return STATUS_INVALID_PARAMETER;
    }
    return STATUS_SUCCESS;
}

/* FSCTL_READ_FILE_USN_DATA: a record of version 2 or 3. */
NTSTATUS FLTAPI FltFsControlFile(PFLT_INSTANCE i, PFILE_OBJECT o, ULONG code, PVOID in, ULONG in_n,
                                 PVOID out, ULONG out_n, PULONG n)
{
    struct fm_file *const f = file_of(o);
    struct fm_facts now = { 0 };

    (void)i, (void)in, (void)in_n;
    goes_down("FltFsControlFile");
    if (!fm_has_memory())
        return STATUS_INSUFFICIENT_RESOURCES;
    f->facts(f, &now);
    if (code != FSCTL_READ_FILE_USN_DATA || out_n < 80)
        return STATUS_INVALID_PARAMETER;
    if (now.usn == 0)
        return STATUS_UNSUCCESSFUL;
    memset(out, 0, out_n);
    memcpy((UCHAR *)out + 4, &now.usn_version, 2);
    memcpy((UCHAR *)out + (now.usn_version == 2 ? 24 : 40), &now.usn, 8);
    *n = now.usn_version == 2 ? 64 : 80;
    return STATUS_SUCCESS;
}

ULONG fm_read_file(struct fm_file *f, uint64_t off, ULONG n, void *to, bool direct)
{
    return direct && f->read_disk ? f->read_disk(f, off, n, to) : f->read(f, off, n, to);
}

/* Below the filter. A handle that is closed reads no more. */
NTSTATUS FLTAPI FltReadFile(PFLT_INSTANCE i, PFILE_OBJECT o, PLARGE_INTEGER off, ULONG bytes,
                            PVOID buf, FLT_IO_OPERATION_FLAGS flags, PULONG n, PVOID callback,
                            PVOID context)
{
    struct fm_file *const f = file_of(o);
    const BOOLEAN direct = (flags & FLTFL_IO_OPERATION_NON_CACHED) != 0;

    (void)i;
    goes_down("FltReadFile");
    if (callback || context || !(flags & FLTFL_IO_OPERATION_DO_NOT_UPDATE_BYTE_OFFSET))
        fm_fault("not in this driver", "FltReadFile");
    if ((o->Flags & FO_NO_INTERMEDIATE_BUFFERING) && !direct)
        fm_fault("its handle has no cache", "FltReadFile");
    if (direct && (bytes % 512 || off->QuadPart % 512))
        return STATUS_INVALID_PARAMETER;
    /* Since then the driver could have seen it. */
    if (fm_object(o)->cleaned_at && fm_object(o)->cleaned_at < fm_me()->since)
        fm_fault("the handle was closed before", "FltReadFile");
    if (fm_object(o)->cleaned)
        return STATUS_FILE_CLOSED;
    if (!fm_has_memory())
        return STATUS_INSUFFICIENT_RESOURCES;
    if (!direct)
        fm_has_section(f);
    *n = fm_read_file(f, (uint64_t)off->QuadPart, bytes, buf, direct);
    return *n > 0 ? STATUS_SUCCESS : STATUS_END_OF_FILE;
}

/* ---- The memory manager ---------------------------------------------------------------------- */

ULONG NTAPI FsRtlIsPagingFile(PFILE_OBJECT o)
{
    struct fm_file *const f = file_of(o);

    fm_at_most(APC_LEVEL, "FsRtlIsPagingFile");
    return f && f->paging;
}

static struct fm_file *file_with(PSECTION_OBJECT_POINTERS p)
{
    return (struct fm_file *)((char *)p - offsetof(struct fm_file, sections));
}

BOOLEAN NTAPI MmDoesFileHaveUserWritableReferences(PSECTION_OBJECT_POINTERS p)
{
    fm_at_most(PASSIVE_LEVEL, "MmDoesFileHaveUserWritableReferences");
    if (!p)
        fm_fault("a directory has no sections", "MmDoesFileHaveUserWritableReferences");
    return p && file_with(p)->mapped_before;
}

/* A list of pages is the buffer itself. */
NTSTATUS FLTAPI FltLockUserBuffer(PFLT_CALLBACK_DATA d)
{
    fm_at_most(APC_LEVEL, "FltLockUserBuffer");
    if (FLT_IS_FASTIO_OPERATION(d))
        fm_fault("fast I/O has no list of pages", "FltLockUserBuffer");
    if (!fm_has_memory())
        return STATUS_INSUFFICIENT_RESOURCES;
    d->Iopb->Parameters.Read.MdlAddress = (PMDL)d->Iopb->Parameters.Read.ReadBuffer;
    return STATUS_SUCCESS;
}

PVOID NTAPI MmGetSystemAddressForMdlSafe(PMDL mdl, ULONG priority)
{
    (void)priority;
    return fm_has_memory() ? (PVOID)mdl : NULL;
}
