#include "shim.h"
#include <algorithm>
#include <cstdarg>
#include <csetjmp>
#include <csignal>
#include <sys/mman.h>
#include <unistd.h>
#if !defined(__x86_64__) || defined(SHIM_UCONTEXT)
#define SWITCH_BY_UCONTEXT
#include <ucontext.h>
#endif

namespace shim {

__thread State* now;
static thread_local void (*body_)(void*);
static thread_local void* argument_;
static thread_local unsigned order_ = 0;
static thread_local sigjmp_buf escape_;
static const size_t STACK = 64 << 10;
static const size_t PAGE = 4096;
static const size_t DYNAMIC_SHARED_MOST = 227 << 10;

extern "C" void shim_switch(void** save, void* to);
#ifndef SWITCH_BY_UCONTEXT
// Saves what a call must preserve on the stack, and goes on where another stack was left.
asm(R"(.text
.globl shim_switch
shim_switch: pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
 movq %rsp, (%rdi); movq %rsi, %rsp
 popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp; ret
)");
#else
extern "C" void shim_switch(void** save, void* to) {
  ucontext_t here;
  *save = &here;
  swapcontext(&here, (ucontext_t*)to);
}
#endif

void yield(Waits waits) {
  Fiber* me = now->me;
  if (waits == Waits::block) now->counts.barriers++;
  me->waits = waits;
  shim_switch(&me->stack_pointer, now->scheduler);
}

void fail(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(now->message, sizeof now->message, format, arguments);
  va_end(arguments);
  now->failed = true;
  for (;;) yield(Waits::block);
}

static void entry() {
  body_(argument_);
  // What was not waited for has not arrived, and nobody may count on it.
  now->me->open.clear();
  now->me->groups.clear();
  now->me->done = true;
  for (;;) yield(Waits::no);
}

static void prepare(Fiber& fiber) {
  if (!fiber.stack) {
    fiber.stack = (char*)mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (fiber.stack == MAP_FAILED) abort();
  }
#ifndef SWITCH_BY_UCONTEXT
  void** top = (void**)(fiber.stack + STACK) - 2;
  *top = (void*)entry;
  top -= 6;
  memset(top, 0, 48);
  fiber.stack_pointer = top;
#else
  static_assert(sizeof(ucontext_t) < STACK / 8);
  auto* context = (ucontext_t*)fiber.stack;
  getcontext(context);
  context->uc_stack.ss_sp = fiber.stack + STACK / 8;
  context->uc_stack.ss_size = STACK - STACK / 8;
  makecontext(context, entry, 0);
  fiber.stack_pointer = context;
#endif
  fiber.done = false;
  fiber.waits = Waits::no;
  fiber.open.clear();
  fiber.groups.clear();
}

// --- Memory that is not the kernel's.

const char* (*describe_address)(const void* address);
static struct sigaction before_;

static void on_fault(int signal, siginfo_t* info, void*) {
  if (!now || !now->running) {
    sigaction(signal, &before_, nullptr);
    return;
  }
  const char* what = describe_address ? describe_address(info->si_addr) : "no known memory";
  snprintf(now->message, sizeof now->message, "illegal address: %s", what);
  now->failed = true;
  siglongjmp(escape_, 1);
}

static void watch_faults() {
  static bool once = [] {
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &action, &before_);
    return true;
  }();
  (void)once;
  stack_t own;
  sigaltstack(nullptr, &own);
  if (own.ss_flags & SS_DISABLE) {
    own = {};
    own.ss_size = 64 << 10;
    own.ss_sp = malloc(own.ss_size);
    sigaltstack(&own, nullptr);
  }
}

// Shared memory that ends at a page nobody may touch.
static unsigned char* shared_memory(size_t most, unsigned char*& all) {
  if (!all) {
    size_t body = (most + PAGE - 1) / PAGE * PAGE;
    all = (unsigned char*)mmap(nullptr, body + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED) abort();
    mprotect(all + body, PAGE, PROT_NONE);
  }
  return all + (most + PAGE - 1) / PAGE * PAGE;
}

// --- The schedule.

static void shuffle(std::vector<unsigned>& order, unsigned& seed) {
  for (unsigned i = (unsigned)order.size(); i-- > 1;) {
    seed = seed * 1664525u + 1013904223u;
    std::swap(order[i], order[(seed >> 8) % (i + 1)]);
  }
}

// Opens a warp all of whose living lanes stand at a warp barrier.
static bool open_warp(unsigned first, unsigned threads) {
  unsigned end = std::min(threads, first + 32), at = 0, alive = 0;
  for (unsigned i = first; i < end; i++) {
    alive += !now->fibers[i].done;
    at += !now->fibers[i].done && now->fibers[i].waits == Waits::warp;
  }
  if (!alive || at != alive) return false;
  for (unsigned i = first; i < end; i++)
    if (!now->fibers[i].done) now->fibers[i].waits = Waits::no;
  return true;
}

// Runs each of these threads that can run until it waits.
static bool run_threads(const std::vector<unsigned>& threads) {
  bool progress = false;
  for (unsigned i : threads) {
    Fiber& fiber = now->fibers[i];
    if (fiber.done || fiber.waits != Waits::no) continue;
    now->me = &fiber;
    shim_switch(&now->scheduler, fiber.stack_pointer);
    if (now->failed) return false;
    progress = true;
  }
  return progress;
}

// Runs all threads until none can go on without a block barrier. In order 0 all warps go on side by side; in the others
// each runs as far as it can before the next, so that it is as far ahead of it as it may ever be.
static void run_to_barrier(unsigned threads, const std::vector<unsigned>& order) {
  if (order_ == 0) {
    for (bool progress = true; progress && !now->failed;) {
      progress = run_threads(order);
      for (unsigned first = 0; first < threads; first += 32) progress |= open_warp(first, threads);
    }
    return;
  }
  std::vector<std::vector<unsigned>> lanes((threads + 31) / 32);
  std::vector<unsigned> warps;
  for (unsigned i : order) {
    if (lanes[i / 32].empty()) warps.push_back(i / 32);
    lanes[i / 32].push_back(i);
  }
  for (unsigned warp : warps)
    for (bool progress = true; progress && !now->failed;) {
      progress = run_threads(lanes[warp]);
      progress |= open_warp(warp * 32, threads);
    }
}

static void run_block(unsigned threads, std::vector<unsigned>& order, unsigned& seed) {
  for (unsigned i = 0; i < threads; i++) {
    Fiber& fiber = now->fibers[i];
    prepare(fiber);
    fiber.linear = i;
    fiber.index = {i % now->block_size.x, i / now->block_size.x % now->block_size.y,
                   i / now->block_size.x / now->block_size.y};
  }
  for (;;) {
    run_to_barrier(threads, order);
    if (now->failed) return;
    unsigned done = 0, at = 0;
    for (unsigned i = 0; i < threads; i++) {
      done += now->fibers[i].done;
      at += !now->fibers[i].done && now->fibers[i].waits == Waits::block;
    }
    if (done == threads) return;
    if (at != threads) {
      snprintf(now->message, sizeof now->message,
               "a divergent barrier: %u of %u threads at it, %u ended, the others wait for their warps", at, threads, done);
      now->failed = true;
      return;
    }
    for (unsigned i = 0; i < threads; i++) now->fibers[i].waits = Waits::no;
    if (order_ > 1) shuffle(order, seed);
  }
}

// Returns 0, or CUDA's number of the error.
int run(dim3 grid, dim3 block, size_t dynamic_bytes, void (*body)(void*), void* argument) {
  static thread_local unsigned char *dynamic_all, *fixed_all;
  unsigned threads = block.x * block.y * block.z;
  if (threads == 0 || threads > 1024 || dynamic_bytes > DYNAMIC_SHARED_MOST) return 1;
  if (!grid.x || !grid.y || !grid.z || grid.y > 65535 || grid.z > 65535 || grid.x > 0x7fffffff) return 1;
  watch_faults();
  if (!now) now = new State;
  if (now->fibers.size() < threads) now->fibers.resize(threads);
  now->slots.resize(1024);
  now->products.resize(1024);
  now->arrived.assign(32, 0);
  size_t dynamic_size = (dynamic_bytes + 127) / 128 * 128;
  now->dynamic = shared_memory(DYNAMIC_SHARED_MOST, dynamic_all) - dynamic_size;
  now->fixed = shared_memory(FIXED_SHARED, fixed_all) - FIXED_SHARED;
  now->block_size = block;
  now->grid_size = grid;
  now->failed = false;
  now->early = order_ == 1;
  body_ = body;
  argument_ = argument;
  unsigned seed = order_;
  std::vector<unsigned> order(threads);
  for (unsigned i = 0; i < threads; i++) order[i] = order_ == 1 ? threads - 1 - i : i;
  std::vector<unsigned> blocks((size_t)grid.x * grid.y * grid.z);
  for (size_t i = 0; i < blocks.size(); i++) blocks[i] = (unsigned)(order_ == 1 ? blocks.size() - 1 - i : i);
  if (order_ > 1) shuffle(order, seed), shuffle(blocks, seed);
  size_t fixed_before = FIXED_SHARED;
  if (sigsetjmp(escape_, 1) == 0) {
    now->running = true;
    for (unsigned i : blocks) {
      now->block_index = {i % grid.x, i / grid.x % grid.y, i / grid.x / grid.y};
      now->generation++;
      memset(now->dynamic, 0xff, dynamic_size);
      memset(now->fixed, 0xff, fixed_before);
      now->fixed_used = 0;
      run_block(threads, order, seed);
      if (now->failed) break;
      fixed_before = now->fixed_used;
    }
  }
  now->running = false;
  if (!now->failed) return 0;
  if (now->me) {
    size_t used = strlen(now->message);
    dim3 at = now->block_index, thread = now->me->index;
    snprintf(now->message + used, sizeof now->message - used, "; block (%u, %u, %u), thread (%u, %u, %u)", at.x, at.y, at.z,
             thread.x, thread.y, thread.z);
  }
  return strstr(now->message, "illegal address") ? 700 : 719;
}

// --- Matrices.

void load_matrices(uint32_t (&r)[4], const void* row, bool transposed) {
  if ((uintptr_t)row & 15) fail("a misaligned row of a matrix");
  show(row);
  unsigned me = lane();
  if (me == 0) {
    for (int matrix = 0; matrix < 4; matrix++) {
      int hits[8] = {}, most = 0;
      for (int i = 0; i < 8; i++) most = std::max(most, ++hits[(uintptr_t)seen<const void*>(8 * matrix + i) / 16 % 8]);
      now->counts.matrices++;
      now->counts.wavefronts += most;
    }
  }
  for (int matrix = 0; matrix < 4; matrix++) {
    uint16_t half[2];
    for (unsigned j = 0; j < 2; j++) {
      unsigned y = transposed ? me % 4 * 2 + j : me / 4, x = transposed ? me / 4 : me % 4 * 2 + j;
      half[j] = ((const uint16_t*)seen<const void*>(8 * matrix + y))[x];
    }
    r[matrix] = half[0] | (uint32_t)half[1] << 16;
  }
  yield(Waits::warp);
}

static float bf16(uint32_t pair, int half) { return bits_as_float((half ? pair >> 16 : pair & 0xffff) << 16); }

// mma.m16n8k16 of bf16, mma.m16n8k8 of tf32: lane = 4 row + column; registers as in the PTX ISA's figures.
static void multiply_warp(ProductSlot* slots, bool tf32) {
  float a[16][16], b[16][8];
  int inner = tf32 ? 8 : 16;
  for (int lane = 0; lane < 32; lane++) {
    int g = lane / 4, t = lane % 4;
    if (tf32) {
      // The lower 13 bits are not read.
      auto value = [](uint32_t bits) { return bits_as_float(bits & 0xffffe000u); };
      for (int r = 0; r < 4; r++) a[g + 8 * (r & 1)][t + 4 * (r >> 1)] = value(slots[lane].a[r]);
      for (int r = 0; r < 2; r++) b[t + 4 * r][g] = value(slots[lane].b[r]);
    } else {
      for (int r = 0; r < 4; r++)
        for (int h = 0; h < 2; h++) a[g + 8 * (r & 1)][t * 2 + h + 8 * (r >> 1)] = bf16(slots[lane].a[r], h);
      for (int r = 0; r < 2; r++)
        for (int h = 0; h < 2; h++) b[t * 2 + h + 8 * r][g] = bf16(slots[lane].b[r], h);
    }
  }
  float d[16][8] = {};
  for (int i = 0; i < 16; i++)
    for (int k = 0; k < inner; k++)
      for (int j = 0; j < 8; j++) d[i][j] += a[i][k] * b[k][j];
  for (int lane = 0; lane < 32; lane++)
    for (int i = 0; i < 4; i++) slots[lane].d[i] += d[lane / 4 + 8 * (i / 2)][lane % 4 * 2 + i % 2];
}

void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, bool tf32) {
  unsigned first = now->me->linear & ~31u, me = lane(), warp = first / 32;
  ProductSlot* slots = &now->products[first];
  slots[me] = {{a[0], a[1], a[2], a[3]}, {b0, b1}, {d[0], d[1], d[2], d[3]}};
  // The last lane to arrive does the whole product and lets the others go on.
  if (++now->arrived[warp] < 32) {
    yield(Waits::product);
  } else {
    now->counts.products++;
    multiply_warp(slots, tf32);
    now->arrived[warp] = 0;
    for (unsigned i = first; i < first + 32; i++) now->fibers[i].waits = Waits::no;
  }
  for (int i = 0; i < 4; i++) d[i] = slots[me].d[i];
}

}  // namespace shim

extern "C" {
// 0: threads and blocks in order; 1: backwards; else a seed of shuffles. For launches of the calling thread.
void shim_order(unsigned order) { shim::order_ = order; }
// The counts since the last call: matrices loaded, wavefronts they took, products, bytes copied, barriers.
void shim_counts(unsigned long long* out) {
  if (!shim::now) shim::now = new shim::State;
  auto& c = shim::now->counts;
  unsigned long long all[5] = {c.matrices, c.wavefronts, c.products, c.copied_bytes, c.barriers};
  memcpy(out, all, sizeof all);
  c = {};
}
}
