/* SPDX-License-Identifier: BSD-2-Clause
 *
 * filter_common.h - what the files of test_filter have in common: a service, and a file. The
 * service is made up: it notes what it is asked, and answers, refuses, is silent, or lets something
 * happen first, as the test says.
 */
#ifndef FILTER_COMMON_H
#define FILTER_COMMON_H

#include "harness.h"

#include <stdbool.h>

#include "cachemax.h"
#include "cachemax_protocol.h"
#include "filter_core.h"

#define BLOCK 4096u
#define DATA_MAX (2 * BLOCK)
#define SLOTS 8u
#define LOG_MAX 256u

extern struct asked {
    uint32_t life;
    struct cmp_head head;
    uint8_t body[96]; /* its begin */
    bool patient;
} asked[LOG_MAX];
extern unsigned n_asked;
extern struct service_state {
    bool silent, nonsense;   /* it does not answer; another request's answer */
    int refuse;              /* this command gets an error; 0: none */
    void (*meanwhile)(void); /* happens while `at` is asked, once */
    int at;
    uint32_t hello_flags;
    uint8_t pool;
    uint64_t version; /* of the file: counts up with each read if `moves` */
    bool moves;
    uint64_t cached_to; /* bytes of each file that are cached; the file ends at `ends` */
    uint64_t ends, ticket;
    uint32_t too_long, too_much; /* more is missing, or fits a message, than can be */
    uint64_t too_far;
    uint32_t handles;
    uint32_t hung_up; /* the last life that was */
    int stops;        /* the thread that asks this is ended meanwhile, and hears no reply */
} service;
extern bool facts_fail, facts_are_racy;
extern void (*at_facts)(void); /* happens while the facts are asked for, once */
extern uint64_t file_id, clock_ns;
extern void (*at_clock)(void); /* happens when the clock is looked at for the clock_calls-th time */
extern unsigned clock_calls;
extern unsigned tends;

extern const struct fc_env env;
extern struct fc fc;
extern struct fc_file file;
extern struct fc_write pending;
extern uint8_t buf[16 * BLOCK];
extern uint32_t got;
extern struct fc_read missed;

/* A filter without a service, and one file. */
void begin(void);
enum fc_answer read_at(uint64_t off, uint32_t len);
bool hits(void);
void write_some(void);
void write_outside(void);
void write_anything(void);
void connect_again(void); /* life 1 ends, and life 2 begins */
/* Has that command been asked since request `from`? Returns how often. */
unsigned times(unsigned from, uint16_t command);
/* The first request of that kind since `from`. */
const struct asked *first(unsigned from, uint16_t command);

extern const struct harness_test filter_rules_tests[], filter_fills_tests[];

#endif
