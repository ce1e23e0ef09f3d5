/* SPDX-License-Identifier: BSD-2-Clause
 *
 * places.c - see places.h.
 *
 * Owns the names of the structures and of their words. An offset is in an area of the pool, there
 * in a structure, and there in a word. Where docs/format.md has two fields in a word, the name has
 * both.
 */
#include "places.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum area { SUPERBLOCK, STATS, RECORD, NAME, BUCKET, HEADER, MEMO, PAYLOAD, UNUSED };

struct place {
    enum area area;
    uint64_t number; /* of the structure */
    unsigned word;   /* in it */
};

static const char *const structures[] = {
    [SUPERBLOCK] = "superblock copy",
    [STATS] = "stats page",
    [RECORD] = "record",
    [NAME] = "name of record",
    [BUCKET] = "bucket",
    [HEADER] = "header of slot",
    [MEMO] = "memo page",
    [PAYLOAD] = "payload of slot",
    [UNUSED] = "unused",
};

#define SUPER_WORDS (sizeof(struct cm_super) / 8)
#define RECORD_WORDS (sizeof(struct cm_record) / 8)
#define HEADER_WORDS (sizeof(struct cm_header) / 8)

/* clang-format off */
static const char *const super_words[] = {
    "magic", "byte order, version", "compat", "incompat", "uuid", "uuid", "pool_size", "slots",
    "record_buckets", "stripes", "stripe_buckets", "data_align", "hash_seed", "creation", "seq",
    "epoch", "inc_mark", "frontier", "state, durability", "boot_number, process id", "boot id",
    "boot id", "mount", "mount", "memo generation", "memo hand", "memo departures",
    "failed_boot, unnamed_boot", "failed_boot_id", "failed_boot_id",
    [30 ... SUPER_WORDS - 2] = "zero", [SUPER_WORDS - 1] = "sum"
};
static const char *const record_words[] = {
    "file id", "file id", "incarnation", "proof", "proof", "proof", "proof", "flags", "birth",
    "zero", "sum", "intents", "intents", "since", "since", "since", "since", "since", "since",
    "since", "since", "since", "since", "since", "state word", "size", "sum of size",
    "end of life", "last use", "hits", "sum of name", "attributes"
};
/* clang-format on */
static const char *const header_words[] = { "w0", "incarnation", "block and valid bytes", "sum" };

static_assert(sizeof(super_words) / sizeof(*super_words) == SUPER_WORDS, "every word has a name");
static_assert(sizeof(record_words) / sizeof(*record_words) == RECORD_WORDS, "every word");
static_assert(sizeof(header_words) / sizeof(*header_words) == HEADER_WORDS, "every word");

static struct place place_of(const struct cm_geometry *g, uint64_t offset)
{
    const struct {
        enum area area;
        uint64_t from, bytes, each; /* each: bytes of one structure */
    } areas[] = {
        { SUPERBLOCK, 0, (uint64_t)CM_SUPER_COPIES * CM_SUPER_STRIDE, CM_SUPER_STRIDE },
        { STATS, CM_STATS_OFFSET, CM_STATS_BYTES, CM_STATS_BYTES },
        { RECORD, g->record_offset, g->record_buckets * CM_RECORD_WAYS * sizeof(struct cm_record),
          sizeof(struct cm_record) },
        { NAME, g->name_offset, g->record_buckets * CM_RECORD_WAYS * sizeof(struct cm_name),
          sizeof(struct cm_name) },
        { BUCKET, g->index_offset, g->stripes * g->stripe_buckets * sizeof(struct cm_bucket),
          sizeof(struct cm_bucket) },
        { HEADER, g->header_offset, g->slots * sizeof(struct cm_header), sizeof(struct cm_header) },
        { MEMO, g->memo_offset, g->memo_pages * sizeof(struct cm_memo_page),
          sizeof(struct cm_memo_page) },
        { PAYLOAD, g->slot_offset, g->slots * CM_BLOCK_SIZE, CM_BLOCK_SIZE },
    };
    for (unsigned i = 0; i < sizeof(areas) / sizeof(*areas); i++) {
        uint64_t in = offset - areas[i].from;
        if (offset >= areas[i].from && in < areas[i].bytes)
            return (struct place){ areas[i].area, in / areas[i].each,
                                   (unsigned)(in % areas[i].each / 8) };
    }
    return (struct place){ UNUSED, 0, 0 };
}

static bool same_structure(const struct place *a, const struct place *b)
{
    return a->area == b->area && a->number == b->number;
}

/* The name of the word; NULL: the words of this structure have no names. */
static const char *field(const struct place *p)
{
    static const char *const memo_words[] = { "sum", "generation", "number" };
    switch (p->area) {
    case SUPERBLOCK:
        return p->word < SUPER_WORDS ? super_words[p->word] : "unused";
    case RECORD:
        return record_words[p->word];
    case HEADER:
        return header_words[p->word];
    case MEMO:
        return p->word < 3 ? memo_words[p->word] : p->word < 8 ? "zero" : "body";
    default:
        return NULL;
    }
}

#define WORD_OF(type, member) (offsetof(type, member) / 8)

/* The name of a word. Its value, too, where a reader of a trace needs it. */
static void say_word(const struct place *p, uint64_t v, char *text, size_t n)
{
    const char *name = field(p);
    if (p->area == SUPERBLOCK && p->word >= WORD_OF(struct cm_super, seq) &&
        p->word <= WORD_OF(struct cm_super, frontier))
        snprintf(text, n, " %s %" PRIu64, name, v);
    else if (p->area == SUPERBLOCK && p->word == WORD_OF(struct cm_super, state))
        snprintf(text, n, " state %s, durability",
                 (uint32_t)v == CM_SUPER_OPEN    ? "OPEN"
                 : (uint32_t)v == CM_SUPER_CLEAN ? "CLEAN"
                                                 : "neither OPEN nor CLEAN");
    else if (p->area == RECORD && p->word == WORD_OF(struct cm_record, incarnation))
        snprintf(text, n, " %s %" PRIu64, name, v);
    else if (p->area == RECORD && p->word == WORD_OF(struct cm_record, state))
        snprintf(text, n, " %s %s", name, v & CM_STATE_DIRTY ? "DIRTY" : "not DIRTY");
    else if (p->area == RECORD && (p->word == WORD_OF(struct cm_record, intents) ||
                                   p->word == WORD_OF(struct cm_record, intents) + 1))
        snprintf(text, n, " %s %08x", name, (uint32_t)v);
    else if (p->area == HEADER && p->word == WORD_OF(struct cm_header, w0))
        snprintf(text, n, " %s %s, sequence %" PRIu64, name, v & CM_W0_VALID ? "VALID" : "invalid",
                 v & CM_W0_SEQ_MASK);
    else if (p->area == HEADER && p->word == WORD_OF(struct cm_header, incarnation))
        snprintf(text, n, " %s %" PRIu64, name, v);
    else if (p->area == HEADER && p->word == WORD_OF(struct cm_header, block_valid))
        snprintf(text, n, " block %" PRIu64 ", %" PRIu64 " valid bytes", v >> CM_VALID_BITS,
                 v & ((1u << CM_VALID_BITS) - 1));
    else
        snprintf(text, n, "%s%s", name ? " " : "", name ? name : "");
}

static void say_structure(const struct place *p, char *text, size_t n)
{
    if (p->area == STATS || p->area == UNUSED) /* there is one only, or none */
        snprintf(text, n, "%s", structures[p->area]);
    else
        snprintf(text, n, "%s %" PRIu64, structures[p->area], p->number);
}

void place_word(const struct cm_geometry *g, uint64_t offset, uint64_t value, char *text, size_t n)
{
    struct place p = place_of(g, offset);
    char what[60], says[60];
    say_structure(&p, what, sizeof(what));
    say_word(&p, value, says, sizeof(says));
    if (p.area == BUCKET && value == 0)
        snprintf(text, n, "cell %u of %s, empty", p.word, what);
    else if (p.area == BUCKET)
        snprintf(text, n, "cell %u of %s -> slot %" PRIu64, p.word, what, cm_cell_slot(value));
    else
        snprintf(text, n, "%s%s", what, says);
}

void place_range(const struct cm_geometry *g, uint64_t offset, uint64_t bytes, char *text, size_t n)
{
    struct place first = place_of(g, offset), last = place_of(g, offset + bytes - 8);
    while (first.word < last.word && field(&first) && strcmp(field(&first), "zero") == 0)
        first.word++;
    struct place before = place_of(g, offset - 8), after = place_of(g, offset + bytes);
    char from[60], to[60];
    say_structure(&first, from, sizeof(from));
    say_structure(&last, to, sizeof(to));
    bool whole =
        (offset == 0 || !same_structure(&before, &first)) && !same_structure(&after, &last);
    if (offset == 0 && bytes == g->pool_size)
        snprintf(text, n, "the pool");
    else if (!same_structure(&first, &last))
        snprintf(text, n, "%s to %s", from, to);
    else if (whole || !field(&first))
        snprintf(text, n, "%s", from);
    else
        snprintf(text, n, "%s, %s to %s", from, field(&first), field(&last));
}
