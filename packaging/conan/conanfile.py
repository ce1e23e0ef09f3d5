# SPDX-License-Identifier: BSD-2-Clause
"""The library alone, for Conan 2: conan create packaging/conan"""
import os

from conan import ConanFile
from conan.errors import ConanInvalidConfiguration
from conan.tools.files import copy
from conan.tools.layout import basic_layout
from conan.tools.meson import Meson, MesonToolchain


class Cachemax(ConanFile):
    name = 'libcachemax'
    version = '0.1.0'
    license = 'BSD-2-Clause'
    description = 'Persistent, crash-proof block read cache in one file'
    package_type = 'library'
    settings = 'os', 'arch', 'compiler', 'build_type'
    options = {'shared': [True, False], 'fPIC': [True, False]}
    default_options = {'shared': False, 'fPIC': True}
    languages = ['C']

    def export_sources(self):
        top = os.path.join(self.recipe_folder, '..', '..')
        for pattern in ('meson*', 'LICENSE', 'README.md', 'include/*', 'src/*', 'packaging/*',
                        'docs/*', 'examples/*'):
            copy(self, pattern, top, self.export_sources_folder)

    def configure(self):
        if self.options.shared:
            self.options.rm_safe('fPIC')

    def validate(self):
        if self.settings.arch not in ('x86_64', 'armv8'):
            raise ConanInvalidConfiguration('libcachemax runs on x86-64 and arm64')
        if self.settings.compiler == 'msvc':
            raise ConanInvalidConfiguration('libcachemax needs gcc or clang (on Windows: mingw)')

    def requirements(self):
        self.requires('xxhash/[>=0.8.1]')

    def build_requirements(self):
        self.tool_requires('meson/[>=1.0]')

    def layout(self):
        basic_layout(self)

    def generate(self):
        chain = MesonToolchain(self)
        for option in 'tool', 'tests':
            chain.project_options[option] = 'false'
        for option in 'examples', 'dash':
            chain.project_options[option] = 'disabled'
        chain.project_options['xxhash_header'] = \
            self.dependencies['xxhash'].cpp_info.includedirs[0]
        chain.generate()

    def build(self):
        meson = Meson(self)
        meson.configure()
        meson.build()

    def package(self):
        copy(self, 'LICENSE', self.source_folder, os.path.join(self.package_folder, 'licenses'))
        Meson(self).install()

    def package_info(self):
        self.cpp_info.libs = ['cachemax']
        self.cpp_info.set_property('cmake_file_name', 'cachemax')
        self.cpp_info.set_property('cmake_target_name', 'cachemax::cachemax')
        self.cpp_info.set_property('pkg_config_name', 'cachemax')
        if self.settings.os == 'Linux':
            self.cpp_info.system_libs = ['pthread']
        elif self.settings.os == 'Windows':
            self.cpp_info.system_libs = ['synchronization', 'bcrypt']
