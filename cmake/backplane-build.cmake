# What every folder shares: warnings, the numerics flags, and the two kinds of target, modules and plugins.

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(YAML REQUIRED IMPORTED_TARGET yaml-0.1)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(HWLOC REQUIRED IMPORTED_TARGET hwloc)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)

add_library(backplane_flags INTERFACE)
target_compile_options(backplane_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow $<$<COMPILE_LANGUAGE:C>:-Wconversion -Wstrict-prototypes>
  # Contraction is written, never left to the compiler: docs/numerics.md.
  -ffp-contract=off -fno-math-errno
  $<$<BOOL:${BACKPLANE_WERROR}>:-Werror>)
if(BACKPLANE_SANITIZE)
  target_compile_options(backplane_flags INTERFACE -fsanitize=${BACKPLANE_SANITIZE} -fno-omit-frame-pointer
    -fno-sanitize-recover=all)
  target_link_options(backplane_flags INTERFACE -fsanitize=${BACKPLANE_SANITIZE})
endif()

if(BACKPLANE_FUZZ)
  if(NOT CMAKE_C_COMPILER_ID MATCHES Clang)
    message(FATAL_ERROR "BACKPLANE_FUZZ needs clang, which has libFuzzer: use the preset fuzz")
  endif()
  # Everything reports its coverage; only the fuzz targets have libFuzzer's main.
  target_compile_options(backplane_flags INTERFACE -fsanitize=fuzzer-no-link)
  target_link_options(backplane_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# The SDK: the only headers that plugins see.
add_library(backplane_sdk INTERFACE)
target_include_directories(backplane_sdk INTERFACE
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/core/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)

# A folder of the core as a static library named backplane_<name>: all its *.c files.
function(backplane_module name)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.c)
  if(NOT sources)
    file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/empty.c "typedef int backplane_empty;\n")
    set(sources ${CMAKE_CURRENT_BINARY_DIR}/empty.c)
  endif()
  add_library(backplane_${name} STATIC ${sources})
  target_compile_definitions(backplane_${name} PRIVATE _GNU_SOURCE)
  target_include_directories(backplane_${name} PUBLIC ${PROJECT_SOURCE_DIR}/core)
  target_link_libraries(backplane_${name} PUBLIC backplane_sdk PRIVATE backplane_flags ${ARGN})
endfunction()

# Files of the module in this folder that are compiled once more for each wider instruction set: core/base/wide.h.
function(backplane_wide name)
  if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    return()
  endif()
  set(avx2 -mavx2)
  set(avx512 -mavx512f -mavx512bw -mavx512vl -mavx512dq -mprefer-vector-width=512)
  foreach(set avx2 avx512)
    add_library(backplane_${name}_${set} OBJECT ${ARGN})
    target_compile_definitions(backplane_${name}_${set} PRIVATE _GNU_SOURCE WIDE_SUFFIX=${set})
    target_compile_options(backplane_${name}_${set} PRIVATE -O3 ${${set}})
    target_include_directories(backplane_${name}_${set} PRIVATE ${PROJECT_SOURCE_DIR}/core)
    target_link_libraries(backplane_${name}_${set} PRIVATE backplane_sdk backplane_flags)
    target_sources(backplane_${name} PRIVATE $<TARGET_OBJECTS:backplane_${name}_${set}>)
  endforeach()
endfunction()

# A plugin: <name>.so that exports one symbol and links nothing of the core.
function(backplane_plugin name)
  add_library(plugin_${name} MODULE ${ARGN})
  target_compile_definitions(plugin_${name} PRIVATE _GNU_SOURCE BACKPLANE_VERSION="${PROJECT_VERSION}")
  target_link_libraries(plugin_${name} PRIVATE backplane_sdk backplane_flags Threads::Threads m)
  target_link_options(plugin_${name} PRIVATE
    -Wl,--version-script=${PROJECT_SOURCE_DIR}/cmake/plugin.map)
  if(NOT BACKPLANE_SANITIZE) # whose runtime is the program's
    target_link_options(plugin_${name} PRIVATE -Wl,-z,defs)
  endif()
  set_target_properties(plugin_${name} PROPERTIES PREFIX "" OUTPUT_NAME ${name}
    LIBRARY_OUTPUT_DIRECTORY ${BACKPLANE_PLUGIN_OUTPUT_DIRECTORY})
  install(TARGETS plugin_${name} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/backplane)
endfunction()
