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

// Symbols that a thread demaps at once.
constexpr int64_t PIECE = 1 << 13;

// The same work in so many threads, this one among them. Threads that live for a call take some 20 µs
// each, and leave nothing behind that a fork, another runtime's idle threads or the end of the process
// could meet.
template <class F>
void in_threads(int64_t number, const F& work) {
    std::vector<std::thread> threads;
    try {
        for (int64_t i = 1; i < number; i++) threads.emplace_back(work);
    } catch (const std::system_error&) {
        // As many as the system lets us have.
    }
    work();
    for (auto& thread : threads) thread.join();
}

// Work of so many parts spread over threads: `work` is called with a part, the one that this thread
// takes next, and scratch memory. Zero where all went well, 1 where there was no memory.
template <class F>
int32_t spread(std::size_t parts, int32_t most_threads, int64_t scratch, const F& work) {
    std::atomic<std::size_t> next{0};
    std::atomic<bool> failed{false};
    // Parts are taken as threads come: one that the system holds up holds up no other.
    in_threads(std::min<int64_t>(most_threads, parts), [&] {
        Memory memory(scratch);
        if (!memory.data()) {
            failed = true;
            return;
        }
        for (std::size_t i = next++, following; i < parts; i = following) {
            following = next++;
            work(i, following, memory.data());
        }
        memory.give_back();
    });
    return failed;
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

// Demapping of symbols; zero where all went well.
EXPORT int32_t neumatc_lanes_demap(const Demapping* call, int32_t number) {
    const Variant& variant = *choices().at(number).variant;
    std::atomic<int64_t> next{0};
    in_threads(std::min<int64_t>(call->threads, (call->number - 1) / PIECE + 1), [&] {
        for (int64_t at; (at = next.fetch_add(PIECE)) < call->number;)
            variant.demap(*call, at, std::min(PIECE, call->number - at));
    });
    return 0;
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
        const auto work = [&](std::size_t i, std::size_t following, void* memory) {
            const Chunk* ahead = following < chunks.size() ? &chunks[following] : nullptr;
            variant.work(*call, chunks[i], ahead, memory);
        };
        return spread(chunks.size(), call->threads, variant.scratch(*call), work);
    } catch (const std::bad_alloc&) {
        return 1;
    }
}

// Least squares of local functions; likewise.
EXPORT int32_t neumatc_lanes_local(const Local* given, int32_t number) {
    try {
        const Variant& variant = *choices().at(number).variant;
        const int64_t swept = variant.local_columns, sweeps = (given->columns + swept - 1) / swept;
        const auto work = [&](std::size_t i, std::size_t, void* memory) {
            variant.local(*given, int64_t(i) / sweeps, int64_t(i) % sweeps * swept, memory);
        };
        return spread(given->items * sweeps, given->threads, variant.local_scratch(*given), work);
    } catch (const std::bad_alloc&) {
        return 1;
    }
}

// Pseudo-inverses at many noise powers; likewise.
EXPORT int32_t neumatc_lanes_proofs(const Proofs* given, int32_t number) {
    try {
        const Variant& variant = *choices().at(number).variant;
        const int64_t blocks = (given->matrices - 1) / variant.proofs_at_once + 1;
        const auto work = [&](std::size_t i, std::size_t, void* memory) {
            variant.proofs(*given, i, memory);
        };
        return spread(blocks, given->threads, variant.proofs_scratch(*given), work);
    } catch (const std::bad_alloc&) {
        return 1;
    }
}
}
