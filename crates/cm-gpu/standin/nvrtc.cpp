// A stand-in for libnvrtc.so: it compiles nothing, and refuses a source with #error in it.
#include <cstdio>
#include <cstring>
#include <string>

#define API extern "C" __attribute__((visibility("default")))
typedef int Result;

namespace {
struct Program {
  std::string source, name, image, log;
};
thread_local unsigned long long compilations;
}  // namespace

API Result nvrtcVersion(int* major, int* minor) {
  *major = 13;
  *minor = 0;
  return 0;
}
API Result nvrtcGetNumSupportedArchs(int* count) {
  *count = 4;
  return 0;
}
API Result nvrtcGetSupportedArchs(int* archs) {
  const int all[4] = {80, 86, 90, 120};
  memcpy(archs, all, sizeof all);
  return 0;
}
API Result nvrtcCreateProgram(void** program, const char* source, const char* name, int headers, const char* const* texts,
                              const char* const*) {
  auto* p = new Program{source, name, "", ""};
  for (int i = 0; i < headers; i++) p->source += texts[i];
  *program = p;
  return 0;
}
API Result nvrtcDestroyProgram(void** program) {
  delete (Program*)*program;
  return 0;
}
API Result nvrtcCompileProgram(void* program, int count, const char* const* options) {
  auto* p = (Program*)program;
  compilations++;
  auto at = p->source.find("#error");
  if (at != std::string::npos) {
    p->log = p->name + ": " + p->source.substr(at, p->source.find('\n', at) - at);
    return 6;
  }
  p->image = "stand-in " + p->name;
  for (int i = 0; i < count; i++) p->image += std::string(" ") + options[i];
  return 0;
}
API Result nvrtcGetCUBINSize(void* program, size_t* size) {
  *size = ((Program*)program)->image.size() + 1;
  return 0;
}
API Result nvrtcGetCUBIN(void* program, char* out) {
  auto* p = (Program*)program;
  memcpy(out, p->image.c_str(), p->image.size() + 1);
  return 0;
}
API Result nvrtcGetPTXSize(void* program, size_t* size) { return nvrtcGetCUBINSize(program, size); }
API Result nvrtcGetPTX(void* program, char* out) { return nvrtcGetCUBIN(program, out); }
API Result nvrtcGetProgramLogSize(void* program, size_t* size) {
  *size = ((Program*)program)->log.size() + 1;
  return 0;
}
API Result nvrtcGetProgramLog(void* program, char* out) {
  strcpy(out, ((Program*)program)->log.c_str());
  return 0;
}
API const char* nvrtcGetErrorString(int) { return "an error of the stand-in"; }

// Compilations of the calling thread.
API unsigned long long standin_compilations() { return compilations; }
