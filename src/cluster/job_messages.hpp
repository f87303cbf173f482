// job_messages: what clients and workers say to each other, and what the things in the engine are called. A parcel of jobs
// goes through the stream of the clients' version, and is acknowledged when all of its answers are stored; answers go through
// the stream of their client.
#pragma once

#include <fmt/format.h>
#include <vector>

#include <leat/cluster/cluster_client.hpp>
#include <leat/process/remote_error.hpp>

namespace leat::cluster {

// Part of the hash of a program: grows with each change of what follows.
inline constexpr std::uint64_t job_wire_version = 1;

struct job_order {
    std::uint64_t id = 0;  // among those of the client
    std::uint64_t function = 0;
    std::vector<job_value> arguments;
};
struct job_parcel {
    std::string client;
    std::vector<job_order> jobs;
};

struct job_fault {
    std::uint8_t why = 0;  // job_failed::reason
    std::string text;
};
struct job_answer {
    std::uint64_t id = 0;
    std::uint64_t ns = 0;  // what it took
    std::variant<job_value, exception_record, job_fault> end;
};
struct answer_parcel {
    std::vector<job_answer> answers;
};

// The value of a client's key: that it lives, and what it does not want any more.
struct client_note {
    std::uint64_t count = 0;
    std::vector<std::uint64_t> withdrawn;
};

struct job_names {
    explicit job_names(const std::string& queue) : base("lj_" + queue), subject("lj." + queue) {}
    std::string base;
    std::string subject;
    [[nodiscard]] const std::string& bucket() const { return base; }
    [[nodiscard]] std::string blobs() const { return base + "_blobs"; }
    [[nodiscard]] std::string jobs(std::uint64_t program) const { return fmt::format("{}_{:016x}", base, program); }
    [[nodiscard]] std::string jobs_subject(std::uint64_t program) const {
        return fmt::format("{}.{:016x}", subject, program);
    }
    [[nodiscard]] std::string all_answers() const { return base + "_r_"; }
    [[nodiscard]] std::string answers(const std::string& client) const { return all_answers() + client; }
    [[nodiscard]] std::string answers_subject(const std::string& client) const { return subject + ".r." + client; }
    [[nodiscard]] static std::string program_key(std::uint64_t program) {
        return fmt::format("programs/{:016x}", program);
    }
    [[nodiscard]] static std::string client_key(const std::string& client) { return "clients/" + client; }
    static constexpr const char* of_jobs = "workers";    // the consumer of a stream of jobs
    static constexpr const char* of_answers = "client";  // of one of answers
};

// Names become parts of subjects and streams.
void require_plain_name(const std::string& name);

}  // namespace leat::cluster
