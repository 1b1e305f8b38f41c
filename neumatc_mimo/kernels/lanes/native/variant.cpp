// The kernels for one kind of processor: compiled several times, with another VARIANT each.
#include "covariance.h"
#include "demap.h"
#include "expansion.h"
#include "known.h"
#include "leakage.h"
#include "local.h"
#include "look.h"
#include "max_min.h"
#include "precode.h"
#include "proven_definite.h"
#include "proven_singular.h"
#include "pseudo_inverse.h"
#include "recalled_filter.h"
#include "recalled_streams.h"
#include "receive.h"
#include "recognise.h"
#include "singular.h"
#include "users.h"
#include "wmmse.h"

#define JOIN(a, b) a##b
#define NAME(a) JOIN(variant_, a)
#define TEXT_OF(a) #a
#define TEXT(a) TEXT_OF(a)

namespace {

// What a call asks for, as a type: `use` is called with it.
template <class R, int K, class F>
auto chosen(const Call& call, const F& use) {
    // Models are stored in single precision.
    if constexpr (sizeof(R) == sizeof(float)) {
        const bool receives = call.emitter == RECEIVE;
        switch (call.source) {
            case RECALLED_FILTER:
                return receives ? use.template operator()<Receiver<R, K, RecalledFilter<R, K>>>()
                                : use.template operator()<Precoder<R, K, RecalledFilter<R, K>>>();
            case RECALLED_COLUMNS:
                return use.template operator()<Precoder<R, K, RecalledColumns<R, K>>>();
            case RECALLED_VECTORS:
                return use.template operator()<Precoder<R, K, RecalledVectors<R, K>>>();
        }
    }
    if (call.emitter == RECEIVE) {
        switch (call.source) {
            case SINGULAR: return use.template operator()<Combiner<R, K, Singular<R, K>>>();
            case COVARIANCE: return use.template operator()<Receiver<R, K, Covariance<R, K>>>();
            case KNOWN: return use.template operator()<Receiver<R, K, Known<R, K>>>();
            case EXPANSION: return use.template operator()<Receiver<R, K, Expansion<R, K>>>();
            case PROVEN_DEFINITE: return use.template operator()<Receiver<R, K, ProvenDefinite<R, K>>>();
            case PROVEN_SINGULAR: return use.template operator()<Combiner<R, K, ProvenSingular<R, K>>>();
            default: return use.template operator()<Receiver<R, K, Definite<R, K>>>();
        }
    }
    switch (call.source) {
        case SINGULAR: return use.template operator()<Precoder<R, K, Singular<R, K>>>();
        case USERS: return use.template operator()<Precoder<R, K, Users<R, K>>>();
        case LEAKAGE: return use.template operator()<Precoder<R, K, Leakage<R, K>>>();
        case WMMSE: return use.template operator()<Precoder<R, K, Wmmse<R, K>>>();
        case MAX_MIN: return use.template operator()<Precoder<R, K, MaxMin<R, K>>>();
        case KNOWN: return use.template operator()<Precoder<R, K, Known<R, K>>>();
        case EXPANSION: return use.template operator()<Precoder<R, K, Expansion<R, K>>>();
        case PROVEN_DEFINITE: return use.template operator()<Precoder<R, K, ProvenDefinite<R, K>>>();
        case PROVEN_SINGULAR: return use.template operator()<Precoder<R, K, ProvenSingular<R, K>>>();
        default: return use.template operator()<Precoder<R, K, Definite<R, K>>>();
    }
}

struct Working {
    const Call& call;
    const Chunk& chunk;
    const Chunk* next;
    void* scratch;
    template <class Work>
    void operator()() const { Work(call, chunk, next, scratch).run(); }
};
struct Length {
    const Call& call;
    template <class Work>
    int64_t operator()() const { return Work::length(call); }
};
struct Bytes {
    const Call& call;
    template <class Work>
    int64_t operator()() const { return Work::scratch_bytes(call); }
};

// Numbers of rows that have code of their own; double precision, which is rare, has none.
void work(const Call& call, const Chunk& chunk, const Chunk* next, void* scratch) {
    const Working use{call, chunk, next, scratch};
    if (call.wide) return chosen<double, 0>(call, use);
    switch (call.rows) {
        case 2: return chosen<float, 2>(call, use);
        case 4: return chosen<float, 4>(call, use);
        case 8: return chosen<float, 8>(call, use);
        case 16: return chosen<float, 16>(call, use);
        default: return chosen<float, 0>(call, use);
    }
}

int64_t length(const Call& call) {
    return call.wide ? chosen<double, 0>(call, Length{call}) : chosen<float, 0>(call, Length{call});
}

int64_t scratch(const Call& call) {
    return call.wide ? chosen<double, 0>(call, Bytes{call}) : chosen<float, 0>(call, Bytes{call});
}

}  // namespace

extern const Variant NAME(VARIANT);
const Variant NAME(VARIANT) = {TEXT(VARIANT), length, scratch, work, look,
                             local_scratch, SWEPT, local,
                             proofs_scratch, Inverses::N, proofs, demap,
                             recognise, recognition_scratch};
