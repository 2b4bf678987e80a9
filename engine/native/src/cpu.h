// Which instruction sets this CPU and operating system offer, found at run time.
#pragma once

namespace saccade {

enum class Isa { portable, avx2, avx512 };

/// The instruction set in use. On ARM, `portable` is NEON.
Isa isa();
void setIsa(Isa isa);
/// The best one that the CPU offers.
Isa bestIsa();
const char* isaName(Isa isa);

}  // namespace saccade
