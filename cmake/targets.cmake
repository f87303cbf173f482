# What a row of cmake/layers.cmake makes in our build.

# Our own code only: nothing here reaches a consumer.
add_library(leat_options INTERFACE)
target_compile_options(leat_options INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Wnon-virtual-dtor -Woverloaded-virtual
    $<$<BOOL:${LEAT_WERROR}>:-Werror>
    # GCC 12 sees uninitialised values in coroutine frames, and overlaps in string assignments, where there are none.
    $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized;-Wno-restrict>
    # GCC 12 gives the frame of a coroutine with a local type or an unnamed-namespace argument a type without linkage.
    $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage>)

# Asio, where a layer uses it: without its deprecated names and its stand-alone fences (TSan cannot see them).
set(leat_asio_definitions BOOST_ASIO_NO_DEPRECATED BOOST_ASIO_DISABLE_FENCED_BLOCK)

# leat_precompile(target sources [header...]): what nearly all of these sources read is read once, in a quick build. Not in the
# others, where a source that leans on what another has included does not compile (and where GCC 12, optimising, warns of more with
# precompiled headers than there is).
function(leat_precompile target sources)
    list(LENGTH sources count)
    if(LEAT_QUICK_BUILD AND count GREATER 5)
        target_precompile_headers(${target} PRIVATE <algorithm> <atomic> <chrono> <coroutine> <functional> <map> <memory>
                                                    <mutex> <optional> <string> <thread> <vector> ${ARGN})
    endif()
endfunction()

set(leat_layers)

include(GNUInstallDirs)
include(cmake/packages.cmake)

# leat_layer(NAME [DEPENDS layer...] [PACKAGES imported-target...]): the library leat_NAME from src/NAME.
function(leat_layer name)
    cmake_parse_arguments(arg "" "" "DEPENDS;PACKAGES" ${ARGN})
    file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${name}/*.cpp)
    if(sources)
        add_library(leat_${name} STATIC ${sources})
        target_link_libraries(leat_${name} PRIVATE $<BUILD_INTERFACE:leat_options>)
        target_compile_definitions(leat_${name} PRIVATE ${leat_asio_definitions})
        target_include_directories(leat_${name} PRIVATE src)  # <layer/name.hpp>: its private headers
        leat_precompile(leat_${name} "${sources}")
        set(scope PUBLIC)
    else()  # headers alone
        add_library(leat_${name} INTERFACE)
        set(scope INTERFACE)
    endif()
    add_library(leat::${name} ALIAS leat_${name})
    set_target_properties(leat_${name} PROPERTIES EXPORT_NAME ${name})
    target_compile_features(leat_${name} ${scope} cxx_std_20)
    target_include_directories(leat_${name} ${scope} $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                                                     $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
    leat_find_packages(${arg_PACKAGES})
    list(TRANSFORM arg_DEPENDS PREPEND leat_)
    target_link_libraries(leat_${name} ${scope} ${arg_DEPENDS} ${arg_PACKAGES})
    list(APPEND leat_layers ${name})
    set(leat_layers ${leat_layers} PARENT_SCOPE)
endfunction()

# leat_command(NAME [DEPENDS layer...] [PACKAGES imported-target...]): the program NAME from src/cli; what is not its main
# is the library NAME_cli, for the tests.
function(leat_command name)
    cmake_parse_arguments(arg "" "" "DEPENDS;PACKAGES" ${ARGN})
    file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/cli/*.cpp)
    if(sources)
        list(REMOVE_ITEM sources ${PROJECT_SOURCE_DIR}/src/cli/main.cpp)
        leat_find_packages(${arg_PACKAGES})
        list(TRANSFORM arg_DEPENDS PREPEND leat_)
        add_library(${name}_cli STATIC ${sources})
        target_compile_definitions(${name}_cli PRIVATE ${leat_asio_definitions} LEAT_VERSION="${PROJECT_VERSION}")
        target_include_directories(${name}_cli PUBLIC ${PROJECT_SOURCE_DIR}/src)
        leat_precompile(${name}_cli "${sources}")
        target_link_libraries(${name}_cli PUBLIC ${arg_DEPENDS} PRIVATE leat_options ${arg_PACKAGES})
        add_executable(${name} ${PROJECT_SOURCE_DIR}/src/cli/main.cpp)
        target_link_libraries(${name} PRIVATE leat_options ${name}_cli)
        install(TARGETS ${name})
    endif()
endfunction()
