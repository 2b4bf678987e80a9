// The addon's module: its kernels, its memory and its settings.
#include <cstdlib>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "cpu.h"
#include "parallel.h"
#include "registry.h"

namespace saccade {

const KernelEntry*& firstKernel() {
  static const KernelEntry* first = nullptr;
  return first;
}

namespace {

constexpr size_t cacheLine = 64;
constexpr size_t hugePage = size_t{2} << 20;

/// allocate(bytes): an ArrayBuffer on a cache line's bound, not cleared. Freed when it is collected. Large
/// ones ask for huge pages: fewer page faults at first, and fewer misses of address translation later.
Napi::Value allocate(const Napi::CallbackInfo& info) {
  const size_t bytes = static_cast<size_t>(Arguments(info).number(0));
  const size_t padded = (bytes + cacheLine - 1) / cacheLine * cacheLine;
  const size_t alignment = padded >= hugePage ? hugePage : cacheLine;
  void* memory = nullptr;
  if (posix_memalign(&memory, alignment, padded == 0 ? alignment : padded) != 0) {
    throw Napi::RangeError::New(info.Env(), "out of memory: " + std::to_string(bytes) + " bytes");
  }
#if defined(__linux__)
  if (padded >= hugePage) madvise(memory, padded, MADV_HUGEPAGE);
#endif
  return Napi::ArrayBuffer::New(info.Env(), memory, padded,
                                [](Napi::Env, void* data) { free(data); });
}

Napi::Value setThreads(const Napi::CallbackInfo& info) {
  setThreadCount(static_cast<int>(Arguments(info).integer(0)));
  return info.Env().Undefined();
}

Napi::Value threads(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), threadCount());
}

/// instructionSet(): the name of the one in use.
Napi::Value instructionSet(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), isaName(isa()));
}

/// instructionSets(): the names of those that this processor offers, the best first.
Napi::Value instructionSets(const Napi::CallbackInfo& info) {
  Napi::Array names = Napi::Array::New(info.Env());
  for (int set = static_cast<int>(bestIsa()); set >= 0; set--) {
    names.Set(names.Length(), isaName(static_cast<Isa>(set)));
  }
  return names;
}

/// limitInstructionSet('portable' | 'avx2' | 'best'): for tests of the other versions of a kernel.
Napi::Value limitInstructionSet(const Napi::CallbackInfo& info) {
  const std::string name = info[0].As<Napi::String>();
  const Isa wanted = name == "portable" ? Isa::portable
                     : name == "avx2"   ? std::min(Isa::avx2, bestIsa())
                                        : bestIsa();
  setIsa(wanted);
  return info.Env().Undefined();
}

Napi::Value runKernel(const Napi::CallbackInfo& info) {
  static_cast<const KernelEntry*>(info.Data())->run(Arguments(info));
  return info.Env().Undefined();
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("allocate", Napi::Function::New<allocate>(env, "allocate"));
  exports.Set("setThreads", Napi::Function::New<setThreads>(env, "setThreads"));
  exports.Set("threads", Napi::Function::New<threads>(env, "threads"));
  exports.Set("instructionSet", Napi::Function::New<instructionSet>(env, "instructionSet"));
  exports.Set("instructionSets", Napi::Function::New<instructionSets>(env, "instructionSets"));
  exports.Set("limitInstructionSet",
              Napi::Function::New<limitInstructionSet>(env, "limitInstructionSet"));
  for (const KernelEntry* entry = firstKernel(); entry != nullptr; entry = entry->next) {
    exports.Set(entry->name, Napi::Function::New<runKernel>(env, entry->name,
                                                            const_cast<KernelEntry*>(entry)));
  }
  return exports;
}

}  // namespace
}  // namespace saccade

static Napi::Object initModule(Napi::Env env, Napi::Object exports) {
  return saccade::init(env, exports);
}
NODE_API_MODULE(saccade, initModule)
