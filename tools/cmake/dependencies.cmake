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

# Vulkan: headers only. The loader is opened at run time (volk), so that a machine without one can
# still use the CPU.
find_path(VULKAN_HEADERS vulkan/vulkan.h)
find_path(VOLK_HEADERS volk.h PATH_SUFFIXES volk Volk)
if(NOT VULKAN_HEADERS OR NOT VOLK_HEADERS)
  message(FATAL_ERROR "vulkan/vulkan.h or volk.h is missing; on Debian and Ubuntu: "
                      "apt install libvulkan-dev libvulkan-volk-dev")
endif()
add_library(pumice_vulkan INTERFACE)
target_include_directories(pumice_vulkan SYSTEM INTERFACE ${VULKAN_HEADERS} ${VOLK_HEADERS})

# shaderc: static if that links complete, else shared. Upstream's "combined" library is complete;
# distributions take glslang and SPIRV-Tools out of it, and some link their shared one against
# neither, so these are added where they are found (their names changed over the years).
find_path(SHADERC_HEADERS shaderc/shaderc.h)
find_library(SHADERC_SHARED NAMES shaderc shaderc_shared)
find_library(SHADERC_COMBINED NAMES libshaderc_combined.a)
set(pieces "")
set(piece_names "")
foreach(piece glslang SPIRV MachineIndependent GenericCodeGen OGLCompiler OSDependent
              SPIRV-Tools-opt SPIRV-Tools)
  find_library(SHADERC_PIECE_${piece} NAMES lib${piece}.a)
  mark_as_advanced(SHADERC_PIECE_${piece})
  if(SHADERC_PIECE_${piece})
    list(APPEND pieces ${SHADERC_PIECE_${piece}})
    list(APPEND piece_names -l${piece})
  endif()
endforeach()

include(CheckCXXSourceCompiles)
# Takes the libraries if nothing has been taken yet and they link.
macro(pumice_try_shaderc kind library name)
  if(NOT PUMICE_SHADERC_KIND AND ${library})
    set(CMAKE_REQUIRED_INCLUDES ${SHADERC_HEADERS})
    # Twice: the pieces refer to each other.
    set(CMAKE_REQUIRED_LIBRARIES ${${library}} ${ARGN} ${ARGN} Threads::Threads)
    string(MAKE_C_IDENTIFIER "PUMICE_SHADERC_LINKS_${kind}" check)
    check_cxx_source_compiles(
      "#include <shaderc/shaderc.h>
       int main() {
           shaderc_compiler_t c = shaderc_compiler_initialize();
           shaderc_compile_options_t o = shaderc_compile_options_initialize();
           shaderc_compilation_result_t r = shaderc_compile_into_spv(
               c, \"\", 0, shaderc_compute_shader, \"\", \"main\", o);
           return (int)shaderc_result_get_length(r);
       }"
      ${check})
    if(${check})
      set(PUMICE_SHADERC_KIND ${kind})
      set(shaderc_libraries ${${library}} ${ARGN} ${ARGN})
      set(shaderc_names ${name})
    endif()
    unset(CMAKE_REQUIRED_INCLUDES)
    unset(CMAKE_REQUIRED_LIBRARIES)
  endif()
endmacro()

unset(PUMICE_SHADERC_KIND)
if(PUMICE_SHADERC_STATIC)
  pumice_try_shaderc("static" SHADERC_COMBINED -lshaderc_combined ${pieces})
endif()
pumice_try_shaderc("shared" SHADERC_SHARED -lshaderc)
pumice_try_shaderc("shared with static pieces" SHADERC_SHARED -lshaderc ${pieces})
if(NOT SHADERC_HEADERS OR NOT PUMICE_SHADERC_KIND)
  message(FATAL_ERROR "shaderc is missing, or does not link; on Debian and Ubuntu: "
                      "apt install libshaderc-dev glslang-dev spirv-tools")
endif()
if(NOT PUMICE_SHADERC_KIND STREQUAL "shared")
  list(APPEND shaderc_names ${piece_names} ${piece_names})
endif()
add_library(pumice_shaderc INTERFACE)
target_include_directories(pumice_shaderc SYSTEM INTERFACE ${SHADERC_HEADERS})
target_link_libraries(pumice_shaderc INTERFACE ${shaderc_libraries})
# The library cannot tell its version; cached SPIR-V is keyed by it.
pkg_check_modules(SHADERC QUIET shaderc)
target_compile_definitions(pumice_shaderc INTERFACE PM__SHADERC_VERSION="${SHADERC_VERSION}")
message(STATUS "shaderc: ${PUMICE_SHADERC_KIND} ${SHADERC_VERSION}")
