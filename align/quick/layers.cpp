// What a Llama-style layer does between its large products, forward and back, for rows of tokens that
// are not padded. layers.py says in which order, and compiles this on the machine that trains.
//
// A row of a matrix is a token.

#include <cmath>
#include <cstdint>
#include <optional>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include "attention.h"
#include "products.h"
#include "vocabulary.h"

using torch::stable::Tensor;

namespace {

// Each row by its root mean square, times a weight (Zhang and Sennrich 2019); `scales` are kept.
template <typename T>
void norm(const T* x, const T* weight, int64_t rows, int64_t width, float least, T* out,
          float* scales) {
#pragma omp parallel for
  for (int64_t n = 0; n < rows; n++) {
    const T* row = x + n * width;
    float sum = 0;
    for (int64_t i = 0; i < width; i++) sum += up(row[i]) * up(row[i]);
    const float scale = 1 / std::sqrt(sum / width + least);
    for (int64_t i = 0; i < width; i++)
      out[n * width + i] = down<T>(up(down<T>(up(row[i]) * scale)) * up(weight[i]));
    scales[n] = scale;
  }
}

// The gradient of its input, added to `to`; what it gave comes again in `again`.
template <typename T>
void norm_back(const T* x, const T* weight, const float* scales, const T* pull, int64_t rows,
               int64_t width, T* to, T* again) {
#pragma omp parallel for
  for (int64_t n = 0; n < rows; n++) {
    const int64_t at = n * width;
    float sum = 0;
    for (int64_t i = 0; i < width; i++)
      sum += up(pull[at + i]) * up(weight[i]) * up(x[at + i]);
    const float scale = scales[n], back = sum * scale * scale * scale / width;
#pragma GCC ivdep
    for (int64_t i = 0; i < width; i++) {
      const float number = up(x[at + i]);
      again[at + i] = down<T>(up(down<T>(number * scale)) * up(weight[i]));
      to[at + i] = down<T>(up(to[at + i]) + up(pull[at + i]) * up(weight[i]) * scale - number * back);
    }
  }
}

// Turn the first `heads` heads of each row by its angles (Su et al. 2021), or back.
template <typename T>
void turn(T* x, const float* cosines, const float* sines, int64_t rows, int64_t row, int64_t heads,
          int64_t width, float sign) {
  const int64_t half = width / 2;
#pragma omp parallel for
  for (int64_t n = 0; n < rows; n++)
    for (int64_t h = 0; h < heads; h++) {
      T *low = x + n * row + h * width, *high = low + half;
      const float *c = cosines + n * width, *s = sines + n * width;
      for (int64_t i = 0; i < half; i++) {
        const float a = up(low[i]), b = up(high[i]);
        low[i] = down<T>(a * c[i] - sign * b * s[i]);
        high[i] = down<T>(b * c[half + i] + sign * a * s[half + i]);
      }
    }
}

// silu(gate) · up of rows [gate, up] (Shazeer 2020)
template <typename T>
void gated(const T* x, int64_t rows, int64_t width, T* out) {
#pragma omp parallel for
  for (int64_t n = 0; n < rows; n++) {
    const T *gate = x + n * 2 * width, *other = gate + width;
    for (int64_t i = 0; i < width; i++) {
      const float g = up(gate[i]);
      out[n * width + i] = down<T>(g * sigmoid(g) * up(other[i]));
    }
  }
}

// The gradient of [gate, up] in `to`; what they gave comes again in `again`.
template <typename T>
void gated_back(const T* x, const T* pull, int64_t rows, int64_t width, T* to, T* again) {
#pragma omp parallel for
  for (int64_t n = 0; n < rows; n++) {
    const T *gate = x + n * 2 * width, *other = gate + width;
    T *of_gate = to + n * 2 * width, *of_other = of_gate + width;
#pragma GCC ivdep
    for (int64_t i = 0; i < width; i++) {
      const float g = up(gate[i]), u = up(other[i]), s = sigmoid(g), p = up(pull[n * width + i]);
      again[n * width + i] = down<T>(g * s * u);
      of_gate[i] = down<T>(p * u * s * (1 + g * (1 - s)));
      of_other[i] = down<T>(p * g * s);
    }
  }
}

template <typename T>
T* data(const Tensor& x) { return static_cast<T*>(x.data_ptr()); }

#define EACH_TYPE(x, ...)                                                            \
  do {                                                                               \
    if ((x).scalar_type() == torch::headeronly::ScalarType::Float) {                 \
      using T = float;                                                               \
      __VA_ARGS__                                                                    \
    } else {                                                                         \
      STD_TORCH_CHECK((x).scalar_type() == torch::headeronly::ScalarType::BFloat16,  \
                      "numbers must be float or bf16");                              \
      using T = Bf16;                                                                \
      __VA_ARGS__                                                                    \
    }                                                                                \
  } while (0)

void norm_op(const Tensor& x, const Tensor& weight, double least, Tensor out, Tensor scales) {
  EACH_TYPE(x, norm<T>(data<T>(x), data<T>(weight), x.size(0), x.size(1), least, data<T>(out),
                       data<float>(scales)););
}

void norm_back_op(const Tensor& x, const Tensor& weight, const Tensor& scales, const Tensor& pull,
                  Tensor to, Tensor again) {
  EACH_TYPE(x, norm_back<T>(data<T>(x), data<T>(weight), data<float>(scales), data<T>(pull),
                            x.size(0), x.size(1), data<T>(to), data<T>(again)););
}

void turn_op(Tensor x, const Tensor& cosines, const Tensor& sines, int64_t heads, double sign) {
  EACH_TYPE(x, turn<T>(data<T>(x), data<float>(cosines), data<float>(sines), x.size(0), x.size(1),
                       heads, cosines.size(1), sign););
}

void gated_op(const Tensor& x, Tensor out) {
  EACH_TYPE(x, gated<T>(data<T>(x), x.size(0), out.size(1), data<T>(out)););
}

void gated_back_op(const Tensor& x, const Tensor& pull, Tensor to, Tensor again) {
  EACH_TYPE(x, gated_back<T>(data<T>(x), data<T>(pull), x.size(0), pull.size(1), data<T>(to),
                             data<T>(again)););
}

void attend_op(const Tensor& qkv, const Tensor& segments, int64_t queries, int64_t keys, Tensor out,
               Tensor norms) {
  EACH_TYPE(qkv, Heads<T> heads{data<T>(qkv), queries, keys, out.size(1) / queries};
            attend_all(heads, data<Segment>(segments), segments.size(0), data<T>(out),
                       data<float>(norms)););
}

void attend_back_op(const Tensor& qkv, const Tensor& segments, int64_t queries, int64_t keys,
                    const Tensor& out, const Tensor& norms, const Tensor& pull, Tensor of_qkv) {
  EACH_TYPE(qkv, Heads<T> heads{data<T>(qkv), queries, keys, out.size(1) / queries};
            attend_back_all(heads, data<Segment>(segments), segments.size(0), data<T>(out),
                            data<float>(norms), data<T>(pull), data<T>(of_qkv)););
}

void log_probs_op(const Tensor& logits, const Tensor& labels, Tensor picked, Tensor norms) {
  EACH_TYPE(logits, log_probs<T>(data<T>(logits), data<int64_t>(labels), logits.size(0),
                                 logits.size(1), data<float>(picked), data<float>(norms)););
}

void log_probs_back_op(const Tensor& logits, const Tensor& labels, const Tensor& norms,
                       const Tensor& pull, int64_t first, Tensor to) {
  EACH_TYPE(logits, log_probs_back<T>(data<T>(logits), data<int64_t>(labels), data<float>(norms),
                                      data<float>(pull), logits.size(0), logits.size(1), first,
                                      to.size(1), data<T>(to)););
}

// weights (outputs, inputs) in bf16, in any order -> `packed`, whole strips and tiles of them
void pack_op(const Tensor& weights, Tensor packed) {
  STD_TORCH_CHECK(ready(), "Linux does not grant this process the registers of AMX");
  pack(data<Bf16>(weights), weights.size(0), weights.size(1), weights.stride(0), weights.stride(1),
       data<Bf16>(packed));
}

#ifdef __AMX_BF16__

Factor factor(const Tensor& x, const Tensor& packed) {
  STD_TORCH_CHECK(x.size(1) == packed.size(1) && x.is_contiguous(), "inputs are not these weights'");
  return {data<Bf16>(x), x.size(1), static_cast<const char*>(packed.data_ptr())};
}

// out = x · packed, + low · up, + onto, where given
void product_op(const Tensor& x, const Tensor& packed, const std::optional<Tensor>& low,
                const std::optional<Tensor>& up, const std::optional<Tensor>& onto, Tensor out) {
  Sum sum{{factor(x, packed)}, 1, x.size(0), packed.size(0), nullptr, data<Bf16>(out), nullptr};
  if (low) sum.factors[sum.count++] = factor(*low, *up);
  if (onto) {
    STD_TORCH_CHECK(onto->is_contiguous() && onto->size(1) == out.size(1), "added are other outputs");
    sum.onto = data<Bf16>(*onto);
  }
  multiply(sum);
}

// sums += x · packed, in float
void product_into_op(const Tensor& x, const Tensor& packed, Tensor sums) {
  multiply({{factor(x, packed)}, 1, x.size(0), packed.size(0), nullptr, nullptr, data<float>(sums)});
}

// (tokens, width) and (tokens, outputs) -> aᵀ · b, in float
void outer_op(const Tensor& a, const Tensor& b, Tensor out) {
  STD_TORCH_CHECK(a.is_contiguous() && b.is_contiguous() && a.size(0) == b.size(0), "no such rows");
  outer(data<Bf16>(a), data<Bf16>(b), a.size(0), a.size(1), b.size(1), data<float>(out));
}

#endif

}  // namespace

STABLE_TORCH_LIBRARY(assistant_align, library) {
  library.def("norm(Tensor x, Tensor weight, float least, Tensor(a!) out, Tensor(b!) scales) -> ()");
  library.def(
      "norm_back(Tensor x, Tensor weight, Tensor scales, Tensor pull, Tensor(a!) to, "
      "Tensor(b!) again) -> ()");
  library.def("turn(Tensor(a!) x, Tensor cosines, Tensor sines, int heads, float sign) -> ()");
  library.def("gated(Tensor x, Tensor(a!) out) -> ()");
  library.def("gated_back(Tensor x, Tensor pull, Tensor(a!) to, Tensor(b!) again) -> ()");
  library.def(
      "attend(Tensor qkv, Tensor segments, int queries, int keys, Tensor(a!) out, "
      "Tensor(b!) norms) -> ()");
  library.def(
      "attend_back(Tensor qkv, Tensor segments, int queries, int keys, Tensor out, Tensor norms, "
      "Tensor pull, Tensor(a!) of_qkv) -> ()");
  library.def("log_probs(Tensor logits, Tensor labels, Tensor(a!) picked, Tensor(b!) norms) -> ()");
  library.def(
      "log_probs_back(Tensor logits, Tensor labels, Tensor norms, Tensor pull, int first, "
      "Tensor(a!) to) -> ()");
  library.def("pack(Tensor weights, Tensor(a!) packed) -> ()");
  library.def(
      "product(Tensor x, Tensor packed, Tensor? low, Tensor? up, Tensor? onto, Tensor(a!) out) -> ()");
  library.def("product_into(Tensor x, Tensor packed, Tensor(a!) sums) -> ()");
  library.def("outer(Tensor a, Tensor b, Tensor(a!) out) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(assistant_align, CPU, library) {
  library.impl("norm", TORCH_BOX(&norm_op));
  library.impl("norm_back", TORCH_BOX(&norm_back_op));
  library.impl("turn", TORCH_BOX(&turn_op));
  library.impl("gated", TORCH_BOX(&gated_op));
  library.impl("gated_back", TORCH_BOX(&gated_back_op));
  library.impl("attend", TORCH_BOX(&attend_op));
  library.impl("attend_back", TORCH_BOX(&attend_back_op));
  library.impl("log_probs", TORCH_BOX(&log_probs_op));
  library.impl("log_probs_back", TORCH_BOX(&log_probs_back_op));
  library.impl("pack", TORCH_BOX(&pack_op));
#ifdef __AMX_BF16__
  library.impl("product", TORCH_BOX(&product_op));
  library.impl("product_into", TORCH_BOX(&product_into_op));
  library.impl("outer", TORCH_BOX(&outer_op));
#endif
}
