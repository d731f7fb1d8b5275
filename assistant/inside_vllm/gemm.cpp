// Products of few rows with a matrix of weights, as fast as memory gives the weights.
//
// An answer's next token multiplies one row per answer with every weight of the model. With so few
// rows the time is that of reading weights, once each: they lie in the order of reading (`pack`), and
// are fetched ahead. A packed matrix consists of strips of 16 outputs; a strip is a row of tiles of 1
// KiB, of 64 bytes of the inputs each: 32 numbers in bf16 or 64 in int8. In a tile the inputs of one
// output lie in groups of 4 bytes, as AMX's TDPBF16PS and TDPBSSD, and AVX-512's VDPBF16PS, take them.
//
// gemm.py compiles this on the machine that runs it.

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>
#include <vector>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include "../amx.h"
#include "team.h"

using torch::stable::Tensor;
using Bf16 = uint16_t;

namespace {

constexpr int SMALL = 2;   // strips, too few to be shared by threads
constexpr int PIECES = 4;  // for each thread

struct Product {
  const char* x;
  int64_t x_stride;  // bytes from row to row
  int64_t rows;
  const char* weights;
  int64_t tiles;  // of a strip
  Bf16* out;
  int64_t outputs;
  const float* bias;           // of outputs, or null
  const float* row_scales;     // in int8
  const float* output_scales;  // in int8

  const char* strip(int64_t n) const { return weights + n * tiles * TILE; }
  const char* row(int64_t m) const { return x + m * x_stride; }
};

void put(const Product& p, __m512 sums, int64_t m, int64_t n) {
  if (p.bias) sums = _mm512_add_ps(sums, _mm512_loadu_ps(p.bias + n * OUTPUTS));
  auto* place = reinterpret_cast<__m256i*>(p.out + m * p.outputs + n * OUTPUTS);
  _mm256_storeu_si256(place, (__m256i)_mm512_cvtneps_pbh(sums));
}

#ifdef __AMX_BF16__

template <bool INT8>
void put_tile(const Product& p, const void* sums, int rows, int64_t m, int64_t n) {
  for (int r = 0; r < rows; r++) {
    const char* line = static_cast<const char*>(sums) + r * LINE;
    if constexpr (INT8) {
      __m512 scale = _mm512_mul_ps(_mm512_set1_ps(p.row_scales[m + r]),
                                   _mm512_loadu_ps(p.output_scales + n * OUTPUTS));
      put(p, _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_load_si512(line)), scale), m + r, n);
    } else {
      put(p, _mm512_load_ps(line), m + r, n);
    }
  }
}

#define DOT(sums, inputs, weights)                   \
  if constexpr (INT8)                                \
    _tile_dpbssd(sums, inputs, weights);             \
  else                                               \
    _tile_dpbf16ps(sums, inputs, weights)

// One or two strips, n and n + 1, of up to 16 rows from m on; the first to read weights fetches ahead.
template <bool INT8, bool TWO>
void block(const Product& p, int64_t m, int rows, int64_t n, bool first) {
  alignas(64) char sums[ROWS * LINE];
  const char *left = p.strip(n), *right = p.strip(n + 1), *inputs = p.row(m);
  _tile_zero(0);
  if (TWO) _tile_zero(1);
  for (int64_t k = 0; k < p.tiles; k++) {
    if (first) fetch(left + (k + AHEAD) * TILE);
    if (first && TWO) fetch(right + (k + AHEAD) * TILE);
    _tile_loadd(4, inputs + k * LINE, p.x_stride);
    _tile_loadd(6, left + k * TILE, LINE);
    DOT(0, 4, 6);
    if (TWO) {
      _tile_loadd(6, right + k * TILE, LINE);
      DOT(1, 4, 6);
    }
  }
  _tile_stored(0, sums, LINE);
  put_tile<INT8>(p, sums, rows, m, n);
  if (TWO) {
    _tile_stored(1, sums, LINE);
    put_tile<INT8>(p, sums, rows, m, n + 1);
  }
}

template <bool INT8>
void blocks(const Product& p, int64_t m, int rows, int64_t n, int64_t to) {
  if (n + 1 < to)
    block<INT8, true>(p, m, rows, n, m == 0);
  else
    block<INT8, false>(p, m, rows, n, m == 0);
}

// Strip by strip, so that weights are read from memory once, whatever the number of rows.
template <bool INT8>
void strips(const Product& p, int64_t from, int64_t to) {
  const int64_t whole = p.rows / ROWS * ROWS;
  const int rest = p.rows - whole;
  if (!whole || !rest) configure(whole ? ROWS : rest);
  for (int64_t n = from; n < to; n += 2) {
    if (whole && rest) configure(ROWS);
    for (int64_t m = 0; m < whole; m += ROWS) blocks<INT8>(p, m, ROWS, n, to);
    if (whole && rest) configure(rest);
    if (rest) blocks<INT8>(p, whole, rest, n, to);
  }
  _tile_release();
}

#else  // AVX-512 with bf16, for AMD since Zen 4 and others

template <int R, int S>
void block(const Product& p, int64_t m, int64_t n) {
  __m512 sums[R][S];
  for (int r = 0; r < R; r++)
    for (int s = 0; s < S; s++) sums[r][s] = _mm512_setzero_ps();
  for (int64_t k = 0; k < p.tiles * OUTPUTS; k++)
    for (int s = 0; s < S; s++) {
      const char* line = p.strip(n + s) + k * LINE;
      _mm_prefetch(line + AHEAD / 2 * TILE, _MM_HINT_T0);
      __m512bh weights = (__m512bh)_mm512_load_si512(line);
      for (int r = 0; r < R; r++) {
        int32_t pair;
        std::memcpy(&pair, p.row(m + r) + k * GROUP, GROUP);
        sums[r][s] = _mm512_dpbf16_ps(sums[r][s], weights, (__m512bh)_mm512_set1_epi32(pair));
      }
    }
  for (int r = 0; r < R; r++)
    for (int s = 0; s < S; s++) put(p, sums[r][s], m + r, n + s);
}

template <int S>
void rows(const Product& p, int64_t n) {
  int64_t m = 0;
  for (; m + 6 <= p.rows; m += 6) block<6, S>(p, m, n);
  switch (p.rows - m) {
    case 1: return block<1, S>(p, m, n);
    case 2: return block<2, S>(p, m, n);
    case 3: return block<3, S>(p, m, n);
    case 4: return block<4, S>(p, m, n);
    case 5: return block<5, S>(p, m, n);
  }
}

template <bool INT8>
void strips(const Product& p, int64_t from, int64_t to) {
  int64_t n = from;
  for (; n + 4 <= to; n += 4) rows<4>(p, n);
  for (; n < to; n++) rows<1>(p, n);
}

#endif

// Work on 0 … count, shared in pieces of an even number, of which each thread may have several.
template <typename Task>
void shared(int64_t count, const Task& task) {
  Team& team = Team::of_this_process();
  int64_t piece = std::max<int64_t>(SMALL, count / (PIECES * team.threads()) / 2 * 2);
  auto work = [](const void* task, int64_t from, int64_t to) {
    (*static_cast<const Task*>(task))(from, to);
  };
  team.run(work, &task, count, piece);
}

template <bool INT8>
void multiply(const Product& p) {
  shared(p.outputs / OUTPUTS, [&](int64_t from, int64_t to) { strips<INT8>(p, from, to); });
}

// Row by row to -127 … 127, by its largest number; returns what one of that is worth.
float quantize(const Bf16* x, int64_t count, int8_t* out) {
  auto number = [&](int64_t k) { return _mm512_castsi512_ps(_mm512_slli_epi32(
      _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)(x + k))), 16)); };
  __m512 largest = _mm512_setzero_ps();
  __mmask16 broken = 0;
  for (int64_t k = 0; k < count; k += 16) {
    largest = _mm512_max_ps(largest, _mm512_abs_ps(number(k)));
    broken |= _mm512_cmp_ps_mask(number(k), number(k), _CMP_UNORD_Q);
  }
  if (broken) return NAN;  // and so is all that comes of this row
  float scale = std::max(_mm512_reduce_max_ps(largest), 1e-10f) / 127;
  __m512 inverse = _mm512_set1_ps(1 / scale);
  for (int64_t k = 0; k < count; k += 16) {
    __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(number(k), inverse));
    _mm_storeu_si128((__m128i*)(out + k), _mm512_cvtsepi32_epi8(whole));
  }
  return scale;
}

// weights (outputs, inputs), contiguous, in bf16 or int8 -> the same in the order of reading
Tensor pack(const Tensor& weights) {
  STD_TORCH_CHECK(ready(), "Linux does not grant this process the registers of AMX");
  Tensor packed = torch::stable::empty_like(weights);
  const int64_t bytes = weights.size(1) * weights.element_size(), tiles = bytes / LINE;
  auto* from = static_cast<const char*>(weights.data_ptr());
  auto* to = static_cast<char*>(packed.data_ptr());
  shared(weights.size(0) / OUTPUTS, [&](int64_t first, int64_t last) {
    for (int64_t n = first * OUTPUTS; n < last * OUTPUTS; n++)
      for (int64_t k = 0; k < bytes; k += GROUP) {
        int64_t tile = (n / OUTPUTS) * tiles + k / LINE;
        int64_t place = k % LINE / GROUP * LINE + n % OUTPUTS * GROUP;
        std::memcpy(to + tile * TILE + place, from + n * bytes + k, GROUP);
      }
  });
  return packed;
}

Product product(const Tensor& x, const Tensor& packed, const std::optional<Tensor>& bias, Tensor& out) {
  Product p{};
  p.x = static_cast<const char*>(x.data_ptr());
  p.x_stride = x.stride(0) * x.element_size();
  p.rows = x.size(0);
  p.weights = static_cast<const char*>(packed.data_ptr());
  p.tiles = packed.size(1) * packed.element_size() / LINE;
  p.out = static_cast<Bf16*>(out.data_ptr());
  p.outputs = packed.size(0);
  p.bias = bias ? static_cast<const float*>(bias->data_ptr()) : nullptr;
  return p;
}

Tensor answer(const Tensor& x, const Tensor& packed) {
  STD_TORCH_CHECK(x.dim() == 2 && x.size(1) == packed.size(1), "the inputs are not of this layer");
  STD_TORCH_CHECK(x.scalar_type() == torch::headeronly::ScalarType::BFloat16, "inputs must be bf16");
  return torch::stable::new_empty(x, {x.size(0), packed.size(0)});
}

// x (rows, inputs) and packed in bf16, bias (outputs) in float32 -> (rows, outputs) in bf16
Tensor linear(const Tensor& x, const Tensor& packed, const std::optional<Tensor>& bias) {
  Tensor dense = x.stride(1) == 1 ? x : torch::stable::contiguous(x), out = answer(x, packed);
  if (x.size(0)) multiply<false>(product(dense, packed, bias, out));
  return out;
}

#ifdef __AMX_INT8__
// The same with packed in int8, worth `scales` (outputs) in float32; x is rounded row by row.
Tensor linear_int8(const Tensor& x, const Tensor& packed, const Tensor& scales,
                   const std::optional<Tensor>& bias) {
  Tensor dense = x.stride(1) == 1 ? x : torch::stable::contiguous(x), out = answer(x, packed);
  if (!x.size(0)) return out;
  const int64_t inputs = x.size(1);
  static thread_local std::vector<int8_t> kept_rounded;
  static thread_local std::vector<float> kept_worth;
  kept_rounded.resize(x.size(0) * inputs);
  kept_worth.resize(x.size(0));
  int8_t* rounded = kept_rounded.data();  // this thread's, for all of its team
  float* worth = kept_worth.data();
  Product p = product(dense, packed, bias, out);
  auto round = [&](int64_t from, int64_t to) {
    for (int64_t m = from; m < to; m++)
      worth[m] = quantize(reinterpret_cast<const Bf16*>(p.row(m)), inputs, rounded + m * inputs);
  };
  if (p.rows > 4 * ROWS)
    shared(p.rows, round);
  else
    round(0, p.rows);
  p.x = reinterpret_cast<const char*>(rounded);
  p.x_stride = inputs;
  p.row_scales = worth;
  p.output_scales = static_cast<const float*>(scales.data_ptr());
  multiply<true>(p);
  return out;
}
#endif

}  // namespace

STABLE_TORCH_LIBRARY(assistant, library) {
  library.def("pack(Tensor weights) -> Tensor");
  library.def("linear(Tensor x, Tensor packed, Tensor? bias) -> Tensor");
  library.def("linear_int8(Tensor x, Tensor packed, Tensor scales, Tensor? bias) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(assistant, CPU, library) {
  library.impl("pack", TORCH_BOX(&pack));
  library.impl("linear", TORCH_BOX(&linear));
#ifdef __AMX_INT8__
  library.impl("linear_int8", TORCH_BOX(&linear_int8));
#endif
}
