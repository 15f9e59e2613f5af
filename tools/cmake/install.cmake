# What `cmake --install` puts where.

set(pumice_pc_libs_private "-fopenmp -lpthread -ldl -lm -lstdc++")
set(pumice_pc_requires_private "libcjson libpcre2-8 libutf8proc")
list(JOIN shaderc_names " " names)
string(PREPEND pumice_pc_libs_private "${names} ")
# Relative, so that `cmake --install --prefix` and moved folders keep working.
file(RELATIVE_PATH pumice_pc_prefix ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(${CMAKE_CURRENT_LIST_DIR}/pumice.pc.in pumice.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/pumice.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

install(TARGETS pumice_runtime ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(TARGET pumice_runtime_shared)
  install(
    TARGETS pumice_runtime_shared
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
    PUBLIC_HEADER DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
endif()
if(TARGET pumice)
  install(TARGETS pumice RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(FILES tools/pumice.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 OPTIONAL)
install(FILES tools/completion.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions
        RENAME pumice OPTIONAL)
install(FILES models/pebble/pebble.gguf DESTINATION ${CMAKE_INSTALL_DATADIR}/pumice OPTIONAL)
