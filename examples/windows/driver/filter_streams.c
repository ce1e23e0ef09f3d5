/* SPDX-License-Identifier: BSD-2-Clause
 *
 * filter_streams.c - streams: which of them are cached, and what the file system says of them.
 *
 * Owns the contexts of streams and of handles. A stream is judged by its name when it
 * is first used, and again when a service has brought other rules. Before the first one has come,
 * what might be cached is kept track of. A stream that other rules left out passes as long as it is
 * used: nobody has seen what was written to it, and what is on its way. A file that is renamed
 * meanwhile keeps its verdict until the stream is used by nobody: what is cached of it is right
 * under any name. What is changed under a name or as a kind that is left out makes the file cold,
 * if it may have another one (rule C6).
 *
 * Which streams are not cached at all: filter_rules.h.
 *
 * The facts of a file need a file object. An operation lends its own while it calls the core.
 *
 * Who: CacheFilter.c, filter_ops.c, filter_opens.c; the core asks for facts.
 */
#include "filter_shell.h"

#define FILETIME_1970 INT64_C(116444736000000000)

static VOID FLTAPI finish_later(PFLT_GENERIC_WORKITEM item, PVOID filter, PVOID context)
{
    UNREFERENCED_PARAMETER(filter);
    FltFreeGenericWorkItem(item);
    fc_file_done(&((struct stream *)context)->file);
    ExFreePoolWithTag(context, TAG);
}

/* The last user of the file is gone. This may be the memory manager's thread, which must not wait.
 * If no thread takes the message, the filter ends: then the life ends, too. Nobody has the file
 * open, so nobody has it mapped. */
static VOID FLTAPI clean(PFLT_CONTEXT context, FLT_CONTEXT_TYPE type)
{
    struct stream *const s = ((struct context *)context)->stream;

    UNREFERENCED_PARAMETER(type);
    if (!s)
        return;
    volume_leaves(s);
    if (volume_is_going(s->mount) && fc_was_written(&s->file)) /* C8 */
        stream_mapped(s);
    if (s->mapped)
        fc_write_end(&s->mapping);
    FltReleaseContext(s->mount);
    if (NT_SUCCESS(
            FltQueueGenericWorkItem(s->later, driver.filter, finish_later, DelayedWorkQueue, s)))
        return;
    FltFreeGenericWorkItem(s->later);
    ExFreePoolWithTag(s, TAG);
}

/* Of a handle that is marked, or may write. */
struct handle {
    BOOLEAN early; /* the stream's lock: rule R9 */
    bool counted;  /* the core's: rule B6 */
};

const FLT_CONTEXT_REGISTRATION stream_contexts[] = {
    { FLT_INSTANCE_CONTEXT, 0, volume_clean, sizeof(struct mount), TAG },
    { FLT_STREAM_CONTEXT, 0, clean, sizeof(struct context), TAG },
    { FLT_STREAMHANDLE_CONTEXT, 0, NULL, sizeof(struct handle), TAG },
    { FLT_CONTEXT_END, 0, NULL, 0, 0 }
};

/* ---- Facts ----------------------------------------------------------------------------------- */

/* Wraps before 1678 and after 2262, as the service's does: both make the same proof. */
static int64_t nanoseconds(LARGE_INTEGER filetime)
{
    return (int64_t)(((uint64_t)filetime.QuadPart - (uint64_t)FILETIME_1970) * 100);
}

/* The number of the file's last record in the volume's journal, or 0. */
static uint64_t journal_number(PCFLT_RELATED_OBJECTS o)
{
    USHORT versions[2] = { 2, 3 };
    /* USN_RECORD_V2 or _V3: length, version, ids, number, and a name of up to 255 characters. */
    uint64_t record[(80 + 2 * 260) / 8];
    USHORT version;
    uint64_t number = 0;
    ULONG n = 0;

    if (!NT_SUCCESS(FltFsControlFile(o->Instance, o->FileObject, FSCTL_READ_FILE_USN_DATA, versions,
                                     sizeof(versions), record, sizeof(record), &n)) ||
        n < 48)
        return 0;
    memcpy(&version, (const UCHAR *)record + 4, sizeof(version));
    if (version == 2 || version == 3)
        memcpy(&number, (const UCHAR *)record + (version == 2 ? 24 : 40), sizeof(number));
    return number;
}

static bool ask_id(PCFLT_RELATED_OBJECTS o, struct fc_facts *facts)
{
    FILE_ID_INFORMATION id;

    if (!NT_SUCCESS(FltQueryInformationFile(o->Instance, o->FileObject, &id, sizeof(id),
                                            FileIdInformation, NULL)))
        return false;
    facts->volume = id.VolumeSerialNumber;
    memcpy(facts->file, &id.FileId, sizeof(facts->file));
    return true;
}

bool stream_facts(void *ctx, const void *via, struct fc_facts *facts, bool only_id)
{
    const PCFLT_RELATED_OBJECTS o = via;
    FILE_STANDARD_INFORMATION size;
    FILE_BASIC_INFORMATION times;
    LARGE_INTEGER tick, now;
    uint64_t change;

    UNREFERENCED_PARAMETER(ctx);
    memset(facts, 0, sizeof(*facts));
    facts->taken_at = port_now_ns(NULL);
    KeQuerySystemTime(&tick);
    KeQuerySystemTimePrecise(&now);
    if (!ask_id(o, facts))
        return false;
    if (only_id)
        return true;
    if (!NT_SUCCESS(FltQueryInformationFile(o->Instance, o->FileObject, &size, sizeof(size),
                                            FileStandardInformation, NULL)) ||
        !NT_SUCCESS(FltQueryInformationFile(o->Instance, o->FileObject, &times, sizeof(times),
                                            FileBasicInformation, NULL)) ||
        size.Directory)
        return false;
    facts->size = (uint64_t)size.EndOfFile.QuadPart;
    facts->written_ns = nanoseconds(times.LastWriteTime);
    facts->changed_ns = nanoseconds(times.ChangeTime);
    change = journal_number(o);
    facts->change = change ? change : (uint64_t)times.CreationTime.QuadPart;
    facts->racy = fc_times_are_racy((uint64_t)times.LastWriteTime.QuadPart,
                                    (uint64_t)times.ChangeTime.QuadPart, (uint64_t)now.QuadPart,
                                    (uint64_t)tick.QuadPart);
    return true;
}

/* ---- Which streams --------------------------------------------------------------------------- */

/* FALSE: the file system does not tell. It may be a file of any kind then, also a directory. */
static BOOLEAN kind_of(PCFLT_RELATED_OBJECTS o, struct fc_stream *s, BOOLEAN *reparsed)
{
    FILE_BASIC_INFORMATION info;

    if (!NT_SUCCESS(FltQueryInformationFile(o->Instance, o->FileObject, &info, sizeof(info),
                                            FileBasicInformation, NULL)))
        return FALSE;
    *s = (struct fc_stream){ .paging = FsRtlIsPagingFile(o->FileObject) != 0 };
    *reparsed = (info.FileAttributes & FILE_ATTRIBUTE_REPARSE_POINT) != 0;
    s->directory = info.FileAttributes & FILE_ATTRIBUTE_DIRECTORY;
    s->encrypted = info.FileAttributes & FILE_ATTRIBUTE_ENCRYPTED;
    s->recalled = info.FileAttributes & (FILE_ATTRIBUTE_OFFLINE | FILE_ATTRIBUTE_RECALL_ON_OPEN |
                                         FILE_ATTRIBUTE_RECALL_ON_DATA_ACCESS);
    return TRUE;
}

struct verdict {
    BOOLEAN cached, by_name, elsewhere; /* as in struct stream */
    BOOLEAN reparsed;                   /* it has a reparse point */
};

static BOOLEAN has_other_names(PCFLT_RELATED_OBJECTS o)
{
    FILE_STANDARD_INFORMATION info;

    return !NT_SUCCESS(FltQueryInformationFile(o->Instance, o->FileObject, &info, sizeof(info),
                                               FileStandardInformation, NULL)) ||
           info.NumberOfLinks > 1;
}

/* Releases the name. FALSE: there is no memory to tell. */
static BOOLEAN judge_name(PFLT_FILE_NAME_INFORMATION name, struct fc_stream *s, BOOLEAN *cached)
{
    BOOLEAN said = NT_SUCCESS(FltParseFileNameInformation(name));

    s->alternate = name->Stream.Length > 0;
    said = said && port_judges(&name->Name, name->Volume.Length / sizeof(WCHAR), s, cached);
    FltReleaseFileNameInformation(name);
    return said;
}

/* FALSE: that cannot be said now, because there is no memory, or the file system does not tell the
 * name or the kind. */
static BOOLEAN is_wanted(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o, struct verdict *v)
{
    struct fc_stream s;
    PFLT_FILE_NAME_INFORMATION name;
    BOOLEAN fits, is_left_out; /* the name; the kind, which may be another one later (C6) */

    if (!kind_of(o, &s, &v->reparsed))
        return FALSE;
    is_left_out = s.encrypted || s.recalled;
    s.encrypted = s.recalled = FALSE;
    if (!NT_SUCCESS(FltGetFileNameInformation(
            d, FLT_FILE_NAME_NORMALIZED | FLT_FILE_NAME_QUERY_DEFAULT, &name)) ||
        !judge_name(name, &s, &fits))
        return FALSE;
    v->cached = fits && !is_left_out;
    v->by_name = !fits && fc_stream_has_kind(&s);
    v->elsewhere = !v->cached && (fits || (v->by_name && has_other_names(o)));
    return TRUE;
}

/* The system's cache has one, too. No fence: who writes the pages of a section keeps it, and one
 * that has pages from before a change was made before the file system began with that. */
static BOOLEAN has_section(PCFLT_RELATED_OBJECTS o)
{
    const PSECTION_OBJECT_POINTERS p = o->FileObject->SectionObjectPointer;

    return p && ReadPointerNoFence(&p->DataSectionObject);
}

/* C10. The number is taken before the look for pages: what has none then reads its pages after all
 * those writes. What has some may have them from before any of them. */
static LONG besides_of(struct mount *m, PCFLT_RELATED_OBJECTS o)
{
    const LONG n = volume_besides(m);

    return has_section(o) ? 0 : n;
}

static struct stream *make_stream(PCFLT_RELATED_OBJECTS o)
{
    struct stream *s = nt_allocate(sizeof(*s), TAG);
    PFLT_CONTEXT mount;

    if (!s)
        return NULL;
    memset(s, 0, sizeof(*s));
    s->later = FltAllocateGenericWorkItem();
    if (!s->later || !NT_SUCCESS(FltGetInstanceContext(o->Instance, &mount))) {
        if (s->later)
            FltFreeGenericWorkItem(s->later);
        ExFreePoolWithTag(s, TAG);
        return NULL;
    }
    s->mount = mount;
    s->besides = besides_of(s->mount, o);
    ExInitializeFastMutex(&s->lock);
    fc_file_init(&s->file, &driver.core);
    fc_file_is_on(&s->file, &s->mount->volume);
    if (s->mount->portable)
        fc_file_is_portable(&s->file);
    volume_joins(s);
    return s;
}

/* A context of a new stream, or the one that another thread has just made. */
static struct context *make_context(PCFLT_RELATED_OBJECTS o)
{
    PFLT_CONTEXT made = NULL, old = NULL;
    NTSTATUS s;

    if (!NT_SUCCESS(FltAllocateContext(driver.filter, FLT_STREAM_CONTEXT, sizeof(struct context),
                                       NonPagedPoolNx, &made)))
        return NULL;
    ((struct context *)made)->stream = make_stream(o);
    if (!((struct context *)made)->stream) {
        FltReleaseContext(made);
        return NULL;
    }
    s = FltSetStreamContext(o->Instance, o->FileObject, FLT_SET_CONTEXT_KEEP_IF_EXISTS, made, &old);
    if (NT_SUCCESS(s))
        return made;
    FltReleaseContext(made);
    return s == STATUS_FLT_CONTEXT_ALREADY_DEFINED ? old : NULL;
}

/* NULL: there is none. */
static struct context *context_of(PCFLT_RELATED_OBJECTS o)
{
    PFLT_CONTEXT found = NULL;

    if (!o->FileObject || (o->FileObject->Flags & FO_VOLUME_OPEN))
        return NULL;
    if (NT_SUCCESS(FltGetStreamContext(o->Instance, o->FileObject, &found)))
        return found;
    return make_context(o);
}

VOID stream_written(struct stream *s)
{
    struct fc_write w;

    fc_write_begin_outside(&s->file, &w);
    fc_write_end(&w);
}

/* A stream that nobody has looked at, and that is cached from now on, may have writes on their way:
 * it passes until nobody uses it. Two threads may judge it at a time, differently. What was asked
 * before the last doubt is no verdict. */
static VOID set_verdict(struct stream *s, const struct verdict *v, ULONG rules, ULONG doubts)
{
    BOOLEAN set;

    for (;;) {
        ExAcquireFastMutex(&s->lock);
        set = !v->cached || !s->left_out || s->mapped;
        if (set) {
            s->cached = v->cached;
            s->by_name = v->by_name;
            s->elsewhere = v->elsewhere;
            s->rules = s->doubts == doubts ? rules : 0;
            s->left_out = s->left_out || !v->cached;
        }
        ExReleaseFastMutex(&s->lock);
        if (set)
            return;
        stream_mapped(s);
    }
}

/* Is it open as it lies, or may it be? Asked after the question for its kind: who opens it so later
 * has it judged again. */
static BOOLEAN is_lying(struct stream *s)
{
    BOOLEAN is;

    ExAcquireFastMutex(&s->lock);
    is = s->lies;
    ExReleaseFastMutex(&s->lock);
    return is || volume_is_lying(s->mount);
}

/* Judges a stream. One with a mapping for writing that is older than this driver passes until
 * nobody uses it. One that cannot be judged now may be cached: its changes count, and the next
 * operation tries again. */
static BOOLEAN judge(struct stream *s, PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o,
                     BOOLEAN may_ask)
{
    const ULONG rules = port_rules();
    struct verdict v = { 0 };
    ULONG doubts;
    BOOLEAN counts, known;

    ExAcquireFastMutex(&s->lock);
    counts = s->cached || s->elsewhere;
    doubts = s->doubts;
    known = s->rules == rules;
    ExReleaseFastMutex(&s->lock);
    if (known || !may_ask)
        return counts || !known;
    known = is_wanted(d, o, &v);
    fc_know(&s->file, o); /* also if it is not cached: other rules may come */
    if (!known)
        return TRUE;
    if (v.cached && (MmDoesFileHaveUserWritableReferences(o->FileObject->SectionObjectPointer) ||
                     (v.reparsed && is_lying(s))))
        stream_mapped(s);
    set_verdict(s, &v, rules, doubts);
    return v.cached || v.elsewhere;
}

BOOLEAN stream_is_unwritten(struct stream *s)
{
    return ReadAcquire(&s->unwritten) || volume_is_going(s->mount);
}

static BOOLEAN is_cached(struct stream *s)
{
    const ULONG rules = port_rules();
    BOOLEAN is;

    ExAcquireFastMutex(&s->lock);
    is = s->cached && s->rules == rules;
    ExReleaseFastMutex(&s->lock);
    return is;
}

BOOLEAN stream_is_judged(struct stream *s)
{
    return is_cached(s) && !stream_is_unwritten(s);
}

/* C8: what is written until the file system has dismounted has been noted before that, so it is
 * found when the mount ends. What begins later changes nothing. */
BOOLEAN stream_has_brackets(struct stream *s)
{
    /* Acquire: as in stream_is_beside(). */
    return is_cached(s) && !ReadAcquire(&s->unwritten) && !volume_is_gone(s->mount);
}

BOOLEAN stream_is_elsewhere(struct stream *s)
{
    const ULONG rules = port_rules();
    BOOLEAN is;

    ExAcquireFastMutex(&s->lock);
    is = s->elsewhere && s->rules == rules;
    ExReleaseFastMutex(&s->lock);
    return is;
}

struct stream *stream_of(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o, BOOLEAN may_ask,
                         struct context **c)
{
    *c = context_of(o);
    if (!*c)
        return NULL;
    if (judge((*c)->stream, d, o, may_ask))
        return (*c)->stream;
    FltReleaseContext(*c);
    *c = NULL;
    return NULL;
}

struct context *stream_any(PCFLT_RELATED_OBJECTS o, BOOLEAN may_ask)
{
    struct context *const c = context_of(o);

    if (c && may_ask)
        fc_know(&c->stream->file, o);
    return c;
}

/* ---- What the cache cannot keep up with ------------------------------------------------------ */

/* Nobody tells when the last mapping is gone, or the section is about to be made. So the write
 * lasts as long as the file system knows the stream. */
VOID stream_mapped(struct stream *s)
{
    ExAcquireFastMutex(&s->lock);
    if (!s->mapped) {
        s->mapped = TRUE;
        fc_write_begin_outside(&s->file, &s->mapping);
    }
    ExReleaseFastMutex(&s->lock);
}

struct context *stream_known(PCFLT_RELATED_OBJECTS o)
{
    PFLT_CONTEXT c = NULL;

    if (!o->FileObject || !NT_SUCCESS(FltGetStreamContext(o->Instance, o->FileObject, &c)))
        return NULL;
    return c;
}

BOOLEAN stream_has_pages(PCFLT_RELATED_OBJECTS o)
{
    return has_section(o) || FsRtlIsPagingFile(o->FileObject);
}

VOID stream_beside(struct stream *s, PCFLT_RELATED_OBJECTS o)
{
    if (has_section(o)) /* ordered as a whole, before the end of the change is told */
        (void)InterlockedExchange(&s->beside, TRUE);
}

BOOLEAN stream_is_beside(struct stream *s)
{
    /* Acquire: a ticket that was given after the end of such a change goes with what it has set. */
    return ReadAcquire(&s->beside) || volume_besides(s->mount) != s->besides;
}

static VOID FLTAPI note_unwritten(PFLT_GENERIC_WORKITEM item, PVOID filter, PVOID context)
{
    struct context *const c = context;
    PFILE_OBJECT const object = c->stream->unwritten_object;

    UNREFERENCED_PARAMETER(item);
    UNREFERENCED_PARAMETER(filter);
    if (judge(c->stream, NULL, NULL, FALSE))
        stream_mapped(c->stream);
    FltReleaseContext(c);
    ObDereferenceObject(object);
}

/* From now on its reads pass and its changes are outside. The rest takes locks, which cannot be had
 * at this IRQL. Until it is done the file object is kept, and the stream with it: who opens the
 * file meanwhile would have another stream, which knows nothing of it. If no thread takes it, the
 * filter ends: then the life ends, too. */
VOID stream_unwritten(struct context *c, PFILE_OBJECT object)
{
    if (InterlockedExchange(&c->stream->unwritten, TRUE)) {
        FltReleaseContext(c);
        return;
    }
    ObReferenceObject(object);
    c->stream->unwritten_object = object;
    if (NT_SUCCESS(FltQueueGenericWorkItem(c->stream->later, driver.filter, note_unwritten,
                                           DelayedWorkQueue, c)))
        return;
    FltReleaseContext(c);
    ObDereferenceObject(object);
}

/* The file system gives a short name the long one that another file had with it a moment ago (its
 * tunnel cache). So what such a file will be called is known afterwards only. */
static BOOLEAN is_short(const FILE_RENAME_INFORMATION *name)
{
    ULONG n = name->FileNameLength / sizeof(WCHAR);

    while (n > 0 && name->FileName[n - 1] != '~' && name->FileName[n - 1] != '\\')
        n--;
    return n > 0 && name->FileName[n - 1] == '~';
}

/* For a stream that is not cached now because of its name. If it cannot be said whether its new
 * name is cached, it counts as cached. That is safe, and costs the blocks of one file. */
BOOLEAN stream_moves(PFLT_CALLBACK_DATA d, PCFLT_RELATED_OBJECTS o, FILE_RENAME_INFORMATION *to,
                     BOOLEAN may_ask)
{
    struct context *const c = context_of(o);
    PFLT_FILE_NAME_INFORMATION name;
    const ULONG rules = port_rules();
    struct fc_stream s = { 0 };
    BOOLEAN cached = TRUE, counts;

    if (!c)
        return !stream_is_lost(o);
    (void)judge(c->stream, d, o, may_ask);
    ExAcquireFastMutex(&c->stream->lock);
    counts = c->stream->by_name || c->stream->rules != rules;
    ExReleaseFastMutex(&c->stream->lock);
    if (counts && may_ask && !is_short(to) &&
        NT_SUCCESS(FltGetDestinationFileNameInformation(
            o->Instance, o->FileObject, to->RootDirectory, to->FileName, to->FileNameLength,
            FLT_FILE_NAME_NORMALIZED | FLT_FILE_NAME_QUERY_DEFAULT, &name)) &&
        !judge_name(name, &s, &cached))
        cached = TRUE;
    if (counts && cached)
        stream_mapped(c->stream);
    FltReleaseContext(c);
    return TRUE;
}

/* A transaction has a stream of its own, and this one knows nothing of it. */
VOID stream_transacted(struct stream *s)
{
    fc_transacted(&s->file);
    stream_mapped(s);
}

/* A stream that its name leaves out, or that is none of a plain file, stays so: no control code and
 * no open changes that, and a new name, or other rules, bring it in only as one that passes. So its
 * verdict stays. Else it would count as one that may be cached wherever nothing can be asked, and
 * be forgotten for nothing. One that is being judged now is judged again, though. */
static VOID doubt(struct stream *s, BOOLEAN lies)
{
    ExAcquireFastMutex(&s->lock);
    s->lies = s->lies || lies;
    if (s->cached || s->elsewhere)
        s->rules = 0;
    s->doubts++;
    ExReleaseFastMutex(&s->lock);
}

VOID stream_lies(struct stream *s)
{
    doubt(s, TRUE);
}

VOID stream_doubted(struct stream *s)
{
    doubt(s, FALSE);
}

static VOID set_locked(struct stream *s)
{
    ExAcquireFastMutex(&s->lock);
    s->locked = TRUE;
    ExReleaseFastMutex(&s->lock);
}

/* Whatever the rules say: they may change before the ranges are unlocked. */
BOOLEAN stream_locked(PCFLT_RELATED_OBJECTS o)
{
    struct context *const c = context_of(o);

    if (!c)
        return FALSE;
    set_locked(c->stream);
    FltReleaseContext(c);
    return TRUE;
}

/* NULL: it has none. */
static struct handle *handle_known(PCFLT_RELATED_OBJECTS o)
{
    PFLT_CONTEXT h;

    return NT_SUCCESS(FltGetStreamHandleContext(o->Instance, o->FileObject, &h)) ? h : NULL;
}

/* NULL: there is no memory. */
static struct handle *handle_of(PCFLT_RELATED_OBJECTS o)
{
    struct handle *const known = handle_known(o);
    PFLT_CONTEXT made = NULL, old = NULL;
    NTSTATUS s;

    if (known)
        return known;
    if (!NT_SUCCESS(FltAllocateContext(driver.filter, FLT_STREAMHANDLE_CONTEXT,
                                       sizeof(struct handle), NonPagedPoolNx, &made)))
        return NULL;
    memset(made, 0, sizeof(struct handle));
    s = FltSetStreamHandleContext(o->Instance, o->FileObject, FLT_SET_CONTEXT_KEEP_IF_EXISTS, made,
                                  &old);
    if (NT_SUCCESS(s))
        return made;
    FltReleaseContext(made);
    return s == STATUS_FLT_CONTEXT_ALREADY_DEFINED ? old : NULL;
}

/* If the handle cannot be marked, all of its stream passes. */
BOOLEAN stream_opened_early(PCFLT_RELATED_OBJECTS o)
{
    struct context *const c = context_of(o);
    struct handle *h;

    if (!c)
        return !stream_is_lost(o);
    h = handle_of(o);
    ExAcquireFastMutex(&c->stream->lock);
    c->stream->early = TRUE;
    if (h)
        h->early = TRUE;
    else
        c->stream->locked = TRUE;
    ExReleaseFastMutex(&c->stream->lock);
    if (h)
        FltReleaseContext(h);
    FltReleaseContext(c);
    return TRUE;
}

BOOLEAN stream_is_early(struct stream *s, PCFLT_RELATED_OBJECTS o)
{
    struct handle *h;
    BOOLEAN early;

    ExAcquireFastMutex(&s->lock);
    early = s->early; /* some handle is */
    ExReleaseFastMutex(&s->lock);
    h = early ? handle_known(o) : NULL;
    if (!h)
        return FALSE;
    ExAcquireFastMutex(&s->lock);
    early = h->early;
    ExReleaseFastMutex(&s->lock);
    FltReleaseContext(h);
    return early;
}

BOOLEAN stream_is_locked(struct stream *s)
{
    BOOLEAN locked;

    ExAcquireFastMutex(&s->lock);
    locked = s->locked;
    ExReleaseFastMutex(&s->lock);
    return locked;
}

/* Where the file system has no contexts nothing is cached. An instance that leaves its volume gets
 * no new ones. */
BOOLEAN stream_is_lost(PCFLT_RELATED_OBJECTS o)
{
    PFLT_CONTEXT c;
    NTSTATUS s;

    if (!o->FileObject || (o->FileObject->Flags & FO_VOLUME_OPEN))
        return FALSE;
    s = FltGetStreamContext(o->Instance, o->FileObject, &c);
    if (NT_SUCCESS(s)) {
        FltReleaseContext(c);
        return FALSE;
    }
    if (s == STATUS_NOT_SUPPORTED || !NT_SUCCESS(FltObjectReference(o->Instance)))
        return FALSE;
    FltObjectDereference(o->Instance);
    return TRUE;
}

/* A handle that cannot be marked counts as one that stays. */
VOID stream_writer(PCFLT_RELATED_OBJECTS o, BOOLEAN comes)
{
    struct context *c;
    struct handle *h;
    bool unmarked = false;

    if (!o->FileObject->WriteAccess || (o->FileObject->Flags & FO_VOLUME_OPEN) ||
        (comes && (o->FileObject->Flags & FO_CLEANUP_COMPLETE)))
        return;
    c = comes ? context_of(o) : stream_known(o);
    if (!c)
        return;
    h = comes ? handle_of(o) : handle_known(o);
    fc_writer(&c->stream->file, h ? &h->counted : &unmarked, comes);
    if (comes && h &&
        (o->FileObject->Flags & FO_CLEANUP_COMPLETE)) /* closed since the look above */
        fc_writer(&c->stream->file, &h->counted, FALSE);
    if (h)
        FltReleaseContext(h);
    FltReleaseContext(c);
}

/* After the cleanup of a handle. */
BOOLEAN stream_is_deleted(PCFLT_RELATED_OBJECTS o)
{
    FILE_STANDARD_INFORMATION info;
    const NTSTATUS s = FltQueryInformationFile(o->Instance, o->FileObject, &info, sizeof(info),
                                               FileStandardInformation, NULL);

    return s == STATUS_FILE_DELETED || (NT_SUCCESS(s) && info.NumberOfLinks == 0);
}
