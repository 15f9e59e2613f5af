# What pumice uses and how it is found. Every missing piece is named with its Debian package.

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS C)

function(pumice_need name module package)
  pkg_check_modules(${name} QUIET IMPORTED_TARGET ${module})
  if(NOT ${name}_FOUND)
    message(FATAL_ERROR "${module} is missing; on Debian and Ubuntu: apt install ${package}")
  endif()
endfunction()

pumice_need(CJSON libcjson libcjson-dev)
pumice_need(PCRE2 libpcre2-8 libpcre2-dev)
pumice_need(UTF8PROC libutf8proc libutf8proc-dev)
pumice_need(LIBEDIT libedit libedit-dev)

# Vulkan: headers only. The loader is opened at run time (volk), so that a machine without one can still use the CPU.
find_path(VULKAN_HEADERS vulkan/vulkan.h)
find_path(VOLK_HEADERS volk.h PATH_SUFFIXES volk Volk)
if(NOT VULKAN_HEADERS OR NOT VOLK_HEADERS)
  message(FATAL_ERROR "vulkan/vulkan.h or volk.h is missing; on Debian and Ubuntu: "
                      "apt install libvulkan-dev libvulkan-volk-dev")
endif()
add_library(pumice_vulkan INTERFACE)
target_include_directories(pumice_vulkan SYSTEM INTERFACE ${VULKAN_HEADERS} ${VOLK_HEADERS})

# shaderc: static only if it links complete. Upstream's "combined" library is; distributions take glslang and
# SPIRV-Tools out of it, so these are added where they are found (their names changed over the years).
find_path(SHADERC_HEADERS shaderc/shaderc.h)
find_library(SHADERC_SHARED_LIBRARY NAMES shaderc shaderc_shared)
set(shaderc_static_libraries "")
foreach(piece shaderc_combined glslang SPIRV MachineIndependent GenericCodeGen OGLCompiler OSDependent
              SPIRV-Tools-opt SPIRV-Tools)
  find_library(SHADERC_PIECE_${piece} NAMES lib${piece}.a)
  mark_as_advanced(SHADERC_PIECE_${piece})
  if(SHADERC_PIECE_${piece})
    list(APPEND shaderc_static_libraries ${SHADERC_PIECE_${piece}})
    list(APPEND shaderc_static_names -l${piece})
  endif()
endforeach()
# Twice: they refer to each other.
list(APPEND shaderc_static_libraries ${shaderc_static_libraries})
list(APPEND shaderc_static_names ${shaderc_static_names})

set(PUMICE_SHADERC_KIND "shared")
if(PUMICE_SHADERC_STATIC AND SHADERC_PIECE_shaderc_combined)
  include(CheckCXXSourceCompiles)
  set(CMAKE_REQUIRED_INCLUDES ${SHADERC_HEADERS})
  set(CMAKE_REQUIRED_LIBRARIES ${shaderc_static_libraries} Threads::Threads)
  check_cxx_source_compiles(
    "#include <shaderc/shaderc.h>
     int main() {
         shaderc_compiler_t c = shaderc_compiler_initialize();
         shaderc_compile_options_t o = shaderc_compile_options_initialize();
         shaderc_compilation_result_t r = shaderc_compile_into_spv(
             c, \"\", 0, shaderc_compute_shader, \"\", \"main\", o);
         return (int)shaderc_result_get_length(r);
     }"
    PUMICE_SHADERC_STATIC_COMPLETE)
  unset(CMAKE_REQUIRED_INCLUDES)
  unset(CMAKE_REQUIRED_LIBRARIES)
  if(PUMICE_SHADERC_STATIC_COMPLETE)
    set(PUMICE_SHADERC_KIND "static")
  endif()
endif()
if(NOT SHADERC_HEADERS OR (PUMICE_SHADERC_KIND STREQUAL "shared" AND NOT SHADERC_SHARED_LIBRARY))
  message(FATAL_ERROR "shaderc is missing; on Debian and Ubuntu: apt install libshaderc-dev")
endif()
add_library(pumice_shaderc INTERFACE)
target_include_directories(pumice_shaderc SYSTEM INTERFACE ${SHADERC_HEADERS})
if(PUMICE_SHADERC_KIND STREQUAL "static")
  target_link_libraries(pumice_shaderc INTERFACE ${shaderc_static_libraries})
else()
  target_link_libraries(pumice_shaderc INTERFACE ${SHADERC_SHARED_LIBRARY})
endif()
# The library cannot tell its version; cached SPIR-V is keyed by it.
pkg_check_modules(SHADERC QUIET shaderc)
target_compile_definitions(pumice_shaderc INTERFACE PM__SHADERC_VERSION="${SHADERC_VERSION}")
message(STATUS "shaderc: ${PUMICE_SHADERC_KIND} ${SHADERC_VERSION}")
