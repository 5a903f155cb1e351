// A stand-in for libcuda.so: the calls that the engine makes. A launch runs the host's build of the kernel at once; its
// mistakes are reported by the stream's next wait, as a GPU's are.
#include "shim.h"
#include <atomic>
#include <dlfcn.h>
#include <map>
#include <mutex>
#include <string>
#include <sys/mman.h>

#define API extern "C" __attribute__((visibility("default")))
typedef int Result;
typedef unsigned long long Pointer;
typedef int (*Host)(dim3, dim3, size_t, void**);

namespace {
enum { NOT_READY = 600, SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_DEVICE = 101, INVALID_IMAGE = 200, NOT_FOUND = 500 };
const size_t PAGE = 4096;
const unsigned char CANARY = 0xa5;

struct Allocation {
  char* base;
  size_t mapped, bytes;
};
std::mutex lock;
std::map<uintptr_t, Allocation> allocations;
size_t held;

// A copy from page-locked memory lands as late as it may: when something behind it is done, or is waited for.
struct Copy {
  void* to;
  const void* from;
  size_t bytes;
};
struct Stream {
  // Threads share an engine, and a driver's streams are for any thread.
  std::mutex lock;
  Result error = SUCCESS;
  std::string message;
  std::vector<Copy> copies;
  // Something in it never ends.
  bool hangs = false;
  unsigned long long asked = 0, landed = 0;
};
struct Event {
  Stream* stream = nullptr;
  unsigned long long after = 0;
};
std::map<uintptr_t, size_t> page_locked;

struct Function {
  Host host;
  std::string name;
  int dynamic_most = 48 << 10;
};

// A graph is a row of kernels, each behind the one before.
struct Node {
  Function* function;
  dim3 grid, block;
  unsigned dynamic_bytes;
  std::vector<uint64_t> arguments;
};
struct Graph {
  std::vector<Node*> nodes;
};
struct Executable {
  Graph* graph;
  std::vector<Node> nodes;
};
// CUDA_KERNEL_NODE_PARAMS.
struct NodeParameters {
  void* function;
  unsigned grid[3], block[3], dynamic_bytes;
  void** parameters;
  void **extra, *kernel, *context;
};

// Of the process, by its environment: nothing is computed, and memory is addresses only; from which allocation on all fail.
const bool dry = getenv("STANDIN_DRY") != nullptr;
const int devices = getenv("STANDIN_DEVICES") ? atoi(getenv("STANDIN_DEVICES")) : 1;
const long fails_from = getenv("STANDIN_FAIL_ALLOCATION") ? atol(getenv("STANDIN_FAIL_ALLOCATION")) : -1;
std::atomic<long> allocated_so_far;

// Of the calling thread: tests run side by side.
thread_local size_t memory_limit = (size_t)1 << 36;
thread_local long before_failure = -1, failures;
thread_local std::string plant;
thread_local bool page_locked_fails;
thread_local std::string last_message;
// Kernels, allocations, frees, bytes to the device, bytes back, waits, graphs launched, nodes whose arguments were replaced.
thread_local unsigned long long tally[8];
enum { LAUNCHES, ALLOCATIONS, FREES, BYTES_TO, BYTES_FROM, WAITS, GRAPHS, REPLACED };

const char* describe(const void* address) {
  static thread_local char text[256];
  uintptr_t at = (uintptr_t)address;
  std::lock_guard<std::mutex> guard(lock);
  auto after = allocations.upper_bound(at);
  if (after != allocations.begin()) {
    auto before = std::prev(after);
    uintptr_t end = before->first + before->second.bytes;
    if (at >= before->first && at < end + 2 * PAGE) {
      snprintf(text, sizeof text, "%lld bytes past the end of %zu bytes", (long long)(at - end), before->second.bytes);
      return text;
    }
  }
  if (after != allocations.end() && after->first - at < 2 * PAGE) {
    snprintf(text, sizeof text, "%lld bytes before %zu bytes", (long long)(after->first - at), after->second.bytes);
    return text;
  }
  snprintf(text, sizeof text, "%p is near no allocation", address);
  return text;
}

void land(Stream* stream) {
  std::lock_guard<std::mutex> guard(stream->lock);
  for (Copy& copy : stream->copies) memcpy(copy.to, copy.from, copy.bytes);
  stream->copies.clear();
  stream->landed = stream->asked;
}

bool is_page_locked(const void* at) {
  std::lock_guard<std::mutex> guard(lock);
  auto after = page_locked.upper_bound((uintptr_t)at);
  return after != page_locked.begin() && (uintptr_t)at < std::prev(after)->first + std::prev(after)->second;
}

Result settled(Stream* stream) {
  land(stream);
  Result error = stream->error;
  if (error) last_message = stream->message;
  return error;
}

Result launched(Function* f, dim3 grid, dim3 block, unsigned dynamic_bytes, Stream* s, void** parameters) {
  tally[LAUNCHES]++;
  land(s);
  if (s->error) return settled(s);
  if ((int)dynamic_bytes > f->dynamic_most) return INVALID_VALUE;
  if (dry) return SUCCESS;
  Result error = f->host(grid, block, dynamic_bytes, parameters);
  if (error == INVALID_VALUE) return error;
  if (error) {
    s->error = error;
    s->message = f->name + ": " + shim::now->message;
  }
  return SUCCESS;
}

Node node_of(const NodeParameters* p) {
  Node node = {(Function*)p->function, {p->grid[0], p->grid[1], p->grid[2]}, {p->block[0], p->block[1], p->block[2]}, p->dynamic_bytes, {}};
  // The engine ends them by a null pointer.
  for (void** parameter = p->parameters; *parameter; parameter++) {
    uint64_t bits;
    memcpy(&bits, *parameter, 8);
    node.arguments.push_back(bits);
  }
  return node;
}
}  // namespace

namespace shim {
extern const char* (*describe_address)(const void* address);
}

API Result cuInit(unsigned) {
  shim::describe_address = describe;
  return SUCCESS;
}
API Result cuDriverGetVersion(int* version) {
  *version = 13000;
  return SUCCESS;
}
API Result cuDeviceGetCount(int* count) {
  *count = devices;
  return SUCCESS;
}
API Result cuDeviceGet(int* device, int ordinal) {
  *device = ordinal;
  return ordinal >= 0 && ordinal < devices ? SUCCESS : INVALID_DEVICE;
}
API Result cuDeviceGetName(char* name, int size, int) {
  snprintf(name, size, "host fibers");
  return SUCCESS;
}
API Result cuDeviceTotalMem_v2(size_t* bytes, int) {
  *bytes = memory_limit;
  return SUCCESS;
}
API Result cuDeviceGetAttribute(int* value, int attribute, int) {
  switch (attribute) {
    case 16: *value = 132; break;         // multiprocessors
    case 75: *value = 9; break;           // compute capability, major
    case 76: *value = 0; break;           // and minor
    case 97: *value = 232448; break;      // shared memory of a block, at most
    default: *value = 0;
  }
  return SUCCESS;
}
API Result cuDevicePrimaryCtxRetain(void** context, int) {
  *context = (void*)1;
  return SUCCESS;
}
API Result cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
API Result cuCtxSetCurrent(void*) { return SUCCESS; }
API Result cuStreamCreate(void** stream, unsigned) {
  *stream = new Stream;
  return SUCCESS;
}
API Result cuStreamDestroy_v2(void* stream) {
  delete (Stream*)stream;
  return SUCCESS;
}
API Result cuStreamQuery(void* stream) {
  return ((Stream*)stream)->hangs ? NOT_READY : settled((Stream*)stream);
}
API Result cuStreamSynchronize(void* stream) {
  tally[WAITS]++;
  return settled((Stream*)stream);
}

// Memory ends at a page that nobody may touch, begins after one, and what it holds is NaN.
API Result cuMemAlloc_v2(Pointer* out, size_t bytes) {
  tally[ALLOCATIONS]++;
  if (bytes == 0) return INVALID_VALUE;
  if (fails_from >= 0 && allocated_so_far++ >= fails_from) return OUT_OF_MEMORY;
  if (before_failure == 0 && failures-- > 0) return OUT_OF_MEMORY;
  if (before_failure > 0) before_failure--;
  std::lock_guard<std::mutex> guard(lock);
  if (held + bytes > memory_limit) return OUT_OF_MEMORY;
  size_t body = (bytes + PAGE - 1) / PAGE * PAGE, mapped = body + 2 * PAGE;
  char* base = (char*)mmap(nullptr, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return OUT_OF_MEMORY;
  char* at = base + PAGE + body - (bytes + 15) / 16 * 16;
  if (!dry) {
    mprotect(base + PAGE, body, PROT_READ | PROT_WRITE);
    memset(base + PAGE, 0xff, body);
    memset(at + bytes, CANARY, base + PAGE + body - (at + bytes));
  }
  allocations[(uintptr_t)at] = {base, mapped, bytes};
  held += bytes;
  *out = (Pointer)at;
  return SUCCESS;
}
API Result cuMemFree_v2(Pointer pointer) {
  tally[FREES]++;
  std::lock_guard<std::mutex> guard(lock);
  auto found = allocations.find((uintptr_t)pointer);
  if (found == allocations.end()) return INVALID_VALUE;
  Allocation a = found->second;
  bool whole = true;
  for (char* p = (char*)pointer + a.bytes; !dry && p < a.base + a.mapped - PAGE; p++) whole &= (unsigned char)*p == CANARY;
  held -= a.bytes;
  munmap(a.base, a.mapped);
  allocations.erase(found);
  if (whole) return SUCCESS;
  last_message = "a kernel wrote past the end of its memory";
  return 700;
}
API Result cuMemHostAlloc(void** out, size_t bytes, unsigned) {
  if (page_locked_fails) return OUT_OF_MEMORY;
  *out = malloc(bytes);
  memset(*out, 0xff, bytes);
  std::lock_guard<std::mutex> guard(lock);
  page_locked[(uintptr_t)*out] = bytes;
  return SUCCESS;
}
API Result cuMemFreeHost(void* memory) {
  std::lock_guard<std::mutex> guard(lock);
  if (!page_locked.erase((uintptr_t)memory)) return INVALID_VALUE;
  free(memory);
  return SUCCESS;
}
API Result cuEventCreate(void** event, unsigned) {
  *event = new Event;
  return SUCCESS;
}
API Result cuEventDestroy_v2(void* event) {
  delete (Event*)event;
  return SUCCESS;
}
API Result cuEventRecord(void* event, void* stream) {
  auto* s = (Stream*)stream;
  std::lock_guard<std::mutex> guard(s->lock);
  *(Event*)event = {s, s->asked};
  return SUCCESS;
}
API Result cuEventQuery(void* event) {
  auto* e = (Event*)event;
  if (!e->stream) return SUCCESS;
  std::lock_guard<std::mutex> guard(e->stream->lock);
  return e->stream->landed >= e->after ? SUCCESS : NOT_READY;
}
API Result cuEventSynchronize(void* event) {
  auto* e = (Event*)event;
  if (cuEventQuery(event) == NOT_READY) land(e->stream);
  return SUCCESS;
}
API Result cuMemGetInfo_v2(size_t* free, size_t* total) {
  std::lock_guard<std::mutex> guard(lock);
  *total = memory_limit;
  *free = held > memory_limit ? 0 : memory_limit - held;
  return SUCCESS;
}
API Result cuMemcpyHtoDAsync_v2(Pointer to, const void* from, size_t bytes, void* stream) {
  tally[BYTES_TO] += bytes;
  auto* s = (Stream*)stream;
  if (is_page_locked(from)) {
    std::lock_guard<std::mutex> guard(s->lock);
    s->asked++;
    if (!dry) s->copies.push_back({(void*)to, from, bytes});
    return s->error;
  }
  land(s);
  if (!dry) memcpy((void*)to, from, bytes);
  return settled(s);
}
API Result cuMemcpyDtoHAsync_v2(void* to, Pointer from, size_t bytes, void* stream) {
  tally[BYTES_FROM] += bytes;
  land((Stream*)stream);
  if (dry) memset(to, 0, bytes);
  else memcpy(to, (void*)from, bytes);
  return settled((Stream*)stream);
}
API Result cuMemcpyDtoDAsync_v2(Pointer to, Pointer from, size_t bytes, void* stream) {
  land((Stream*)stream);
  if (!dry) memcpy((void*)to, (void*)from, bytes);
  return settled((Stream*)stream);
}
API Result cuMemsetD8Async(Pointer to, unsigned char value, size_t bytes, void* stream) {
  land((Stream*)stream);
  if (!dry) memset((void*)to, value, bytes);
  return settled((Stream*)stream);
}
// An image is what the stand-in for NVRTC made: a line and the name of the file.
API Result cuModuleLoadData(void** module, const void* image) {
  if (strncmp((const char*)image, "stand-in ", 9) != 0) return INVALID_IMAGE;
  *module = (void*)4;
  return SUCCESS;
}
API Result cuModuleUnload(void*) { return SUCCESS; }
API Result cuModuleGetFunction(void** function, void*, const char* name) {
  static void* self = dlopen("libcuda.so", RTLD_NOW | RTLD_NOLOAD);
  std::string symbol = plant + "__" + name;
  if (plant.empty() || !dlsym(self, symbol.c_str())) symbol = std::string("host__") + name;
  void* host = dlsym(self, symbol.c_str());
  if (!host) return NOT_FOUND;
  *function = new Function{(Host)host, name};
  return SUCCESS;
}
API Result cuFuncSetAttribute(void* function, int attribute, int value) {
  if (attribute != 8 || value > 232448) return INVALID_VALUE;  // the most dynamic shared memory
  ((Function*)function)->dynamic_most = value;
  return SUCCESS;
}
API Result cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                          unsigned dynamic_bytes, void* stream, void** parameters, void**) {
  return launched((Function*)function, {gx, gy, gz}, {bx, by, bz}, dynamic_bytes, (Stream*)stream, parameters);
}
API Result cuGraphCreate(void** graph, unsigned) {
  *graph = new Graph;
  return SUCCESS;
}
API Result cuGraphAddKernelNode_v2(void** out, void* graph, void* const* before, size_t count, const NodeParameters* p) {
  auto* g = (Graph*)graph;
  bool follows = g->nodes.empty() ? count == 0 : count == 1 && before[0] == g->nodes.back();
  if (!follows) return INVALID_VALUE;
  g->nodes.push_back(new Node(node_of(p)));
  *out = g->nodes.back();
  return SUCCESS;
}
API Result cuGraphInstantiateWithFlags(void** out, void* graph, unsigned long long) {
  auto* g = (Graph*)graph;
  auto* e = new Executable{g, {}};
  for (Node* node : g->nodes) e->nodes.push_back(*node);
  *out = e;
  return SUCCESS;
}
API Result cuGraphExecKernelNodeSetParams_v2(void* executable, void* node, const NodeParameters* p) {
  auto* e = (Executable*)executable;
  tally[REPLACED]++;
  for (size_t i = 0; i < e->nodes.size(); i++) {
    if (e->graph->nodes[i] != node) continue;
    Node becomes = node_of(p);
    if (becomes.function != e->nodes[i].function) return INVALID_VALUE;
    e->nodes[i] = becomes;
    return SUCCESS;
  }
  return INVALID_VALUE;
}
API Result cuGraphLaunch(void* executable, void* stream) {
  tally[GRAPHS]++;
  for (Node& node : ((Executable*)executable)->nodes) {
    std::vector<void*> pointers;
    for (uint64_t& argument : node.arguments) pointers.push_back(&argument);
    Result error = launched(node.function, node.grid, node.block, node.dynamic_bytes, (Stream*)stream, pointers.data());
    if (error) return error;
  }
  return SUCCESS;
}
API Result cuGraphExecDestroy(void* executable) {
  delete (Executable*)executable;
  return SUCCESS;
}
API Result cuGraphDestroy(void* graph) {
  for (Node* node : ((Graph*)graph)->nodes) delete node;
  delete (Graph*)graph;
  return SUCCESS;
}
API Result cuGetErrorName(int error, const char** name) {
  *name = error == 2     ? "CUDA_ERROR_OUT_OF_MEMORY"
          : error == 700 ? "CUDA_ERROR_ILLEGAL_ADDRESS"
          : error == 719 ? "CUDA_ERROR_LAUNCH_FAILED"
          : error == 1   ? "CUDA_ERROR_INVALID_VALUE"
          : error == 500 ? "CUDA_ERROR_NOT_FOUND"
                         : "CUDA_ERROR_OTHER";
  return SUCCESS;
}
API Result cuGetErrorString(int, const char** text) {
  *text = last_message.empty() ? "an error of the stand-in" : last_message.c_str();
  return SUCCESS;
}

// For other stand-ins, which compute at once: what was asked of the stream before is done.
API void standin_land(void* stream) { land((Stream*)stream); }
API void standin_hang(void* stream, bool hangs) { ((Stream*)stream)->hangs = hangs; }

// --- What tests ask of the stand-in, each for its own thread.

API void standin_memory(size_t bytes) { memory_limit = bytes; }
// After `before` more allocations so many fail; negative for none.
API void standin_fail_allocations(long before, long count) {
  before_failure = before;
  failures = count;
}
// Whether there is no memory to lock.
API void standin_fail_page_locked(bool fails) { page_locked_fails = fails; }
// Kernels of the planted copy of this name are taken where it has them.
API void standin_plant(const char* name) { plant = name; }
// The tally since the last call.
API void standin_tally(unsigned long long* out) {
  memcpy(out, tally, sizeof tally);
  memset(tally, 0, sizeof tally);
}
