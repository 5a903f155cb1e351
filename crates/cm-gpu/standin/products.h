// What the stand-ins for cuBLASLt and cuDNN share: values as they are stored, and what tests can have go wrong.
#pragma once
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <map>
#include <thread>
#include <vector>

#define API extern "C" __attribute__((visibility("default")))

// Nothing is computed, and memory is addresses only.
static const bool dry = getenv("STANDIN_DRY") != nullptr;

// What goes wrong, as bits.
enum { NO_START = 1, NO_PLANS = 2, WRONG = 4, FAILS = 8, SLOW = 16, WRITES_NOTHING = 32, NO_WORKSPACE = 64 };
// Of the calling thread: tests run side by side. The environment says it for whole processes.
static unsigned from_environment() {
  const char* text = getenv("STANDIN_PRODUCTS");
  return text ? (unsigned)atoi(text) : 0;
}
static thread_local unsigned wrong = from_environment();
static thread_local unsigned long long products_computed;

static float get(const void* at, bool narrow, int64_t i) {
  if (!narrow) return ((const float*)at)[i];
  uint32_t bits = (uint32_t)((const uint16_t*)at)[i] << 16;
  float value;
  memcpy(&value, &bits, 4);
  return value;
}
static void put(void* at, bool narrow, int64_t i, float value) {
  if (!narrow) {
    ((float*)at)[i] = value;
    return;
  }
  uint32_t bits;
  memcpy(&bits, &value, 4);
  ((uint16_t*)at)[i] = (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
// What was asked of the stream before is done.
static void land(void* stream) {
  static auto landed = (void (*)(void*))dlsym(dlopen("libcuda.so", RTLD_NOW | RTLD_NOLOAD), "standin_land");
  landed(stream);
}
static void take_time() {
  if (wrong & SLOW) std::this_thread::sleep_for(std::chrono::milliseconds(5));
}

// What tests ask of a stand-in, each for its own thread: what is to go wrong, and the products since the last call.
#define TESTS_ASK(library)                                                 \
  API void standin_##library##_wrong(unsigned bits) { wrong = bits; }      \
  API unsigned long long standin_##library##_products() {                  \
    unsigned long long count = products_computed;                          \
    products_computed = 0;                                                 \
    return count;                                                          \
  }
