#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""site-test.py - the documentation as static HTML (packaging/site.py).

It is made. Each link leads somewhere, also to the heading behind a "#". A page loads nothing from
elsewhere. Each call and each command has a page. If there is Chromium, it opens pages: no
complaints, and nothing wider than the window; with CM_PICTURES=DIR pictures of them stay there. The
last line is "N passed, N failed, N skipped".
"""
import functools
import glob
import html.parser
import http.server
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.parse

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
counts = {'ok': 0, 'FAIL': 0, 'skip': 0}


def say(kind, name, why=''):
    counts[kind] += 1
    print('%s %s%s' % (kind, name, ': ' + why if why else ''), flush=True)


def check(name, wrong):
    """`wrong`: a list of what is wrong."""
    say('FAIL' if wrong else 'ok', name, '; '.join(wrong[:5]))


def end():
    print('%d passed, %d failed, %d skipped' % tuple(counts.values()))
    sys.exit(counts['FAIL'] > 0)


class Page(html.parser.HTMLParser):
    LOADED = {'script': 'src', 'img': 'src', 'link': 'href', 'iframe': 'src'}

    def __init__(self, path):
        super().__init__()
        self.links, self.loads, self.ids = [], [], set()
        with open(path, encoding='utf-8') as f:
            self.feed(f.read())

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        self.ids.update(v for k in ('id', 'name') if (v := a.get(k)))
        if tag == 'a' and a.get('href'):
            self.links.append(a['href'])
        if a.get(self.LOADED.get(tag)) and a.get('rel') != 'canonical':
            self.loads.append(a[self.LOADED[tag]])


def is_outside(link):
    return re.match(r'[a-z]+:|//', link) is not None


def dead_links(site, pages):
    dead = []
    for path, page in pages.items():
        for link in page.links + page.loads:
            if is_outside(link):
                continue
            where, _, heading = urllib.parse.unquote(link).partition('#')
            target = os.path.normpath(os.path.join(os.path.dirname(path), where)) if where else path
            name = os.path.relpath(path, site)
            if not os.path.isfile(target):
                dead.append('%s: %s' % (name, link))
            elif heading and target in pages and heading not in pages[target].ids:
                dead.append('%s: %s: no such heading' % (name, link))
    return dead


def read_site(site):
    found = glob.glob(os.path.join(site, '**', '*.html'), recursive=True)
    # That page is shown in place of any other, so its links begin at the server's root.
    return {path: Page(path) for path in found if os.path.basename(path) != '404.html'}


def test_pages(site):
    pages = read_site(site)
    check('each link leads somewhere', dead_links(site, pages))
    check('nothing is loaded from elsewhere',
          ['%s: %s' % (path, what) for path, page in pages.items() for what in page.loads
           if is_outside(what)])
    calls = subprocess.run([sys.executable, TOP + '/packaging/man3.py', '--list'], check=True,
                           stdout=subprocess.PIPE, encoding='utf-8').stdout.split()
    shall = ['reference/' + name for name in calls]
    shall += ['docs/' + os.path.basename(p) for p in glob.glob(TOP + '/docs/*.[1m]*')]
    shall = [re.sub(r'\.md$', '', name) + '.html' for name in shall]
    check('each call, command and document has a page (%d)' % len(shall),
          [name for name in shall if os.path.join(site, name) not in pages])
    check('the manual pages lead to each other',
          [] if '../reference/cm_fill.3.html' in
          pages[os.path.join(site, 'reference', 'cm_read_through.3.html')].links +
          pages[os.path.join(site, 'reference', 'cm_miss_init.3.html')].links
          else ['neither cm_read_through nor cm_miss_init leads to cm_fill'])


def test_checks(site, work):
    """What is wrong is seen."""
    copy = os.path.join(work, 'copy')
    shutil.copytree(site, copy)
    os.remove(os.path.join(copy, 'docs', 'crash.html'))
    with open(os.path.join(copy, 'docs', 'mount.html'), 'r+', encoding='utf-8') as f:
        text = f.read().replace('id="quotas"', 'id="elsewhere"')
        f.seek(0)
        f.write(text)
        f.truncate()
    dead = dead_links(copy, read_site(copy))
    check('a page that is missing is seen', [] if any('crash.html' in d for d in dead) else ['no'])
    check('a heading that is missing is seen',
          [] if any(d.endswith('#quotas: no such heading') for d in dead) else ['no'])


def test_existing(site):
    r = subprocess.run([sys.executable, TOP + '/packaging/site.py', site], stderr=subprocess.PIPE,
                       encoding='utf-8', check=False)
    check('a directory that exists is refused',
          [] if r.returncode == 1 and 'it exists' in r.stderr else [r.stderr])


def look(browser, address):
    wrong = []
    for name in ('index.html', 'docs/mount.html', 'docs/cachemax.1.html',
                 'reference/cm_read.3.html', 'docs/decisions/index.html'):
        if not browser.open(address + name):
            wrong.append(name + ' does not open')
        if 'libcachemax' not in browser.value('document.title'):
            wrong.append(name + ' is another page')
        if browser.value('document.documentElement.scrollWidth > innerWidth'):
            wrong.append(name + ' is wider than the window')
        if os.environ.get('CM_PICTURES'):
            browser.picture(os.path.join(os.environ['CM_PICTURES'],
                                         name.replace('/', '-') + '.png'))
    browser.wait('typeof searchWorker === "object"')
    if not browser.wait("""(() => {
            const query = document.getElementById("mkdocs-search-query");
            query.value = "checkpoint";
            query.dispatchEvent(new KeyboardEvent("keyup"));
            return document.querySelectorAll("#mkdocs-search-results article").length > 2;
            })()"""):
        wrong.append('the search finds nothing')
    entries = [c['params'].get('entry', c['params']) for c in browser.complaints()]
    return wrong + ['%s %s' % (e.get('text'), e.get('url')) for e in entries
                    if not str(e.get('url')).endswith('/favicon.ico')]


def test_browser(site):
    program = shutil.which('chromium')
    if not program:
        say('skip', 'browser', 'no chromium (Debian package chromium)')
        return
    sys.path.insert(0, TOP + '/tests/tool')
    from chromium import Chromium  # pylint: disable=import-outside-toplevel

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0),
                                             functools.partial(Quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    browser = Chromium(program)
    try:
        browser.size(1280, 900, 'light')
        check('browser', look(browser, 'http://127.0.0.1:%d/' % server.server_port))
    finally:
        browser.end()
        server.shutdown()


def main():
    missing = [p for p in ('mkdocs', 'mandoc') if not shutil.which(p)]
    if missing:
        say('skip', 'site', 'no ' + ' and no '.join(missing))
        end()
    with tempfile.TemporaryDirectory(prefix='cachemax-site.') as work:
        site = os.path.join(work, 'site')
        r = subprocess.run([sys.executable, TOP + '/packaging/site.py', site],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding='utf-8',
                           check=False)
        check('it is made', [r.stdout[-1000:]] if r.returncode or r.stdout else [])
        if r.returncode == 0:
            test_pages(site)
            test_checks(site, work)
            test_existing(site)
            test_browser(site)
    end()


if __name__ == '__main__':
    main()
