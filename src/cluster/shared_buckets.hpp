// shared_buckets: the buckets of what machines share by name, for those who use them and for server_config.cpp, which lets them.
#pragma once

#include <string>
#include <utility>

#include <leat/cluster/blob_store.hpp>

namespace leat::cluster {

struct shared_buckets {
    explicit shared_buckets(std::string bucket) : entries(std::move(bucket)), blobs(entries + "_blobs") {}
    std::string entries;
    std::string blobs;  // chunks of what is large

    // `options`: of a shared_cache or a shared_seen.
    template <class Options>
    [[nodiscard]] blob_options blobs_with(const Options& options) const {
        blob_options made = options.blobs;
        made.bucket = blobs;
        made.age = options.age;
        made.replicas = options.replicas;
        made.patience = options.patience;
        return made;
    }
};

[[nodiscard]] inline shared_buckets cache_buckets(const std::string& name) { return shared_buckets("lc_" + name); }
[[nodiscard]] inline shared_buckets seen_buckets(const std::string& name) { return shared_buckets("ls_" + name); }

}  // namespace leat::cluster
