// What a model makes of its logits where one of them is to be learnt.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "numbers.h"

// log softmax(logits)[label] of each row in `picked`, and the log of its sum of e^logit in `norms`.
template <typename T>
void log_probs(const T* logits, const int64_t* labels, int64_t rows, int64_t width, float* picked,
               float* norms) {
#pragma omp parallel for
  for (int64_t n = 0; n < rows; n++) {
    const T* row = logits + n * width;
    float most = -INFINITY, sum = 0;
    for (int64_t i = 0; i < width; i++) most = std::max(most, up(row[i]));
    for (int64_t i = 0; i < width; i++) sum += exp_of(up(row[i]) - most);
    norms[n] = most + std::log(sum);
    picked[n] = up(row[labels[n]]) - norms[n];
  }
}

// The gradient of `count` logits from the `first` on, given that of `picked`.
template <typename T>
void log_probs_back(const T* logits, const int64_t* labels, const float* norms, const float* pull,
                    int64_t rows, int64_t width, int64_t first, int64_t count, T* to) {
#pragma omp parallel for
  for (int64_t n = 0; n < rows; n++) {
    const T* row = logits + n * width + first;
    T* out = to + n * count;
    const float norm = norms[n], share = -pull[n];
    auto of_one = [&](int64_t i) { return share * exp_of(std::min(up(row[i]) - norm, 0.0f)); };
    for (int64_t i = 0; i < count; i++) out[i] = down<T>(of_one(i));
    const int64_t label = labels[n] - first;
    if (0 <= label && label < count) out[label] = down<T>(pull[n] + of_one(label));
  }
}
