// What Python calls, through ctypes: open a network, run it on images, close it.
//
// Compiled once for each instruction set, with nothing but the standard library; see build.py for the flags.
#include <list>

#include "amx_int8.h"
#include "vnni.h"
#include "int8_dense.h"
#include "run.h"

namespace lcnet {

enum class Precision : int32_t { fp32 = 0, bf16 = 1, int8 = 2 };

struct Engine {
  virtual ~Engine() = default;
  virtual void run(const float* images, int count, int height, int width, float* logits, double* seconds) = 0;
};

template <class P> class EngineOf final : public Engine {
 public:
  EngineOf(const NetworkValues& values, int threads) : network(packed(values)), team(threads), in_channels(values.in_channels) {}

  // Images [count][channels][height][width] to logits [count][classes].
  void run(const float* images, int count, int height, int width, float* logits, double* seconds) override {
    Plan<P>& plan = planned(height, width);
    Laps laps{seconds};
    int last = (int)network.blocks.size(), classes = network.classifier.out;
    size_t wide = up(network.blocks.back().out(), 4 * BLOCK), middle = up(network.hidden.out, 4 * BLOCK), end = up(classes,
        BLOCK);
    Buffer<float> features(wide * count), hidden(middle * count), scores(end * count);
    team.begin();
    Run<P> one(network, plan, team, laps);
    for (int i = 0; i < count; i++) one(images + (size_t)i * in_channels * height * width, features.data() + i * wide);
    laps.start();
    float* in = features.data();
    if (network.hidden.out) {
      dense(team, network.hidden, in, wide, hidden.data(), middle, count, network.activation);
      in = hidden.data(), wide = middle;
      laps.lap(Laps::block(last, 1));
    }
    dense(team, network.classifier, in, wide, scores.data(), end, count, Activation::none);
    team.end();
    for (int i = 0; i < count; i++) std::copy_n(scores.data() + i * end, classes, logits + (size_t)i * classes);
    laps.lap(Laps::block(last, 2));
  }

 private:
  static constexpr size_t PLANS = 8;

  Arena weights;  // before the network, which lives in it
  Network<P> network;
  Team team;
  std::list<Plan<P>> plans;  // of the last sizes seen, the latest first
  int in_channels;

  Network<P> packed(const NetworkValues& values) {
    Arena::Scope scope(weights);
    return Network<P>(values);
  }

  Plan<P>& planned(int height, int width) {
    auto plan = std::find_if(plans.begin(), plans.end(), [&](const Plan<P>& p) {
        return p.height == height && p.width == width; });
    if (plan != plans.end()) plans.splice(plans.begin(), plans, plan);
    else {
      if (plans.size() == PLANS) plans.pop_back();  // first, so that its memory serves the new one
      plans.emplace_front(network, height, width, team.threads());
    }
    return plans.front();
  }
};

// A build for one precision compiles in a third of the time: LCNET_PRECISION is its number. Without it all are there.
#if defined(LCNET_PRECISION)
constexpr bool built(Precision precision) { return (int)precision == LCNET_PRECISION; }
#else
constexpr bool built(Precision) { return true; }
#endif

template <Precision WANTED, class P> static Engine* opened(const NetworkValues& values, Precision precision, int threads) {
  if constexpr (built(WANTED)) return precision == WANTED ? new EngineOf<P>(values, threads) : nullptr;
  return nullptr;
}

static Engine* open(const NetworkValues& values, Precision precision, int threads) {
  if (auto engine = opened<Precision::fp32, Single>(values, precision, threads)) return engine;
#if defined(__AMX_TILE__)
  if (!permit_tiles()) return nullptr;
  if (auto engine = opened<Precision::bf16, Tiles>(values, precision, threads)) return engine;
  if (auto engine = opened<Precision::int8, CodeTiles>(values, precision, threads)) return engine;
#else
#if defined(__AVX512BF16__)
  if (auto engine = opened<Precision::bf16, Dots>(values, precision, threads)) return engine;
#elif defined(__F16C__)
  if (auto engine = opened<Precision::bf16, Halved>(values, precision, threads)) return engine;
#endif
#if defined(LCNET_CODES)
  if (auto engine = opened<Precision::int8, CodeDots>(values, precision, threads)) return engine;
#endif
#endif
  return nullptr;
}

}  // namespace lcnet

extern "C" {

// Null where this build has no such precision, or where memory is short.
void* lcnet_open(const lcnet::NetworkValues* values, int32_t precision, int32_t threads) {
  try {
    return lcnet::open(*values, (lcnet::Precision)precision, threads);
  } catch (const std::exception&) {
    return nullptr;
  }
}

void lcnet_close(void* engine) { delete (lcnet::Engine*)engine; }

// 0 if all went well. One run at a time. `seconds`, if not null, is added to: see `Laps`.
int32_t lcnet_run(void* engine, const float* images, int32_t count, int32_t height, int32_t width, float* logits,
    double* seconds) {
  try {
    ((lcnet::Engine*)engine)->run(images, count, height, width, logits, seconds);
    return 0;
  } catch (const std::exception&) {
    return 1;
  }
}
}
