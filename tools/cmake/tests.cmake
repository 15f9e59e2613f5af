# Tests: one program (or script) a file, labelled by the line `ctest: quick|gpu|model|long` near its
# top.

pkg_check_modules(CMOCKA QUIET IMPORTED_TARGET cmocka)
if(NOT CMOCKA_FOUND)
  message(STATUS "tests: not built, cmocka is missing (on Debian and Ubuntu: apt install "
                 "libcmocka-dev)")
  return()
endif()

# Begun first, the longest before the others, so that no processor waits for one of them at the end.
set(pumice_long_tests
    test_recurrent
    test_reference
    test_gpu_context
    test_repeat
    test_memory
    test_cache_types
    test_faults
    test_device_loss
    test_arch
    test_check
    test_kernels)

function(pumice_test_label path out)
  file(STRINGS ${path} lines LIMIT_COUNT 20 REGEX "ctest: *(quick|gpu|model|long)")
  if(NOT lines MATCHES "ctest: *(quick|gpu|model|long)")
    message(FATAL_ERROR "${path}: no line `ctest: quick|gpu|model|long` near its top")
  endif()
  set(${out} ${CMAKE_MATCH_1} PARENT_SCOPE)
endfunction()

function(pumice_add_test name label)
  list(FIND pumice_long_tests ${name} place)
  math(EXPR cost "100 * (${place} + 1)")
  add_test(NAME ${name} COMMAND ${ARGN})
  set(environment "PUMICE_BUILD=${CMAKE_CURRENT_BINARY_DIR}" "PUMICE_PYTHON=${PUMICE_PYTHON}"
                  OMP_WAIT_POLICY=passive)
  set_tests_properties(
    ${name}
    PROPERTIES LABELS ${label}
               SKIP_RETURN_CODE 77
               TIMEOUT 1500
               COST ${cost}
               ENVIRONMENT "${environment}")
endfunction()

find_program(PUMICE_PYTHON NAMES python3)

# What several tests share.
file(GLOB test_sources CONFIGURE_DEPENDS tests/test_*.c)
file(GLOB support_sources CONFIGURE_DEPENDS tests/*.c)
list(REMOVE_ITEM support_sources ${test_sources})
add_library(pumice_test_support STATIC ${support_sources})
target_compile_definitions(pumice_test_support
                           PRIVATE PUMICE_SOURCE_DIR="${CMAKE_CURRENT_SOURCE_DIR}")
target_include_directories(pumice_test_support PUBLIC runtime ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(
  pumice_test_support
  PUBLIC pumice_tools pumice_runtime pumice_vulkan PkgConfig::CMOCKA PkgConfig::CJSON
  PRIVATE pumice_flags)

# Calls that tests/host_faults.c can make fail, where a test asks for it.
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS tests/host_faults.c)
file(STRINGS tests/host_faults.c fault_lines REGEX "^WRAP\\(")
set(fault_options "")
foreach(line ${fault_lines})
  string(REGEX MATCH "^WRAP\\([^,]*, ([a-z0-9_]+)," ignored "${line}")
  list(APPEND fault_options "-Wl,--wrap=${CMAKE_MATCH_1}")
endforeach()

foreach(source ${test_sources})
  get_filename_component(name ${source} NAME_WE)
  pumice_test_label(${source} label)
  add_executable(${name} ${source})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY tests LINKER_LANGUAGE CXX)
  target_compile_definitions(${name} PRIVATE PUMICE_SOURCE_DIR="${CMAKE_CURRENT_SOURCE_DIR}"
                                             PUMICE_VULKAN_HEADERS="${VULKAN_HEADERS}")
  target_link_libraries(${name} PRIVATE pumice_flags pumice_test_support ${runtime_dependencies})
  file(STRINGS ${source} faulty REGEX "#include \"host_faults.h\"")
  if(faulty)
    target_link_options(${name} PRIVATE ${fault_options})
  endif()
  # `wrap: NAME...`: functions the test stands in for.
  file(STRINGS ${source} wraps LIMIT_COUNT 20 REGEX "wrap: ")
  if(wraps)
    string(REGEX REPLACE ".*wrap: ([a-z ]+[a-z]).*" "\\1" wraps "${wraps}")
    string(REPLACE " " ";" wraps "${wraps}")
    list(TRANSFORM wraps PREPEND "-Wl,--wrap=")
    target_link_options(${name} PRIVATE ${wraps})
  endif()
  pumice_add_test(${name} ${label} ${name})
endforeach()

file(GLOB test_scripts CONFIGURE_DEPENDS tests/test_*.sh tests/test_*.py)
foreach(script ${test_scripts})
  get_filename_component(name ${script} NAME_WE)
  pumice_test_label(${script} label)
  if(script MATCHES "\\.sh$")
    pumice_add_test(${name} ${label} sh ${script})
  elseif(PUMICE_PYTHON)
    pumice_add_test(${name} ${label} ${PUMICE_PYTHON} ${script})
  else()
    message(STATUS "${name}: not run, python3 is missing")
  endif()
endforeach()
