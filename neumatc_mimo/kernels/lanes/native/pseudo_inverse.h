// Pseudo-inverses: steps that lower their residual, and what proves them at many noise powers. A matrix
// in each lane; operations/pseudo_inverse.py has the formulas.
#pragma once

#include "call.h"
#include "gram.h"
#include "regularised.h"
#include "vectors.h"

namespace {

using Single = Lanes<float>;

// For lambdas, which cannot be `inline`.
#define INLINED __attribute__((always_inline))

// Products that are summed before they join the sum of the others: long sums round more.
constexpr int RUN = 16;

// A sum of `inner` products for `I` rows and `J` columns, in registers.
template <int I, int J, class Left, class Right, class Out>
INLINE void tile_of(int inner, int row, int column, const Left& left, const Right& right,
                    const Out& out) {
    Single::C whole[I][J] = {};
    for (int start = 0; start < inner; start += RUN) {
        const int end = start + RUN < inner ? start + RUN : inner;
        Single::C sum[I][J] = {};
        for (int k = start; k < end; k++) {
            Single::C r[J];
#pragma GCC unroll 8
            for (int j = 0; j < J; j++) r[j] = right(k, column + j);
#pragma GCC unroll 8
            for (int i = 0; i < I; i++) {
                const Single::C l = left(row + i, k);
#pragma GCC unroll 8
                for (int j = 0; j < J; j++) add(sum[i][j], l, r[j]);
            }
        }
#pragma GCC unroll 8
        for (int i = 0; i < I; i++)
#pragma GCC unroll 8
            for (int j = 0; j < J; j++) {
                whole[i][j].re += sum[i][j].re;
                whole[i][j].im += sum[i][j].im;
            }
    }
#pragma GCC unroll 8
    for (int i = 0; i < I; i++)
#pragma GCC unroll 8
        for (int j = 0; j < J; j++) out(row + i, column + j, whole[i][j]);
}

// out(i, j, Σ_k left(i, k) right(k, j)); with `LOWER` of the tiles that reach below the diagonal.
template <bool LOWER = false, class Left, class Right, class Out>
INLINE void product(int rows, int inner, int columns, const Left& left, const Right& right,
                    const Out& out) {
    const auto of_rows = [&](auto size, int row) INLINED {
        constexpr int I = decltype(size)::value;
        const int end = LOWER && row + I < columns ? row + I : columns;
        int column = 0;
        for (; column + 2 <= end; column += 2) tile_of<I, 2>(inner, row, column, left, right, out);
        for (; column < end; column++) tile_of<I, 1>(inner, row, column, left, right, out);
    };
    int row = 0;
    for (; row + TILE <= rows; row += TILE) of_rows(std::integral_constant<int, TILE>{}, row);
    for (; row < rows; row++) of_rows(std::integral_constant<int, 1>{}, row);
}

INLINE Single::C conjugate(const Single::C& a) { return {a.re, -a.im}; }

// NaN stays.
INLINE Single::V at_least(Single::V value, float least) {
    return (value > all<float>(least)) | (value != value) ? value : all<float>(least);
}
INLINE Single::V larger(Single::V a, Single::V b) { return (a > b) | (a != a) ? a : b; }
INLINE Single::V smaller(Single::V a, Single::V b) { return (a < b) | (a != a) ? a : b; }

constexpr float TINY = 1.17549435e-38f, EPSILON = 1.1920929e-7f;

// The matrices of a block of lanes.
struct Inverses {
    using V = Single::V;
    using C = Single::C;
    static constexpr int N = Single::N;

    const Proofs& given;
    const int64_t first;
    const int count, m, n;
    // [n][m]: A^T, W, and scratch.
    C *a, *w, *v;
    // [m][m]: W^H W, the Gram matrix that is given, X, I - σ² X, products of them, and scratch.
    C *gram, *stored, *x, *mixing, *times, *whole, *defect;
    // A W, A A^H; of what W has outside of the range of A^H the product with A, and with itself.
    C *straight, *channel, *across, *within;
    C* scratched;

    static int64_t scratch(const Proofs& given) {
        const int64_t m = given.rows, n = given.columns;
        return (3 * (n * m | 1) + 11 * (m * m | 1) + regularised_size(m)) * sizeof(C);
    }

    Inverses(const Proofs& given, int64_t block, void* memory)
        : given(given), first(block * N),
          count(given.matrices - first < N ? int(given.matrices - first) : N), m(given.rows),
          n(given.columns) {
        C* next = static_cast<C*>(memory);
        for (C** matrix : {&a, &w, &v}) *matrix = next, next += int64_t(n) * m | 1;
        for (C** matrix : {&gram, &stored, &x, &mixing, &times, &whole, &defect, &straight, &channel,
                           &across, &within})
            *matrix = next, next += int64_t(m) * m | 1;
        scratched = next;
    }

    // An entry of each matrix, from where the first one begins.
    INLINE C gather(const float* from, int64_t step) const {
        uint64_t pairs[N];
        for (int lane = 0; lane < N; lane++)
            memcpy(pairs + lane, from + (lane < count ? lane : count - 1) * step, sizeof(uint64_t));
        return load<float>(reinterpret_cast<const float*>(pairs));
    }
    INLINE void scatter(float* to, int64_t step, const C& value) const {
        float numbers[2 * N];
        store<float>(numbers, value);
        for (int lane = 0; lane < count; lane++)
            memcpy(to + lane * step, numbers + 2 * lane, 2 * sizeof(float));
    }
    INLINE float* filter() const { return given.filter + first * given.filter_step; }
    void load_channel() const {
        const float* from = given.channel + first * given.channel_step;
        for (int k = 0; k < m; k++)
            for (int c = 0; c < n; c++)
                a[c * m + k] = gather(from + 2 * (k * n + c), given.channel_step);
        for (int i = 0; i < n * m; i++) w[i] = gather(filter() + 2 * i, given.filter_step);
    }
    // The lower triangle of the Gram matrix.
    void load_gram() const {
        const float* from = given.gram + first * given.gram_step;
        for (int i = 0; i < m; i++)
            for (int j = 0; j <= i; j++)
                stored[i * m + j] = gather(from + 2 * (i * m + j), given.gram_step);
    }
    // The X of a noise power, Hermitian, and I - σ² X.
    void invert(int64_t q) const {
        const V no = all<float>(given.power[q]);
        for (int i = 0; i < m; i++)
            for (int j = 0; j <= i; j++) x[i * m + j] = stored[i * m + j];
        regularise<float, true>(m, no, x, scratched);
        for (int i = 0; i < m; i++)
            for (int j = 0; j < m; j++) {
                const C& value = x[i * m + j];
                mixing[i * m + j] = {all<float>(i == j) - no * value.re, -no * value.im};
            }
    }

    // The upper triangle from the lower one.
    INLINE void mirror(C* matrix) const {
        for (int i = 0; i < m; i++)
            for (int j = 0; j < i; j++) matrix[j * m + i] = conjugate(matrix[i * m + j]);
    }
    INLINE auto plain(const C* matrix) const {
        return [=](int i, int j) INLINED { return matrix[i * m + j]; };
    }
    // Its conjugate transpose, for [n][m].
    INLINE auto adjoint(const C* matrix) const {
        return [=](int i, int j) INLINED { return conjugate(matrix[j * m + i]); };
    }
    INLINE auto transpose(const C* matrix) const {
        return [=](int i, int j) INLINED { return matrix[j * m + i]; };
    }
    INLINE auto conjugated(const C* matrix) const {
        return [=](int i, int j) INLINED { return conjugate(matrix[i * m + j]); };
    }
    INLINE auto into(C* matrix) const {
        return [=](int i, int j, const C& sum) INLINED { matrix[i * m + j] = sum; };
    }

    void gram_of(const C* filters) const {
        product<true>(m, n, m, adjoint(filters), plain(filters), into(gram));
        mirror(gram);
    }
    // Σ |A^H W^H W - W|², which `v` becomes.
    V outside() const {
        V sum{};
        product(n, m, m, conjugated(a), plain(gram), [&](int i, int j, const C& value) INLINED {
            const C& own = w[i * m + j];
            const C rest = {value.re - own.re, value.im - own.im};
            v[i * m + j] = rest;
            sum += power(rest);
        });
        return sum;
    }
    // (I - σ² X) W^H W (I - σ² X) and σ² X X, of which `whole` becomes the sum.
    template <class Diagonal>
    void grams(float no, const Diagonal& upper) const {
        product(m, m, m, plain(gram), plain(mixing), into(times));
        product<true>(m, m, m, plain(mixing), plain(times), into(whole));
        for (int k = 0; k < m; k++) upper(k, whole[k * m + k].re);
        const V by = all<float>(no);
        product<true>(m, m, m, plain(x), plain(x), [&](int i, int j, const C& sum) INLINED {
            C& to = whole[i * m + j];
            to = {to.re + by * sum.re, to.im + by * sum.im};
        });
        mirror(whole);
    }

    // A Newton-Schulz step of W, and back into the range.
    void step() const {
        product(m, n, m, transpose(a), plain(w), [&](int i, int j, const C& sum) INLINED {
            defect[i * m + j] = {all<float>(i == j) - sum.re, -sum.im};
        });
        product(n, m, m, plain(w), plain(defect), [&](int i, int j, const C& sum) INLINED {
            const C& own = w[i * m + j];
            v[i * m + j] = {own.re + sum.re, own.im + sum.im};
        });
        gram_of(v);
        product(n, m, m, conjugated(a), plain(gram), into(w));
    }

    V residual() const {
        V right{}, own{};
        product(m, n, m, transpose(a), plain(w), [&](int i, int j, const C& sum) INLINED {
            right += power(C{all<float>(i == j) - sum.re, -sum.im});
        });
        for (int i = 0; i < n * m; i++) own += power(w[i]);
        gram_of(w);
        return root<float>(right / float(m)) + root<float>(outside()) / root<float>(own);
    }

    void refine() const {
        load_channel();
        for (int64_t i = 0; i < given.steps; i++) step();
        if (given.steps)
            for (int i = 0; i < n * m; i++) scatter(filter() + 2 * i, given.filter_step, w[i]);
        store_real<float>(given.residual + first, residual(), count);
    }

    void prove() const {
        load_channel();
        gram_of(w);
        outside();
        product(m, n, m, transpose(a), plain(w), into(straight));
        product<true>(m, n, m, transpose(a), conjugated(a), into(channel));
        product(m, n, m, transpose(a), plain(v), into(across));
        product<true>(m, n, m, adjoint(v), plain(v), into(within));
        mirror(channel);
        mirror(within);
        load_gram();
        for (int64_t q = 0; q < given.powers; q++) {
            invert(q);
            prove_one(q);
        }
    }

    void prove_one(int64_t q) const {
        const V no = all<float>(given.power[q]);
        V upper_power[MOST_ROWS], column[MOST_ROWS], upper[MOST_ROWS] = {};
        // (A W)_kk.
        C kept[MOST_ROWS];
        grams(given.power[q], [&](int k, const V& diagonal) INLINED {
            upper_power[k] = at_least(diagonal, TINY);
        });
        // What the columns leave, I - [A, σI] times them.
        product(m, m, m, plain(straight), plain(mixing), [&](int i, int j, const C& gain) INLINED {
            const C& lost = x[i * m + j];
            if (i == j) kept[i] = gain;
            defect[i * m + j] = {all<float>(i == j) - gain.re - no * lost.re,
                                 -gain.im - no * lost.im};
        });
        for (int k = 0; k < m; k++) column[k] = at_least(whole[k * m + k].re, TINY);
        V ratio = all<float>(__builtin_inff());
        for (int i = 0; i < m; i++) {
            V leak{};
            for (int j = 0; j < m; j++)
                if (j != i) leak += power(defect[i * m + j]) / column[j];
            const C& wrong = defect[i * m + i];
            const V own = power(C{all<float>(1) - wrong.re, wrong.im}) / column[i];
            const V error = power(wrong) / column[i];
            const V rest = larger(larger(leak, error), all<float>(EPSILON * EPSILON) * own);
            ratio = smaller(own / rest, ratio);
        }
        // Of the columns what lies outside of the range: sums of small terms. `times` becomes the
        // e of the formula.
        for (int i = 0; i < m * m; i++)
            times[i] = {whole[i].re - times[i].re, whole[i].im - times[i].im};
        const auto onto = [&](const C* matrix, float by) INLINED {
            return [=, &upper](int i, int j, const C& sum) INLINED {
                upper[j] += by * inner(matrix[i * m + j], sum);
            };
        };
        product(m, m, m, plain(within), plain(mixing), onto(mixing, 1));
        product(m, m, m, plain(channel), plain(times), onto(times, 1));
        product(m, m, m, plain(across), plain(mixing), onto(times, 2));
        V range{};
        for (int k = 0; k < m; k++) {
            V lower{};
            for (int i = 0; i < m; i++) {
                const C &mine = whole[i * m + k], &theirs = x[i * m + k];
                lower += power(C{mine.re - theirs.re, mine.im - theirs.im});
            }
            const V out = larger(at_least(upper[k], 0) / upper_power[k], no * lower / column[k]);
            const V own = x[k * m + k].re, apart = own - column[k];
            const C& wrong = defect[k * m + k];
            // By which a receiver divides, 1 - σ² X_kk: the gain but for the defect.
            const V size = at_least(root<float>(power(kept[k])), TINY);
            range = larger(root<float>(out), range);
            range = larger((apart > V{} ? apart : -apart) / column[k], range);
            range = larger(root<float>(power(wrong)) / size, range);
        }
        for (int lane = 0; lane < count; lane++) {
            given.ratio[(first + lane) * given.powers + q] = ratio[lane];
            given.range[(first + lane) * given.powers + q] = range[lane];
        }
    }
};

int64_t proofs_scratch(const Proofs& given) { return Inverses::scratch(given); }

void proofs(const Proofs& given, int64_t block, void* scratch) {
    const Inverses inverses(given, block, scratch);
    if (given.ratio) inverses.prove();
    else inverses.refine();
}

}  // namespace
