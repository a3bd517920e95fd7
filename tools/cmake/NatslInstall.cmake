# NatslInstall.cmake - what `cmake --install` puts where: the program, libnatsl (shared and static), public headers,
# the CMake package and the pkg-config file. Tests: tests/consumer.
set(natsl_cmake_dir "${CMAKE_INSTALL_LIBDIR}/cmake/natsl")

install(TARGETS natsl_app RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
# Two export sets: a consumer of the shared library needs MPI only, one of the static library everything.
install(TARGETS natsl_shared EXPORT natslShared LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS natsl_static EXPORT natslStatic ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}/include/natsl" DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.h")
install(FILES "${NATSL_GENERATED_DIR}/include/natsl/version.h" DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/natsl)
install(FILES "${CMAKE_CURRENT_SOURCE_DIR}/README.md" "${CMAKE_CURRENT_SOURCE_DIR}/LICENSE"
        DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}/jobs" DESTINATION ${CMAKE_INSTALL_DATADIR}/natsl USE_SOURCE_PERMISSIONS)

install(EXPORT natslShared NAMESPACE natsl:: DESTINATION ${natsl_cmake_dir})
install(EXPORT natslStatic NAMESPACE natsl:: DESTINATION ${natsl_cmake_dir})
configure_package_config_file(tools/cmake/natslConfig.cmake.in "${CMAKE_CURRENT_BINARY_DIR}/natslConfig.cmake"
    INSTALL_DESTINATION ${natsl_cmake_dir} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/natslConfigVersion.cmake"
    COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/natslConfig.cmake" "${CMAKE_CURRENT_BINARY_DIR}/natslConfigVersion.cmake"
              "${CMAKE_CURRENT_SOURCE_DIR}/tools/cmake/NatslDependencies.cmake" DESTINATION ${natsl_cmake_dir})

# The prefix is given from the .pc file's own place, so that a moved installation still works.
file(RELATIVE_PATH NATSL_PC_TO_PREFIX "${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig" "${CMAKE_INSTALL_PREFIX}")
string(REGEX REPLACE "/$" "" NATSL_PC_TO_PREFIX "${NATSL_PC_TO_PREFIX}")
configure_file(tools/cmake/natsl.pc.in "${CMAKE_CURRENT_BINARY_DIR}/natsl.pc" @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/natsl.pc" DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
