/* SPDX-License-Identifier: BSD-2-Clause
 *
 * outside.h - what the service does not see: the memory in which clients note writes that they make
 * without it, and claim those that may outlive it (docs/decisions/service.md).
 *
 * Service and clients map the same memory. It begins as zeros. Only the operations below touch it.
 */
#ifndef CACHEMAX_OUTSIDE_H
#define CACHEMAX_OUTSIDE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "cachemax.h"

#define OUTSIDE_PLACES 1024u
#define OUTSIDE_CLAIMS 512u

struct outside {
    struct {
        _Atomic uint64_t begun, ended; /* writes without a bracket */
    } place[OUTSIDE_PLACES];
    /* Writes in brackets that have not ended: half of the hash of the file's id, and the client. */
    _Atomic uint64_t claim[OUTSIDE_CLAIMS];
    _Atomic uint32_t name;  /* tells this memory from that of another place; 0: not yet given */
    _Atomic uint64_t space; /* where the clients' numbers count; 0: no service was here yet */
};

/* Who maps the memory gives it a name, if it has none. `name`: not 0. */
static inline void outside_give_name(struct outside *o, uint32_t name)
{
    uint32_t none = 0;

    (void)atomic_compare_exchange_strong(&o->name, &none, name);
}

static inline uint64_t outside_hash(const cm_file_id *id)
{
    const uint64_t h =
        (id->hi * UINT64_C(0x9e3779b97f4a7c15) ^ id->lo) * UINT64_C(0xbf58476d1ce4e5b9);
    return (h ^ h >> 29) | UINT64_C(1) << 32;
}
static inline unsigned outside_place(uint64_t hash)
{
    return (unsigned)(hash >> 33) % OUTSIDE_PLACES;
}

/* ---- Clients --------------------------------------------------------------------------------- */

/* All orders are seq_cst: the note comes before the write of the origin, which is a call of the
 * system, and the service's look comes after its copy. */
static inline void outside_begin(struct outside *o, uint64_t hash)
{
    atomic_fetch_add(&o->place[outside_place(hash)].begun, 1);
}
static inline void outside_end(struct outside *o, uint64_t hash)
{
    atomic_fetch_add(&o->place[outside_place(hash)].ended, 1);
}
/* Before the validator is taken that a file is opened with. */
static inline uint64_t outside_ended(struct outside *o, uint64_t hash)
{
    return atomic_load(&o->place[outside_place(hash)].ended);
}
/* Before a bracket is asked for. `client`: what the service calls this client. Returns the claim,
 * or -1: there is no room; then write outside. */
static inline int outside_claim(struct outside *o, uint64_t hash, uint32_t client)
{
    const uint64_t claim = hash >> 32 << 32 | client;
    for (unsigned i = 0; i < OUTSIDE_CLAIMS; i++) {
        const unsigned at = (outside_place(hash) + i) % OUTSIDE_CLAIMS;
        uint64_t none = 0;
        if (atomic_compare_exchange_strong(&o->claim[at], &none, claim))
            return (int)at;
    }
    return -1;
}
/* After the write, and before the bracket's end is told. */
static inline void outside_free(struct outside *o, int claim)
{
    atomic_store(&o->claim[claim], 0);
}

/* ---- The service ----------------------------------------------------------------------------- */

static inline uint64_t outside_begun(struct outside *o, uint64_t hash)
{
    return atomic_load(&o->place[outside_place(hash)].begun);
}
/* Is `number` that of all writes that have begun, and have all of them ended? */
static inline bool outside_quiet(struct outside *o, uint64_t hash, uint64_t number)
{
    return outside_begun(o, hash) == number && outside_ended(o, hash) == number;
}
static inline bool outside_is_claimed(struct outside *o, uint64_t hash)
{
    for (unsigned i = 0; i < OUTSIDE_CLAIMS; i++)
        if (atomic_load(&o->claim[i]) >> 32 == hash >> 32)
            return true;
    return false;
}
/* The client's process has ended, and so have its writes. */
static inline void outside_client_ended(struct outside *o, uint32_t client)
{
    for (unsigned i = 0; i < OUTSIDE_CLAIMS; i++) {
        uint64_t claim = atomic_load(&o->claim[i]);
        /* Two threads may do this at a time: who is late must not free what a client has claimed
         * there since. */
        if (claim != 0 && (uint32_t)claim == client)
            (void)atomic_compare_exchange_strong(&o->claim[i], &claim, 0);
    }
}

/* Do the numbers of the service's processes count here? Not if those in the claims were given by a
 * service that sees other processes (a container). `space`: of the service's processes, not 0. */
static inline bool outside_is_space(struct outside *o, uint64_t space)
{
    uint64_t none = 0;
    return atomic_compare_exchange_strong(&o->space, &none, space) || none == space;
}
/* Once a second: frees the claims of processes that have ended without a connection. A claimant of
 * 0 is a process that the service cannot see. */
static inline void outside_sweep(struct outside *o, bool (*has_ended)(uint32_t client))
{
    for (unsigned i = 0; i < OUTSIDE_CLAIMS; i++) {
        const uint32_t client = (uint32_t)atomic_load(&o->claim[i]);
        if (client != 0 && has_ended(client))
            outside_client_ended(o, client);
    }
}

#endif
