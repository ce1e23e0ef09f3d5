#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""check-blocks.py SOURCE - do the blocks of C in the documents of the library compile?

What a block uses and does not declare is declared here, as its program would have it. Functions in
a block stand as they are, other lines become one function. Says what the compiler (CC) says.
"""
import os
import re
import subprocess
import sys

DOCUMENTS = ['docs/embedding.md', 'docs/objects.md']
HEADERS = '''#define _GNU_SOURCE
#include <cachemax.h>
#include <cachemax_objects.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "seal_openssl.h"
#define failed(what, why) ((void)(what), (void)(why), -1)
enum { LOGS = 7 };
struct job {
    cm_request request;
    cm_file *file;
    uint64_t offset, done, total;
    void *buf;
    size_t len;
    int fd, is_canceled;
};
'''
# A block that has its own of such a name hides it.
CONTEXT = '''struct job *j;
cm_cache *cache;
cm_file *file;
cm_file_id id;
cm_validator v, validator;
cm_options o, opts;
cm_miss miss;
cm_bracket w;
cm_objects *objects;
const char *path, *url, *etag, *key;
char buf[4096], data[4096];
uint64_t version, played_to, used, most, offset;
int64_t n;
size_t key_len, len, got;
int e, fd;
bool ending;
void my_log(void *ctx, int level, const char *text);
int64_t my_pread(void *ctx, uint64_t off, void *to, size_t bytes);
int64_t make_it(const char *of, char *to);
int64_t length_of(const char *of, size_t bytes);
void print_object(const char *of, size_t bytes, uint64_t size);
void show(const cm_file_id *of, uint64_t size, uint64_t cached, uint64_t hits, uint64_t when);
void show_range(uint64_t at, uint64_t bytes);
void report(const char *text);
void begin_again(void);
void job_ended(struct job *of, int64_t result);
void loop_pread(int of, const cm_piece *piece,
                void (*f)(struct job *, const cm_piece *, int64_t), struct job *to);
void loop_timer(struct job *of, uint64_t when);
void loop_post(void (*f)(struct job *), void *ctx);
'''


def program_of(block):
    functions = re.findall(r'^static .*?^\}$', block, re.S | re.M)
    rest = block
    for function in functions:
        rest = rest.replace(function, '')
    heads = [function.split('{')[0] for function in functions]
    own = [re.search(r'(\w+)\(', head).group(1) for head in heads]
    context = [line for line in CONTEXT.split('\n')
               if not any(re.search(r'\b%s\(' % name, line) for name in own)]
    kind = 'void' if re.search(r'\breturn;', rest) else 'int64_t'
    end = '' if kind == 'void' else '    return 0;\n'
    return '\n'.join([HEADERS] + context + [head.split(')')[0] + ');' for head in heads] +
                     functions + ['%s part(void);\n%s part(void)\n{' % (kind, kind)] +
                     ['    ' + line for line in rest.split('\n')] + [end + '}\n'])


def compile_it(source, program):
    cc = os.environ.get('CC', 'cc').split()
    r = subprocess.run(
        cc + ['-std=c11', '-Wall', '-Wextra', '-Werror', '-Wno-unused', '-fsyntax-only', '-xc',
              '-I' + source + '/include', '-I' + source + '/examples/seal', '-'],
        input=program, stderr=subprocess.PIPE, encoding='utf-8', check=False)
    return r.stderr


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for name in DOCUMENTS:
        with open(os.path.join(sys.argv[1], name), encoding='utf-8') as f:
            text = f.read()
        for m in re.finditer(r'^( *)```c\n(.*?)^ *```$', text, re.S | re.M):
            said = compile_it(sys.argv[1], program_of(m.group(2)))
            if said:
                print('%s:%d: %s' % (name, text[:m.start()].count('\n') + 1, said))


if __name__ == '__main__':
    main()
