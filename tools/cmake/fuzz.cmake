# Fuzz targets: tests/fuzz/fuzz_<target>.c. With PUMICE_FUZZ each is a libFuzzer program (clang);
# else one that replays tests/fuzz/corpus/<target>/, run by ctest as fuzz_<target>.

set(fuzz_folder ${CMAKE_CURRENT_SOURCE_DIR}/tests/fuzz)
file(GLOB fuzz_sources CONFIGURE_DEPENDS ${fuzz_folder}/fuzz_*.c)

foreach(source ${fuzz_sources})
  get_filename_component(name ${source} NAME_WE)
  string(REGEX REPLACE "^fuzz_" "" target ${name})
  add_executable(${name} ${source} ${fuzz_folder}/input.c ${fuzz_folder}/folder.c
                 tests/vocabulary.c)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY fuzz LINKER_LANGUAGE CXX)
  target_include_directories(${name} PRIVATE runtime ${CMAKE_CURRENT_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE pumice_flags pumice_tools pumice_runtime pumice_vulkan
                                        ${runtime_dependencies})
  if(PUMICE_FUZZ)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  else()
    target_sources(${name} PRIVATE ${fuzz_folder}/replay.c)
    add_test(NAME ${name} COMMAND ${name} ${fuzz_folder}/corpus/${target})
    set_tests_properties(${name} PROPERTIES LABELS quick TIMEOUT 900)
  endif()
endforeach()

if(NOT PUMICE_FUZZ AND PUMICE_PYTHON)
  add_test(NAME fuzz_corpus COMMAND ${PUMICE_PYTHON} ${fuzz_folder}/make_corpus.py --check)
  set_tests_properties(fuzz_corpus PROPERTIES LABELS quick)
endif()

# The target looks at the sentences that the program would print.
target_link_options(fuzz_conversation PRIVATE -Wl,--wrap=pm__cli_error)
