// What Python calls: which variants there are, and a call spread over threads.
//
// Compiled for every processor; only what a variant's file holds needs more of one.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#include "call.h"

#if defined(__x86_64__)
extern const Variant variant_v2, variant_v3, variant_v4;
#else
extern const Variant variant_baseline;
#endif

namespace {

struct Choice {
    const Variant* variant;
    bool runs;
};

// Best first.
std::vector<Choice> choices() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool v2 = __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt");
    const bool v3 = v2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
    const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                    __builtin_cpu_supports("avx512vl");
    return {{&variant_v4, v4}, {&variant_v3, v3}, {&variant_v2, v2}};
#else
    return {{&variant_baseline, true}};
#endif
}

constexpr std::size_t ALIGNMENT = 4096;

// Scratch memory is used again: a newly mapped page costs more than the work on it.
class Memory {
  public:
    explicit Memory(std::size_t size) {
        {
            std::lock_guard<std::mutex> hold(lock());
            if (!kept().empty()) {
                *this = kept().back();
                kept().pop_back();
            }
        }
        if (size_ < size) {
            std::free(data_);
            size_ = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
            data_ = std::aligned_alloc(ALIGNMENT, size_);
        }
    }
    void give_back() {
        std::lock_guard<std::mutex> hold(lock());
        kept().push_back(*this);
    }
    void* data() const { return data_; }

  private:
    Memory() = default;
    static std::mutex& lock() {
        static std::mutex mutex;
        return mutex;
    }
    static std::vector<Memory>& kept() {
        static std::vector<Memory> memories;
        return memories;
    }
    void* data_ = nullptr;
    std::size_t size_ = 0;
};

std::vector<Chunk> chunks_of(const Call& call, int64_t longest) {
    std::vector<Chunk> chunks;
    for (int64_t item = 0; item < call.items; item++)
        for (int64_t s = 0; s < call.stretches; s++) {
            const int64_t *stretch = call.stretch + 3 * s, count = stretch[1];
            for (int64_t at = 0; at < count; at += longest)
                chunks.push_back({item, stretch[0] + at, std::min(longest, count - at),
                                  stretch[2] + at});
        }
    return chunks;
}

}  // namespace

#define EXPORT __attribute__((visibility("default")))

extern "C" {

EXPORT int32_t neumatc_lanes_abi() { return ABI; }

// The name of a variant, best first, or null beyond the last; whether this processor runs it.
EXPORT const char* neumatc_lanes_variant(int32_t number, int32_t* runs) {
    const auto all = choices();
    if (number < 0 || number >= int32_t(all.size())) return nullptr;
    *runs = all[number].runs;
    return all[number].variant->name;
}

// Whether the symbols of each row are the same, bit by bit: runs of so many bytes, from where each
// row begins on.
EXPORT int32_t neumatc_lanes_constant(const char* base, const int64_t* row, int64_t rows,
                                      int64_t symbols, int64_t step, int64_t bytes) {
    for (int64_t k = 0; k < rows; k++)
        for (int64_t s = 1; s < symbols; s++)
            if (std::memcmp(base + row[k], base + row[k] + s * step, bytes)) return 0;
    return 1;
}

// A look at one channel.
EXPORT void neumatc_lanes_look(const Look* given, int32_t number) {
    choices().at(number).variant->look(*given);
}

// The link that a channel is at the probes; -1 where it is none, -2 where there was no memory.
EXPORT int32_t neumatc_lanes_recognise(const Recognition* given, int32_t number) {
    const Variant& variant = *choices().at(number).variant;
    Memory memory(variant.recognition_scratch(*given));
    if (!memory.data()) return -2;
    const int64_t link = variant.recognise(*given, memory.data());
    memory.give_back();
    return int32_t(link);
}

// One call; zero where all went well, 1 where there was no memory.
EXPORT int32_t neumatc_lanes_run(const Call* call, int32_t number) {
    try {
        const Variant& variant = *choices().at(number).variant;
        const auto chunks = chunks_of(*call, variant.length(*call));
        std::atomic<std::size_t> next{0};
        std::atomic<bool> failed{false};
        // Chunks are taken as threads come: one that the system holds up holds up no other.
        const auto work = [&] {
            Memory memory(variant.scratch(*call));
            if (!memory.data()) {
                failed = true;
                return;
            }
            for (std::size_t i = next++, following; i < chunks.size(); i = following) {
                following = next++;
                const Chunk* ahead = following < chunks.size() ? &chunks[following] : nullptr;
                variant.work(*call, chunks[i], ahead, memory.data());
            }
            memory.give_back();
        };
        // Threads that live for a call take some 20 µs each, and leave nothing behind that a fork,
        // another runtime's idle threads or the end of the process could meet.
        std::vector<std::thread> threads;
        const auto most = std::min<std::size_t>(call->threads, chunks.size());
        try {
            for (std::size_t i = 1; i < most; i++) threads.emplace_back(work);
        } catch (const std::system_error&) {
            // As many as the system lets us have.
        }
        work();
        for (auto& thread : threads) thread.join();
        return failed;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}
}
