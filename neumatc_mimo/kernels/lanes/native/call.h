// What a kernel is called with: the one structure that crosses from Python (library.py mirrors it).
//
// Strides and offsets count numbers, complex ones where the tensor is complex. Along subcarriers
// all tensors are contiguous.
#pragma once

#include <cstdint>

// Raised whenever the structure changes: a library of another checkout is refused.
constexpr int32_t ABI = 14;
// Rows of a channel at most.
constexpr int MOST_ROWS = 64;

// Where the filters come from.
enum Source : int32_t {
    // Zero forcing and MMSE, columns of unit norm or gains of one.
    DEFINITE = 0,
    // The strongest singular vectors.
    SINGULAR = 1,
    // Signal-to-leakage-and-noise ratios of users with one antenna.
    LEAKAGE = 2,
    // The largest sum rate, and the largest smallest SINR.
    WMMSE = 3,
    MAX_MIN = 4,
    // Conjugate transposes of filters stand in the place of the channel.
    KNOWN = 5,
    // Sums of few rows of a latent tensor.
    EXPANSION = 6,
    // Signal-to-leakage-and-noise ratios of users with several antennas; without noise block
    // diagonalisation.
    USERS = 7,
    // MMSE for more streams than antennas.
    COVARIANCE = 8,
    // The same of the results of DEFINITE and SINGULAR, proven with the channel, and computed from it
    // where they are not.
    PROVEN_DEFINITE = 9,
    PROVEN_SINGULAR = 10,
    // Links of a model: zero forcing and MMSE; columns that belong to rows; singular vectors.
    RECALLED_FILTER = 11,
    RECALLED_COLUMNS = 12,
    RECALLED_VECTORS = 13,
    // As DEFINITE, for receivers: the noise is what lies behind a filter, and no part of it.
    FORCING = 14,
    // The same of links of a model.
    RECALLED_FORCING = 15,
};

// What stands in the memory of a chunk, from where emitters apply filters.
enum class Filters {
    // The channel, of whose columns sums are what is applied, or what a source made of it.
    CHANNEL,
    // Filters, made some columns at a time.
    STORED,
    // Some columns of filters, which are applied before others take their place: they are in the
    // first-level cache all the time.
    PASSING,
};

// What is made of them.
enum Emitter : int32_t { PRECODE = 0, RECEIVE = 1 };

// A component of a model's links as it is stored: rows of real numbers [rows, nodes, size], in single
// precision, or as integers of 16 bits times scales, single precision, of the columns that neighbouring
// pairs of numbers belong to by turns, [rows, nodes, columns]; steps between rows and nodes.
struct Latent {
    const void* rows;
    const float* scale;
    int64_t row_step, node_step, nodes, size, columns, scale_step;
    // Weights of the nodes, [items, nodes], where there are several.
    const float* weight;
    // Numbers that stand in the place of some, [places, size].
    const float* given;
};

constexpr int MOST_LATENTS = 2;

// Links that the items of a call were recognised as.
struct Query {
    // Which ones, [items]; the first row of each link in the latent tensors, [links]; null where each
    // row of an item is the link's own, else which one it is, [items, rows].
    const int64_t *link, *start, *order;
    // The filters first; others where `rows` is null are none.
    Latent latent[MOST_LATENTS];
    // Of the subcarriers, Hz; of the links' rows [items, rows], gains, complex, and delays in seconds:
    // the items' are those of the aligned link times gain e^{-j2πf·delay}.
    const double *frequency, *gain, *delay;
    // Places whose components are given: items, and subcarriers, which ascend.
    int64_t places;
    const int64_t *place_item, *place_at;
};

struct Call {
    int32_t source, emitter;
    // 0 for single precision, 1 for double.
    int32_t wide;
    int32_t threads;
    // Streams and antennas: rows and columns of the channel.
    int32_t rows, columns;

    // Channels [items, rows, columns, subcarriers].
    int64_t items;
    const void* h;
    int64_t h_item, h_row, h_column;
    // Noise powers, or null for zero; steps may be zero: [items, subcarriers], or [items, rows]
    // where a receiver along singular vectors asks for that of each of its antennas.
    const void* noise;
    int64_t noise_item, noise_step;
    // Factors of the channel's columns and of what is read along them, real, or null for ones; steps
    // may be zero: [items, columns, subcarriers].
    const void* whitening;
    int64_t whitening_item, whitening_column, whitening_step;
    // Iterations of a source at most.
    int64_t iterations;
    // Antennas of each user, whose rows are neighbours.
    int64_t antennas;
    // Of a phase to go by, the conjugate: [columns] complex.
    const void* chirp;

    // Filters as sums of rows of a latent tensor [items, functions, ...] of real numbers: the first one
    // of the consecutive rows that each subcarrier takes, [items, subcarriers], and their weights,
    // [items, subcarriers, terms]. Steps from one item to the next may be zero.
    const float* latent;
    int64_t latent_item, latent_row;
    int64_t functions, terms;
    const int64_t* lead;
    int64_t lead_item;
    const float* weight;
    int64_t weight_item;
    // What these filters are proven with, in a call of single precision. Factors of the channel's
    // rows, by which it differs from the link of the latent tensor, [items, subcarriers, rows]
    // complex; which row of the channel each row of the link is, [items, rows], or null where it is
    // the same; the least ratio of powers of signal and interference, and the largest distance from
    // the range.
    const float* factor;
    int64_t factor_item;
    const int64_t* place;
    double quality, range_error;

    // Resource grids that are read and written: a row for each stream or antenna, and where in a
    // row each OFDM symbol of an item lies.
    const void* read;
    int64_t read_item, read_row;
    void* out;
    int64_t out_item, out_row;
    int64_t symbols;
    const int64_t *read_symbol, *out_symbol;

    // Stretches of subcarriers: the first one, how many, and where the first one lies in `read`.
    int64_t stretches;
    const int64_t* stretch;

    // Written unless null: by how much rounding is amplified, [items, subcarriers].
    void* amplification;
    int64_t amplification_item;
    // Written by a precoder unless null: the effective channel [items, rows, streams, subcarriers],
    // the channel times the filter.
    void* effective;
    int64_t effective_item, effective_row, effective_stream;
    // Written by a receiver unless null: effective noise [items, streams, subcarriers].
    void* no_eff;
    int64_t no_eff_item, no_eff_row;
    // Streams: those that are sent, or rows of the channel whose streams a receiver puts out.
    int64_t streams;
    const int64_t* stream;

    // Written by a receiver in the place of estimates unless null: bits of the data symbols, [items,
    // rows, data symbols, 2 bits], with strides in numbers; how square QAM is demapped, see demap.h.
    void* llr;
    int64_t llr_item, llr_row;
    int64_t bits, sums, hard;
    const void* levels;
    // The row of each stream; of each symbol, where its item begins and which one of the grid it is.
    const int64_t *data_row, *data_begin, *data_symbol;
    // Neighbours with data: the runs of a row and a symbol of the grid are those from run_at to the
    // next run_at; each has its first subcarrier, how many these are, and the first one's place.
    int64_t grid_symbols;
    const int64_t *run_at, *run;

    // Of a recalled source; the rows of the latent tensors that subcarriers take stand in `functions`,
    // `terms`, `lead` and `weight`.
    Query query;
};

// Subcarriers that a look takes the same antennas of: those of a line of the cache.
constexpr int STRETCH = 8;

// A look at some antennas of a channel at every subcarrier, beside what a link has there; single
// precision.
struct Look {
    // Rows of the channel, subcarriers, and antennas that are looked at at each.
    int64_t rows, subcarriers, looks;
    // The channel [rows, antennas, subcarriers], with strides in complex numbers.
    const float* channel;
    int64_t channel_row, channel_antenna;
    // Which antennas, [stretches, looks].
    const int64_t* antenna;
    // What the link has there [rows, looks, subcarriers], and which of its rows each row is.
    const float* expected;
    const int64_t* order;
    // Of the subcarriers, Hz, and of the rows, complex, and in seconds: the channel is to be what the
    // link has, times gain e^{-j2πf·delay}.
    const double *frequency, *gain, *delay;
    // Written: the largest square of a distance at a subcarrier, infinite where it is no number,
    // and the sum of all squares of the channel, [rows].
    float *distance, *power;
};

// Least squares of local functions, few of which differ from zero at any point, for many columns:
// coefficients z [functions] with H^T W H + P = L L^T, L L^T z = H^T W y, and what they give, H z.
struct Local {
    int32_t threads;
    int64_t items, points, functions, columns;
    // Functions that differ from zero at each point: the first one [points], and their values
    // [points, taps].
    int64_t taps;
    const int64_t* first;
    const double* value;
    // W [items, points], with a step that may be zero; points of weight zero are not read.
    const double* weight;
    int64_t weight_item;
    // L [items, functions, band + 1]: of each row what is left of the diagonal, then the reciprocal
    // of the diagonal; the step may be zero.
    int64_t band;
    const double* factor;
    int64_t factor_item;
    // y [items, points, columns].
    const float* target;
    // Written: z [items, functions, columns] and H z [items, points, columns].
    float *coefficient, *fitted;
};

// Pseudo-inverses W of matrices A: steps that lower their residual, in place, or what proves them with
// X = (G + σ² I)^-1 at many noise powers. Single precision; steps from one matrix to the next
// in numbers.
struct Proofs {
    int32_t threads, rows, columns;
    int64_t matrices, powers;
    // A [matrices, rows, columns], W [matrices, columns, rows], and for a proof G, [matrices, rows,
    // rows].
    const float* channel;
    int64_t channel_step;
    float* filter;
    int64_t filter_step;
    const float* gram;
    int64_t gram_step;
    // σ², [powers].
    const float* power;
    // Steps, and written after them: the residual, [matrices].
    int64_t steps;
    float* residual;
    // Or, unless null: the smallest signal-to-interference ratio of a stream, and the largest range
    // error, [matrices, powers] each.
    float *ratio, *range;
};

// Symbols that are demapped one by one.
struct Demapping {
    // 0 for single precision, 1 for double.
    int32_t wide;
    int32_t threads;
    // How, see demap.h.
    int64_t bits, sums, hard;
    const void* levels;
    // Symbols and the noise behind them; the step may be zero.
    int64_t number;
    const void *y, *no;
    int64_t no_step;
    // Written: log-likelihood ratios or decisions, [number, 2 bits].
    void* llr;
};

// A channel that is compared with links at a few probe subcarriers; single precision.
struct Recognition {
    int64_t rows, antennas, probes, links;
    // The channel [rows, antennas, subcarriers], with strides in complex numbers, and the subcarriers
    // and frequencies of the probes.
    const float* channel;
    int64_t channel_row, channel_antenna, channel_subcarrier;
    const int64_t* probe;
    const double* frequency;
    // Probes by their distance from one of the closest two, that one first.
    const int64_t* reach;
    // Aligned channels of the links [links, probes, rows, antennas], their powers [links, probes, rows],
    // norms over all probes and delays of the rows, [links, rows].
    const float *reference, *power, *norm;
    const double* delays;
    // Whether the caller names the link, and which one, or -1; whether rows may have gains of several
    // magnitudes.
    int64_t named, candidate, any_gain;
    // How like a row has to be to be looked at closely, by how much it may deviate, and what rounding
    // may tell apart.
    double alike, deviation, tie;
    // Written where it is a link: the link's row that each row is, its gain, complex, and its delay.
    int64_t* order;
    double *gain, *delay;
};

// Subcarriers that are worked on together, from the first load to the last store.
struct Chunk {
    int64_t item, first, count, first_in;
};

// The kernels as compiled for one kind of processor.
struct Variant {
    const char* name;
    // Most subcarriers of a chunk, and the bytes of scratch memory that it takes.
    int64_t (*length)(const Call&);
    int64_t (*scratch)(const Call&);
    // A chunk; the channel of the one that this thread takes next, if any, is fetched meanwhile.
    void (*work)(const Call&, const Chunk&, const Chunk* next, void* scratch);
    void (*look)(const Look&);
    // Bytes of scratch memory of least squares, how many columns are swept together, and a sweep.
    int64_t (*local_scratch)(const Local&);
    int64_t local_columns;
    void (*local)(const Local&, int64_t item, int64_t column, void* scratch);
    // Likewise of pseudo-inverses, so many matrices at once.
    int64_t (*proofs_scratch)(const Proofs&);
    int64_t proofs_at_once;
    void (*proofs)(const Proofs&, int64_t block, void* scratch);
    // So many symbols, from one on.
    void (*demap)(const Demapping&, int64_t first, int64_t count);
    // The link that a channel is, or -1; and the bytes of scratch memory that this takes.
    int64_t (*recognise)(const Recognition&, void* scratch);
    int64_t (*recognition_scratch)(const Recognition&);
};
