# SPDX-License-Identifier: BSD-2-Clause
# The library alone, as a port that lies in its own source:
#     vcpkg install libcachemax --overlay-ports=SOURCE/packaging/vcpkg
# A port in the registry takes a release with vcpkg_from_github() instead of this source.
get_filename_component(SOURCE_PATH "${CMAKE_CURRENT_LIST_DIR}/../.." REALPATH)
vcpkg_configure_meson(SOURCE_PATH "${SOURCE_PATH}"
  OPTIONS -Dtool=false -Dexamples=disabled -Ddash=disabled -Dtests=false)
vcpkg_install_meson()
vcpkg_fixup_pkgconfig()
vcpkg_cmake_config_fixup(PACKAGE_NAME cachemax CONFIG_PATH lib/cmake/cachemax)
file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/debug/include" "${CURRENT_PACKAGES_DIR}/debug/share")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
