/* SPDX-License-Identifier: BSD-2-Clause
 *
 * trace.c - see trace.h.
 *
 * Owns the walk up the stack. The calls on the stack say which function of the library issued an
 * event, and in which call of the API. The walk needs a frame of every function that runs. So the
 * whole program keeps frame pointers, inlines nothing and makes no call a jump (meson.build).
 */
#include "../trace.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../world.h"
#include "names.h"
#include "places.h"

#define PLACE_TEXT 100

/* Who issued an event. */
struct issuer {
    const char *kind;     /* in the persist table */
    const char *function; /* that called the helper of media.h */
    const char *caller;   /* the first cm_ function around it; NULL: there is none */
    const char *api;      /* the outermost cm_ function; NULL: the library does not run */
};

static void **top; /* main's frame */
static struct cm_geometry geometry;

/* A frame begins with the address of the frame above it. The return address comes next. */
static void walk(void *calls[REC_CALLS])
{
    unsigned n = 0;
    for (void **frame = __builtin_frame_address(0); frame < top && n < REC_CALLS - 1;
         frame = (void **)frame[0])
        calls[n++] = frame[1];
    calls[n] = NULL;
}

static bool begins(const char *name, const char *with)
{
    return strncmp(name, with, strlen(with)) == 0;
}

/* Does the stack leave the library here? */
static bool of_the_test(const char *name)
{
    return begins(name, "op_") || begins(name, "world_") || begins(name, "rec_");
}

static struct issuer issuer_of(void *const *calls)
{
    static const char *const kinds[] = {
        "store", "cas", "write", "copy", "flush", "fence", "sync"
    };
    struct issuer by = { "", "", NULL, NULL };
    const char *name[REC_CALLS];
    size_t n = 0, i = 0;
    while (calls[n] && (name[n] = name_of(calls[n])))
        n++;
    while (i < n && !begins(name[i], "rec_")) /* up to the entry of recorder.c */
        i++;
    for (size_t k = 0; i < n && k < sizeof(kinds) / sizeof(*kinds); k++)
        if (begins(name[i] + strlen("rec_"), kinds[k]))
            by.kind = kinds[k];
    for (i++; i < n && (begins(name[i], "cm_media_") || begins(name[i], "__wrap_")); i++)
        ;
    if (i < n)
        by.function = name[i];
    for (size_t k = i; k < n && !of_the_test(name[k]); k++) {
        if (!begins(name[k], "cm_"))
            continue;
        by.api = name[k];
        if (k > i && !by.caller)
            by.caller = name[k];
    }
    return by;
}

static void meaning(const struct event *e, char *text, size_t n)
{
    char place[PLACE_TEXT] = "";
    if (e->kind == EV_STORE || (e->kind == EV_MEDIA && e->bytes == 8))
        place_word(&geometry, e->at, e->value, place, sizeof(place));
    else if (e->bytes > 0)
        place_range(&geometry, e->at, e->bytes, place, sizeof(place));
    snprintf(text, n, "%s%s", place,
             e->kind == EV_LOST                          ? ", which fails"
             : e->kind == EV_STORE && e->value == e->old ? ", unchanged"
                                                         : "");
}

static void print_event(size_t number, const struct event *e, const struct issuer *by)
{
    char functions[80], text[PLACE_TEXT + 20];
    meaning(e, text, sizeof(text));
    if (e->kind == EV_MARK)
        printf("%5zu  %s\n", number,
               e->value < CHECKPOINT ? "-- the origin changes" : "-- a checkpoint");
    else if (e->kind == EV_MEDIA)
        printf("%5zu  -- the test changes %s\n", number, text);
    else {
        snprintf(functions, sizeof(functions), "%s%s%s", by->function, by->caller ? " < " : "",
                 by->caller ? by->caller : "");
        printf("%5zu  %-5s  %-*s%s%s\n", number, by->kind, *text ? 40 : 0, functions,
               *text && strlen(functions) >= 40 ? "  " : "", text);
    }
}

static void print(const char *title, size_t n)
{
    printf("%s\n", title);
    const char *api = NULL;
    size_t all;
    const struct event *e = rec_log(&all);
    uint32_t thread = all > 0 ? e[0].thread : 0;
    for (size_t i = 0; i < n; i++) {
        struct issuer by = issuer_of(rec_calls(i));
        if (e[i].thread != thread)
            printf("  thread %u\n", e[i].thread);
        if (by.api && (e[i].thread != thread || !api || strcmp(by.api, api) != 0))
            printf("  %s\n", by.api);
        api = by.api;
        thread = e[i].thread;
        print_event(i + 1, &e[i], &by);
    }
    fflush(stdout);
}

trace_fn trace_begin(int argc, char **argv)
{
    bool wanted = false;
    for (int i = 1; i < argc; i++)
        wanted |= strcmp(argv[i], "--trace") == 0;
    if (!wanted)
        return NULL;
    /* The world's pool. */
    if (cm_format_plan(cm_format_size_min(CM_INCOMPAT_NAMES), 0, CM_INCOMPAT_NAMES, &geometry) != 0)
        abort();
    names_load();
    top = *(void ***)__builtin_frame_address(0); /* main called this */
    rec_trace(walk);
    return print;
}
