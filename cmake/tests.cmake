# Tests, examples and benchmarks: each found by its folder (CONTRIBUTING.md says which file goes where).
find_package(GTest REQUIRED)
find_package(rapidcheck REQUIRED)
include(GoogleTest)

# Every test ends by itself; this only turns a hang into a failure.
set(hang_guard_s 300)

# Helpers for all tests. They may call any layer: a test program links its own layer behind them.
file(GLOB_RECURSE support CONFIGURE_DEPENDS tests/support/*.cpp)
list(FILTER support EXCLUDE REGEX "/tests/support/explore/")
if(support)
    add_library(leat_test_support STATIC ${support})
    target_link_libraries(leat_test_support PUBLIC leat_base PRIVATE leat_options)
    target_include_directories(leat_test_support PUBLIC tests/support)
    target_compile_definitions(leat_test_support PRIVATE LEAT_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
else()
    add_library(leat_test_support INTERFACE)
endif()

# leat_tests(FOLDER library...): all of tests/FOLDER as one program.
function(leat_tests folder)
    file(GLOB sources CONFIGURE_DEPENDS tests/${folder}/*_test.cpp)
    if(sources)
        set(program leat_${folder}_tests)
        add_executable(${program} ${sources})
        target_include_directories(${program} PRIVATE tests/support src)
        target_compile_definitions(${program} PRIVATE ${leat_asio_definitions} LEAT_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
                                                      LEAT_COMMAND="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/leat")
        target_link_libraries(${program} PRIVATE leat_options ${ARGN} GTest::gmock GTest::gtest_main)
        leat_precompile(${program} "${sources}" <filesystem> <fstream> <ranges> <set> <gmock/gmock.h>)
        if(LEAT_QUICK_BUILD)
            target_compile_options(${program} PRIVATE -O0)
        endif()
        # Labelled with its folder, so that `./dev test PRESET --layers` finds it.
        gtest_discover_tests(${program} DISCOVERY_MODE PRE_TEST PROPERTIES LABELS ${folder} TIMEOUT ${hang_guard_s})
    endif()
endfunction()

foreach(layer IN LISTS leat_layers)
    leat_tests(${layer} leat_test_support leat_${layer} leat_core)  # below runtime there is nothing to run a task on
endforeach()
target_link_libraries(leat_channel_tests PRIVATE rapidcheck)
target_link_libraries(leat_flow_tests PRIVATE rapidcheck)
set_source_files_properties(tests/task/no_tail_calls_test.cpp PROPERTIES COMPILE_OPTIONS -O1 SKIP_PRECOMPILE_HEADERS ON)
leat_tests(conformance leat_test_support leat_cluster)
if(TARGET leat)
    leat_tests(cli leat_test_support leat_cli)
    if(TARGET leat_cli_tests)
        add_dependencies(leat_cli_tests leat)
    endif()
endif()

find_package(Python3 REQUIRED COMPONENTS Interpreter)

# What the compiler must refuse, and with which words.
if(EXISTS ${PROJECT_SOURCE_DIR}/tests/process/refused/run.sh)
    add_test(NAME process.refused COMMAND bash ${PROJECT_SOURCE_DIR}/tests/process/refused/run.sh ${CMAKE_CXX_COMPILER})
endif()

# tests/fuzz/NAME_fuzz.cpp: libFuzzer's programs, where Clang's sanitizer looks on; as tests a few seconds of each.
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang" AND CMAKE_CXX_FLAGS MATCHES "-fsanitize=address")
    file(GLOB fuzzers CONFIGURE_DEPENDS tests/fuzz/*_fuzz.cpp)
    set(archive_format format.cpp body.cpp file.cpp)
    target_compile_options(leat_process PRIVATE -fsanitize=fuzzer-no-link)  # what they look into, so that they see its branches
    target_compile_options(leat_flow PRIVATE -fsanitize=fuzzer-no-link)
    foreach(source IN LISTS fuzzers)
        get_filename_component(name ${source} NAME_WE)
        add_executable(${name} ${source})
        target_compile_options(${name} PRIVATE -fsanitize=fuzzer)
        target_link_options(${name} PRIVATE -fsanitize=fuzzer)
        target_link_libraries(${name} PRIVATE leat_options leat_flow)
        if(name STREQUAL "archive_fuzz")
            list(TRANSFORM archive_format PREPEND ${PROJECT_SOURCE_DIR}/examples/archive/ OUTPUT_VARIABLE looked_into)
            target_sources(${name} PRIVATE ${looked_into})
            target_include_directories(${name} PRIVATE examples)
        endif()
        add_test(NAME fuzz.${name} COMMAND ${name} -runs=200000 -seed=1 -max_len=512 -rss_limit_mb=1024)
    endforeach()
endif()

# The core a second time, on the interleaving explorer instead of the machine. Never linked with the first one.
# Sanitizers have little to see there and make it seven times slower: its threads run one at a time, and it finds by itself who uses
# what has ended.
if(LEAT_EXPLORER)
    file(GLOB_RECURSE explorer CONFIGURE_DEPENDS tests/support/explore/*.cpp src/base/*.cpp)
    file(GLOB_RECURSE explored CONFIGURE_DEPENDS src/task/*.cpp src/sync/*.cpp src/channel/*.cpp src/runtime/*.cpp)
    leat_find_packages(fmt::fmt Threads::Threads Boost::context)
    add_library(leat_explorer OBJECT ${explorer})
    target_link_libraries(leat_explorer PUBLIC fmt::fmt Threads::Threads Boost::context PRIVATE leat_options)
    target_compile_definitions(leat_explorer PUBLIC LEAT_EXPLORE=1)
    target_include_directories(leat_explorer PUBLIC include tests/support PRIVATE src)
    add_library(leat_core_explore STATIC ${explored} $<TARGET_OBJECTS:leat_explorer>)
    target_compile_definitions(leat_core_explore PUBLIC LEAT_EXPLORE=1)
    target_include_directories(leat_core_explore PUBLIC include tests/support PRIVATE src)
    target_link_libraries(leat_core_explore PUBLIC fmt::fmt Threads::Threads Boost::context PRIVATE leat_options)
    leat_tests(explore leat_core_explore)

    # The same with planted mistakes, of which the scenarios must find nearly all: see tests/explore/mutants/mutants.py.
    # Only where it is optimised: a sanitizer has nothing to say about mistakes that are made on purpose, and it takes long.
    if(CMAKE_CXX_FLAGS MATCHES "-O2")
        set(mutants ${PROJECT_SOURCE_DIR}/tests/explore/mutants)
        set(planted ${PROJECT_BINARY_DIR}/mutants)
        set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${mutants}/mutants.toml ${mutants}/mutants.py)
        execute_process(COMMAND ${Python3_EXECUTABLE} ${mutants}/mutants.py files
                        OUTPUT_VARIABLE files OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
        string(REPLACE "\n" ";" files "${files}")
        set(sources ${explored})
        foreach(file IN LISTS files)
            list(REMOVE_ITEM sources ${PROJECT_SOURCE_DIR}/${file})
        endforeach()
        list(TRANSFORM files PREPEND ${PROJECT_SOURCE_DIR}/ OUTPUT_VARIABLE originals)
        list(TRANSFORM files PREPEND ${planted}/)
        add_custom_command(OUTPUT ${files} COMMAND Python3::Interpreter ${mutants}/mutants.py plant ${planted}
                           DEPENDS ${originals} ${mutants}/mutants.toml ${mutants}/mutants.py VERBATIM)
        file(GLOB scenarios CONFIGURE_DEPENDS tests/explore/*_test.cpp)
        list(FILTER scenarios EXCLUDE REGEX "/(explorer|mutants)_test.cpp$")  # of the explorer itself
        add_executable(leat_mutants ${mutants}/main.cpp ${scenarios} ${sources} ${files} $<TARGET_OBJECTS:leat_explorer>)
        target_compile_definitions(leat_mutants PRIVATE LEAT_EXPLORE=1)
        target_compile_options(leat_mutants PRIVATE -w -O1 -include ${mutants}/planted.hpp)
        target_include_directories(leat_mutants PRIVATE ${planted}/include include tests/support src)
        target_link_libraries(leat_mutants PRIVATE fmt::fmt Threads::Threads Boost::context GTest::gmock GTest::gtest)
        add_test(NAME mutants COMMAND Python3::Interpreter ${mutants}/mutants.py run $<TARGET_FILE:leat_mutants>)
        set_tests_properties(mutants PROPERTIES PROCESSORS 2)  # runs as many at once as there are
    endif()
endif()

set(check_layers Python3::Interpreter ${PROJECT_SOURCE_DIR}/tools/check_layers.py)
add_test(NAME tools.layers COMMAND ${check_layers})
add_test(NAME tools.layers_self_test COMMAND ${check_layers} --self-test)
add_test(NAME tools.readme COMMAND Python3::Interpreter ${PROJECT_SOURCE_DIR}/tools/check_readme.py)
add_test(NAME tools.constructs COMMAND Python3::Interpreter ${PROJECT_SOURCE_DIR}/tools/check_constructs.py)

if(TARGET leat)
    add_test(NAME deploy.manifests COMMAND Python3::Interpreter ${PROJECT_SOURCE_DIR}/tools/check_manifests.py $<TARGET_FILE:leat>)
endif()

# Installs into a scratch folder, then configures, builds and runs tests/consumer against that.
if(EXISTS ${PROJECT_SOURCE_DIR}/tests/consumer/CMakeLists.txt)
    add_test(NAME consumer COMMAND bash ${PROJECT_SOURCE_DIR}/tests/consumer/run.sh
                                   ${PROJECT_BINARY_DIR} ${CMAKE_CXX_COMPILER} ${CMAKE_CXX_FLAGS})
endif()

# Tests of the command that are shell scripts: called with the path of leat.
file(GLOB scripts CONFIGURE_DEPENDS tests/cli/*_test.sh)
foreach(script IN LISTS scripts)
    get_filename_component(name ${script} NAME_WE)
    add_test(NAME cli.${name} COMMAND bash ${script} ${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/leat)
endforeach()

# examples/NAME/*.cpp, or examples/GROUP/NAME/*.cpp, prints the expected.txt beside it; where there is a run.sh, that does,
# which is given the program.
file(GLOB examples CONFIGURE_DEPENDS examples/*/*.cpp examples/*/*/*.cpp)
foreach(source IN LISTS examples)
    get_filename_component(folder ${source} DIRECTORY)
    file(RELATIVE_PATH name ${PROJECT_SOURCE_DIR}/examples ${folder})
    string(REPLACE "/" "_" name ${name})
    if(TARGET example_${name})
        target_sources(example_${name} PRIVATE ${source})
        continue()
    endif()
    add_executable(example_${name} ${source})
    # By its first source: most need no engine.
    file(STRINGS ${source} engine REGEX "^#include <leat/cluster/")
    set(layer leat_flow)
    if(engine)
        set(layer leat_cluster)
    endif()
    target_link_libraries(example_${name} PRIVATE leat_options ${layer})
    if(EXISTS ${folder}/expected.txt)
        set(run "\"$0\"")
        if(EXISTS ${folder}/run.sh)
            set(run "bash run.sh \"$0\"")
        endif()
        add_test(NAME example.${name} COMMAND bash -c "diff -u expected.txt <(${run})" $<TARGET_FILE:example_${name}>
                 WORKING_DIRECTORY ${folder})
    endif()
endforeach()
leat_tests(examples leat_test_support leat_flow)
if(TARGET leat_examples_tests)
    target_include_directories(leat_examples_tests PRIVATE tests/cli examples)
    target_sources(leat_examples_tests PRIVATE examples/archive/format.cpp)
    add_dependencies(leat_examples_tests example_archive example_etl)
    if(TARGET leat)
        add_dependencies(leat_examples_tests leat)
    endif()
endif()

# bench/LAYER/NAME_bench.cpp: a tiny run of each is a test, so that it cannot rot.
# Not under a sanitizer: its figures mean nothing, and the peers' libraries are not instrumented.
if(NOT CMAKE_CXX_FLAGS MATCHES "-fsanitize=")
    find_package(TBB REQUIRED)
    find_package(Boost 1.81 QUIET OPTIONAL_COMPONENTS fiber)  # a peer: left out where it is not installed
    add_library(leat_bench_support STATIC bench/support/bench.cpp)
    target_include_directories(leat_bench_support PUBLIC bench)
    target_compile_definitions(leat_bench_support PRIVATE LEAT_BENCH_BUILD="${CMAKE_CXX_FLAGS} ${CMAKE_BUILD_TYPE}")
    find_library(ZMQ zmq)  # another, likewise
    find_program(GO go)    # and another
    find_package(BZip2 QUIET)
    find_package(ZLIB QUIET)
    set(go_peers "")
    if(GO)
        set(go_peers ${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/go_peers)
        add_custom_command(OUTPUT ${go_peers} DEPENDS bench/support/peers.go VERBATIM
                           COMMAND ${CMAKE_COMMAND} -E env GO111MODULE=off GOCACHE=${PROJECT_BINARY_DIR}/go
                                   ${GO} build -o ${go_peers} ${PROJECT_SOURCE_DIR}/bench/support/peers.go)
        add_custom_target(go_peers DEPENDS ${go_peers})
        add_dependencies(leat_bench_support go_peers)
    endif()
    target_compile_definitions(leat_bench_support PRIVATE LEAT_BENCH_GO="${go_peers}")
    target_link_libraries(leat_bench_support PUBLIC leat_base PRIVATE leat_options)
    file(GLOB benches CONFIGURE_DEPENDS bench/*/*_bench.cpp)
    foreach(source IN LISTS benches)
        get_filename_component(name ${source} NAME_WE)
        string(REGEX REPLACE "_bench$" "" name ${name})
        add_executable(bench_${name} ${source})
        target_compile_definitions(bench_${name} PRIVATE ${leat_asio_definitions})
        target_link_libraries(bench_${name} PRIVATE leat_bench_support leat_options leat_flow TBB::tbb
                                                     $<TARGET_NAME_IF_EXISTS:Boost::fiber>)
        if(source MATCHES "/bench/cluster/")  # with servers of their own
            target_link_libraries(bench_${name} PRIVATE leat_cluster leat_test_support)
        endif()
        if(name STREQUAL "account")  # turns off what it measures
            target_include_directories(bench_account PRIVATE ${PROJECT_SOURCE_DIR}/src)
        endif()
        if(ZMQ AND name STREQUAL "ring")
            target_compile_definitions(bench_ring PRIVATE LEAT_BENCH_ZMQ)
            target_link_libraries(bench_ring PRIVATE ${ZMQ})
        endif()
        if(name STREQUAL "block_compress")
            target_compile_definitions(bench_${name} PRIVATE $<$<TARGET_EXISTS:BZip2::BZip2>:LEAT_BENCH_BZIP2>
                                                             $<$<TARGET_EXISTS:ZLIB::ZLIB>:LEAT_BENCH_ZLIB>)
            target_link_libraries(bench_${name} PRIVATE $<TARGET_NAME_IF_EXISTS:BZip2::BZip2>
                                                         $<TARGET_NAME_IF_EXISTS:ZLIB::ZLIB>)
        endif()
        if(TARGET leat AND source MATCHES "/bench/process/")  # measures the command
            add_dependencies(bench_${name} leat)
        endif()
        add_test(NAME bench.${name} COMMAND bench_${name} --tiny)
    endforeach()
endif()

get_property(tests DIRECTORY PROPERTY TESTS)
set_tests_properties(${tests} PROPERTIES TIMEOUT ${hang_guard_s})
