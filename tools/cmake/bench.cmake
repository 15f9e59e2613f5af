# Measurements of parts, one program a file; not installed.

file(GLOB bench_sources CONFIGURE_DEPENDS bench/*.c)
foreach(source ${bench_sources})
  get_filename_component(name ${source} NAME_WE)
  add_executable(bench_${name} ${source})
  set_target_properties(bench_${name} PROPERTIES OUTPUT_NAME ${name} RUNTIME_OUTPUT_DIRECTORY bench
                                                 LINKER_LANGUAGE CXX)
  target_include_directories(bench_${name} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  target_link_libraries(bench_${name} PRIVATE pumice_flags pumice_runtime pumice_vulkan
                                              ${runtime_dependencies})
endforeach()
