#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""recipes-test.py [--rpm] - the recipes for package managers that Debian does not have.

They are run here as far as they can be: the port of vcpkg and the recipe of Conan with stand-ins
for the helpers that they call, which do with meson what those would; the spec of RPM is parsed, and
with --rpm built (half a minute of a processor; needs all that the build needs). None of them has
met its real manager. Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check, the
numbers as the last line.
"""
import glob
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import types

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
PACKAGING = os.path.join(TOP, 'packaging')
counts = {'ok': 0, 'FAIL': 0, 'skip': 0}


def say(kind, name, why=''):
    counts[kind] += 1
    print('%s %s%s' % (kind, name, ': ' + why if why else ''), flush=True)


def check(name, wrong):
    say('FAIL' if wrong else 'ok', name, str(wrong)[-600:].replace('\n', ' ') if wrong else '')


def run(*args, **more):
    r = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding='utf-8',
                       check=False, **more)
    return r.returncode, r.stdout


def text_of(*path):
    with open(os.path.join(TOP, *path), encoding='utf-8') as f:
        return f.read()


def installed(prefix, cmake='lib/cmake'):
    """What of the library is missing there."""
    return [pattern for pattern in ('include/cachemax.h', 'include/cachemax_objects.h',
                                    'include/cachemax.hpp', 'lib/libcachemax.*',
                                    'lib/pkgconfig/cachemax.pc',
                                    cmake + '/cachemax/cachemax-config.cmake')
            if not glob.glob(os.path.join(prefix, pattern))]


PROGRAM = {'main.c': '#include <cachemax.h>\nint main(void) { return cm_version() == 0; }\n',
           'CMakeLists.txt': 'cmake_minimum_required(VERSION 3.16)\nproject(program C)\n'
                             'find_package(cachemax REQUIRED)\nadd_executable(program main.c)\n'
                             'target_link_libraries(program cachemax::cachemax)\n'}


def test_find_package(work, name, prefix):
    """A program finds the library there, builds with it, and runs."""
    source = os.path.join(work, 'program')
    os.makedirs(source, exist_ok=True)
    for file, text in PROGRAM.items():
        with open(os.path.join(source, file), 'w', encoding='utf-8') as f:
            f.write(text)
    with tempfile.TemporaryDirectory(dir=work) as build:
        for command in (['cmake', '-S', source, '-B', build, '-DCMAKE_PREFIX_PATH=' + prefix,
                         '-DCMAKE_FIND_USE_CMAKE_SYSTEM_PATH=OFF'],
                        ['cmake', '--build', build], [os.path.join(build, 'program')]):
            code, out = run(*command)
            if code:
                break
        check(name + ': find_package()', out or code if code else '')


def test_versions():
    header = text_of('include', 'cachemax.h')
    version = '.'.join(re.findall(r'CM_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)', header))
    said = {
        'rpm': re.search(r'^Version: +(\S+)', text_of('packaging', 'rpm', 'libcachemax.spec'),
                         re.M).group(1),
        'vcpkg': json.loads(text_of('packaging', 'vcpkg', 'vcpkg.json'))['version'],
        'conan': re.search(r"^    version = '(.*)'", text_of('packaging', 'conan', 'conanfile.py'),
                           re.M).group(1)}
    check('versions', [(who, v) for who, v in said.items() if v != version])


# ---- vcpkg ---------------------------------------------------------------------------------------

# vcpkg builds once for each of the two configurations; here once. Ninja and meson are the tools.
STAND_INS = r'''
cmake_minimum_required(VERSION 3.16)
function(must)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE r OUTPUT_VARIABLE out ERROR_VARIABLE out)
  if(r)
    message(FATAL_ERROR "${ARGN}: ${out}")
  endif()
endfunction()
function(vcpkg_configure_meson)
  cmake_parse_arguments(A "" "SOURCE_PATH" "OPTIONS" ${ARGN})
  must(meson setup ${WORK}/build ${A_SOURCE_PATH} --prefix ${CURRENT_PACKAGES_DIR} --libdir lib
    --buildtype plain -Ddefault_library=static ${A_OPTIONS})
endfunction()
function(vcpkg_install_meson)
  must(ninja -C ${WORK}/build install)
endfunction()
function(vcpkg_fixup_pkgconfig)
endfunction()
function(vcpkg_cmake_config_fixup)
  cmake_parse_arguments(A "" "PACKAGE_NAME;CONFIG_PATH" "" ${ARGN})
  if(NOT IS_DIRECTORY ${CURRENT_PACKAGES_DIR}/${A_CONFIG_PATH})
    message(FATAL_ERROR "${A_CONFIG_PATH}: it is not installed")
  endif()
  # The files move. Of what they say about their place only this variable is put right.
  file(MAKE_DIRECTORY ${CURRENT_PACKAGES_DIR}/share)
  file(RENAME ${CURRENT_PACKAGES_DIR}/${A_CONFIG_PATH}
    ${CURRENT_PACKAGES_DIR}/share/${A_PACKAGE_NAME})
  file(GLOB files ${CURRENT_PACKAGES_DIR}/share/${A_PACKAGE_NAME}/*.cmake)
  foreach(file ${files})
    file(READ ${file} text)
    string(REGEX REPLACE
      "\\(PACKAGE_PREFIX_DIR \"([^\"/]*LIST_DIR})/\\.\\.(/\\.\\.)*/?\" ABSOLUTE\\)"
      "(PACKAGE_PREFIX_DIR \"\\1/../../\" ABSOLUTE)" text "${text}")
    file(WRITE ${file} "${text}")
  endforeach()
endfunction()
function(vcpkg_install_copyright)
  cmake_parse_arguments(A "" "" "FILE_LIST" ${ARGN})
  file(INSTALL ${A_FILE_LIST} DESTINATION ${CURRENT_PACKAGES_DIR}/share/libcachemax)
endfunction()
include(${PORT}/portfile.cmake)
'''


def test_vcpkg(work):
    port = json.loads(text_of('packaging', 'vcpkg', 'vcpkg.json'))
    names = [d if isinstance(d, str) else d['name'] for d in port['dependencies']]
    check('vcpkg: the port names what its file uses',
          [n for n in ('xxhash', 'vcpkg-tool-meson', 'vcpkg-cmake-config') if n not in names])
    if not shutil.which('cmake'):
        say('skip', 'vcpkg: the port runs', 'no cmake')
        return
    script = os.path.join(work, 'vcpkg.cmake')
    with open(script, 'w', encoding='utf-8') as f:
        f.write(STAND_INS)
    prefix = os.path.join(work, 'vcpkg')
    code, out = run('cmake', '-DWORK=' + work, '-DPORT=' + os.path.join(PACKAGING, 'vcpkg'),
                    '-DCURRENT_PACKAGES_DIR=' + prefix, '-P', script)
    check('vcpkg: the port runs', out if code else installed(prefix, 'share'))
    test_find_package(work, 'vcpkg', prefix)


# ---- Conan ---------------------------------------------------------------------------------------

class Anything(dict):
    """Attributes and items that are set; None for others."""
    __setattr__ = dict.__setitem__
    __getattr__ = dict.get

    def rm_safe(self, name):
        self.pop(name, None)


def conan_of(options):
    """The modules that the recipe takes, as far as it uses them."""
    class ConanFile:
        pass

    class MesonToolchain:
        def __init__(self, recipe):
            self.project_options = options

        def generate(self):
            pass

    class Meson:
        def __init__(self, recipe):
            self.recipe = recipe

        def configure(self):
            self.must('meson', 'setup', self.recipe.build_folder, self.recipe.source_folder,
                      '--prefix', self.recipe.package_folder, '--libdir', 'lib',
                      '--buildtype', 'plain', '-Ddefault_library=static',
                      *('-D%s=%s' % option for option in sorted(options.items())))

        def build(self):
            self.must('ninja', '-C', self.recipe.build_folder)

        def install(self):
            self.must('ninja', '-C', self.recipe.build_folder, 'install')

        @staticmethod
        def must(*args):
            code, out = run(*args)
            if code:
                raise RuntimeError(out[-800:])

    def copy(recipe, pattern, source, target):
        for path in glob.glob(os.path.join(source, pattern)):
            to = os.path.join(target, os.path.relpath(path, source))
            os.makedirs(os.path.dirname(to), exist_ok=True)
            if os.path.isdir(path):
                shutil.copytree(path, to, dirs_exist_ok=True)
            else:
                shutil.copy2(path, to)
    return {'conan': {'ConanFile': ConanFile},
            'conan.errors': {'ConanInvalidConfiguration': type('Invalid', (Exception,), {})},
            'conan.tools': {}, 'conan.tools.files': {'copy': copy},
            'conan.tools.layout': {'basic_layout': lambda recipe: None},
            'conan.tools.meson': {'Meson': Meson, 'MesonToolchain': MesonToolchain}}


def recipe_of(work, options):
    for name, content in conan_of(options).items():
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(content)
    path = os.path.join(PACKAGING, 'conan', 'conanfile.py')
    spec = importlib.util.spec_from_file_location('recipe', path)
    module = importlib.util.module_from_spec(spec)
    sys.dont_write_bytecode = True
    spec.loader.exec_module(module)
    r = module.Cachemax()
    r.recipe_folder = os.path.dirname(path)
    r.export_sources_folder = r.source_folder = os.path.join(work, 'exported')
    r.build_folder = os.path.join(work, 'conan-build')
    r.package_folder = os.path.join(work, 'conan')
    r.settings = Anything(os='Linux', arch='x86_64', compiler='gcc', build_type='Release')
    r.options = Anything(shared=False, fPIC=True)
    r.requires = r.tool_requires = lambda what: None
    # Where the system's xxHash is.
    r.dependencies = {'xxhash': Anything(cpp_info=Anything(includedirs=['/usr/include']))}
    r.cpp_info = Anything(set_property=lambda name, value: None)
    return r, module


def test_conan(work):
    r, module = recipe_of(work, {})
    try:
        for step in (r.export_sources, r.configure, r.validate, r.requirements,
                     r.build_requirements, r.layout, r.generate, r.build, r.package,
                     r.package_info):
            step()
        wrong = installed(r.package_folder)
        if not os.path.exists(os.path.join(r.package_folder, 'licenses', 'LICENSE')):
            wrong.append('no licence')
        wrong += [lib for lib in r.cpp_info.libs
                  if not glob.glob(os.path.join(r.package_folder, 'lib', 'lib%s.a' % lib))]
        check('conan: the recipe runs', wrong)
        if shutil.which('cmake'):
            test_find_package(work, 'a prefix', r.package_folder)
            # As where /lib leads to /usr/lib.
            root = os.path.join(work, 'root')
            os.mkdir(root)
            os.symlink(r.package_folder, os.path.join(root, 'usr'))
            os.symlink('usr/lib', os.path.join(root, 'lib'))
            test_find_package(work, '/lib is /usr/lib', root)
    except RuntimeError as e:
        check('conan: the recipe runs', e)
    refused = []
    for name, value in ('arch', 'riscv64'), ('compiler', 'msvc'):
        other, module = recipe_of(work, {})
        other.settings[name] = value
        try:
            other.validate()
        except module.ConanInvalidConfiguration:
            refused.append(name)
    check('conan: refuses what cannot be built', [] if len(refused) == 2 else ['only', refused])


# ---- RPM -----------------------------------------------------------------------------------------

# What Fedora's macros do. A script gets the number of packages that stay: 0 at a removal, 1 if the
# package is new, and 1 for %preun and %postun of the old one at an upgrade.
MACROS = {'systemd_post()': '[ $1 -ne 1 ] || systemctl preset %{?*}',
          'systemd_preun()': '[ $1 -ne 0 ] || systemctl disable --now %{?*}',
          'systemd_postun()': '%{nil}',
          'systemd_postun_with_restart()': '[ $1 -lt 1 ] || systemctl try-restart %{?*}',
          '_libdir': '/usr/lib64', '_unitdir': '/usr/lib/systemd/system', '_sbindir': '/usr/sbin',
          'meson': 'CC=gcc meson setup build --prefix=/usr --libdir=lib64 --sbindir=sbin',
          'meson_build': 'ninja -C build', 'debug_package': '%{nil}',
          'meson_install': 'DESTDIR=%{buildroot} ninja -C build install'}


MOUNT, SERVICE = 'cachemax-mount', 'cachemax-service'


def scripts_ask(work, spec, package, script, number):
    """What a script of a package asks of systemctl."""
    at = re.search(r'^%%%s -n %s\n(.*?)(?=^%%|\Z)' % (script, package), spec, re.M | re.S)
    if not at:
        return ['no %%%s of %s' % (script, package)]
    asked = os.path.join(work, 'asked')
    text = 'systemctl() { echo "$*" >>"%s"; }\n%s' % (asked, at.group(1))
    code, out = run('sh', '-euc', text, 'script', str(number))
    lines = []
    if os.path.exists(asked):
        with open(asked, encoding='utf-8') as f:
            lines = f.read().splitlines()
        os.remove(asked)
    return lines + (['exit status %d: %s' % (code, out)] if code or out else [])


def test_rpm_scripts(work, spec):
    """As the Debian packages: nothing is started, an upgrade leaves a mount alone and starts the
    service again where it runs, and a removal stops what runs. Wants of systemd are gone then."""
    wrong = []
    for package, script, number, asks in (
            (MOUNT, 'post', 1, ['preset cachemax-mount@.service']),
            (MOUNT, 'post', 2, []),
            (MOUNT, 'preun', 1, []),
            (MOUNT, 'postun', 1, []),
            (MOUNT, 'preun', 0, ['stop cachemax-mount@*.service',
                                 'disable --now cachemax-mount@.service']),
            (MOUNT, 'postun', 0, []),
            (SERVICE, 'post', 1, ['preset cachemax-service.service']),
            (SERVICE, 'post', 2, []),
            (SERVICE, 'preun', 1, []),
            (SERVICE, 'postun', 1, ['try-restart cachemax-service.service']),
            (SERVICE, 'preun', 0, ['disable --now cachemax-service.service']),
            (SERVICE, 'postun', 0, [])):
        asked = scripts_ask(work, spec, package, script, number)
        if asked != asks:
            wrong.append('%s, %%%s %d: %s' % (package, script, number, asked))
    check('rpm: what scripts ask of systemd', '; '.join(wrong))


def test_rpm(work, build):
    spec = os.path.join(PACKAGING, 'rpm', 'libcachemax.spec')
    if not shutil.which('rpmspec'):
        say('skip', 'rpm: the spec is parsed', 'no rpmspec (Debian package rpm)')
        return
    macros = [word for name, value in MACROS.items()
              for word in ('--define', '%s %s' % (name, value))]
    code, out = run('rpmspec', '-P', *macros, spec)
    check('rpm: the spec is parsed', out if code or 'warning' in out else '')
    test_rpm_scripts(work, out)
    if not build:
        return
    os.makedirs(os.path.join(work, 'rpm', 'SOURCES'))
    version = re.search(r'^Version: +(\S+)', text_of('packaging', 'rpm', 'libcachemax.spec'),
                        re.M).group(1)
    tar = os.path.join(work, 'rpm', 'SOURCES', 'libcachemax-%s.tar.gz' % version)
    run('sh', '-c', 'git ls-files -z | tar -c --null -T - --transform "s,^,$1/," -z -f "$2"', '-',
        'libcachemax-' + version, tar, cwd=TOP)
    # A file that is installed and is in no package is an error.
    code, out = run('rpmbuild', '-bb', '--nodeps', *macros, '--define',
                    '_topdir ' + os.path.join(work, 'rpm'), spec)
    made = glob.glob(os.path.join(work, 'rpm', 'RPMS', '*', '*.rpm'))
    check('rpm: %d packages are built' % len(made), out if code or len(made) != 7 else '')
    root = os.path.join(work, 'rpm', 'unpacked')
    os.mkdir(root)
    for package in made:
        run('rpm2archive', package)
        run('tar', '-xzf', package + '.tgz', '-C', root)
    code, out = run(sys.executable, os.path.join(HERE, 'links.py'), root)
    check('rpm: links in documents lead somewhere', out if code else '')


def main():
    if sys.argv[1:] not in ([], ['--rpm']):
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory(prefix='cachemax-recipes.') as work:
        test_versions()
        test_vcpkg(work)
        test_conan(work)
        test_rpm(work, sys.argv[1:] == ['--rpm'])
    print('%d passed, %d failed, %d skipped' % tuple(counts.values()))
    sys.exit(counts['FAIL'] > 0)


if __name__ == '__main__':
    main()
