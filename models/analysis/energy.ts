import type { OperationCount } from './operationCount.js';

/** What one operation and one access cost, and the bits that values have. */
export interface EnergyConstants {
  /** Of weights and values, which all memory accesses are counted with. */
  readonly bits: number;
  /** Of a spike that is read or written; where left out, as many as a value has. */
  readonly spikeBits?: number;
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
  /** Those of the activations' reads and writes that are of spikes. */
  readonly spikeAccesses: number;
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
  { bits, spikeBits = bits, macPj, acPj }: EnergyConstants = horowitz45.float32,
  places: MemoryPlaces = onChip,
): Energy {
  const access = (place: keyof MemoryPlaces, width = bits): number =>
    (memoryPjPer64Bits[places[place]] * width) / 64;
  let computePj = 0;
  let memoryPj = 0;
  for (const layer of layers) {
    computePj += layer.firingRate * layer.synapses * acPj + layer.macs * macPj;
    memoryPj +=
      layer.weightReads * access('weights') +
      (layer.activationReads + layer.activationWrites - layer.spikeAccesses) *
        access('activations') +
      layer.spikeAccesses * access('activations', spikeBits) +
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
    spikeAccesses: Math.min(values(count.spikeBytes), Math.max(0, values(others))),
    stateReads,
  };
}

/**
 * The same network without spikes: every accumulate is a multiply-accumulate, what was a spike is a value, and nothing
 * is kept for neurons.
 *
 * @param neuronReads values of neurons' state among `stateReads`.
 */
export function withoutSpikes(layer: LayerOperations, neuronReads: number): LayerOperations {
  return {
    ...layer,
    macs: layer.macs + layer.synapses,
    synapses: 0,
    firingRate: 0,
    spikeAccesses: 0,
    stateReads: Math.max(0, layer.stateReads - neuronReads),
  };
}

/**
 * The firing rate at which a spiking network takes as much energy as another one: below it, spikes are cheaper. More than
 * 1 where they always are, less than 0 where they never are; null where no spike is ever multiplied.
 *
 * A network that needs T steps for what the other one does in one is cheaper where its rate times T is below the rate
 * that one step gives, as far as operations alone count: all of its traffic comes T times as well.
 *
 * @param spiking its layers; their own firing rates don't matter, all of them get the same.
 * @param otherPj of the other network, for instance `withoutSpikes` with int8 products.
 */
export function crossoverRate(
  spiking: readonly LayerOperations[],
  otherPj: number,
  constants: EnergyConstants = horowitz45.float32,
  places: MemoryPlaces = onChip,
): number | null {
  const silent = energyOf(
    spiking.map((layer) => ({ ...layer, firingRate: 0 })),
    constants,
    places,
  );
  const allFirePj = spiking.reduce((sum, { synapses }) => sum + synapses * constants.acPj, 0);
  return allFirePj === 0 ? null : (otherPj - silent.totalPj) / allFirePj;
}

/** Where a spiking network meets the same one without spikes. */
export interface Crossover {
  /** Of values and weights of the spiking network and of the other one. */
  readonly bits: number;
  readonly otherBits: number;
  /** Energy of the other one, on the same input. */
  readonly otherPj: number;
  /** Firing rate of the spiking one, all products with spikes together, at which both take the same (`crossoverRate`). */
  readonly rate: number | null;
  /** The same of the operations alone, as if memory were free. */
  readonly computeRate: number | null;
}

/** The pairs of constants that are compared: spikes are held in one bit. */
const pairs = [
  [horowitz45.float32, horowitz45.float32],
  [horowitz45.int8, horowitz45.int8],
  [horowitz45.float32, horowitz45.int8],
] as const;

/**
 * A spiking network of float32 or int8 values against the same network without spikes (`withoutSpikes`).
 *
 * @param neuronReads values of neurons' state that the spiking one reads.
 */
export function crossovers(
  spiking: LayerOperations,
  neuronReads: number,
  places: MemoryPlaces = onChip,
): readonly Crossover[] {
  const other = withoutSpikes(spiking, neuronReads);
  return pairs.map(([own, constants]) => {
    const energy = energyOf([other], constants, places);
    const spikes = { ...own, spikeBits: 1 };
    return {
      bits: own.bits,
      otherBits: constants.bits,
      otherPj: energy.totalPj,
      rate: crossoverRate([spiking], energy.totalPj, spikes, places),
      computeRate: crossoverRate([computeOnly(spiking)], energy.computePj, spikes, places),
    };
  });
}

function computeOnly(layer: LayerOperations): LayerOperations {
  const none = { weightReads: 0, activationReads: 0, activationWrites: 0, spikeAccesses: 0 };
  return { ...layer, ...none, stateReads: 0 };
}
