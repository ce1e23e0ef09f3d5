/* SPDX-License-Identifier: BSD-2-Clause
 *
 * tool.h - shared by the parts of the cachemax command line tool.
 *
 * Each command is one file cmd_*.c that exports one `struct tool_command`; main.c finds the
 * command and args.c reads its options. Results go to standard output, everything else to
 * standard error. A command returns an exit status.
 */
#ifndef CM_TOOL_H
#define CM_TOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "cachemax.h"

/* ---- Exit statuses ------------------------------------------------------------------------- */

/* X(name, value, text): the one table; --help prints it and cachemax(1) repeats it. */
#define TOOL_STATUS_MAP(X)                                                                         \
    X(TOOL_OK, 0, "done")                                                                          \
    X(TOOL_FAILED, 1, "failed: no such file, exists already, no permission, no space, I/O error")  \
    X(TOOL_USAGE, 2, "wrong command line: unknown command or option, bad size")                    \
    X(TOOL_REFUSED, 3,                                                                             \
      "not a usable pool or trace: other file, damaged, not trusted, wrong length or version")     \
    X(TOOL_OWNED, 4, "pool is open in another process")                                            \
    X(TOOL_DAMAGE, 5, "check found damage and left it, or warm --verify or replay a wrong byte")   \
    X(TOOL_UNKNOWN, 6, "advise: not enough was read through the pool yet")                         \
    X(TOOL_PARTLY, 7,                                                                              \
      "warm, pin: some was not cached, or not pinned; cached, forget, unpin, record: left out")    \
    X(TOOL_NO_MOUNT, 8, "no running cachemax-mount there, or it does not answer")                  \
    X(TOOL_SIGNAL, 128,                                                                            \
      "plus the signal's number: ended by it, such as 130 for Ctrl-C (Windows: 0xC000013A)")

enum tool_status {
#define TOOL_X(name, value, text) name = (value),
    TOOL_STATUS_MAP(TOOL_X)
#undef TOOL_X
};

#if defined(__GNUC__)
#define TOOL_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define TOOL_PRINTF(f, a)
#endif

/* ---- Commands and options (main.c, args.c) ------------------------------------------------- */

enum tool_argument { TOOL_NO_ARG, TOOL_NEEDS_ARG, TOOL_NEEDS_TWO, TOOL_MAY_ARG };

struct tool_option {
    const char *name; /* without dashes */
    char letter;      /* 0: none */
    enum tool_argument argument;
    const char *argument_name; /* for --help; NULL without argument */
    const char *help;
};

#define TOOL_OPTIONS_MAX 12
#define TOOL_MORE_MAX 15
#define TOOL_MORE_DEFAULT 3

/* What the command line said. value[i] belongs to option i of the command: NULL if the option is
 * absent, "" if it was given without an argument. second[i] is its second argument. */
struct tool_args {
    const char *operand;
    const char *more[TOOL_MORE_MAX]; /* the next operands; NULL from the first absent one on */
    char **operands;                 /* all of them, of a command that takes many */
    size_t noperands;
    const char *value[TOOL_OPTIONS_MAX], *second[TOOL_OPTIONS_MAX];
};

struct tool_command {
    const char *name;
    const char *operand; /* its first one; "[DIR]": one or none; NULL: it takes none */
    const char *more;    /* further operands, for --help; NULL: none */
    size_t more_max;     /* of them, TOOL_MORE_MAX at most; 0: TOOL_MORE_DEFAULT */
    bool many;           /* takes any number of operands */
    bool on_mounts;      /* it asks a running cachemax-mount */
    const char *summary; /* one line, for the list of commands */
    const char *help;    /* the rest of COMMAND --help */
    const struct tool_option *options;
    size_t noptions;
    int (*run)(const struct tool_args *args);
};

extern const struct tool_command tool_create, tool_resize, tool_info, tool_check, tool_stats,
    tool_cat, tool_bench, tool_replay, tool_advise, tool_dump, tool_files, tool_top, tool_dash,
    tool_compare, tool_warm, tool_forget, tool_pin, tool_unpin, tool_cached, tool_mode, tool_record,
    tool_list, tool_completion;
/* The commands, in the order of the list in --help; NULL after the last one. */
const struct tool_command *tool_command_at(size_t i);

/* Reads the arguments behind the command's name. TOOL_OK, or TOOL_USAGE after a message. *help is
 * set if --help was among them. */
int tool_read_args(const struct tool_command *command, int argc, char **argv,
                   struct tool_args *args, bool *help);
/* Says that an option has the wrong value, and what it wants. TOOL_USAGE. */
int tool_bad_option(const char *name, const char *value, const char *want);
/* The name that `word` was probably meant to be, of n names that lie `stride` bytes apart. NULL if
 * no name is near. */
const char *tool_nearest(const char *word, const void *names, size_t stride, size_t n);

/* ---- Messages (message.c) ------------------------------------------------------------------ */

/* The call that an error code of the library came from. The same code needs different advice. */
enum tool_action { TOOL_OPENING, TOOL_CREATING };

/* "cachemax: WHERE: text" on standard error, one line. All of it is written as tool_print() does,
 * so `where` and what the text has in it are names as they are. `where` NULL: none. */
void tool_message(const char *where, const char *format, ...) TOOL_PRINTF(2, 3);
/* Says what is wrong with the pool and what to do about it. Returns the exit status. */
int tool_pool_error(const char *pool, int code, enum tool_action action);
#define TOOL_VOLUME 2048
/* " at POINT", where the volume of `path` is mounted, or "" if that is not known. The name is as it
 * is. Returns text. */
const char *tool_volume_at(char text[TOOL_VOLUME], const char *path);
#define TOOL_WHY 800
/* cm_log_fn; ctx is a struct tool_log. */
struct tool_log {
    const char *pool;
    int max_level; /* the highest enum cm_log_level that is shown */
    bool opening;
    char held[TOOL_WHY]; /* the last error of an open; "": none */
};
void tool_log_line(void *ctx, int level, const char *text);
/* cm_open() with that log. A message that tool_pool_error() will give is not printed twice. */
int tool_open(struct tool_log *log, cm_options *options, cm_cache **cache);
/* Prints the error that a log has held back, unless tool_pool_error() will say it for `rc`. */
void tool_print_held(struct tool_log *log, int rc);
/* Would an open refuse the pool, because others could have written it? Then `why` says what is
 * wrong. Call this while this process has the pool open: then this call opens nothing. */
bool tool_is_untrusted(const char *pool, char why[TOOL_WHY]);
/* Is a path, or a name in it, longer than file systems take? */
bool tool_is_too_long(const char *path);
/* Flushes standard output; returns `status`, or TOOL_FAILED if output was lost. */
int tool_end_output(int status);

/* ---- Keys of sealed pools (key.c) ---------------------------------------------------------- */

/* Sets *seal to what cm_options.seal takes, with the key in `file`; NULL if `file` is NULL. It is
 * valid until tool_drop_key(). TOOL_OK, or TOOL_FAILED after a message. */
int tool_take_key(const char *file, bool encrypts, const cm_seal **seal);
/* The same for a pool that exists. */
int tool_take_key_of(const char *file, const char *pool, const cm_seal **seal);
void tool_drop_key(void);

/* ---- Sizes of pools (cmd_create.c) --------------------------------------------------------- */

/* Reads the size of a pool that shall have at least `least` bytes. `what`: how it is called on the
 * command line. TOOL_OK, or TOOL_USAGE after a message. */
int tool_read_pool_size(const char *what, const char *text, uint64_t least, uint64_t *size);

/* ---- Numbers as people write them (number.c) ----------------------------------------------- */

enum tool_size_result { TOOL_SIZE_OK, TOOL_SIZE_JUNK, TOOL_SIZE_NEGATIVE, TOOL_SIZE_OVERFLOW };

/* Reads "8G", "512MiB", "1.5T", "10GB", "4096". *rough: written as a fraction or in powers of
 * 1000, so the caller may round. */
enum tool_size_result tool_parse_size(const char *text, uint64_t *bytes, bool *rough);
enum tool_size_result tool_parse_count(const char *text, uint64_t *count);

#define TOOL_NUMBER_MAX 48
/* Each writes to `text` (TOOL_NUMBER_MAX bytes) and returns it. */
char *tool_bytes(char *text, uint64_t bytes);       /* "8.00 GiB" */
char *tool_bytes_exact(char *text, uint64_t bytes); /* "8.00 GiB (8589934592 bytes)" */
char *tool_count(char *text, uint64_t count);       /* "2064384 (2.1 million)" */
char *tool_duration(char *text, uint64_t ns);       /* "12.5 us" */
/* part / whole in percent; 0 of 0 is 0. */
double tool_percent(uint64_t part, uint64_t whole);
/* The same, but not shown as 100.00 if it is less. */
double tool_share(uint64_t part, uint64_t whole);

/* ---- Text of unknown origin (text.c) ------------------------------------------------------- */

/* Length of the valid UTF-8 sequence at `text`, and what it stands for; 0 if there is none. */
size_t tool_utf8(const char *text, uint32_t *code);
/* The value of a hexadecimal digit; -1: it is none, or a capital letter. */
int tool_hex(char c);
#define TOOL_PRINTABLE_MAX(bytes) (4 * (bytes) + 1)
/* Writes `name` to `text`, which has room for TOOL_PRINTABLE_MAX(strlen(name)), and returns it.
 * What a terminal should not get, and bytes that are not UTF-8, become \x1b and the like. */
const char *tool_printable(char *text, const char *name);
/* Writes `name` so to a stream. Needs no memory. */
void tool_print(FILE *to, const char *name);

/* ---- The curve (cmd_advise.c) -------------------------------------------------------------- */

/* Prints a line of a table with a bar for each size. `bytes`: the size of the pool. */
void tool_print_curve(const uint64_t hits[CM_CURVE_POINTS], uint64_t bytes);

/* ---- JSON (json.c) ------------------------------------------------------------------------- */

/* Writes one flat object of snake_case keys. */
struct tool_json {
    FILE *out;
    bool one_line;
    bool any;       /* a member was written */
    unsigned depth; /* objects that are open */
};
void json_begin(struct tool_json *j, FILE *out, bool one_line);
void json_string(struct tool_json *j, const char *key, const char *value);
void json_number(struct tool_json *j, const char *key, uint64_t value);
void json_bool(struct tool_json *j, const char *key, bool value);
void json_decimal(struct tool_json *j, const char *key, double value, int digits);
void json_null(struct tool_json *j, const char *key);
void json_numbers(struct tool_json *j, const char *key, const uint64_t *values, size_t n);
/* Opens an object as a member or, without a key, as an element of an array. Then all goes into it
 * until it is closed. */
void json_open(struct tool_json *j, const char *key);
void json_close(struct tool_json *j);
/* Opens an array as a member. Then all goes into it, without keys, until it is closed. */
void json_open_array(struct tool_json *j, const char *key);
void json_close_array(struct tool_json *j);
/* Member "curve": what the pool would serve at each of its sizes; null if that is not known. */
void json_curve(struct tool_json *j, const uint64_t hits[CM_CURVE_POINTS]);
void json_end(struct tool_json *j);

/* ---- Progress (progress.c) ----------------------------------------------------------------- */

/* A bar on standard error while long work runs, if standard error is a terminal. */
struct tool_progress {
    const char *label;
    uint64_t bytes;        /* bytes that the whole work is; 0: show no rate */
    uint64_t began, drawn; /* cm_now() */
    bool quiet, shown;     /* shown: a bar may be */
    bool on_screen;        /* there is a bar to erase */
};
void progress_begin(struct tool_progress *p, const char *label, uint64_t bytes, bool quiet);
/* For the library's progress callbacks; ctx is a struct tool_progress. Nonzero (cancel) after the
 * user asked the process to end. */
int progress_step(void *ctx, uint64_t done, uint64_t total);
/* Waits until the bytes that were read since the begin fit the rate, in bytes a second; 0: there is
 * none. */
void progress_keep_to_rate(struct tool_progress *p, uint64_t rate, uint64_t read, uint64_t done,
                           uint64_t total);
void progress_end(struct tool_progress *p);

#endif
