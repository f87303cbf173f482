# What `cmake --install` puts down, and what find_package(leat COMPONENTS ...) then finds.
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/leat)

install(DIRECTORY include/leat DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.hpp")
foreach(layer IN LISTS leat_layers)  # an export file each, so that a consumer needs the packages of what it asks for only
    install(TARGETS leat_${layer} EXPORT leat-${layer})
    install(EXPORT leat-${layer} NAMESPACE leat:: DESTINATION ${package_dir})
endforeach()

configure_package_config_file(cmake/leat-config.cmake.in leat-config.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(leat-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/leat-config.cmake ${PROJECT_BINARY_DIR}/leat-config-version.cmake
              cmake/layers.cmake cmake/packages.cmake DESTINATION ${package_dir})
