/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ring_win32.c - the ring's memory, its bell and its sleeping, on Windows: a named section and
 * named events.
 *
 * WaitOnAddress() does not cross processes, so every slot has an event, and so has a bell. They
 * reset themselves and remember one wake-up, so none is lost. Names hold a random number, which the
 * client gets by the pipe; only the owner may open what they name. They are global if this process
 * may make global ones; else the client has to be in the same session, or it gets no ring.
 *
 * Who: ring.c, ring_server.c, client_link.c.
 */
#include "ring.h"

#include "owner_win32.h"

#include <bcrypt.h>
#include <stdio.h>

#include "os.h"

#define NAME_ROOM 64
#define NO_SLOT UINT32_MAX

enum kind { MEMORY, WAKE, BELL };

/* The name of an object in a namespace, 0 or 1. */
static void name_of(char to[NAME_ROOM], unsigned space, enum kind kind, uint64_t name,
                    unsigned slot)
{
    static const char *const spaces[] = { "Global", "Local" };
    static const char *const kinds[] = { "ring", "wake", "bell" };
    int n = snprintf(to, NAME_ROOM, "%s\\cachemax-%s-%016llx", spaces[space], kinds[kind],
                     (unsigned long long)name);

    if (slot != NO_SLOT)
        snprintf(to + n, NAME_ROOM - (size_t)n, "-%u", slot);
}

/* A new object; 0: it is there already, or there is no memory. */
static intptr_t make(enum kind kind, uint64_t name, unsigned slot)
{
    SECURITY_ATTRIBUTES a;
    char text[NAME_ROOM];
    HANDLE h = NULL;

    if (!owner_only(&a))
        return 0;
    for (unsigned space = 0; space < 2 && !h; space++) {
        name_of(text, space, kind, name, slot);
        h = kind == MEMORY ? CreateFileMappingA(INVALID_HANDLE_VALUE, &a, PAGE_READWRITE, 0,
                                                sizeof(struct ring), text)
                           : CreateEventA(&a, FALSE, FALSE, text);
        if (h && GetLastError() == ERROR_ALREADY_EXISTS) {
            CloseHandle(h); /* somebody else's */
            h = NULL;
            break;
        }
    }
    owner_only_end(&a);
    return (intptr_t)h;
}

/* What the service has made; 0: it cannot be found. */
static intptr_t find(enum kind kind, uint64_t name, unsigned slot)
{
    char text[NAME_ROOM];
    HANDLE h = NULL;

    for (unsigned space = 0; space < 2 && !h; space++) {
        name_of(text, space, kind, name, slot);
        h = kind == MEMORY ? OpenFileMappingA(FILE_MAP_READ | FILE_MAP_WRITE, FALSE, text)
                           : OpenEventA(SYNCHRONIZE | EVENT_MODIFY_STATE, FALSE, text);
    }
    return (intptr_t)h;
}

static bool new_name(uint64_t *name)
{
    do {
        if (BCryptGenRandom(NULL, (PUCHAR)name, sizeof(*name), BCRYPT_USE_SYSTEM_PREFERRED_RNG) !=
            0)
            return false;
    } while (*name == 0);
    return true;
}

/* ---- The bell -------------------------------------------------------------------------------- */

bool ring_bell_make(struct ring_bell *b)
{
    *b = (struct ring_bell){ 0 };
    if (new_name(&b->name))
        b->own = make(BELL, b->name, NO_SLOT);
    return b->own != 0;
}

void ring_bell_free(struct ring_bell *b)
{
    CloseHandle((HANDLE)b->own);
}

void ring_bell_ring(intptr_t bell)
{
    (void)SetEvent((HANDLE)bell);
}

void ring_bell_wait(const struct ring_bell *b)
{
    (void)WaitForSingleObject((HANDLE)b->own, INFINITE);
}

/* ---- The slots ------------------------------------------------------------------------------- */

void ring_sleep(struct ring_side *s, unsigned slot, uint64_t until)
{
    const uint64_t now = os_now_ns();

    /* The service swaps the state before it sets the event. A wake-up that an earlier wait did not
     * need ends this one early. */
    if (now < until)
        (void)WaitForSingleObject((HANDLE)s->wake[slot], (DWORD)((until - now + 999999) / 1000000));
}

void ring_wake(struct ring_side *s, unsigned slot)
{
    if (s->wake[slot])
        (void)SetEvent((HANDLE)s->wake[slot]);
}

/* ---- The memory ------------------------------------------------------------------------------ */

/* The section, if all of the ring is in it and has memory behind it: else a look at it would end
 * the process. */
static struct ring *map(intptr_t memory)
{
    MEMORY_BASIC_INFORMATION info;
    void *at =
        MapViewOfFile((HANDLE)memory, FILE_MAP_READ | FILE_MAP_WRITE, 0, 0, sizeof(struct ring));

    if (at && VirtualQuery(at, &info, sizeof(info)) == sizeof(info) && info.State == MEM_COMMIT &&
        info.RegionSize >= sizeof(struct ring))
        return at;
    if (at)
        UnmapViewOfFile(at);
    return NULL;
}

/* Gets the events of all slots by make() or find(). */
static bool get_events(struct ring_side *s, uint64_t name,
                       intptr_t (*get)(enum kind kind, uint64_t name, unsigned slot))
{
    for (unsigned i = 0; i < RING_SLOTS; i++) {
        s->wake[i] = get(WAKE, name, i);
        if (!s->wake[i])
            return false;
    }
    return true;
}

bool ring_make(struct ring_side *s, const struct ring_bell *b, struct ring_pass *p)
{
    *s = (struct ring_side){ 0 };
    *p = (struct ring_pass)RING_PASS_NONE;
    if (new_name(&p->name))
        s->memory = make(MEMORY, p->name, NO_SLOT);
    if (s->memory && get_events(s, p->name, make))
        s->ring = map(s->memory);
    if (s->ring) {
        p->bell = b->name;
        return true;
    }
    ring_leave(s);
    ring_pass_end(p);
    return false;
}

void ring_pass_end(struct ring_pass *p)
{
    *p = (struct ring_pass)RING_PASS_NONE; /* names only */
}

bool ring_take(struct ring_side *s, struct ring_pass *p)
{
    *s = (struct ring_side){ 0 };
    s->memory = find(MEMORY, p->name, NO_SLOT);
    s->bell = find(BELL, p->bell, NO_SLOT);
    if (s->memory && s->bell && get_events(s, p->name, find))
        s->ring = map(s->memory);
    ring_pass_end(p);
    if (!s->ring)
        ring_leave(s);
    return s->ring != NULL;
}

void ring_leave(struct ring_side *s)
{
    if (s->ring)
        UnmapViewOfFile(s->ring);
    for (unsigned i = 0; i < RING_SLOTS; i++)
        if (s->wake[i])
            CloseHandle((HANDLE)s->wake[i]);
    if (s->memory)
        CloseHandle((HANDLE)s->memory);
    if (s->bell)
        CloseHandle((HANDLE)s->bell);
    *s = (struct ring_side){ 0 };
}
