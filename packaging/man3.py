#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""man3.py --list | --all | DIR - the manual pages of the calls, from include/*.h.

DIR gets a page of section 3 for each call, one for each header as a whole (cachemax.3,
cachemax_objects.3), and no other file.
--list prints the names of the pages. --all prints what a page is made of, for each call, as JSON
(for the documentation site).

The headers are the only source. A call is described by the comment above it. Calls that stand below
each other without a comment between them share one. A page also shows the types that its call
takes, what its errors mean, and the shortest function of the examples that makes the call.
"""
import datetime
import json
import os
import re
import sys
import textwrap

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HEADERS = ['cachemax', 'cachemax_objects']
# Where an example of a call is taken from: the first of these that makes it.
EXAMPLES = ['docs/embedding.md', 'examples/writev/writev.c', 'examples/memory-pool/memory-pool.c',
            'examples/page-store/page-store.c', 'examples/object-store/object-store.c',
            'docs/objects.md', 'examples/objects/objects.c',
            'examples/event-loop/job.c',
            'examples/event-loop/event-loop.c', 'examples/http-proxy/object.c',
            'examples/http-proxy/http-proxy.c', 'examples/mount/quota.c',
            'examples/mount/backing_pool.c', 'examples/mount/cache.c',
            'examples/mount/control_ops.c', 'examples/mount/options.c',
            'src/tool/bench/reads.c', 'src/tool/cmd_create.c', 'src/tool/cmd_check.c',
            'src/tool/cmd_info.c', 'src/tool/cmd_resize.c', 'src/tool/dump/find.c',
            'src/tool/seen.c', 'src/tool/replay/cmd_replay.c', 'src/tool/message.c']


def text_of(comment):
    """The words of a comment, without its stars."""
    body = comment.strip()[2:-2]
    return '\n'.join(re.sub(r'^ ?\* ?', '', line.strip()) if n else line.strip()
                     for n, line in enumerate(body.split('\n'))).strip()


def with_commas(text):
    """The header lists codes with blanks between them, and words in brackets behind some."""
    code = r'(\bCM_[A-Z_]+(?:\s\((?:[^()]|\([^()]*\))*\))?)'
    return re.sub(code + r'(\s+)(?=CM_[A-Z])', r'\1,\2', text)


def calls_of(header):
    """(name, prototype, comment) of each call, in the order of the header."""
    calls, comment = [], ''
    for m in re.finditer(r'/\*.*?\*/|^CM_API .*?;|^[^/\n].*?$', header, re.S | re.M):
        part = m.group(0)
        if part.startswith('/*'):
            comment = with_commas(text_of(part))
        elif part.startswith('CM_API'):
            prototype = re.sub(r'\s+', ' ', part[len('CM_API '):])
            calls.append((re.search(r'(\w+)\(', prototype).group(1), prototype, comment))
        else:
            comment = ''
    return calls


def types_of(header):
    """Name: definition, with the comment above it, of each struct, enum and function type."""
    types = {}
    pattern = (r'((?:^/\*(?:(?!\*/).)*?\*/\n)?)'
               r'(^typedef struct (\w+) \{.*?^\} \w+;'
               r'|^typedef [^;{]*?\(\*(\w+)\)\([^;]*?;|^enum (\w+) \{.*?^\};)')
    for m in re.finditer(pattern, header, re.S | re.M):
        types[next(name for name in m.group(3, 4, 5) if name)] = m.group(1) + m.group(2)
    return types


def parts_of(path):
    """Each block of C in a document, or each function of a C file as the project writes them."""
    with open(os.path.join(TOP, path), encoding='utf-8') as f:
        source = f.read()
    if path.endswith('.md'):
        return re.findall(r'^```c\n(.*?)\n```$', source, re.S | re.M)
    return re.findall(r'^[a-z_][^\n;={}]*(?:\n[^\n;={}]+)?\n\{\n.*?^\}$', source, re.S | re.M)


def example_of(name, sources):
    """The first source that makes the call, and its shortest part that does."""
    for path, parts in sources:
        found = [part for part in parts if re.search(r'^\s.*\b%s\(|\b%s\(.*;' % (name, name), part,
                                                     re.M)]
        if found:
            return path, min(found, key=len)
    return None


def first_sentence(comment, prototype):
    sentence = re.split(r'(?<=[.:])\s', re.sub(r'\s+', ' ', comment))[0].rstrip('.:')
    return sentence or prototype


class Page:
    """What a page is made of."""

    def __init__(self, header, call, names, errors, types, sources):
        self.header = header
        self.name, self.prototype, self.comment = call
        self.brief = first_sentence(self.comment, self.prototype)
        said = set(re.findall(r'\bCM_E[A-Z]+\b', self.comment))
        self.errors = [(code, text) for code, text in errors.items() if code in said]
        self.types = {t: types[t] for t in types
                      if re.search(r'\b%s\b' % t, self.prototype)}
        self.others = sorted(n for n in set(re.findall(r'\bcm_\w+\b', self.comment))
                             if n in names and n != self.name)
        self.example = example_of(self.name, sources)


def pages():
    """The overview of each header, the version, and the pages of all calls."""
    headers = {}
    for name in HEADERS:
        with open(os.path.join(TOP, 'include', name + '.h'), encoding='utf-8') as f:
            headers[name] = f.read()
    every = '\n'.join(headers.values())
    errors = dict(re.findall(r'X\((CM_E\w+), -\d+,[\s\\]*"([^"]*)"\)', every))
    sources = [(path, parts_of(path)) for path in EXAMPLES]
    names = {name for name, _, _ in calls_of(every)}
    types = types_of(every)
    overviews = {name: text_of(re.search(r'/\*.*?\*/', text, re.S).group(0)).split('\n', 2)[2]
                 for name, text in headers.items()}
    version = '.'.join(re.findall(r'CM_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)', every))
    return overviews, version, [Page(name, c, names, errors, types, sources)
                                for name, text in headers.items() for c in calls_of(text)]


# ---- roff ----------------------------------------------------------------------------------------

def escaped(line):
    line = line.replace('\\', '\\e').replace('-', '\\-')
    return '\\&' + line if line[:1] in ('.', "'") else line


def literal(text):
    return ['.nf', '.ft CW'] + [escaped(line) for line in text.split('\n')] + ['.ft', '.fi']


def ends_early(line, following):
    """The comments are filled: a line that ends a sentence and has room for the next word ends a
    paragraph."""
    word = following.split(' ', 1)[0]
    return line.endswith(('.', ':', ')')) and len(line) + len(word) < 94


def table(block):
    """Terms and what they mean, if the lines are such a table; else nothing. Without a number they
    would be indented as the items of a list before them."""
    out = []
    for line in textwrap.dedent('\n'.join(block)).split('\n'):
        row = re.match(r'(\w[\w, ]*?) {2,}(\S.*)$', line)
        if row:
            out += ['.TP 7', '.B ' + escaped(row.group(1)), escaped(row.group(2))]
        elif out and line.startswith(' ' * 9):
            out.append(escaped(line.strip()))
        else:
            return []
    return out


def paragraphs(text):
    """Filled text. What is indented stays as it is. A line that begins with "- " is an item; the
    indented lines below it belong to it."""
    out, lines, item = ['.PP'], text.split('\n'), False
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        term = re.match(r'([A-Z]{3,}(?: [A-Z]+)*) +(\S.*)$', line)
        if term and lines[at:at + 1] and lines[at].startswith(' ' * 9):
            out += ['.TP 7', '.B ' + term.group(1), escaped(term.group(2))]
            while at < len(lines) and lines[at].startswith(' ' * 9):
                out.append(escaped(lines[at].strip()))
                at += 1
            out.append('.PP')
        elif line.startswith('- '):
            item = True
            out += ['.IP \\(bu 2', escaped(line[2:])]
        elif line.startswith('  ') and item:
            out.append(escaped(line.strip()))
        elif line.startswith('  '):
            block = [line]
            while at < len(lines) and lines[at].startswith('  '):
                block.append(lines[at])
                at += 1
            out += (table(block) or ['.PP'] + literal(textwrap.dedent('\n'.join(block)))) + ['.PP']
        else:
            if item or not line or re.match(r'[A-Z]{3,}[A-Z ]*  |CM_\w+:|`\w+`:', line):
                out.append('.PP')
            item = False
            if line:
                out.append(escaped(line.replace('`', '')))
            if at < len(lines) and lines[at] and ends_early(line, lines[at]):
                out.append('.PP')
    return out


def date():
    """That of the command's page."""
    with open(os.path.join(TOP, 'docs', 'cachemax.1'), encoding='utf-8') as f:
        said = re.search(r'^\.Dd (.*)$', f.read(), re.M).group(1)
    return datetime.datetime.strptime(said, '%B %d, %Y').strftime('%Y-%m-%d')


def head(name, brief, version):
    return ['.\\" made by packaging/man3.py from include/*.h',
            '.TH %s 3 "%s" "libcachemax %s" "libcachemax"' % (name.upper(), date(), version),
            '.SH NAME', '%s \\- %s' % (escaped(name), escaped(brief))]


def page_of(lines):
    """A paragraph begins between two texts, and nowhere else."""
    begins = ('.SH', '.TP', '.IP', '.PP')
    out = []
    for line, following in zip(lines, lines[1:] + ['.SH']):
        if line != '.PP' or not (out[-1].startswith('.SH') or following.startswith(begins)):
            out.append(line)
    return '\n'.join(out) + '\n'


def references(names):
    return ',\n'.join('.BR %s (3)' % escaped(n) for n in names).replace(',\n.BR', ' ,\n.BR') \
        .split('\n')


def wrapped(prototype):
    start, rest = prototype.split('(', 1)
    lines = textwrap.wrap('(' + rest, 72 - len(start) if len(start) < 40 else 60)
    return start + ('\n' + ' ' * (len(start) + 1)).join(lines)


def roff(page, version):
    out = head(page.name, page.brief, version)
    out += ['.SH SYNOPSIS'] + literal('#include <%s.h>\n\n' % page.header +
                                     wrapped(page.prototype) +
                                     '\n\ncc ... $(pkg-config --cflags --libs cachemax)')
    out += ['.SH DESCRIPTION'] + paragraphs(page.comment)
    if page.errors:
        out.append('.SH ERRORS')
        for code, text in page.errors:
            out += ['.TP', '.B ' + escaped(code), escaped(text)]
    out += ['.PP' if page.errors else '.SH ERRORS',
            'What all calls can return, who owns the memory, and what threads may do, is in',
            '.BR %s (3).' % page.header]
    if page.types:
        out.append('.SH TYPES')
        for text in page.types.values():
            out += literal(text) + ['.PP']
        out.pop()
    if page.example:
        path, text = page.example
        out += ['.SH EXAMPLE', 'From %s:' % escaped(path), '.PP'] + literal(text)
    out += ['.SH SEE ALSO'] + references([page.header] + page.others)
    return page_of(out)


def roff_overview(header, overview, version, all_pages):
    title, _, rest = overview.replace('this file', header + '.h').partition('\n')
    name, brief = title.split(' - ', 1)
    out = head(header, brief.rstrip('.'), version)
    out += ['.SH SYNOPSIS'] + literal('#include <%s>\n\ncc ... $(pkg-config --cflags --libs '
                                     'cachemax)' % name)
    out += ['.SH DESCRIPTION'] + paragraphs(rest.strip())
    out.append('.SH CALLS')
    for page in all_pages:
        out += ['.TP', '.BR %s (3)' % escaped(page.name), escaped(page.brief)]
    others = [name for name in HEADERS if name != header]
    out += ['.SH SEE ALSO', '.BR cachemax (1) ,'] + references(others)
    return page_of(out)


def main():
    if sys.argv[1:] in (['-h'], ['--help']):
        print(__doc__, end='')
        return
    if len(sys.argv) != 2 or (sys.argv[1].startswith('-') and
                              sys.argv[1] not in ('--list', '--all')):
        print('usage: man3.py --list | --all | DIR; --help says more', file=sys.stderr)
        sys.exit(2)
    overviews, version, all_pages = pages()
    if sys.argv[1] == '--list':
        print('\n'.join(n + '.3' for n in HEADERS + [p.name for p in all_pages]))
        return
    if sys.argv[1] == '--all':
        print(json.dumps([vars(p) for p in all_pages], indent=1))
        return
    os.makedirs(sys.argv[1], exist_ok=True)
    texts = {name: roff_overview(name, overview, version,
                                 [p for p in all_pages if p.header == name])
             for name, overview in overviews.items()}
    texts.update((p.name, roff(p, version)) for p in all_pages)
    for name, text in texts.items():
        with open(os.path.join(sys.argv[1], name + '.3'), 'w', encoding='utf-8') as f:
            f.write(text)


if __name__ == '__main__':
    main()
