// The kinds of this library, each in the file of its name. For add_builtin_kinds() alone.
#pragma once

#include <leat/flow/component.hpp>

namespace leat {

void add_glob_kind(registry& kinds);
void add_lines_kinds(registry& kinds);  // lines, jsonl
void add_csv_kind(registry& kinds);
void add_list_kind(registry& kinds);

void add_read_kind(registry& kinds);
void add_split_kind(registry& kinds);
void add_filter_kind(registry& kinds);
void add_replace_kind(registry& kinds);
void add_route_kinds(registry& kinds);  // route, partition
void add_dedup_kind(registry& kinds);
void add_batch_kind(registry& kinds);
void add_zstd_kind(registry& kinds);

void add_write_kinds(registry& kinds);  // write, jsonl
void add_directory_kind(registry& kinds);
void add_sqlite_kind(registry& kinds);
void add_null_kind(registry& kinds);

}  // namespace leat
