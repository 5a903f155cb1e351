// CUDA's execution model on the host: the threads of a block are fibers of one thread of the system.
//
// A fiber runs until it waits for its warp or its block. Which runs first is an argument, so that a result that depends
// on it shows. What no thread has written to shared memory is NaN; an asynchronous copy arrives when it is waited for or at once;
// matrix fragments go to the lanes that the PTX ISA says. Mistakes end a launch with a message: a barrier that not all
// threads reach, misaligned addresses, and memory that is not the kernel's.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};

namespace shim {

struct Copy {
  void* to;
  const void* from;
  bool valid;
};

enum class Waits { no, block, warp, product };

struct Fiber {
  void* stack_pointer = nullptr;
  char* stack = nullptr;
  bool done = false;
  Waits waits = Waits::no;
  dim3 index;
  unsigned linear = 0;
  std::vector<Copy> open;
  std::vector<std::vector<Copy>> groups;
};

struct Slot {
  unsigned char bytes[64];
};

struct ProductSlot {
  uint32_t a[4], b[2];
  float d[4];
};

// Counts of one launch after another; see `shim_counts`.
struct Counts {
  unsigned long long matrices, wavefronts, products, copied_bytes, barriers;
};

// What one thread of the system is running.
struct State {
  Counts counts = {};
  Fiber* me = nullptr;
  std::vector<Fiber> fibers;
  void* scheduler = nullptr;
  dim3 block_index, block_size, grid_size;
  std::vector<Slot> slots;
  std::vector<ProductSlot> products;
  std::vector<unsigned> arrived;
  unsigned char* dynamic = nullptr;
  unsigned char* fixed = nullptr;
  size_t fixed_used = 0;
  unsigned long long generation = 0;
  bool failed = false, running = false, early = false;
  char message[512] = {};
};
// A plain pointer, so that it is reached without a call; made by a thread's first launch and kept.
extern __thread State* now __attribute__((tls_model("initial-exec")));

enum : size_t { FIXED_SHARED = 96 << 10 };

// An asynchronous copy may arrive at any time from its beginning to the wait for it: at the last moment, so that a
// missing wait shows, or at once, in the backward order of threads, so that one into what others still read does.
inline void arrive(const Copy& copy) {
  if (copy.valid) memcpy(copy.to, copy.from, 16);
  else memset(copy.to, 0, 16);
  now->counts.copied_bytes += 16;
}

void yield(Waits waits);
[[noreturn]] void fail(const char* format, ...);
int run(dim3 grid, dim3 block, size_t dynamic_bytes, void (*body)(void*), void* argument);

// A variable in shared memory: the same address for all threads of a block, NaN at the block's start.
struct Place {
  unsigned long long generation = 0;
  size_t at = 0;
};
template <class T> T& shared_variable(Place& place) {
  if (place.generation != now->generation) {
    place.generation = now->generation;
    place.at = (now->fixed_used + 15) / 16 * 16;
    now->fixed_used = place.at + sizeof(T);
    if (now->fixed_used > FIXED_SHARED) fail("more than %zu bytes of fixed shared memory", (size_t)FIXED_SHARED);
  }
  return *(T*)(now->fixed + place.at);
}

// Each lane shows a value to its warp, and takes another lane's.
template <class T> void show(const T& value) {
  static_assert(sizeof(T) <= sizeof(Slot));
  memcpy(now->slots[now->me->linear].bytes, &value, sizeof value);
  yield(Waits::warp);
}
template <class T> T seen(unsigned lane) {
  T value;
  memcpy(&value, now->slots[(now->me->linear & ~31u) + lane].bytes, sizeof value);
  return value;
}
inline unsigned lane() { return now->me->linear & 31; }

void load_matrices(uint32_t (&r)[4], const void* row, bool transposed);
void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, bool tf32);

template <class... A, size_t... I> void call(void (*kernel)(A...), void** parameters, std::index_sequence<I...>) {
  kernel(*(std::remove_reference_t<A>*)parameters[I]...);
}
template <class... A> int launch(void (*kernel)(A...), dim3 grid, dim3 block, size_t dynamic_bytes, void** parameters) {
  struct Pack {
    void (*kernel)(A...);
    void** parameters;
  } pack{kernel, parameters};
  auto body = [](void* pack) {
    auto* p = (Pack*)pack;
    call(p->kernel, p->parameters, std::index_sequence_for<A...>{});
  };
  return run(grid, block, dynamic_bytes, body, &pack);
}

}  // namespace shim

// A planted copy of a file keeps its kernels to itself.
#ifdef PLANTED
#define KERNEL(threads, name) static void JOINED(name, SUFFIX)
#else
#define KERNEL(threads, name) extern "C" void JOINED(name, SUFFIX)
#endif
#define DEV static inline
#define DEV_METHOD inline
#define SHARED(type, name, extent)                 \
  static thread_local shim::Place name##_place;    \
  using name##_type = type extent;                 \
  name##_type& name = shim::shared_variable<name##_type>(name##_place)
#define DYNAMIC_SHARED(name) unsigned char* name = shim::now->dynamic
#define __restrict__ __restrict
#define threadIdx (shim::now->me->index)
#define blockIdx (shim::now->block_index)
#define blockDim (shim::now->block_size)
#define gridDim (shim::now->grid_size)
// What the stand-in for the driver finds: `symbol` launches `name`.
#define EXPORT(symbol, name)                                                            \
  extern "C" int symbol(dim3 grid, dim3 block, size_t dynamic_bytes, void** parameters) { \
    return shim::launch(name, grid, block, dynamic_bytes, parameters);                  \
  }

DEV void block_barrier() { shim::yield(shim::Waits::block); }
DEV void warp_barrier() { shim::yield(shim::Waits::warp); }
template <class T> T lane_xor(T v, int mask) {
  shim::show(v);
  T other = shim::seen<T>(shim::lane() ^ mask);
  warp_barrier();
  return other;
}
DEV float bits_as_float(uint32_t u) {
  float f;
  memcpy(&f, &u, 4);
  return f;
}
DEV uint32_t float_as_bits(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  return u;
}
DEV float add_rounded(float a, float b) { return a + b; }
DEV float mul_rounded(float a, float b) { return a * b; }
DEV float fused(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
DEV uint32_t rounded_tf32(float x) {
  uint32_t u = float_as_bits(x);
  return (u & 0x7fffffffu) >= 0x7f800000u ? u : (u + 0x1000u) & 0xffffe000u;
}
DEV void copy_async16(void* to, const void* from, bool valid) {
  if (((uintptr_t)to | (valid ? (uintptr_t)from : 0)) & 15) shim::fail("a misaligned asynchronous copy");
  if (shim::now->early) shim::arrive({to, from, valid});
  else shim::now->me->open.push_back({to, from, valid});
}
DEV void copy_async_commit() {
  shim::now->me->groups.push_back(std::move(shim::now->me->open));
  shim::now->me->open.clear();
}
template <int LEFT> DEV void copy_async_wait() {
  auto& groups = shim::now->me->groups;
  while (groups.size() > (size_t)LEFT) {
    for (auto& copy : groups.front()) shim::arrive(copy);
    groups.erase(groups.begin());
  }
}
DEV void load_matrices(uint32_t (&r)[4], const void* row) { shim::load_matrices(r, row, false); }
DEV void load_matrices_transposed(uint32_t (&r)[4], const void* row) { shim::load_matrices(r, row, true); }
DEV void multiply_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) { shim::multiply(d, a, b0, b1, false); }
DEV void multiply_tf32(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) { shim::multiply(d, a, b0, b1, true); }
