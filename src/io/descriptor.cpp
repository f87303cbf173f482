// Readiness through an Asio descriptor, made at the first wait and kept: one epoll registration for all waits.
#include <leat/io/descriptor.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cerrno>
#include <new>

namespace leat::io {

namespace asio = boost::asio;

struct descriptor::state {
    explicit state(service& from) : by(from), watched(from.context()) {}
    ~state() {
        if (watched.is_open()) (void)watched.release();  // the descriptor itself is somebody else's
    }
    service& by;  // of the first wait: a later one may come from another executor
    asio::posix::stream_descriptor watched;
    bool always_ready = false;
};

descriptor::descriptor(int fd) noexcept : fd_(fd) {}
descriptor::descriptor(descriptor&& other) noexcept = default;
descriptor& descriptor::operator=(descriptor&& other) noexcept = default;
descriptor::~descriptor() = default;

bool descriptor::watched_by(service& by, std::error_code& error) {
    if (state_ == nullptr) {
        auto fresh = std::make_unique<state>(by);
        boost::system::error_code failed;
        fresh->watched.assign(fd_, failed);
        fresh->always_ready = failed.value() == EPERM;  // epoll's answer to a regular file
        if (failed && !fresh->always_ready) {
            error = std::error_code(failed.value(), std::system_category());
            return false;
        }
        state_ = std::move(fresh);
    }
    return !state_->always_ready;
}

// Memory for the one operation that a wait starts, inside the wait. Asio gives it back before it calls the handler.
template <class T>
struct wait_memory {
    using value_type = T;
    unsigned char* place;
    std::size_t room;
    bool* taken;

    wait_memory(unsigned char* at, std::size_t bytes, bool* flag) noexcept : place(at), room(bytes), taken(flag) {}
    template <class U>
    wait_memory(const wait_memory<U>& other) noexcept  // NOLINT(google-explicit-constructor): allocators convert
        : place(other.place), room(other.room), taken(other.taken) {}
    T* allocate(std::size_t count) {
        if (*taken || count * sizeof(T) > room) return static_cast<T*>(::operator new(count * sizeof(T)));
        *taken = true;
        return reinterpret_cast<T*>(place);
    }
    void deallocate(T* which, std::size_t) noexcept {
        if (reinterpret_cast<unsigned char*>(which) == place) *taken = false;
        else ::operator delete(which);
    }
    template <class U>
    bool operator==(const wait_memory<U>& other) const noexcept {
        return place == other.place;
    }
};

struct descriptor::ready_wait::handler {
    ready_wait* self;
    using allocator_type = wait_memory<unsigned char>;
    allocator_type get_allocator() const noexcept {
        return {self->memory_, sizeof self->memory_, &self->memory_taken_};
    }
    void operator()(const boost::system::error_code& code) const noexcept {
        self->aborted_ = code == asio::error::operation_aborted;
        if (code && !self->aborted_) self->error_ = std::error_code(code.value(), std::system_category());
        self->completed();
    }
};

descriptor::ready_wait::ready_wait(const ready_operation& from) noexcept
    : foreign_wait([](foreign_wait& self) noexcept {
          boost::system::error_code ignored;
          static_cast<ready_wait&>(self).what_.on.state_->watched.cancel(ignored);
      }),
      what_(from) {}

bool descriptor::ready_wait::suspend(leat::context& line, std::coroutine_handle<> at) {
    if (!what_.deaf && line.stop_requested()) {
        aborted_ = true;
        return false;
    }
    service& by = service::of(line.where());
    if (!what_.on.watched_by(by, error_)) return !error_ && line.yields_at(at);
    waited_ = true;
    prepare(line, what_.on.state_->by, at, what_.way == direction::read ? "readable" : "writable");
    const auto kind = what_.way == direction::read ? asio::posix::descriptor_base::wait_read
                                                   : asio::posix::descriptor_base::wait_write;
    try {
        what_.on.state_->watched.async_wait(kind, handler{this});
    } catch (...) {
        abandon();
        throw;
    }
    return commit(what_.deadline, what_.deaf);
}

leat::context::wake descriptor::ready_wait::await_resume() {
    const auto asked = waited_ ? leave() : leat::context::wake::cancelled;
    if (error_) throw std::system_error(error_, "waiting for a file descriptor");
    return aborted_ ? asked : leat::context::wake::ready;
}

}  // namespace leat::io
