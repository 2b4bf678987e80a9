import type { OperationCount } from './operationCount.js';

/** What one operation and one access cost, and the bits that values have. */
export interface EnergyConstants {
  /** Of weights and values, which all memory accesses are counted with. */
  readonly bits: number;
  /** pJ of a multiply-accumulate. */
  readonly macPj: number;
  /** pJ of an accumulate. */
  readonly acPj: number;
}

/**
 * 45 nm, 0.9 V (Horowitz, Computing's energy problem, ISSCC 2014, fig. 1.1.9): a float32 product is 3.7 pJ and a
 * sum 0.9 pJ; an int8 product 0.2 pJ and a sum 0.03 pJ.
 */
export const horowitz45 = {
  float32: { bits: 32, macPj: 4.6, acPj: 0.9 },
  int8: { bits: 8, macPj: 0.23, acPj: 0.03 },
} as const satisfies Readonly<Record<string, EnergyConstants>>;

/** pJ of an access to 64 bits, from the same figure; of DRAM's 1.3 to 2.6 nJ the lower end. */
export const memoryPjPer64Bits = { cache8K: 10, cache32K: 20, cache1M: 100, dram: 1300 } as const;
export type MemoryLevel = keyof typeof memoryPjPer64Bits;

/** Where weights, activations and states lie. */
export type MemoryPlaces = Readonly<Record<'weights' | 'activations' | 'state', MemoryLevel>>;
/** All of it on the chip. */
export const onChip: MemoryPlaces = {
  weights: 'cache1M',
  activations: 'cache1M',
  state: 'cache1M',
};

/** What a layer, or a whole network, does. Accesses are in values, whose bits the constants say. */
export interface LayerOperations {
  /** Products whose operands are both real numbers. */
  readonly macs: number;
  /** Accumulates, if all spikes had fired. */
  readonly synapses: number;
  /** Share of them that did, 0 … 1. */
  readonly firingRate: number;
  readonly weightReads: number;
  readonly activationReads: number;
  readonly activationWrites: number;
  /** Values of state, each of which is read and written once. */
  readonly stateReads: number;
}

export interface Energy {
  readonly computePj: number;
  readonly memoryPj: number;
  readonly totalPj: number;
}

/**
 * `E = Σ_l SOP_l E_AC + MAC_l E_MAC + (R_w + R_a + W_a + 2 R_state) E_mem`, with SOP = firing rate × synapses. The
 * measures are those that STEP compares spiking transformers by; it publishes no formula, so this one is Saccade's own.
 * Element by element operations, control and leakage are not in it.
 */
export function energyOf(
  layers: readonly LayerOperations[],
  { bits, macPj, acPj }: EnergyConstants = horowitz45.float32,
  places: MemoryPlaces = onChip,
): Energy {
  const access = (place: keyof MemoryPlaces): number =>
    (memoryPjPer64Bits[places[place]] * bits) / 64;
  let computePj = 0;
  let memoryPj = 0;
  for (const layer of layers) {
    computePj += layer.firingRate * layer.synapses * acPj + layer.macs * macPj;
    memoryPj +=
      layer.weightReads * access('weights') +
      (layer.activationReads + layer.activationWrites) * access('activations') +
      2 * layer.stateReads * access('state');
  }
  return { computePj, memoryPj, totalPj: computePj + memoryPj };
}

/**
 * What was counted, as the model of energy reads it. The kernels' traffic that is neither weights nor state is
 * activations; state that they never touched twice is counted as read and written once.
 *
 * @param stateBytes of the state that goes into each of `steps` steps of the run.
 */
export function countedOperations(
  count: OperationCount,
  stateBytes = 0,
  steps = 1,
): LayerOperations {
  const values = (bytes: number): number => bytes / 4;
  const stateReads = values(stateBytes * steps);
  const others = count.trafficBytes - count.weightBytes - 2 * stateBytes * steps;
  const reads = count.readBytes - count.weightBytes - stateBytes * steps;
  const activationReads = Math.max(0, values(reads));
  return {
    macs: count.macs,
    synapses: count.synapses,
    firingRate: count.synapses === 0 ? 0 : count.additions / count.synapses,
    weightReads: values(count.weightBytes),
    activationReads,
    activationWrites: Math.max(0, values(others) - activationReads),
    stateReads,
  };
}

/**
 * The firing rate at which a spiking network takes as much energy as another one: below it, spikes are cheaper. More than
 * 1 where they always are, less than 0 where they never are.
 *
 * @param spiking its layers; their own firing rates don't matter, all of them get the same.
 * @param otherPj of the other network, for instance one of the same layers that sums int8 products once.
 */
export function crossoverRate(
  spiking: readonly LayerOperations[],
  otherPj: number,
  constants: EnergyConstants = horowitz45.float32,
  places: MemoryPlaces = onChip,
): number {
  const at = (firingRate: number): number =>
    energyOf(
      spiking.map((layer) => ({ ...layer, firingRate })),
      constants,
      places,
    ).totalPj;
  return (otherPj - at(0)) / (at(1) - at(0));
}
