# SPDX-License-Identifier: BSD-2-Clause
"""What is compiled: the module cachemax._binding, made by cffi from the declarations below.

If pkg-config finds the library, the module is linked to it. If not, the library is compiled into
the module, from the source tree that this file is a part of. Keys of sealed pools (key_file) need
the source tree, which has examples/seal, and OpenSSL 3, which pkg-config finds.
The C compiler checks the declarations against cachemax.h. "...": it also finds out the rest.
"""
import os
import shlex
import shutil
import subprocess
import sys

import cffi

DECLARATIONS = """
#define CM_SIZE_UNKNOWN ...
#define CM_IGNORED ...
#define CM_DAMAGED ...
#define CM_EINVAL ...
#define CM_ENOMEM ...
#define CM_EIO ...
#define CM_ENOENT ...
#define CM_EEXIST ...
#define CM_EACCES ...
#define CM_ENOSPC ...
#define CM_EOWNED ...
#define CM_EBUSY ...
#define CM_ECALLBACK ...
#define CM_EFORKED ...
#define CM_EABSENT ...
#define CM_EMOVED ...
#define CM_ENOTSUP ...
#define CM_EKEY ...
#define CM_RACY_TIMES ...
#define CM_OPEN_READONLY ...
#define CM_SOLE_WRITER ...
#define CM_EXCLUSIVE ...
#define CM_IDENTIFY_SOLE_WRITER ...
#define CM_CHECK_REPAIR ...
#define CM_WARM_VERIFY ...
#define CM_ADVISE_NORMAL ...
#define CM_ADVISE_SEQUENTIAL ...
#define CM_ADVISE_NOREUSE ...
#define CM_ADVISE_KEEP ...

typedef ... cm_cache;
typedef ... cm_file;
typedef struct { uint64_t hi, lo; } cm_file_id;
typedef struct { uint64_t id; } cm_bracket;
typedef struct { ...; } cm_sync;
typedef struct {
    uint32_t struct_size, racy; uint64_t taken_at, size; int64_t changed_ns; ...;
} cm_validator;
typedef void (*cm_log_fn)(void *, int, const char *);
typedef ... cm_seal;
typedef struct {
    uint64_t size; cm_log_fn log; void *log_ctx; const cm_seal *seal; ...;
} cm_create_options;
typedef struct {
    uint32_t flags, policy; uint64_t fill_rate_limit, probation_bytes, read_size_max;
    cm_log_fn log; void *log_ctx; const cm_seal *seal; ...;
} cm_options;
typedef struct { uint32_t flags; const char *volume_id; ...; } cm_identify_options;
typedef struct {
    uint32_t struct_size; cm_file_id id; uint64_t incarnation, size, cached_bytes;
    uint32_t dirty, racy, kept, brackets, bypassed, want_validator; ...;
} cm_file_info;
typedef struct {
    uint32_t struct_size; uint64_t size, slots, used_slots, max_files, used_files;
    uint32_t durability, clean, emptied, sealed; ...;
} cm_info;
typedef struct {
    uint32_t flags; uint64_t bytes_per_second;
    int (*progress)(void *, uint64_t, uint64_t); void *progress_ctx;
    ...;
} cm_warm_options;
typedef struct {
    uint32_t struct_size; uint64_t end, cached, stored, read, verified, differed, undecided; ...;
} cm_warm_report;
typedef struct {
    uint32_t struct_size; uint64_t slots, valid, orphaned, bad_headers, bad_payload, unreadable,
    stale_cells, bad_cells, duplicates, records, torn_records, dropped; ...;
} cm_check_report;
typedef struct { uint32_t struct_size; ...; } cm_stats_data;

const char *cm_strerror(int);
const char *cm_errname(int);
const char *cm_version(void);
uint64_t cm_now(void);
void cm_create_options_init(cm_create_options *, size_t);
void cm_options_init(cm_options *, size_t);
void cm_identify_options_init(cm_identify_options *, size_t);
void cm_validator_init(cm_validator *, size_t);
void cm_validator_set_proof(cm_validator *, const void *, size_t);
void cm_warm_options_init(cm_warm_options *, size_t);
int cm_create(const char *, const cm_create_options *);
int cm_open(const char *, const cm_options *, cm_cache **);
int cachemax_close(cm_cache **);
int cm_identify_with(intptr_t, const cm_identify_options *, cm_file_id *, cm_validator *);
int cm_file_open(cm_cache *, const cm_file_id *, const cm_validator *, uint32_t, cm_file **);
int cachemax_file_close(cm_file **);
int cm_file_abort(cm_file *);
int cm_file_revalidate(cm_file *, const cm_validator *);
int cm_file_advise(cm_file *, int);
int cm_file_get_info(cm_file *, cm_file_info *);
int cm_file_lookup(cm_cache *, const cm_file_id *, cm_validator *, cm_file_info *);
int cm_validator_equal(const cm_validator *, const cm_validator *);
int64_t cm_file_cached(cm_file *, uint64_t, uint64_t);
int64_t cachemax_read_whole(cm_file *, uint64_t, void *, size_t, uint64_t);
int64_t cm_read_through_version(cm_file *, uint64_t, void *, size_t, uint64_t *,
                                int64_t (*)(void *, uint64_t, void *, size_t), void *);
int cm_warm(cm_file *, uint64_t, uint64_t, const cm_warm_options *,
            int64_t (*)(void *, uint64_t, void *, size_t), void *, cm_warm_report *);
int cm_write_begin(cm_file *, uint64_t, uint64_t, cm_bracket *);
int cm_truncate_begin(cm_file *, uint64_t, cm_bracket *);
int cm_write_end(cm_file *, const cm_bracket *, const cm_validator *);
int cm_sync_begin(cm_file *, cm_sync *);
int cm_sync_end(cm_file *, const cm_sync *, int, const cm_validator *);
int cm_invalidate(cm_file *, uint64_t, uint64_t);
int cm_forget(cm_cache *, const cm_file_id *);
int cm_checkpoint(cm_cache *);
int cm_get_info(cm_cache *, cm_info *);
int cm_stats(cm_cache *, cm_stats_data *);
const char *cm_stat_name(unsigned);
uint64_t cm_stat_value(const cm_stats_data *, unsigned);
int cm_check(cm_cache *, uint32_t, int (*)(void *, uint64_t, uint64_t), void *, cm_check_report *);

struct seal_openssl;
struct seal_openssl *seal_file_read(const char *, int, const char **);
int seal_file_encrypts(const char *);
const cm_seal *seal_file_of(const struct seal_openssl *);
void seal_file_free(struct seal_openssl *);

extern "Python" int64_t cachemax_origin(void *, uint64_t, void *, size_t);
extern "Python" int cachemax_progress(void *, uint64_t, uint64_t);
extern "Python" void cachemax_log(void *, int, const char *);
"""


# A close and the note that it has closed are one step for Python: no signal comes between them.
OWN = """
static int cachemax_close(cm_cache **c)
{
    int e = *c ? cm_close(*c) : 0;
    if (e == 0 || e == CM_EIO || e == CM_ESEAL || e == CM_ETRUNCATED) /* else it is still open */
        *c = NULL;
    return e;
}
static int cachemax_file_close(cm_file **f)
{
    int e = *f ? cm_file_close(*f) : 0;
    if (e == 0)
        *f = NULL;
    return e;
}
/* cm_read_whole() of one version; 0: of any. No version comes back, so a look after it is enough:
 * the file has had the wanted one all the time. */
static int64_t cachemax_read_whole(cm_file *f, uint64_t offset, void *to, size_t len,
                                   uint64_t version)
{
    cm_file_info info = CM_FILE_INFO_INIT;
    int64_t n = cm_read_whole(f, offset, to, len, 0);
    int e = n >= 0 && version ? cm_file_get_info(f, &info) : 0;
    return e ? e : n >= 0 && version && info.incarnation != version ? CM_EMOVED : n;
}
"""

# In the place of examples/seal, where there is no source tree.
NO_KEYS = """
#include <cachemax.h>
struct seal_openssl;
static struct seal_openssl *seal_file_read(const char *file, int encrypts, const char **why)
{
    *why = "this module was built without the source tree, so it takes no keys";
    return NULL;
}
static int seal_file_encrypts(const char *pool) { return 0; }
static const cm_seal *seal_file_of(const struct seal_openssl *s) { return NULL; }
static void seal_file_free(struct seal_openssl *s) { }
"""


def pkg_config(*arguments):
    try:
        return shlex.split(subprocess.check_output(
            ["pkg-config", *arguments], stderr=subprocess.DEVNULL, text=True))
    except (OSError, subprocess.CalledProcessError):
        return None


def with_library(here, out):
    """The arguments for the compiler and the linker."""
    compile_args, link_args = pkg_config("--cflags", "cachemax"), pkg_config("--libs", "cachemax")
    if compile_args is not None and link_args is not None:
        return {"extra_compile_args": compile_args, "extra_link_args": link_args, "sources": []}
    program = os.path.join(here, "..", "..", "packaging", "amalgamate.py")
    if not os.path.exists(program):
        sys.exit("cachemax: pkg-config does not find the library, and this is no source tree of "
                 "it; install libcachemax-dev, or build from the source tree")
    subprocess.check_call([sys.executable, program, out], stdout=subprocess.DEVNULL)
    link_args = ["-pthread"]
    if sys.platform.startswith("linux"):
        # This copy calls only its own functions, also in a program that has another one, and stays:
        # handlers of the process point into it (docs/embedding.md, "Two copies in one process").
        names = os.path.join(out, "names.map")
        with open(names, "w", encoding="ascii") as f:
            f.write("{ global: PyInit_*; local: *; };\n")
        link_args += ["-Wl,--version-script=" + names, "-Wl,-z,nodelete"]
    return {"include_dirs": [out], "sources": ["build/library/cachemax.c"],
            "extra_compile_args": [], "extra_link_args": link_args}


def with_keys(here, out, arguments):
    """The same, and the text that declares the calls."""
    seal = os.path.join(here, "..", "seal")
    if not os.path.exists(seal):
        return NO_KEYS, arguments
    cflags = pkg_config("--cflags", "libcrypto >= 3.0")
    libs = pkg_config("--libs", "libcrypto >= 3.0")
    files = ["seal_file"]
    if cflags is not None and libs is not None:
        files.append("seal_openssl")
        arguments["extra_compile_args"] += ["-DHAVE_OPENSSL", *cflags]
        arguments["extra_link_args"] += libs
    for name in files:  # setuptools wants sources below its folder
        for suffix in (".c", ".h"):
            shutil.copy(os.path.join(seal, name + suffix), out)
        arguments["sources"].append("build/library/%s.c" % name)
    arguments.setdefault("include_dirs", []).append(out)
    return '#include <cachemax.h>\n#include <seal_file.h>', arguments


def how():
    here = os.path.dirname(os.path.abspath(__file__))
    out = os.path.join(here, "build", "library")
    os.makedirs(out, exist_ok=True)
    return with_keys(here, out, with_library(here, out))


ffi = cffi.FFI()
ffi.cdef(DECLARATIONS)
text, arguments = how()
ffi.set_source("cachemax._binding", text + OWN, **arguments)
