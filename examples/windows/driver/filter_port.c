/* SPDX-License-Identifier: BSD-2-Clause
 *
 * filter_port.c - the driver's communication port: the service's connection, and the calls of the
 * system that the core needs (struct fc_env).
 *
 * Owns: the ports, the number of the connection, and the rules that came with it.
 *
 * The Filter Manager sends through whatever connection the port has. So a message of an old life
 * could reach a new service. Therefore each message holds rundown protection of its connection's
 * number, and a new connection is accepted only when all messages of the old one have returned.
 *
 * Who: CacheFilter.c opens and closes it; the core, filter_ops.c and filter_streams.c send
 * through it.
 */
#include "filter_shell.h"

#include "folders.h"

#define PORT_NAME L"\\CacheFilterPort"
#define TIMEOUT_MS 2000
#define RULES_MAX 32768u
#define CAPITALS_MAX (RULES_MAX / 2 * 3) /* the capital of a letter of two bytes may have three */
#define PATH_MAX_BYTES 4096u

/* Every operation on every file looks at the first three: without a lock. Who changes them has it.
 * Its users, of which the judge of a new stream shares it, do not wait for anything else. */
static struct {
    PVOID volatile process; /* of the service */
    volatile LONG life;     /* of the connection, 0: none */
    volatile LONG rules; /* counts up with each connection that brought others; 1: none has yet */
    volatile LONG tends; /* the item that tends is queued, and has not begun. No lock */
    PFLT_PORT server, client;
    EX_RUNDOWN_REF messages;
    EX_RUNDOWN_REF greetings; /* run down: the driver leaves, and nobody may connect */
    EX_PUSH_LOCK lock;        /* all that follows. Is in no memory of its own: never deleted */
    BOOLEAN vacant;           /* a service may connect: no message of the last one is on its way */
    ULONG last_life;
    BOOLEAN anyone; /* there are no rules: whatever might be cached is kept track of */
    struct folders folders;
    CHAR pool[256]; /* the device of the pool's volume */
    CHAR text[RULES_MAX];
    ULONG bytes;                 /* of the text; 0: there are no rules */
    CHAR capitals[CAPITALS_MAX]; /* the same in capital letters: the folders' names are in it */
} port;

/* ---- Rules ----------------------------------------------------------------------------------- */

struct path {
    WCHAR wide[PATH_MAX_BYTES];
    CHAR path[PATH_MAX_BYTES];
};

/* A file system compares names so, and the Filter Manager may give a file the name that its opener
 * has used. By other letters it would be a file that is left out, whose changes nobody sees. A
 * volume that an older system has made may know fewer pairs of letters: then two folders are one
 * here, which is safe. */
static VOID to_capitals(WCHAR *text, ULONG bytes)
{
    for (ULONG i = 0; i < bytes / sizeof(WCHAR); i++)
        text[i] = RtlUpcaseUnicodeChar(text[i]);
}

/* Makes port.capitals of a text of UTF-8. *n: its bytes. What is no UTF-8 has the status
 * STATUS_SOME_NOT_MAPPED, which is no error. */
static NTSTATUS make_capitals(const CHAR *text, ULONG bytes, ULONG *n)
{
    WCHAR *const wide = nt_allocate(bytes * sizeof(WCHAR), TAG);
    NTSTATUS s = STATUS_INSUFFICIENT_RESOURCES;
    ULONG used = 0;

    if (!wide)
        return s;
    s = RtlUTF8ToUnicodeN(wide, bytes * (ULONG)sizeof(WCHAR), &used, text, bytes);
    to_capitals(wide, used);
    if (s == STATUS_SUCCESS)
        s = RtlUnicodeToUTF8N(port.capitals, CAPITALS_MAX, n, wide, used);
    ExFreePoolWithTag(wide, TAG);
    return s == STATUS_SUCCESS ? s : STATUS_INVALID_PARAMETER;
}

/* Texts that each end with a NUL: "folder=\Device\HarddiskVolume3\data", "exclude=*.tmp",
 * "pool=\Device\HarddiskVolume5", in capital letters. FALSE: it is not understood. */
static BOOLEAN take_lines(const CHAR *text, ULONG bytes)
{
    ULONG at = 0;

    memset(&port.folders, 0, sizeof(port.folders));
    port.pool[0] = 0;
    while (at < bytes) {
        const CHAR *line = text + at;
        const ULONG n = (ULONG)strlen(line);

        at += n + 1;
        if (n > 7 && !memcmp(line, "FOLDER=", 7) && port.folders.count < FOLDERS_MAX)
            port.folders.folder[port.folders.count++] = line + 7;
        else if (n > 8 && !memcmp(line, "EXCLUDE=", 8) &&
                 port.folders.excludes < FOLDERS_EXCLUDES_MAX)
            port.folders.exclude[port.folders.excludes++] = line + 8;
        else if (n > 5 && n - 5 < sizeof(port.pool) && !memcmp(line, "POOL=", 5))
            memcpy(port.pool, line + 5, n - 4);
        else
            return FALSE;
    }
    return TRUE;
}

/* What is not understood is no reason to cache anything. */
static NTSTATUS read_rules(const CHAR *context, ULONG bytes)
{
    NTSTATUS s;
    ULONG n = 0;

    port.bytes = 0;
    if (bytes == 0 || bytes > RULES_MAX || context[bytes - 1] != 0)
        return STATUS_INVALID_PARAMETER;
    s = make_capitals(context, bytes, &n);
    if (!NT_SUCCESS(s))
        return s;
    if (!take_lines(port.capitals, n))
        return STATUS_INVALID_PARAMETER;
    memcpy(port.text, context, bytes);
    port.bytes = bytes;
    return s;
}

/* Locked. A service that was started again mostly brings the rules that there are. Then the
 * verdicts count: else what may not ask the file system would not know its own. */
static NTSTATUS take_rules(const CHAR *context, ULONG bytes)
{
    NTSTATUS s;

    if (bytes > 0 && bytes == port.bytes && memcmp(context, port.text, bytes) == 0)
        return STATUS_SUCCESS;
    s = read_rules(context, bytes);
    port.anyone = !NT_SUCCESS(s);
    /* Ordered as a whole, and with the lock held: who has the number gets these rules, or later. */
    (void)InterlockedIncrement(&port.rules);
    return s;
}

/* Acquire: what is judged afterwards is judged by the rules of this number, or by later ones. Then
 * the number is another one, and it is judged again. */
ULONG port_rules(void)
{
    return (ULONG)ReadAcquire(&port.rules);
}

/* Acquire, with the exchange in connect(): whose process it is was set before. So this is asked
 * before port_is_service(). A thread of the service that asks in the other order, while another one
 * connects, may find first no process and then a connection. */
BOOLEAN port_is_connected(void)
{
    return ReadAcquire(&port.life) != 0;
}

/* The name in capital letters, as UTF-8. *n: its bytes. FALSE: it does not fit, or is no Unicode.
 * (Of the latter a part is another letter then, and the status is STATUS_SOME_NOT_MAPPED, a success
 * code.) No letter takes fewer bytes than words. */
static BOOLEAN path_of(PCUNICODE_STRING name, struct path *to, ULONG *n)
{
    if (name->Length > sizeof(to->wide))
        return FALSE;
    memcpy(to->wide, name->Buffer, name->Length);
    to_capitals(to->wide, name->Length);
    if (RtlUnicodeToUTF8N(to->path, PATH_MAX_BYTES - 1, n, to->wide, name->Length) !=
        STATUS_SUCCESS)
        return FALSE;
    to->path[*n] = 0;
    return TRUE;
}

/* A name that does not fit, or that is no Unicode, is not cached. The volume's part of it, a
 * device, has letters of ASCII only. */
BOOLEAN port_judges(PCUNICODE_STRING name, ULONG volume, struct fc_stream *s, BOOLEAN *wants)
{
    struct path *const room = nt_allocate(sizeof(*room), TAG);
    const char *by;
    ULONG n = 0;

    *wants = FALSE;
    if (!room)
        return FALSE;
    if (path_of(name, room, &n)) {
        s->path = volume <= n ? room->path + volume : room->path;
        FltAcquirePushLockShared(&port.lock);
        s->pools_volume = port.pool[0] && folders_is_below(port.pool, room->path);
        *wants = fc_stream_fits(s) &&
                 (port.anyone || folders_judge(&port.folders, room->path, &by) == FOLDERS_CACHED);
        FltReleasePushLock(&port.lock);
    }
    ExFreePoolWithTag(room, TAG);
    return TRUE;
}

/* ---- Jobs ------------------------------------------------------------------------------------ */

struct job {
    VOID (*run)(PVOID);
    PVOID context;
};

static VOID FLTAPI run_job(PFLT_GENERIC_WORKITEM item, PVOID filter, PVOID context)
{
    struct job job = *(struct job *)context;

    UNREFERENCED_PARAMETER(filter);
    ExFreePoolWithTag(context, TAG);
    FltFreeGenericWorkItem(item);
    job.run(job.context);
}

BOOLEAN port_later(VOID (*run)(PVOID), PVOID context)
{
    PFLT_GENERIC_WORKITEM item = FltAllocateGenericWorkItem();
    struct job *job = nt_allocate(sizeof(*job), TAG);

    if (item && job) {
        *job = (struct job){ run, context };
        if (NT_SUCCESS(
                FltQueueGenericWorkItem(item, driver.filter, run_job, DelayedWorkQueue, job)))
            return TRUE;
    }
    if (item)
        FltFreeGenericWorkItem(item);
    if (job)
        ExFreePoolWithTag(job, TAG);
    return FALSE;
}

/* ---- The connection -------------------------------------------------------------------------- */

/* From now on no message is sent through it, and when this returns none is on its way. Then the
 * next service may come. `close`: this end of it is to be closed; else the Filter Manager does. */
static VOID end_connection(ULONG life, BOOLEAN close)
{
    BOOLEAN mine;

    FltAcquirePushLockExclusive(&port.lock);
    mine = life != 0 && port.life == (LONG)life;
    if (mine) {
        /* Ordered as a whole, with the acquire in port_is_service(): a thread of the service that
         * does not find its process any more finds the life over when it asks. */
        (void)InterlockedExchange(&port.life, 0);
        (void)InterlockedExchangePointer(&port.process, NULL);
    }
    FltReleasePushLock(&port.lock);
    if (!mine)
        return;
    fc_disconnect(&driver.core, life);
    if (close) /* whoever waits for a reply returns now */
        FltCloseClientPort(driver.filter, &port.client);
    ExWaitForRundownProtectionRelease(&port.messages);
    FltAcquirePushLockExclusive(&port.lock);
    port.client = NULL;
    port.vacant = TRUE;
    FltReleasePushLock(&port.lock);
}

/* A new connection: its messages need a thread, and this one is the service's, which waits. */
static VOID greet(PVOID life)
{
    (void)fc_connect(&driver.core, (uint32_t)(ULONG_PTR)life);
    ExReleaseRundownProtection(&port.greetings);
}

static NTSTATUS FLTAPI connect(PFLT_PORT client, PVOID cookie, PVOID context, ULONG bytes,
                               PVOID *connection)
{
    const BOOLEAN may = ExAcquireRundownProtection(&port.greetings); /* greet() gives it back */
    NTSTATUS s = STATUS_CONNECTION_REFUSED;
    ULONG life = 0;

    UNREFERENCED_PARAMETER(cookie);
    FltAcquirePushLockExclusive(&port.lock);
    if (may && port.vacant)
        s = take_rules(context, bytes);
    if (NT_SUCCESS(s)) {
        life = ++port.last_life;
        port.vacant = FALSE;
        port.client = client;
        /* Ordered as a whole: who sees the connection sees whose it is, and who may send through it
         * sees both. */
        (void)InterlockedExchangePointer(&port.process, PsGetCurrentProcessId());
        (void)InterlockedExchange(&port.life, (LONG)life);
        ExReInitializeRundownProtection(&port.messages);
    }
    FltReleasePushLock(&port.lock);
    *connection = (PVOID)(ULONG_PTR)life;
    if (NT_SUCCESS(s) && !port_later(greet, (PVOID)(ULONG_PTR)life)) {
        end_connection(life, FALSE);
        s = STATUS_INSUFFICIENT_RESOURCES;
    }
    if (may && !NT_SUCCESS(s))
        ExReleaseRundownProtection(&port.greetings);
    return s;
}

/* The service's end is gone. Messages that wait for a reply return now. If this end was closed
 * first, there is nothing left to do. */
static VOID FLTAPI disconnect(PVOID connection)
{
    end_connection((ULONG)(ULONG_PTR)connection, TRUE);
}

BOOLEAN port_is_service(void)
{
    /* Acquire, with the exchange in connect(). Its threads may have begun before it connects: then
     * ask() looks once more. */
    PVOID const process = ReadPointerAcquire(&port.process);

    return process && process == PsGetCurrentProcessId();
}

/* ---- What the core asks ---------------------------------------------------------------------- */

/* STATUS_TIMEOUT is a success code, and means that there is no reply. */
static int ask(void *ctx, uint32_t life, const void *message, uint32_t bytes, void *reply,
               uint32_t room, bool patient)
{
    LARGE_INTEGER timeout = { .QuadPart = -10000LL * TIMEOUT_MS };
    NTSTATUS s = STATUS_UNSUCCESSFUL;
    ULONG n = room;
    BOOLEAN lives;

    UNREFERENCED_PARAMETER(ctx);
    if (!ExAcquireRundownProtection(&port.messages))
        return FC_GONE;
    /* Acquire, with the exchange in connect(): the port's end of this life was set before, and
     * whose process it is. If the life ends from now on, that waits for this message before another
     * one begins. A thread of the service may have begun its operation before that connected. It
     * would wait for itself: so it hears no reply, as one that is being ended. */
    lives = ReadAcquire(&port.life) == (LONG)life;
    if (lives && port_is_service())
        s = STATUS_THREAD_IS_TERMINATING;
    else if (lives)
        s = FltSendMessage(driver.filter, &port.client, (PVOID)(uintptr_t)message, bytes, reply,
                           reply ? &n : NULL, patient ? NULL : &timeout);
    ExReleaseRundownProtection(&port.messages);
    if (s == STATUS_THREAD_IS_TERMINATING)
        return FC_STOPPED;
    if (s != STATUS_SUCCESS)
        return FC_GONE;
    return reply ? (int)n : 0;
}

/* The service notices that the port is closed. */
static void hang_up(void *ctx, uint32_t life)
{
    UNREFERENCED_PARAMETER(ctx);
    end_connection(life, TRUE);
}

static VOID FLTAPI tend_now(PFLT_GENERIC_WORKITEM item, PVOID filter, PVOID context)
{
    UNREFERENCED_PARAMETER(item);
    UNREFERENCED_PARAMETER(filter);
    UNREFERENCED_PARAMETER(context);
    /* Ordered as a whole, before the look at what is noted: who found the item queued, in tend(),
     * had noted it before. Who does not queues it again, which may be done from now on. */
    (void)InterlockedExchange(&port.tends, FALSE);
    fc_tend(&driver.core);
}

/* The item was made when the driver came, so this cannot fail for memory: nobody would be told of
 * an outside write until the next one. */
static void tend(void *ctx)
{
    UNREFERENCED_PARAMETER(ctx);
    if (InterlockedExchange(&port.tends, TRUE)) /* ordered as a whole, after the note: see above */
        return;
    if (!NT_SUCCESS(FltQueueGenericWorkItem(driver.tender, driver.filter, tend_now,
                                            DelayedWorkQueue, NULL)))
        (void)InterlockedExchange(&port.tends, FALSE); /* the filter ends, and the life with it */
}

uint64_t port_now_ns(void *ctx)
{
    LARGE_INTEGER hz, ticks = KeQueryPerformanceCounter(&hz);

    UNREFERENCED_PARAMETER(ctx);
    return (uint64_t)(ticks.QuadPart / hz.QuadPart) * 1000000000u +
           (uint64_t)(ticks.QuadPart % hz.QuadPart) * 1000000000u / (uint64_t)hz.QuadPart;
}

static void *alloc(void *ctx, size_t bytes)
{
    UNREFERENCED_PARAMETER(ctx);
    return nt_allocate(bytes, TAG);
}

static void release(void *ctx, void *at)
{
    UNREFERENCED_PARAMETER(ctx);
    ExFreePoolWithTag(at, TAG);
}

static void lock(void *ctx)
{
    UNREFERENCED_PARAMETER(ctx);
    ExAcquireFastMutex(&driver.lock);
}

static void unlock(void *ctx)
{
    UNREFERENCED_PARAMETER(ctx);
    ExReleaseFastMutex(&driver.lock);
}

const struct fc_env port_env = { .ask = ask,
                                 .hang_up = hang_up,
                                 .tend = tend,
                                 .now_ns = port_now_ns,
                                 .timeout_ns = TIMEOUT_MS * UINT64_C(1000000),
                                 .alloc = alloc,
                                 .free = release,
                                 .lock = lock,
                                 .unlock = unlock,
                                 .facts = stream_facts };

/* ---- Opening --------------------------------------------------------------------------------- */

NTSTATUS port_open(void)
{
    static WCHAR text[] = PORT_NAME;
    UNICODE_STRING name = { .Length = sizeof(text) - sizeof(WCHAR),
                            .MaximumLength = sizeof(text),
                            .Buffer = text };
    PSECURITY_DESCRIPTOR sd;
    OBJECT_ATTRIBUTES oa;
    NTSTATUS s;

    memset(&port, 0, sizeof(port)); /* a test loads the driver again */
    port.rules = 1;
    port.anyone = TRUE;
    FltInitializePushLock(&port.lock);
    ExInitializeRundownProtection(&port.greetings);
    ExInitializeRundownProtection(&port.messages);
    ExWaitForRundownProtectionRelease(&port.messages); /* nobody is connected */
    port.vacant = TRUE;
    s = FltBuildDefaultSecurityDescriptor(&sd, FLT_PORT_ALL_ACCESS);
    if (!NT_SUCCESS(s))
        return s;
    InitializeObjectAttributes(&oa, &name, OBJ_KERNEL_HANDLE | OBJ_CASE_INSENSITIVE, NULL, sd);
    s = FltCreateCommunicationPort(driver.filter, &port.server, &oa, NULL, connect, disconnect,
                                   NULL, 1);
    FltFreeSecurityDescriptor(sd);
    return s;
}

/* A service that is being greeted cannot be told to forget. The greeting ends with its reply or the
 * time-out. If all is forgotten after it, this waits for that, as fc_leave() does. */
VOID port_leave(void)
{
    ExWaitForRundownProtectionRelease(&port.greetings);
}

/* Nobody can connect any more; then what is connected ends. */
VOID port_close(void)
{
    FltCloseCommunicationPort(port.server);
    end_connection((ULONG)ReadAcquire(&port.life), TRUE); /* acquire: as above; nobody comes now */
}
