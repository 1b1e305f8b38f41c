// Vectors with a subcarrier in each lane, and complex numbers that are a pair of them.
//
// GCC's and Clang's vector extensions alone: one source for every processor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define INLINE inline __attribute__((always_inline))

// Bytes of a vector register, and how many tiles of a product stay in all of them.
#ifndef VECTOR_BYTES
#define VECTOR_BYTES 16
#endif
#if VECTOR_BYTES == 64 || defined(__aarch64__)
constexpr bool MANY_REGISTERS = true;
#else
constexpr bool MANY_REGISTERS = false;
#endif

// Everything below has internal linkage: each variant is compiled for another processor, and a
// linker that took one's code for all would break the others.
namespace {

template <class R>
struct Lanes {
    static constexpr int N = VECTOR_BYTES / sizeof(R);
    typedef R V __attribute__((vector_size(VECTOR_BYTES)));
    struct C {
        V re, im;
    };
    using All = std::make_integer_sequence<int, N>;
};

template <class V>
INLINE V load_vector(const void* from) {
    V value;
    memcpy(&value, from, sizeof(V));
    return value;
}

template <class V>
INLINE void store_vector(void* to, V value) {
    memcpy(to, &value, sizeof(V));
}

template <class V, int... I>
INLINE V even(V a, V b, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(a, b, (2 * I)...);
}
template <class V, int... I>
INLINE V odd(V a, V b, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(a, b, (2 * I + 1)...);
}
// Lanes of a and b by turns: of the lower halves, of the upper ones.
template <class V, int... I>
INLINE V lower(V a, V b, std::integer_sequence<int, I...>) {
    constexpr int N = sizeof...(I);
    return __builtin_shufflevector(a, b, (I / 2 + I % 2 * N)...);
}
template <class V, int... I>
INLINE V upper(V a, V b, std::integer_sequence<int, I...>) {
    constexpr int N = sizeof...(I);
    return __builtin_shufflevector(a, b, (N / 2 + I / 2 + I % 2 * N)...);
}

// As many complex numbers from memory as there are lanes.
template <class R>
INLINE typename Lanes<R>::C load(const R* from) {
    using L = Lanes<R>;
    const auto a = load_vector<typename L::V>(from), b = load_vector<typename L::V>(from + L::N);
    return {even(a, b, typename L::All{}), odd(a, b, typename L::All{})};
}
template <class R>
INLINE void store(R* to, const typename Lanes<R>::C& value) {
    using L = Lanes<R>;
    store_vector(to, lower(value.re, value.im, typename L::All{}));
    store_vector(to + L::N, upper(value.re, value.im, typename L::All{}));
}

// The first n of them only; on loading the last one fills the other lanes.
template <class R>
INLINE typename Lanes<R>::C load_some(const R* from, int n) {
    R numbers[2 * Lanes<R>::N];
    for (int i = 0; i < Lanes<R>::N; i++) {
        const int at = i < n ? i : n - 1;
        numbers[2 * i] = from[2 * at];
        numbers[2 * i + 1] = from[2 * at + 1];
    }
    return load<R>(numbers);
}
template <class R>
INLINE void store_some(R* to, const typename Lanes<R>::C& value, int n) {
    R numbers[2 * Lanes<R>::N];
    store<R>(numbers, value);
    memcpy(to, numbers, 2 * n * sizeof(R));
}
template <class R>
INLINE void store_real(R* to, const typename Lanes<R>::V& value, int n) {
    memcpy(to, &value, n * sizeof(R));
}

// Bytes of a line of the cache.
constexpr int LINE = 64;

// The lines of so many bytes into the second-level cache, before they are read.
INLINE void fetch_lines(const void* first, int64_t bytes) {
    for (int64_t at = 0; at < bytes; at += LINE)
        __builtin_prefetch(static_cast<const char*>(first) + at, 0, 2);
}

// A line past the cache: the one thing that vector extensions have no words for.
INLINE void stream_line(void* to, const void* from) {
#if defined(__AVX512F__)
    _mm512_stream_si512(static_cast<__m512i*>(to), load_vector<__m512i>(from));
#elif defined(__AVX__)
    for (int i = 0; i < 2; i++)
        _mm256_stream_si256(static_cast<__m256i*>(to) + i,
                            load_vector<__m256i>(static_cast<const __m256i*>(from) + i));
#elif defined(__x86_64__)
    for (int i = 0; i < 4; i++)
        _mm_stream_si128(static_cast<__m128i*>(to) + i,
                         load_vector<__m128i>(static_cast<const __m128i*>(from) + i));
#else
    memcpy(to, from, LINE);
#endif
}
INLINE void finish_streaming() {
#if defined(__x86_64__)
    _mm_sfence();
#endif
}

// Bytes of a row to where they belong: whole lines past the cache if so wanted.
template <class R>
INLINE void write_row(R* row, const R* numbers, int64_t size, bool past) {
    char* to = reinterpret_cast<char*>(row);
    const char* from = reinterpret_cast<const char*>(numbers);
    if (past) {
        const int64_t ragged = -reinterpret_cast<uintptr_t>(to) % LINE;
        const int64_t head = ragged < size ? ragged : size;
        memcpy(to, from, head);
        to += head, from += head, size -= head;
        for (; size >= LINE; to += LINE, from += LINE, size -= LINE) stream_line(to, from);
    }
    memcpy(to, from, size);
}

template <class R>
INLINE typename Lanes<R>::V all(R value) {
    return value - typename Lanes<R>::V{};
}

// By a loop over lanes, which compilers make one instruction of.
template <class R>
INLINE typename Lanes<R>::V root(typename Lanes<R>::V a) {
    for (int i = 0; i < Lanes<R>::N; i++)
        a[i] = sizeof(R) == 4 ? __builtin_sqrtf(a[i]) : __builtin_sqrt(a[i]);
    return a;
}

// Whether a comparison holds in any lane.
template <class M>
INLINE bool any(const M& mask) {
    uint64_t words[sizeof(M) / 8], all = 0;
    memcpy(words, &mask, sizeof(M));
    for (const uint64_t word : words) all |= word;
    return all;
}

template <class V>
INLINE V largest(const V& a, const V& b) {
    return a > b ? a : b;
}

// |a|², and Re a* b.
template <class C>
INLINE auto power(const C& a) {
    return a.re * a.re + a.im * a.im;
}
template <class C>
INLINE auto inner(const C& a, const C& b) {
    return a.re * b.re + a.im * b.im;
}

// a b, and a where a comparison holds, else b.
template <class C>
INLINE C product(const C& a, const C& b) {
    return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
template <class M, class C>
INLINE C select(const M& where, const C& a, const C& b) {
    return {where ? a.re : b.re, where ? a.im : b.im};
}

// sum += a b, and with a conjugated; sum -= a b, likewise.
template <class C>
INLINE void add(C& sum, const C& a, const C& b) {
    sum.re += a.re * b.re;
    sum.re -= a.im * b.im;
    sum.im += a.re * b.im;
    sum.im += a.im * b.re;
}
template <class C>
INLINE void add_conjugate(C& sum, const C& a, const C& b) {
    sum.re += a.re * b.re;
    sum.re += a.im * b.im;
    sum.im += a.re * b.im;
    sum.im -= a.im * b.re;
}
template <class C>
INLINE void take(C& sum, const C& a, const C& b) {
    sum.re -= a.re * b.re;
    sum.re += a.im * b.im;
    sum.im -= a.re * b.im;
    sum.im -= a.im * b.re;
}
template <class C>
INLINE void take_conjugate(C& sum, const C& a, const C& b) {
    sum.re -= a.re * b.re;
    sum.re -= a.im * b.im;
    sum.im -= a.re * b.im;
    sum.im += a.im * b.re;
}

}  // namespace
