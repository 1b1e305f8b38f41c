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

template <class R, int K, template <class, int> class Source>
using Precodes = Precoder<R, K, Source<R, K>>;
template <class R, int K, template <class, int> class Source>
using Receives = Receiver<R, K, Source<R, K>>;
template <class R, int K, template <class, int> class Source>
using Combines = Combiner<R, K, Source<R, K>>;

// What a call asks for, as a type: `use` is called with it. Sources that spend their time on other
// things than on rows have one code for any number of them: each one more is compiled for seconds.
template <class R, int K, class F>
auto chosen(const Call& call, const F& use) {
    const bool receives = call.emitter == RECEIVE;
    // Models are stored in single precision.
    if constexpr (sizeof(R) == sizeof(float)) {
        switch (call.source) {
            case RECALLED_FILTER:
            case RECALLED_FORCING:
                return receives ? use.template operator()<Receives<R, K, RecalledFilter>>()
                                : use.template operator()<Precodes<R, K, RecalledFilter>>();
            case RECALLED_COLUMNS: return use.template operator()<Precodes<R, K, RecalledColumns>>();
            case RECALLED_VECTORS: return use.template operator()<Precodes<R, K, RecalledVectors>>();
            case EXPANSION:
                return receives ? use.template operator()<Receives<R, 0, Expansion>>()
                                : use.template operator()<Precodes<R, 0, Expansion>>();
            case PROVEN_DEFINITE:
                return receives ? use.template operator()<Receives<R, 0, ProvenDefinite>>()
                                : use.template operator()<Precodes<R, 0, ProvenDefinite>>();
            case PROVEN_SINGULAR:
                return receives ? use.template operator()<Combines<R, 0, ProvenSingular>>()
                                : use.template operator()<Precodes<R, 0, ProvenSingular>>();
        }
    }
    if (receives) {
        switch (call.source) {
            case SINGULAR: return use.template operator()<Combines<R, K, Singular>>();
            case COVARIANCE: return use.template operator()<Receives<R, 0, Covariance>>();
            case KNOWN: return use.template operator()<Receives<R, K, Known>>();
            default: return use.template operator()<Receives<R, K, Definite>>();
        }
    }
    switch (call.source) {
        case SINGULAR: return use.template operator()<Precodes<R, K, Singular>>();
        case USERS: return use.template operator()<Precodes<R, 0, Users>>();
        case LEAKAGE: return use.template operator()<Precodes<R, K, Leakage>>();
        case WMMSE: return use.template operator()<Precodes<R, K, Wmmse>>();
        case MAX_MIN: return use.template operator()<Precodes<R, K, MaxMin>>();
        case KNOWN: return use.template operator()<Precodes<R, K, Known>>();
        default: return use.template operator()<Precodes<R, K, Definite>>();
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
