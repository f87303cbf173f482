#include <leat/cluster/server_config.hpp>

#include <fmt/format.h>

#include <cluster/job_messages.hpp>
#include <cluster/shared_buckets.hpp>

namespace leat::cluster {

namespace {

// A string of nats-server's configuration.
std::string quoted(std::string_view text) {
    std::string all = "\"";
    for (const char each : text) {
        if (each == '"' || each == '\\') all += '\\';
        all += each;
    }
    return all + '"';
}

std::string list_of(const std::vector<std::string>& items, std::string_view indent) {
    std::string all = "[";
    for (const std::string& each : items) all += fmt::format("\n{}  {}", indent, quoted(each));
    return items.empty() ? "[]" : fmt::format("{}\n{}]", all, indent);
}

std::string in_brackets(const std::string& host) {
    return host.find(':') == std::string::npos ? host : '[' + host + ']';
}

// In a value of an address.
std::string escaped(std::string_view text) {
    std::string all;
    for (const char each : text) {
        if (each == '%' || each == '&' || each == '?' || each == '@' || each == ',' || each == ' ')
            all += fmt::format("%{:02X}", static_cast<unsigned char>(each));
        else all += each;
    }
    return all;
}

void append(std::vector<std::string>& to, std::vector<std::string> more) {
    to.insert(to.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

// To read a bucket's keys.
std::vector<std::string> reading(const std::string& bucket) {
    return {"$JS.API.STREAM.MSG.GET.KV_" + bucket, "$JS.API.STREAM.INFO.KV_" + bucket};
}

// To make buckets, or find that they are there, and use them. Streams of their names can be made with other configurations, but none
// that is there be changed.
std::vector<std::string> using_buckets(const shared_buckets& these) {
    std::vector<std::string> all;
    for (const std::string& bucket : {these.entries, these.blobs}) {
        append(all, reading(bucket));
        all.push_back("$JS.API.STREAM.CREATE.KV_" + bucket);
        all.push_back(fmt::format("$KV.{}.>", bucket));
    }
    return all;
}

permissions for_worker(const shared_names& shared) {
    permissions all;
    all.publish = {
        "$JS.API.INFO",
        "$JS.API.STREAM.NAMES",
        "$JS.API.CONSUMER.INFO.*.workers",
        "$JS.API.CONSUMER.MSG.NEXT.*.workers",
        "$JS.ACK.*.workers.>",
        "$JS.ACK.*.*.*.workers.>",  // as newer servers may have it: with domain and account
        "df.*.*.*.out.*",           // results
        "df.*.*.*.k0",              // what is cut up to find the item that kills its worker
        "df.*.dead.*.*",            // items given up
        "$KV.leat-workers.>",
    };
    append(all.publish, reading("leat-runs"));
    append(all.publish, reading("leat-workers"));
    for (const std::string& queue : shared.queues) {
        const job_names names(queue);
        all.publish.push_back(names.subject + ".*");  // cut up likewise
        all.publish.push_back(names.answers_subject("*"));
        append(all.publish, reading(names.bucket()));
        append(all.publish, reading(names.blobs()));
        all.publish.push_back(fmt::format("$KV.{}.>", names.blobs()));
    }
    for (const std::string& cache : shared.caches) append(all.publish, using_buckets(cache_buckets(cache)));
    for (const std::string& seen : shared.seen) append(all.publish, using_buckets(seen_buckets(seen)));
    return all;
}

permissions for_observer(const std::vector<std::string>& queues) {
    permissions all;
    all.publish = {
        "$JS.API.INFO",
        "$JS.API.STREAM.NAMES",
        "$JS.API.STREAM.INFO.*",
        "$JS.API.CONSUMER.NAMES.*",
        "$JS.API.CONSUMER.INFO.*.*",
        "$JS.API.STREAM.MSG.GET.KV_leat-runs",
        "$JS.API.STREAM.MSG.GET.KV_leat-workers",
    };
    for (const std::string& queue : queues)
        all.publish.push_back("$JS.API.STREAM.MSG.GET.KV_" + job_names(queue).bucket());
    return all;
}

permissions for_coordinator() {
    permissions all;
    all.publish = {"$JS.API.>", "$JS.ACK.>", "$KV.>", "df.>", "lj.>"};
    // What is the operator's.
    all.no_publish = {"$JS.API.ACCOUNT.>",         "$JS.API.META.>",           "$JS.API.SERVER.>",
                      "$JS.API.STREAM.SNAPSHOT.*", "$JS.API.STREAM.RESTORE.*", "$JS.API.STREAM.PEER.>",
                      "$JS.API.STREAM.LEADER.>",   "$JS.API.CONSUMER.LEADER.>"};
    return all;
}

std::string user_text(const std::string& key, role who, const shared_names& shared) {
    const permissions may = permissions_of(who, shared);
    std::string publish = fmt::format("allow: {}", list_of(may.publish, "            "));
    if (!may.no_publish.empty())
        publish += fmt::format("\n            deny: {}", list_of(may.no_publish, "            "));
    return fmt::format(R"(      {{ # {}
        nkey: {}
        permissions: {{
          publish: {{
            {}
          }}
          subscribe: {}
        }}
      }}
)",
                       name_of(who), key, publish, list_of(may.subscribe, "          "));
}

}  // namespace

std::string_view name_of(role who) noexcept {
    switch (who) {
        case role::coordinator:
            return "coordinator";
        case role::worker:
            return "worker";
        case role::observer:
            return "observer";
    }
    return {};
}

std::string inbox_of(role who) { return fmt::format("_INBOX_{}", name_of(who)); }

permissions permissions_of(role who, const shared_names& shared) {
    permissions all;
    switch (who) {
        case role::coordinator:
            all = for_coordinator();
            break;
        case role::worker:
            all = for_worker(shared);
            break;
        case role::observer:
            all = for_observer(shared.queues);
            break;
    }
    all.subscribe = {inbox_of(who) + ".>"};
    return all;
}

bool server_place::is_loopback() const {
    return host == "localhost" || host == "::1" ||
           (host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string::npos);
}

std::vector<std::string> server_place::names() const {
    if (is_loopback()) return {"localhost", "127.0.0.1", "::1"};
    return {host};
}

std::string server_config(const engine_plan& plan, std::size_t index) {
    const server_place& here = plan.servers.at(index);
    const std::string name = fmt::format("{}-{}", plan.name, index + 1);
    const auto file = [&](std::string_view of) { return quoted(fmt::format("{}/{}", here.folder, of)); };
    const auto listen = [&](std::uint16_t port) {
        return quoted(fmt::format("{}:{}", here.is_loopback() ? "127.0.0.1" : "0.0.0.0", port));
    };
    std::string text = fmt::format(
        R"(# nats-server 2.12 or newer: server {0} of {1} of the engine "{2}". Written by `leat cluster init`.
#   nats-server -c {3}
server_name: {4}
listen: {5}
http: "127.0.0.1:{6}" # monitoring, for this machine alone

# Clients verify this certificate by ca.pem; who they are they prove by their nkeys.
tls {{
  cert_file: {7}
  key_file: {8}
  ca_file: {9}
  min_version: "1.2"
}}

jetstream {{
  store_dir: {10}
  # An acknowledgement means that it is on the disk, also when the power fails.
  sync_interval: always
)",
        index + 1, plan.servers.size(), plan.name, file("nats.conf"), quoted(name), listen(here.port),
        here.monitoring_port, file("server.pem"), file("server.key"), file("ca.pem"), file("store"));
    if (!plan.disk.empty()) text += fmt::format("  max_file_store: {}\n", plan.disk);
    text += "}\n";
    if (plan.servers.size() > 1) {
        std::vector<std::string> routes;
        routes.reserve(plan.servers.size());
        for (const server_place& each : plan.servers)
            routes.push_back(fmt::format("tls://{}:{}", in_brackets(each.host), each.routes_port));
        text += fmt::format(R"(
# The servers know each other by certificates of the same authority, which has signed none but theirs.
cluster {{
  name: {}
  listen: {}
  tls {{
    cert_file: {}
    key_file: {}
    ca_file: {}
    verify: true
    min_version: "1.2"
  }}
  routes: {}
}}
)",
                            quoted(plan.name), listen(here.routes_port), file("server.pem"), file("server.key"),
                            file("ca.pem"), list_of(routes, "  "));
    }
    text += R"(
accounts {
  LEAT {
    jetstream: enabled
    users: [
)";
    text += user_text(plan.coordinator_key, role::coordinator, plan.shared);
    text += user_text(plan.worker_key, role::worker, plan.shared);
    text += user_text(plan.observer_key, role::observer, plan.shared);
    return text + "    ]\n  }\n}\n";
}

std::string address_for(const engine_plan& plan, role who, const std::string& folder) {
    std::string servers;
    for (const server_place& each : plan.servers)
        servers += fmt::format("{}{}:{}", servers.empty() ? "" : ",", in_brackets(each.host), each.port);
    return fmt::format("tls://{}?ca={}&nkey={}&inbox={}&synced=yes", servers, escaped(folder + "/ca.pem"),
                       escaped(fmt::format("{}/{}.nk", folder, name_of(who))), inbox_of(who));
}

}  // namespace leat::cluster
