// Kernels register themselves: SACCADE_KERNEL(name) { … } makes `name` a function of the addon.
#pragma once

#include "arguments.h"

namespace saccade {

struct KernelEntry {
  const char* name;
  void (*run)(const Arguments&);
  const KernelEntry* next;
};

/// The most recently registered kernel; the others follow by `next`.
const KernelEntry*& firstKernel();

struct Registration : KernelEntry {
  Registration(const char* name, void (*run)(const Arguments&))
      : KernelEntry{name, run, firstKernel()} {
    firstKernel() = this;
  }
};

}  // namespace saccade

/// Defines a kernel that JavaScript calls as `addon.name(…)`; the body sees `arguments`.
#define SACCADE_KERNEL(name)                                                \
  static void kernel_##name(const saccade::Arguments& arguments);           \
  static const saccade::Registration registration_##name(#name, kernel_##name); \
  static void kernel_##name([[maybe_unused]] const saccade::Arguments& arguments)
