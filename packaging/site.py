#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""site.py DIR - makes the documentation as static HTML in DIR, which must not exist.

All documents of the tree become pages, and so do the manual pages of the commands and of the calls.
Sources that a document links to are beside it. Needs mkdocs and mandoc. Everything is local: a page
loads nothing from elsewhere. The search works only if a web server serves DIR.
"""
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(HERE)
DOCUMENTS = ['*.md', 'docs/**/*.md', 'examples/**/*.md', 'src/*.md', 'tests/**/*.md']
COMMANDS = 'docs/*.1'
CALLS = 'reference'
LINK = re.compile(r'(\]\()([^)#\s]+)((?:#[^)\s]*)?\))')
# Where a page is in the menu: a title, and its pages in order. What has no place here is under
# "More".
MENU = [
    ('Use it', ['docs/mount.md', 'docs/mount-features.md', 'docs/control.md', 'docs/service.md',
                'docs/json.md', 'docs/windows.md', 'docs/nbdkit.md', 'docs/sqlite.md',
                'docs/scale.md']),
    ('Build with it', ['docs/embedding.md', 'docs/policy.md', 'docs/concurrency.md',
                       'docs/orders.md', 'examples/README.md']),
    ('Judge it', ['docs/promises.md', 'docs/performance.md', 'docs/comparison.md',
                  'docs/security.md', 'docs/crash.md', 'docs/fuzzing.md']),
    ('Inside', ['docs/architecture.md', 'docs/format.md', 'src/MAP.md',
                'docs/decisions/README.md'])]

# What mkdocs knows differently from the renderer that the documents are written for.
LIST = re.compile(r'( *)([-*]|\d+\.) ')


def adapted(text):
    """A list needs an empty line before it, and four spaces for each level."""
    out, fenced, before = [], False, ''
    for line in text.split('\n'):
        fenced ^= line.lstrip().startswith('```')
        item = None if fenced else LIST.match(line)
        if item:
            if before and not LIST.match(before) and not before.startswith(' '):
                out.append('')
            line = item.group(1) * 2 + line[len(item.group(1)):]
        out.append(line)
        before = line
    return '\n'.join(out)


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w', encoding='utf-8') as f:
        f.write(text)


def manual(path):
    """A manual page as a document: a title, and the rest in HTML."""
    def link(m):
        name = '%s.%s' % m.group(1, 2)
        is_command = os.path.exists(os.path.join(TOP, 'docs', name))
        if not is_command and not re.match(r'(cm_\w+|cachemax)\.3$', name):
            return m.group(0)  # a page of the system
        there = 'docs' if is_command else CALLS
        return '<a href="../%s/%s.html">%s(%s)</a>' % (there, name, m.group(1), m.group(2))
    html = subprocess.run(['mandoc', '-T', 'html', '-O', 'fragment', path], check=True,
                          stdout=subprocess.PIPE, encoding='utf-8').stdout
    html = re.sub(r'<b>([\w-]+)</b>\(([0-9])\)', link, html)
    # mandoc breaks a literal line that begins with a space twice.
    html = html.replace('\n<br/>\n<span class="Li"> ', '\n<span class="Li"> ')
    # No empty line: it would end the block of HTML.
    html = html.replace('\n\n', '\n&#8203;\n')
    return '# %s\n\n<div class="manual">\n%s</div>\n' % (os.path.basename(path), html)


class Site:
    def __init__(self, root):
        self.root = root
        self.pages = set()
        self.wanted = []  # (document, what it links to)

    def document(self, name):
        def link(m):
            target = os.path.normpath(os.path.join(os.path.dirname(name), m.group(2)))
            if re.match(r'[a-z]+:', m.group(2)):
                return m.group(0)
            self.wanted.append((name, target))
            if os.path.isdir(os.path.join(TOP, target)):
                return m.group(1) + os.path.join(m.group(2), 'README.md') + m.group(3)
            return m.group(1) + m.group(2) + ('.md' if target.endswith('.1') else '') + m.group(3)
        with open(os.path.join(TOP, name), encoding='utf-8') as f:
            write(os.path.join(self.root, name), adapted(LINK.sub(link, f.read())))
        self.pages.add(name)

    def documents(self):
        for pattern in DOCUMENTS:
            for path in sorted(glob.glob(os.path.join(TOP, pattern), recursive=True)):
                self.document(os.path.relpath(path, TOP))

    def manuals(self):
        for path in sorted(glob.glob(os.path.join(TOP, COMMANDS))):
            name = os.path.relpath(path, TOP) + '.md'
            write(os.path.join(self.root, name), manual(path))
            self.pages.add(name)
        with tempfile.TemporaryDirectory() as made:
            subprocess.run([sys.executable, os.path.join(HERE, 'man3.py'), made], check=True)
            for path in sorted(glob.glob(os.path.join(made, '*.3'))):
                name = os.path.join(CALLS, os.path.basename(path) + '.md')
                write(os.path.join(self.root, name), manual(path))
                self.pages.add(name)

    def linked(self):
        """The sources that documents link to, and a list of documents for each directory."""
        for name, target in self.wanted:
            here, there = os.path.join(TOP, target), os.path.join(self.root, target)
            listing = os.path.join(target, 'README.md')
            if os.path.isdir(here) and listing not in self.pages:
                inside = sorted(p for p in self.pages if os.path.dirname(p) == target)
                write(os.path.join(self.root, listing), '# %s\n\n' % target + ''.join(
                    '- [%s](%s)\n' % (p, p) for p in map(os.path.basename, inside)))
                self.pages.add(listing)
            elif os.path.isfile(here) and not os.path.exists(there) and not target.endswith('.1'):
                os.makedirs(os.path.dirname(there), exist_ok=True)
                # As text: a browser shows that.
                shutil.copy(here, there)
            elif not os.path.exists(here):
                sys.exit('%s: it links to %s, which does not exist' % (name, target))

    def menu(self):
        left = set(self.pages) - {'README.md'}
        menu = [{'libcachemax': 'README.md'}]
        for title, pages in MENU:
            menu.append({title: pages})
            left -= set(pages)
        manuals = sorted(p for p in left if re.search(r'\.1\.md$', p))
        calls = sorted(p for p in left if p.startswith(CALLS + '/'))
        calls.sort(key=lambda p: not p.endswith('/cachemax.3.md'))
        menu.append({'Commands': manuals})
        menu.append({'Calls': calls})
        menu.append({'More': sorted(left - set(manuals) - set(calls))})
        return menu

    def build(self, out):
        config = {'site_name': 'libcachemax', 'docs_dir': self.root, 'site_dir': out,
                  'use_directory_urls': False, 'strict': True, 'nav': self.menu(),
                  'theme': {'name': 'mkdocs', 'highlightjs': False},
                  'extra_css': ['site.css'], 'plugins': ['search']}
        shutil.copy(os.path.join(HERE, 'site.css'), self.root)
        # JSON is YAML.
        write(self.root + '.yml', json.dumps(config))
        subprocess.run(['mkdocs', 'build', '-q', '-f', self.root + '.yml'], check=True)


def main():
    if sys.argv[1:] in (['-h'], ['--help']):
        print(__doc__, end='')
        return
    if len(sys.argv) != 2 or sys.argv[1].startswith('-'):
        print('usage: site.py DIR; --help says more', file=sys.stderr)
        sys.exit(2)
    out = os.path.abspath(sys.argv[1])
    if os.path.exists(out):
        sys.exit('%s: it exists; name a directory that does not' % out)
    for program in 'mkdocs', 'mandoc':
        if not shutil.which(program):
            sys.exit('%s is missing; install the package of that name' % program)
    with tempfile.TemporaryDirectory() as work:
        site = Site(os.path.join(work, 'site'))
        site.documents()
        site.manuals()
        site.linked()
        site.build(out)


if __name__ == '__main__':
    main()
