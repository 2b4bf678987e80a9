import { CdrWriter, EncapsulationKind } from '@foxglove/cdr';
import type { EventFormat } from '../../../ingest/format.js';

/** What `dvs_msgs/EventArray` can hold, for generated events. */
export const rosRange = {
  sensor: { width: 1280, height: 720 },
  firstUs: [0, 2 ** 31 * 1e6 - 2 ** 30],
  stepUs: [-(2 ** 20), 2 ** 20],
  lowestUs: 0,
} as const;

/** A bag of `event_camera_msgs/EventPacket` instead of `dvs_msgs/EventArray`. */
export const asPackets = (format: EventFormat, variant?: string): EventFormat => ({
  ...format,
  encode: (batches, options) =>
    format.encode(batches, { ...options, rosMessage: 'EventPacket', variant }),
});

/** What packets of EVT 3.0 words can hold. */
export const evt3Range = {
  ...rosRange,
  firstUs: [0, 2 ** 32],
  stepUs: [-(2 ** 26), 2 ** 28],
  share: 0.5,
} as const;

/** Fields of an `event_camera_msgs/EventPacket`. */
export interface PacketFields {
  readonly width: number;
  readonly height: number;
  readonly timeBaseNs: bigint;
  readonly encoding: string;
  readonly bigEndian?: boolean;
  readonly events: Uint8Array;
}

/** A packet as ROS 2 writes it. */
export function cdrPacket(fields: PacketFields): Uint8Array {
  const { width, height, timeBaseNs, encoding, bigEndian = false, events } = fields;
  const writer = new CdrWriter({ kind: EncapsulationKind.CDR_LE });
  writer.int32(0).uint32(0).string('camera').uint32(height).uint32(width);
  writer
    .uint64(0n)
    .uint64(timeBaseNs)
    .string(encoding)
    .uint8(bigEndian ? 1 : 0);
  writer.uint8Array(events, true);
  return writer.data;
}
