#include <leat/flow/csv.hpp>

#include <algorithm>
#include <stdexcept>

#include <fmt/format.h>

namespace leat {

namespace {

constexpr std::string_view byte_order_mark = "\xef\xbb\xbf";
constexpr std::size_t most_kept = std::size_t{64} << 10U;  // of a row that is too long

}  // namespace

csv_parser::csv_parser(char separator, std::uint64_t longest) : separator_(separator), longest_(longest) {
    if (separator == '"' || separator == '\n' || separator == '\r')
        throw std::invalid_argument("the separator of CSV cannot be a quote or a part of a line end");
    for (const char each : {separator, '\n', '"'}) special_[static_cast<unsigned char>(each)] = true;
}

void csv_parser::feed(std::string_view bytes) {
    // The views of the row that was given last end here; of one that is too long no more than its state is needed.
    const std::size_t gone = fresh_ || dropped_ ? scan_ : begin_;
    buffer_.erase(0, gone);
    scan_ -= gone;
    begin_ = 0;
    buffer_.append(bytes);
}

std::string_view csv_parser::raw() const noexcept {
    if (dropped_) return kept_;
    std::string_view all = std::string_view(buffer_).substr(begin_, scan_ - begin_);
    if (all.ends_with('\n')) all.remove_suffix(1);
    if (all.ends_with('\r')) all.remove_suffix(1);
    return all;
}

void csv_parser::begin_row() {
    fresh_ = false;
    dropped_ = false;
    begin_ = scan_;
    text_.clear();
    ends_.clear();
    why_.clear();
    state_ = at::row_start;
    line_ = next_line_;
}

// Only the first thing that is wrong is told.
void csv_parser::spoil(std::string why) {
    if (!why_.empty()) return;
    why_ = std::move(why);
    text_ = std::string();
    ends_ = std::vector<std::size_t>();
}

void csv_parser::put(std::size_t begin, std::size_t end) {
    if (why_.empty()) text_.append(buffer_, begin, end - begin);
}

// Which a plain field ends with when its line ends with CR LF.
void csv_parser::take_cr_off() {
    const std::size_t begin = ends_.empty() ? 0 : ends_.back();
    if (text_.size() > begin && text_.back() == '\r') text_.pop_back();
}

void csv_parser::end_field() {
    if (!why_.empty()) return;
    if (ends_.size() == most_fields) return spoil(fmt::format("the row has more than {} fields", most_fields));
    ends_.push_back(text_.size());
}

// Looks at what there is until the state changes.
bool csv_parser::step() {
    const auto line_end = [this] {
        ++scan_;
        ++next_line_;
        return true;
    };
    const char c = buffer_[scan_];
    switch (state_) {
        case at::row_start:
            if (c == '\n') {  // an empty line
                line_end();
                begin_row();
            } else if (c == '\r' && scan_ + 1 == buffer_.size()) {  // likewise: next() waits for what follows
                ++scan_;
                begin_row();
            } else if (c == '\r' && buffer_[scan_ + 1] == '\n') {
                ++scan_;
            } else {
                state_ = at::field_start;
            }
            return false;
        case at::field_start:
            state_ = c == '"' ? at::quoted : at::plain;
            if (c == '"') ++scan_;
            return false;
        case at::plain: {
            std::size_t end = scan_;
            while (end < buffer_.size() && !special_[static_cast<unsigned char>(buffer_[end])]) ++end;
            put(scan_, end);
            scan_ = end;
            if (end == buffer_.size()) return false;
            if (buffer_[end] == separator_) {
                end_field();
                ++scan_;
                state_ = at::field_start;
            } else if (buffer_[end] == '\n') {
                take_cr_off();
                end_field();
                return line_end();
            } else {
                spoil("a quote stands inside a field that does not begin with one");
                state_ = at::skipping;
            }
            return false;
        }
        case at::quoted: {
            const std::size_t found = buffer_.find('"', scan_);
            const std::size_t end = std::min(found, buffer_.size());
            next_line_ += static_cast<std::uint64_t>(std::count(&buffer_[scan_], buffer_.data() + end, '\n'));
            put(scan_, end);
            scan_ = end;
            if (found == std::string::npos) return false;
            ++scan_;
            state_ = at::quote;
            return false;
        }
        case at::quote:
            if (c == '"') {
                put(scan_, scan_ + 1);
                ++scan_;
                state_ = at::quoted;
            } else if (c == separator_) {
                end_field();
                ++scan_;
                state_ = at::field_start;
            } else if (c == '\n') {
                end_field();
                return line_end();
            } else if (c == '\r') {
                ++scan_;
                state_ = at::quote_then_cr;
            } else {
                spoil("something stands behind the quote that ends a field");
                state_ = at::skipping;
            }
            return false;
        case at::quote_then_cr:
            if (c == '\n') {
                end_field();
                return line_end();
            }
            spoil("something stands behind the quote that ends a field");
            state_ = at::skipping;
            return false;
        case at::skipping: {
            const std::size_t found = buffer_.find('\n', scan_);
            scan_ = std::min(found, buffer_.size());
            return found != std::string::npos && line_end();
        }
    }
    return false;
}

csv_parser::event csv_parser::end_row() {
    fresh_ = true;
    return why_.empty() ? event::row : event::bad;
}

csv_parser::event csv_parser::next() {
    if (!begun_) {
        if (!ended_ && buffer_.size() < byte_order_mark.size() && byte_order_mark.starts_with(buffer_))
            return event::more;
        begun_ = true;
        if (buffer_.starts_with(byte_order_mark)) scan_ = begin_ = byte_order_mark.size();
    }
    if (fresh_) begin_row();
    const auto cut = [this] {
        why_.clear();  // whatever else was wrong with it
        spoil(fmt::format("the row is longer than {} bytes", longest_));
        kept_.assign(buffer_, begin_, std::min(scan_ - begin_, most_kept));
        dropped_ = true;
    };
    while (scan_ < buffer_.size()) {
        if (state_ == at::row_start && !ended_ && buffer_[scan_] == '\r' && scan_ + 1 == buffer_.size())
            return event::more;
        if (!step()) continue;
        if (!dropped_ && raw().size() > longest_) cut();
        return end_row();
    }
    if (!dropped_ && scan_ - begin_ > longest_ + 2) cut();  // with a line end, which does not count
    if (!ended_ || state_ == at::row_start) return event::more;
    // The last row, which has no line end.
    if (state_ == at::quoted) spoil("a quote that is opened in it is not closed before the end of the file");
    if (state_ == at::plain) take_cr_off();
    end_field();
    if (!dropped_ && raw().size() > longest_) cut();
    return end_row();
}

void append_csv_row(std::string& to, std::span<const std::string_view> fields, char separator) {
    if (fields.empty()) return;
    for (std::size_t i = 0; i < fields.size(); ++i) {
        if (i != 0) to += separator;
        const std::string_view field = fields[i];
        const bool alone = fields.size() == 1 && field.empty();  // which would be an empty line
        const bool plain = !alone && field.find_first_of("\"\r\n") == std::string_view::npos &&
                           field.find(separator) == std::string_view::npos &&
                           !(i == 0 && field.starts_with(byte_order_mark));
        if (plain) {
            to += field;
            continue;
        }
        to += '"';
        for (const char c : field) {
            if (c == '"') to += '"';
            to += c;
        }
        to += '"';
    }
    to += "\r\n";
}

}  // namespace leat
