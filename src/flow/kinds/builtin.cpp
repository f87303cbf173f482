// All kinds of this library, in the order in which help and docs show them.
#include <flow/kinds/exec.hpp>
#include <flow/kinds/kinds.hpp>

namespace leat {

void add_builtin_kinds(registry& kinds) {
    add_glob_kind(kinds);
    add_lines_kinds(kinds);
    add_csv_kind(kinds);
    add_list_kind(kinds);

    add_read_kind(kinds);
    add_split_kind(kinds);
    add_filter_kind(kinds);
    add_replace_kind(kinds);
    add_route_kinds(kinds);
    add_dedup_kind(kinds);
    add_batch_kind(kinds);
    add_exec_kind(kinds);
    add_zstd_kind(kinds);

    add_write_kinds(kinds);
    add_directory_kind(kinds);
    add_sqlite_kind(kinds);
    add_null_kind(kinds);
}

}  // namespace leat
