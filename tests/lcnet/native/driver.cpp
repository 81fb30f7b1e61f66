// A network of random numbers through the native executor, for the sanitizers: sizes that change, more threads than
// processors, a second version's blocks and squeeze-and-excite. Prints how many values were not as in the first round.
#include <cstdio>
#include <random>

#include "executor.cpp"

static std::vector<std::vector<float>> kept;
static std::mt19937 generator(0);

static const float* numbers(size_t count, float scale) {
  std::vector<float> values(count);
  std::normal_distribution<float> normal(0, scale);
  for (float& value : values) value = normal(generator);
  kept.push_back(std::move(values));
  return kept.back().data();
}

static lcnet::LinearValues linear(int in, int out) { return {in, out, numbers((size_t)in * out, .2f), numbers(out, .1f)}; }

static lcnet::BlockValues block(int in, int middle, int out, int kernel, int stride_y, int stride_x, bool squeeze) {
  lcnet::BlockValues values{in, kernel, stride_y, stride_x, in == out && stride_x == 1, numbers((size_t)in * kernel * kernel,
      .2f), numbers(in, .1f), {}, {}, {}, {}};
  if (squeeze) values.reduce = linear(in, in / 4), values.expand = linear(in / 4, in);
  values.first = linear(in, middle ? middle : out);
  if (middle) values.second = linear(middle, out);
  return values;
}

int main(int count, char** words) {
  const int precision = count > 1 ? std::atoi(words[1]) : 0, rounds = count > 2 ? std::atoi(words[2]) : 3;
  const lcnet::BlockValues blocks[] = {block(8, 0, 24, 3, 1, 1, false), block(24, 12, 40, 5, 2, 1, true), block(40, 0, 40, 7,
      1, 1, false), block(40, 20, 72, 3, 2, 3, false)};
  const lcnet::NetworkValues network{3, 8, 2, 2, 2, 1, 4, numbers(8 * 27, .2f), numbers(8, .1f), blocks, linear(72, 50),
      linear(50, 11)};
  int different = 0;
  std::vector<std::vector<float>> first;
  for (int threads : {1, 2, 5}) {
    void* engine = lcnet_open(&network, precision, threads);
    if (!engine) return 2;
    for (int round = 0; round < rounds; round++)
      for (int i = 0; i < 12; i++) {
        const int height = 5 + 13 * (i % 4), width = 70 - 5 * i, images = 1 + i % 3;
        std::mt19937 same(i);
        std::vector<float> pictures((size_t)images * 3 * height * width), logits(images * 11);
        for (float& value : pictures) value = (float)(same() % 1000) / 500 - 1;
        if (lcnet_run(engine, pictures.data(), images, height, width, logits.data(), nullptr)) return 3;
        if ((int)first.size() == i) first.push_back(logits);
        different += logits != first[i];
      }
    lcnet_close(engine);
  }
  std::printf("%d different\n", different);
  return different != 0;
}
