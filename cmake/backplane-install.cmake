# What an installation has beside plugins: the program, the SDK's headers, and the two ways to find them.

include(CMakePackageConfigHelpers)

set(BACKPLANE_PLUGIN_DIRECTORY ${CMAKE_INSTALL_LIBDIR}/backplane)
set(BACKPLANE_PACKAGE_DIRECTORY ${CMAKE_INSTALL_LIBDIR}/cmake/Backplane)

install(TARGETS backplane RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY core/include/backplane DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")

set_target_properties(backplane_sdk PROPERTIES EXPORT_NAME sdk)
install(TARGETS backplane_sdk EXPORT BackplaneTargets)
install(EXPORT BackplaneTargets NAMESPACE Backplane:: DESTINATION ${BACKPLANE_PACKAGE_DIRECTORY})
configure_package_config_file(cmake/BackplaneConfig.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/BackplaneConfig.cmake
  INSTALL_DESTINATION ${BACKPLANE_PACKAGE_DIRECTORY} PATH_VARS BACKPLANE_PLUGIN_DIRECTORY)
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/BackplaneConfigVersion.cmake
  COMPATIBILITY SameMajorVersion ARCH_INDEPENDENT)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/BackplaneConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/BackplaneConfigVersion.cmake
  cmake/plugin.map
  DESTINATION ${BACKPLANE_PACKAGE_DIRECTORY})

# Relative to the file itself, so that an installation may be moved.
if(IS_ABSOLUTE ${CMAKE_INSTALL_LIBDIR})
  set(BACKPLANE_PC_PREFIX ${CMAKE_INSTALL_PREFIX})
  set(BACKPLANE_PC_PLUGINDIR ${CMAKE_INSTALL_FULL_LIBDIR}/backplane)
else()
  file(RELATIVE_PATH up /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
  string(REGEX REPLACE "/$" "" up "${up}")
  set(BACKPLANE_PC_PREFIX "\${pcfiledir}/${up}")
  set(BACKPLANE_PC_PLUGINDIR "\${prefix}/${CMAKE_INSTALL_LIBDIR}/backplane")
endif()
configure_file(cmake/backplane.pc.in ${CMAKE_CURRENT_BINARY_DIR}/backplane.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/backplane.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
