// The kernels for one kind of processor: compiled several times, with another VARIANT each.
#include "chunk.h"

#define JOIN(a, b) a##b
#define NAME(a) JOIN(variant_, a)
#define TEXT_OF(a) #a
#define TEXT(a) TEXT_OF(a)

namespace {

// The same for both precisions and every number of rows that has code of its own.
template <class R>
void work_rows(const Call& call, const Chunk& chunk, const Chunk* next, void* scratch) {
    switch (call.rows) {
        case 2: return Work<R, 2>(call, chunk, next, scratch).run();
        case 4: return Work<R, 4>(call, chunk, next, scratch).run();
        case 8: return Work<R, 8>(call, chunk, next, scratch).run();
        case 16: return Work<R, 16>(call, chunk, next, scratch).run();
        default: return Work<R, 0>(call, chunk, next, scratch).run();
    }
}

void work(const Call& call, const Chunk& chunk, const Chunk* next, void* scratch) {
    if (call.wide) work_rows<double>(call, chunk, next, scratch);
    else work_rows<float>(call, chunk, next, scratch);
}

int64_t length(const Call& call) {
    return call.wide ? Work<double, 0>::length(call) : Work<float, 0>::length(call);
}

int64_t scratch(const Call& call) {
    return call.wide ? Work<double, 0>::scratch(call) : Work<float, 0>::scratch(call);
}

}  // namespace

extern const Variant NAME(VARIANT);
const Variant NAME(VARIANT) = {TEXT(VARIANT), length, scratch, work};
