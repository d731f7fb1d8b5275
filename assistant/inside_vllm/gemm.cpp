// Products of few rows with a matrix of weights, as fast as memory gives the weights.
//
// An answer's next token multiplies one row per answer with every weight of the model. With so few
// rows the time is that of reading weights, once each: they lie in the order of reading (`pack`), and
// are fetched ahead. A packed matrix consists of strips of 16 outputs; a strip is a row of tiles of 1
// KiB, of 64 bytes of the inputs each: 32 numbers in bf16 or 64 in int8. How they lie in a tile is a
// matter of the instructions that read it: AMX and AVX-512, or AVX2.
//
// gemm.py compiles this on the machine that runs it.

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include "product.h"
#include "team.h"

#ifdef __AVX512BF16__
#include "with_avx512.h"
#else
#include "with_avx2.h"
#endif

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

namespace {

constexpr int SMALL = 2;   // strips, too few to be shared by threads
constexpr int PIECES = 4;  // for each thread
constexpr auto NUMBER = sizeof(Number) == 2 ? ScalarType::BFloat16 : ScalarType::Float;

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

// weights (outputs, inputs), contiguous, in bf16 or int8 -> the same in the order of reading
Tensor pack(const Tensor& weights) {
  STD_TORCH_CHECK(ready(), "Linux does not grant this process the registers of AMX");
  Tensor packed = torch::stable::empty_like(weights);
  const int64_t size = weights.element_size(), bytes = weights.size(1) * size;
  auto* from = static_cast<const char*>(weights.data_ptr());
  auto* to = static_cast<char*>(packed.data_ptr());
  shared(weights.size(0) / OUTPUTS, [&](int64_t first, int64_t last) {
    for (int64_t n = first * OUTPUTS; n < last * OUTPUTS; n += OUTPUTS)
      if (size == 1)
        pack_strip<1>(from + n * bytes, bytes, to + n * bytes);
      else
        pack_strip<2>(from + n * bytes, bytes, to + n * bytes);
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
  p.out = static_cast<Number*>(out.data_ptr());
  p.outputs = packed.size(0);
  p.bias = bias ? static_cast<const float*>(bias->data_ptr()) : nullptr;
  return p;
}

Tensor answer(const Tensor& x, const Tensor& packed) {
  STD_TORCH_CHECK(x.dim() == 2 && x.size(1) == packed.size(1), "the inputs are not of this layer");
  STD_TORCH_CHECK(x.scalar_type() == NUMBER, "inputs are bf16, or float32 where nothing multiplies bf16");
  return torch::stable::new_empty(x, {x.size(0), packed.size(0)});
}

// x (rows, inputs), packed in bf16, bias (outputs) in float32 -> (rows, outputs), of the type of x
Tensor linear(const Tensor& x, const Tensor& packed, const std::optional<Tensor>& bias) {
  Tensor dense = x.stride(1) == 1 ? x : torch::stable::contiguous(x), out = answer(x, packed);
  if (x.size(0)) multiply<false>(product(dense, packed, bias, out));
  return out;
}

#ifdef IN_8_BITS
// The same with packed in int8, worth `scales` (outputs) in float32; x is rounded row by row.
Tensor linear_int8(const Tensor& x, const Tensor& packed, const Tensor& scales,
                   const std::optional<Tensor>& bias) {
  Tensor dense = x.stride(1) == 1 ? x : torch::stable::contiguous(x), out = answer(x, packed);
  if (!x.size(0)) return out;
  const int64_t inputs = x.size(1);
  static thread_local std::vector<Rounded> kept_rounded;
  static thread_local std::vector<float> kept_worth;
  kept_rounded.resize(x.size(0) * inputs);
  kept_worth.resize(x.size(0));
  Rounded* rounded = kept_rounded.data();  // this thread's, for all of its team
  float* worth = kept_worth.data();
  Product p = product(dense, packed, bias, out);
  auto round = [&](int64_t from, int64_t to) {
    for (int64_t m = from; m < to; m++)
      worth[m] = quantize(reinterpret_cast<const Number*>(p.row(m)), inputs, rounded + m * inputs);
  };
  if (p.rows > 4 * ROWS)
    shared(p.rows, round);
  else
    round(0, p.rows);
  p.x = reinterpret_cast<const char*>(rounded);
  p.x_stride = inputs * sizeof(Rounded);
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
#ifdef IN_8_BITS
  library.impl("linear_int8", TORCH_BOX(&linear_int8));
#endif
}
