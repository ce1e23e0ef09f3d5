#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""amalgamate.py - makes one C file of the library: cachemax.c, and its headers beside it.

  amalgamate.py OUTPUT_DIRECTORY [--xxhash FILE] [--cpp COMMAND]

It prints the names of the three files. It makes OUTPUT_DIRECTORY if that is not there, but not its
parents. A program takes these files into its own sources:

  cc -O2 -c cachemax.c
  cc program.c cachemax.o -pthread

FILE is xxhash.h (the compiler's search path is asked for it); its text, with its licence, becomes a
part of cachemax.c. COMMAND (cpp) runs over the assembly files, which become __asm__() statements.

How it works. src/meson.build lists the sources, floor by floor. A header's text comes once, before
the first source that needs it. Two sources may have static names, types or macros in common; such a
name gets the source's name behind it, and macros end with their source. What is for one system or
one processor stands between #if and #endif; the sources of other systems see none of its headers.
xxhash.h is there twice, the second time for AVX2 and with other names.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(HERE)
SRC = os.path.join(TOP, 'src')

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+"([^"]+)".*$', re.M)
# Comments, strings and characters; then identifiers.
TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|[A-Za-z_]\w*',
                   re.S)
IS_VARIABLE = re.compile(r'^[^=(]*\bstatic\b[^=(]*\b(?:struct|union|enum)\b[^=(]*$')
KEYWORDS = {'struct', 'union', 'enum', 'int', 'static', 'const', 'return'}
HEADERS = ('cachemax.h', 'cachemax_objects.h')
# Of the C library, in headers that the source with such a static name does not include.
LIBC = {'kill'}
TSAN = '''#ifdef __SANITIZE_THREAD__
#define CM_AMALGAMATION_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CM_AMALGAMATION_TSAN 1
#endif
#endif
'''


def fail(text):
    sys.exit('amalgamate.py: ' + text)


def read(path):
    try:
        with open(path, encoding='utf-8') as f:
            return f.read()
    except OSError as e:
        fail('%s cannot be read: %s' % (path, e.strerror))


# ---- What there is ------------------------------------------------------------------------------


def listed_sources():
    """The sources in the order of src/meson.build: (name, condition)."""
    text = read(os.path.join(SRC, 'meson.build'))
    text = re.sub(r"if get_option\('checks'\).*?\nendif\n", '', text, flags=re.S)
    found = []
    for name in re.findall(r"'([a-z0-9]+/[a-z0-9_]+\.(?:c|S))'", text):
        if name not in found:
            found.append(name)
    return [(name, condition(name)) for name in found]


def condition(name):
    """What #if asks for; None: it is for every system."""
    base = os.path.basename(name)
    if name.startswith('platform/posix'):
        return '!defined(_WIN32)'
    if name.startswith('platform/win32'):
        return 'defined(_WIN32)'
    if base in ('guard_x86.S', 'cpu_x86.c', 'x86.c', 'checksum_avx2.c'):
        return 'defined(__x86_64__)'
    if base in ('guard_arm64.S', 'arm64.c'):
        return 'defined(__aarch64__)'
    return None


# ---- Names --------------------------------------------------------------------------------------


def without_comments(text):
    return TOKEN.sub(lambda m: ' ' if m[0].startswith('/') else
                     '""' if m[0].startswith('"') else m[0], text)


def own_names(text):
    """Names at file scope that end with the source, and macros."""
    macros = set(re.findall(r'^[ \t]*#[ \t]*define[ \t]+(\w+)', text, re.M))
    plain = without_comments(text)
    plain = re.sub(r'^[ \t]*#(?:[^\n]*\\\n)*[^\n]*$', '', plain, flags=re.M)
    names, depth, statement, opened = set(), 0, '', ''
    for piece in re.findall(r'[{}]|[^{}]+', plain):
        if piece == '{':
            if depth == 0:
                names |= declared(statement + '{')
                names |= enumerators(statement, plain)
                opened = statement
            depth += 1
        elif piece == '}':
            depth -= 1
            if depth == 0: # the name of "static struct { } name" comes now
                statement = 'static int ' if IS_VARIABLE.search(opened) else ''
        elif depth == 0:
            parts = (statement + piece).split(';')
            for part in parts[:-1]:
                names |= declared(part)
            statement = parts[-1]
    return names, macros


def declared(statement):
    """The names that a declaration at file scope begins."""
    names = set(re.findall(r'\b(?:struct|union|enum)\s+(\w+)\s*\{', statement))
    if re.search(r'\bstatic\b|\b_Thread_local\b', statement):
        head = statement.split('=')[0].split('{')[0]
        m = re.search(r'(\w+)\s*\(', re.sub(r'_Alignas\s*\([^)]*\)|__attribute__\s*\(\(.*?\)\)', '',
                                            head))
        if m and not re.search(r'\(\s*\*', head):
            names.add(m[1])
        else:
            m = re.search(r'\(\s*\*\s*(\w+)|(\w+)\s*(?:\[[^\]]*\]\s*)*$', head.strip())
            if m:
                names.add(m[1] or m[2])
    names -= KEYWORDS
    m = re.match(r'\s*typedef\b.*?\b(\w+)\s*$', statement, re.S)
    if m:
        names.add(m[1])
    return names


def enumerators(statement, plain):
    if not re.search(r'\benum\b[^()]*$', statement):
        return set()
    at = plain.find(statement + '{')
    body = plain[at + len(statement) + 1:plain.find('}', at)]
    return set(re.findall(r'(?:^|,)\s*([A-Za-z_]\w*)', body))


def renamed(text, names, suffix):
    return TOKEN.sub(lambda m: m[0] + suffix if m[0] in names else m[0], text)


def own_text(text):
    """Without what stands in the file already."""
    text = re.sub(r'(?m)^#define XXH_INLINE_ALL\n#include <xxhash.h>\n', '', text)
    return INCLUDE.sub('', text)


# ---- Parts --------------------------------------------------------------------------------------


class Amalgamation:
    def __init__(self, xxhash, cpp):
        self.sources = listed_sources()
        self.texts = {name: read(os.path.join(SRC, name)) for name, _ in self.sources}
        self.xxhash, self.cpp = xxhash, cpp
        self.out = []
        self.included = set()  # headers that every source sees
        self.common = self.names_in_common()

    def names_in_common(self):
        """Names that more than one source has."""
        count = {}
        for name, _ in self.sources:
            if name.endswith('.c'):
                for word in set().union(*own_names(self.texts[name])):
                    count[word] = count.get(word, 0) + 1
        return {word for word, n in count.items() if n > 1} | LIBC

    def header_path(self, name, base):
        for path in (os.path.join(base, name), os.path.join(SRC, name),
                     os.path.join(TOP, 'include', name)):
            if os.path.isfile(path):
                return os.path.normpath(path)
        return fail('%s: no such header' % name)

    def headers_of(self, text, base, seen):
        """The texts of the headers that a text includes, each once, those it needs first."""
        parts = []
        for name in INCLUDE.findall(text):
            path = self.header_path(name, base)
            if path in seen or os.path.basename(path) in HEADERS:
                continue
            seen.add(path)
            inner = read(path)
            parts += self.headers_of(inner, os.path.dirname(path), seen)
            parts.append('/* ==== %s */\n%s' % (os.path.relpath(path, TOP), own_text(inner)))
        return parts

    def add_c(self, name, wanted):
        text = self.texts[name]
        seen = set(self.included) if wanted else self.included
        if wanted and self.out and self.branch == wanted:
            seen = self.seen_in_branch
        headers = self.headers_of(text, os.path.dirname(os.path.join(SRC, name)), seen)
        self.seen_in_branch = seen
        self.out += headers
        names, macros = own_names(text)
        suffix = '_in_' + os.path.splitext(os.path.basename(name))[0]
        body = renamed(own_text(text), (names - macros) & self.common, suffix)
        if name == 'media/checksum_avx2.c':
            body = self.avx2(body)
        else:
            if '<xxhash.h>' in body:
                fail('%s: includes xxhash.h in another way than the other sources' % name)
        self.out.append('/* ==== src/%s */\n%s' % (name, body))
        undefined = ''.join('#undef %s\n' % m for m in sorted(macros)
                            if not m.startswith(('XXH', 'XXA')))
        if undefined:
            self.out.append(undefined)

    def avx2(self, body):
        """The pragmas end with the file, and its xxhash.h has other names."""
        second = re.sub(r'\bXXH', 'XXA', self.xxhash)
        constants = re.findall(r'(?m)^static const \w+ ((?!XXA)\w+)', second)  # 0.8.3 has some
        second = renamed(second, set(constants), '_avx2')
        body = re.sub(r'\bXXH', 'XXA', body)
        body = body.replace('#include <xxhash.h>\n', second)
        body = body.replace('#pragma GCC target("avx2")',
                            '#pragma GCC push_options\n#pragma GCC target("avx2")')
        return body.replace('#if defined(__clang__)\n#pragma clang attribute pop\n#endif',
                            '#if defined(__clang__)\n#pragma clang attribute pop\n#else\n'
                            '#pragma GCC pop_options\n#endif')

    def assembled(self, name, *flags):
        """The assembly file as __asm__() statements."""
        text = subprocess.run([self.cpp, '-P', '-undef', '-x', 'assembler-with-cpp', *flags],
                              input=self.texts[name], stdout=subprocess.PIPE, text=True, check=True,
                              cwd=os.path.join(SRC, 'persist')).stdout
        lines = [line.strip() for line in text.splitlines()]
        lines = [line for line in lines if line and '.note.GNU-stack' not in line]
        return '__asm__(\n%s\n);\n' % '\n'.join(
            '    "%s\\n"' % line.replace('\\', '\\\\').replace('"', '\\"')
            for line in ['.text'] + lines + ['.text'])

    def add_assembly(self, name):
        if 'x86' in name:
            flags = ['-D__x86_64__=1']
            elf, cet, windows = (self.assembled(name, *flags, *more)
                                 for more in ([], ['-D_CET_ENDBR=endbr64'], ['-D_WIN32=1']))
            text = '#ifdef _WIN32\n%s#elif defined(__CET__)\n%s#else\n%s#endif\n' % (
                windows, cet, elf)
        else:
            text = self.assembled(name, '-D__aarch64__=1')
        self.out.append('/* ==== src/%s */\n#ifndef CM_AMALGAMATION_TSAN\n%s#endif\n'
                        % (name, text))

    def make(self):
        self.branch, self.seen_in_branch = None, set()
        for name, wanted in self.sources:
            if wanted != self.branch:
                if self.branch:
                    self.out.append('#endif /* %s */\n' % self.branch)
                if wanted:
                    self.out.append('#if %s\n' % wanted)
                    self.seen_in_branch = set(self.included)
            self.branch = wanted
            if name.endswith('.S'):
                self.add_assembly(name)
            else:
                self.add_c(name, wanted)
        if self.branch:
            self.out.append('#endif /* %s */\n' % self.branch)
        return '\n'.join(self.out)


HEAD = '''/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cachemax.c - libcachemax %(version)s in one file. Made by packaging/amalgamate.py: change src/
 * instead. Compile it as C11 with GNU extensions, and link with -pthread (Windows:
 * -lsynchronization -lbcrypt). C++ programs whose callbacks throw compile it with -fexceptions, a
 * shared library that shall not export it with -fvisibility=hidden.
 *
%(licence)s
 */
#ifndef _WIN32
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#else
#ifndef _WIN32_WINNT
#define _WIN32_WINNT 0x0A00
#endif
#ifndef __USE_MINGW_ANSI_STDIO
#define __USE_MINGW_ANSI_STDIO 1
#endif
#endif
#include "cachemax_objects.h"

/* An assembly file is one string. */
#pragma GCC diagnostic ignored "-Woverlength-strings"
/* With NDEBUG nothing uses what only assertions use. */
#ifdef __clang__
#pragma clang diagnostic ignored "-Wunused-function"
#endif

%(tsan)s
/* ==== xxhash.h */
#define XXH_INLINE_ALL
%(xxhash)s
'''
def find_xxhash(cpp):
    p = subprocess.run([cpp, '-M', '-'], input='#include <xxhash.h>\n', stdout=subprocess.PIPE,
                       stderr=subprocess.DEVNULL, text=True, check=False)
    m = re.search(r'(\S+/xxhash\.h)', p.stdout)
    return m[1] if p.returncode == 0 and m else fail('no xxhash.h: install libxxhash-dev, or name '
                                                     'the file with --xxhash')


def main():
    a = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('output')
    a.add_argument('--xxhash', help='the file xxhash.h')
    a.add_argument('--cpp', default='cpp', help='the C preprocessor')
    o = a.parse_args()
    if not shutil.which(o.cpp):
        fail('there is no program %s: install cpp, or name a C preprocessor with --cpp' % o.cpp)
    xxhash = read(o.xxhash or find_xxhash(o.cpp))
    version = re.search(r"version: '([^']+)'", read(os.path.join(TOP, 'meson.build')))[1]
    licence = '\n'.join((' * ' + line).rstrip() for line in
                        read(os.path.join(TOP, 'LICENSE')).strip().splitlines())
    body = Amalgamation(xxhash, o.cpp).make()
    head = HEAD % {'version': version, 'licence': licence, 'tsan': TSAN, 'xxhash': xxhash}
    texts = {name: read(os.path.join(TOP, 'include', name)) for name in HEADERS}
    texts['cachemax.c'] = head + body
    parent = os.path.dirname(os.path.abspath(o.output))
    if not os.path.exists(parent):
        fail('there is no directory %s: make it first' % parent)
    try:
        if not os.path.isdir(o.output):
            os.mkdir(o.output)
        for name, text in texts.items():
            path = os.path.join(o.output, name)
            with open(path, 'w', encoding='utf-8') as f:
                f.write(text)
            print(path)
    except OSError as e:
        fail('%s cannot be written: %s' % (e.filename, e.strerror))


if __name__ == '__main__':
    main()
